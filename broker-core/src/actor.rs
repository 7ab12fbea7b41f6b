//! Who asks for what is done.

use serde::{Deserialize, Serialize};

/// Who asked for an operation, as the platform says; both may be empty, and are when nobody asked: in repairs, in
/// questions, and where the platform does not tell (SPEC L-13).
///
/// For tsuru the form's `user` and `eventid`, for Open Service Broker `X-Broker-API-Originating-Identity` and
/// `X-Broker-API-Request-Identity`. They are as true as the platform whose credentials came with them: good for a log,
/// not for a decision on who may do what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Actor {
    /// The user: an e-mail address, or the platform and its user's identifier with a colon between them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// The platform's event or request identity.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub event: String,
}

impl Actor {
    /// Somebody, for an author's tests.
    #[must_use]
    pub fn new(user: impl Into<String>, event: impl Into<String>) -> Self {
        Self { user: user.into(), event: event.into() }
    }
}
