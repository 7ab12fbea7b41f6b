//! What `git push` asks of the platform.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use platform_core::{AppName, Error, Origin, Platform, Progress, Result, Secret, Source, ports::Sources};
use platform_git::{GitServer, Pusher, Pushes};

/// Pushes as deploys of the platform.
pub(crate) struct Deploys(pub(crate) Arc<Platform>);

#[async_trait]
impl Pushes for Deploys {
    async fn authorize(&self, app: &AppName, token: &Secret) -> Result<Pusher> {
        let user = self.0.authenticate(token).await.map_err(|refusal| match refusal {
            // Whoever pushes has no header to provide.
            Error::Unauthenticated(_) => Error::Unauthenticated(
                "this token is not valid, or not any more: run `tsuru login`, then push again".to_owned(),
            ),
            other => other,
        })?;
        self.0.app(&user, app).await?;
        Ok(Pusher { email: user.email })
    }

    async fn deploy(
        &self,
        app: &AppName,
        pusher: &Pusher,
        commit: &str,
        archive: &Path,
        progress: &Progress,
    ) -> Result<()> {
        let user = self.0.user(&pusher.email).await?;
        let source = Source::Archive { path: archive.to_owned(), origin: Origin::Git, commit: commit.to_owned() };
        let deploy = self.0.begin_deploy(&user, app, source, progress).await?;
        deploy.run().await?;
        progress.line(format!("OK: http://{}", self.0.address(app)));
        Ok(())
    }
}

/// Repositories as the platform's memory of what was pushed.
pub(crate) struct Repositories(pub(crate) GitServer);

#[async_trait]
impl Sources for Repositories {
    async fn forget(&self, app: &AppName) -> Result<()> {
        self.0.remove(app).await.map_err(|reason| {
            Error::Precondition(format!("the repository of app {app} could not be removed, try again: {reason}"))
        })
    }
}
