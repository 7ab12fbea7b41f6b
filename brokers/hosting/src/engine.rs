//! The Docker engine: the connection, what its failures mean, and images.

use std::{collections::HashMap, time::Duration};

use bollard::{Docker, body_full, errors::Error as Failure, query_parameters::BuildImageOptionsBuilder};
use futures::StreamExt as _;
use tokio::sync::Mutex;
use tracing::info;

use crate::{Containers, HostError, Image};

/// The engine, connected to when it is first needed: a broker starts without it.
pub(crate) struct Engine {
    pub(crate) settings: Containers,
    docker: tokio::sync::OnceCell<Docker>,
    /// One image is built at a time, and once.
    building: Mutex<()>,
}

/// What the scripts that make images hand to build steps.
const BUILD_ARGS: [&str; 6] = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"];

impl Engine {
    pub(crate) fn new(settings: Containers) -> Self {
        Self { settings, docker: tokio::sync::OnceCell::new(), building: Mutex::default() }
    }

    /// A connection that agreed on a version of the API.
    pub(crate) async fn docker(&self) -> Result<&Docker, HostError> {
        self.docker.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<Docker, HostError> {
        let away = |_| HostError::EngineAway { engine: self.settings.engine.clone() };
        let within = self.settings.call_timeout.max(Duration::from_secs(1));
        let docker = Docker::connect_with_host(&self.settings.engine).map_err(away)?.with_timeout(within);
        let agreed = tokio::time::timeout(within, docker.negotiate_version()).await;
        let late = || HostError::EngineAway { engine: self.settings.engine.clone() };
        agreed.map_err(|_| late())?.map_err(|failure| self.failed("connect", &failure))
    }

    /// What a failure to do `what` means.
    pub(crate) fn failed(&self, what: &str, failure: &Failure) -> HostError {
        let refused = |cause: &str| HostError::Engine { what: what.to_owned(), cause: cause.trim().to_owned() };
        match failure {
            Failure::DockerResponseServerError { message, .. } => refused(message),
            Failure::DockerStreamError { error } => refused(error),
            Failure::IOError { .. }
            | Failure::HyperResponseError { .. }
            | Failure::HyperLegacyError { .. }
            | Failure::SocketNotFoundError(_)
            | Failure::RequestTimeoutError => HostError::EngineAway { engine: self.settings.engine.clone() },
            other => refused(&other.to_string()),
        }
    }

    /// Which engine answers, for an operator.
    pub(crate) async fn version(&self) -> Result<String, HostError> {
        let version =
            self.docker().await?.version().await.map_err(|failure| self.failed("tell its version", &failure))?;
        Ok(version.version.unwrap_or_default())
    }

    /// Builds an image unless it is there, and returns its reference.
    pub(crate) async fn image(&self, image: &Image) -> Result<String, HostError> {
        let reference = image.reference();
        let _one_at_a_time = self.building.lock().await;
        let docker = self.docker().await?;
        if found(docker.inspect_image(&reference).await)
            .map_err(|failure| self.failed("inspect an image", &failure))?
            .is_none()
        {
            info!("building image {reference}");
            let building = self.build(docker, image, &reference);
            let built = tokio::time::timeout(self.settings.build_timeout, building).await;
            built.unwrap_or_else(|_| {
                Err(HostError::Image { image: reference.clone(), tail: "it took too long".to_owned() })
            })?;
        }
        Ok(reference)
    }

    async fn build(&self, docker: &Docker, image: &Image, reference: &str) -> Result<(), HostError> {
        let settings =
            std::env::vars().filter(|(name, _)| BUILD_ARGS.contains(&name.as_str())).collect::<HashMap<_, _>>();
        let options = BuildImageOptionsBuilder::default().t(reference).rm(true).forcerm(true).buildargs(&settings);
        let options = match &self.settings.build_network {
            Some(network) => options.networkmode(network),
            None => options,
        };
        let context = context(&image.dockerfile).map_err(|cause| HostError::Io { path: "Dockerfile".into(), cause })?;
        let patient = docker.clone().with_timeout(self.settings.build_timeout);
        let mut steps = Box::pin(patient.build_image(options.build(), None, Some(body_full(context.into()))));
        let mut said = String::new();
        while let Some(step) = steps.next().await {
            let error = match step {
                Ok(step) => {
                    said.push_str(step.stream.as_deref().unwrap_or_default());
                    step.error_detail.and_then(|error| error.message)
                }
                Err(Failure::DockerStreamError { error }) => Some(error),
                Err(other) => return Err(self.failed("build an image", &other)),
            };
            if let Some(error) = error {
                let tail = format!("{} | {error}", last_lines(&said, 4));
                return Err(HostError::Image { image: reference.to_owned(), tail });
            }
        }
        Ok(())
    }
}

/// A tar that holds the Dockerfile.
fn context(dockerfile: &str) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(dockerfile.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "Dockerfile", dockerfile.as_bytes())?;
    tar.into_inner()
}

/// The last lines of a text, in one.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join(" | ")
}

/// `Ok(None)` where the engine says that there is no such thing.
pub(crate) fn found<T>(answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(thing) => Ok(Some(thing)),
        Err(Failure::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(failure) => Err(failure),
    }
}
