//! The server: made once, lives in the router and in the hook's socket.

use std::{ffi::OsString, io, path::PathBuf, sync::Arc};

use platform_core::AppName;
use tokio::{sync::Semaphore, task::AbortHandle};

use crate::{
    GitConfig, Pusher, Pushes, git,
    hook::{self, Socket},
    http,
    push::{AllPushes, Push},
    repositories::Repositories,
};

/// Why the git endpoint can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no git on the path, or it doesn't run.
    #[error("git does not run: install it (Debian package `git`) and start again")]
    Git(#[source] io::Error),
    /// The folder of the repositories can't be made or written.
    #[error("the repositories in {0} cannot be prepared: {1}")]
    Folder(PathBuf, #[source] io::Error),
    /// Another process serves these repositories.
    #[error("another process serves the repositories in {0}: stop it first")]
    InUse(PathBuf),
    /// The hook's socket can't be made.
    #[error("the socket {0} for git's hook cannot be made: {1}")]
    Socket(PathBuf, #[source] io::Error),
    /// No branch would be deployed.
    #[error("no branch to deploy is configured: name at least one, such as `main`")]
    NoBranch,
}

/// Repositories over HTTP, whose pushes deploy.
///
/// The hook's socket is served as long as the server or a router made from it lives.
///
/// ```no_run
/// # async fn start(pushes: std::sync::Arc<dyn platform_git::Pushes>) -> Result<(), Box<dyn std::error::Error>> {
/// let server = platform_git::GitServer::new(platform_git::GitConfig::new("/var/lib/tsuru")?, pushes).await?;
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
/// axum::serve(listener, server.router()).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "nobody reaches the repositories before the router is served"]
pub struct GitServer {
    shared: Arc<Shared>,
    _hooks: Arc<StopOnDrop>,
}

pub(crate) struct Shared {
    pub(crate) config: GitConfig,
    pub(crate) pushes: Arc<dyn Pushes>,
    pub(crate) repositories: Repositories,
    pub(crate) sessions: Arc<Semaphore>,
    pub(crate) on_their_way: Arc<AllPushes>,
}

/// Keeps a task for as long as somebody needs it.
struct StopOnDrop(AbortHandle);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl GitServer {
    /// Prepares the repositories' folder and listens for hooks.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn new(config: GitConfig, pushes: Arc<dyn Pushes>) -> Result<Self, StartError> {
        if config.branches.is_empty() {
            return Err(StartError::NoBranch);
        }
        git::run(["version"]).await.map_err(StartError::Git)?;
        let folder = config.data.join("git");
        // Before anything is tidied up: the other process may be in the middle of a push.
        if hook::is_served(&folder.join(hook::SOCKET)).await {
            return Err(StartError::InUse(folder));
        }
        let repositories = Repositories::open(&config.data, &config.hook_command)
            .map_err(|error| StartError::Folder(folder, error))?;
        let socket =
            Socket::bind(&repositories.socket()).map_err(|error| StartError::Socket(repositories.socket(), error))?;
        let sessions = Arc::new(Semaphore::new(config.max_sessions));
        let shared = Arc::new(Shared { config, pushes, repositories, sessions, on_their_way: Arc::default() });
        let hooks = tokio::spawn(socket.serve(Arc::clone(&shared))).abort_handle();
        Ok(Self { shared, _hooks: Arc::new(StopOnDrop(hooks)) })
    }

    /// `/git/{app}.git/...`: what git asks for. Bodies are unbuffered; nothing in front of this
    /// may limit their size or the time they take.
    pub fn router(&self) -> axum::Router {
        http::router(self.clone())
    }

    /// Removes an app's repository; one that is gone is a success. An app that is made again under
    /// the same name starts without history.
    ///
    /// # Errors
    /// When the folder can't be removed.
    pub async fn remove(&self, app: &AppName) -> io::Result<()> {
        self.shared.repositories.remove(app).await
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Shared {
    /// The branch that users are told to push to.
    pub(crate) fn main_branch(&self) -> &str {
        &self.config.branches[0]
    }

    pub(crate) fn begin(&self, app: AppName, pusher: Pusher) -> io::Result<Arc<Push>> {
        Ok(self.on_their_way.begin(app, pusher, self.repositories.scratch_folder()?))
    }

    /// What a push's hook finds in its environment.
    pub(crate) fn hook_env(&self, push: &Push) -> [(&'static str, OsString); 5] {
        [
            (hook::ENV_APP, push.app.as_str().into()),
            (hook::ENV_ARCHIVE, push.archive().into()),
            (hook::ENV_BRANCHES, self.config.branches.join(" ").into()),
            (hook::ENV_SECRET, push.secret.expose().into()),
            (hook::ENV_SOCKET, self.repositories.socket().into()),
        ]
    }

    /// After git is done with a push: which branch a clone checks out, and the odd repack. Nobody
    /// waits for it.
    pub(crate) async fn settle(&self, app: &AppName, deployed: Option<&str>) {
        if let Some(branch) = deployed
            && let Err(error) = self.repositories.point_head(app, branch).await
        {
            tracing::warn!(app.name = %app, %error, "the repository of `{app}` keeps its old default branch: {error}");
        }
        if let Err(error) = self.repositories.tidy(app).await {
            tracing::warn!(app.name = %app, %error, "the repository of `{app}` could not be tidied up: {error}");
        }
    }
}
