//! What was begun and must not stay.

use std::time::Duration;

use bollard::{
    Docker,
    errors::Error as Failure,
    query_parameters::{RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder},
};

use crate::client::status;

/// Removes a container or an image when it is dropped, whatever the reason: the work is done, it
/// failed, or nobody waits for it any more.
pub(crate) struct Undo {
    docker: Docker,
    made: Option<Made>,
}

#[derive(Clone)]
pub(crate) enum Made {
    Container(String),
    Image(String),
}

impl Undo {
    /// To be made before the thing itself, so that there is no moment in between.
    pub(crate) fn new(docker: &Docker, made: Made) -> Self {
        Self { docker: docker.clone(), made: Some(made) }
    }

    /// It stays.
    pub(crate) fn keep(mut self) {
        self.made = None;
    }

    /// Removes it now.
    pub(crate) async fn now(mut self) {
        if let Some(made) = self.made.clone() {
            remove(&self.docker, &made).await;
            self.made = None;
        }
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        let Some(made) = self.made.take() else { return };
        let docker = self.docker.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { remove(&docker, &made).await });
        }
    }
}

/// Docker may still be about to make it when the request was abandoned: what is not there yet is
/// looked for again.
async fn remove(docker: &Docker, made: &Made) {
    const LOOKS: u32 = 4;
    for look in 1..=LOOKS {
        match remove_once(docker, made).await {
            Ok(()) => return,
            Err(failure) if matches!(status(&failure), Some(404 | 409)) && look < LOOKS => {
                tokio::time::sleep(Duration::from_millis(150) * look).await;
            }
            Err(failure) if status(&failure) == Some(404) => return,
            Err(failure) => {
                let (Made::Container(name) | Made::Image(name)) = made;
                tracing::warn!(%name, error = %failure, "could not remove `{name}`, which is not needed any more");
                return;
            }
        }
    }
}

async fn remove_once(docker: &Docker, made: &Made) -> Result<(), Failure> {
    match made {
        Made::Container(name) => {
            let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
            docker.remove_container(name, Some(options)).await
        }
        Made::Image(name) => {
            let options = RemoveImageOptionsBuilder::default().build();
            docker.remove_image(name, Some(options), None).await.map(|_removed| ())
        }
    }
}
