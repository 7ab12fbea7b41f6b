//! What hook and daemon say to each other: a line of JSON each.

use platform_core::Secret;
use serde::{Deserialize, Serialize};

/// The hook's only line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ask {
    /// Which push this is.
    pub(super) secret: Secret,
    pub(super) branch: String,
    /// Where the branch is, as git saw it when the push came in; zeros for a new one.
    pub(super) old: String,
    /// The commit that it shall move to, whose archive is ready.
    pub(super) new: String,
}

/// The daemon's lines: any number of texts, then a verdict.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Tell {
    /// For the pusher's terminal, as it is.
    Text(String),
    /// Nothing to say, still alive: for so many seconds nothing was said.
    Alive(u64),
    /// The commit is deployed.
    Deployed,
    /// It is not, and the push is rejected.
    Refused(String),
}
