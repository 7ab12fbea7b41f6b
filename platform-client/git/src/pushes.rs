//! What a push needs from the rest of the platform.

use std::path::Path;

use async_trait::async_trait;
use platform_core::{AppName, Email, Progress, Result, Secret};

/// Who pushes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pusher {
    /// The user.
    pub email: Email,
}

/// Who may push, and what becomes of it.
#[async_trait]
pub trait Pushes: Send + Sync {
    /// Who the token belongs to. An error when it is nobody's, when its user may not push to this
    /// app, or when there is no such app. Asked for each request of a push or a clone.
    async fn authorize(&self, app: &AppName, token: &Secret) -> Result<Pusher>;

    /// Builds a commit and switches to it; `progress` is the pusher's terminal. An error rejects the
    /// push. `archive` is a gzip tar of the commit and is gone afterwards. It runs to its end when
    /// the pusher goes away.
    async fn deploy(
        &self,
        app: &AppName,
        pusher: &Pusher,
        commit: &str,
        archive: &Path,
        progress: &Progress,
    ) -> Result<()>;
}
