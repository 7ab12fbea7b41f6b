//! The connection to Docker, and what its failures mean to the user.

use std::{sync::Arc, time::Duration};

use bollard::{Docker, errors::Error as Failure};
use platform_core::{Error, Result};

use crate::DockerConfig;

/// Docker, with the configuration that goes with it. Clones share the connection.
#[derive(Clone)]
pub(crate) struct Client {
    /// For calls that should be quick.
    pub(crate) docker: Docker,
    /// For calls that move or make much: uploads, commits, builds.
    pub(crate) patient: Docker,
    pub(crate) config: Arc<DockerConfig>,
}

impl Client {
    /// Connects and agrees on a version of the API.
    pub(crate) async fn connect(config: DockerConfig) -> Result<Self> {
        if !config.has_good_instance() {
            return Err(Error::invalid(format!(
                "\"{}\" can't mark this platform's containers: use at most 40 lower case letters, digits and single dashes",
                config.instance
            )));
        }
        let away = || unreachable(&config.host);
        let docker = Docker::connect_with_host(&config.host).map_err(|failure| match failure {
            Failure::SocketNotFoundError(_) => away(),
            _ => Error::Engine(format!(
                "\"{}\" is not an address of Docker: use `unix:///var/run/docker.sock` or `tcp://host:port`",
                config.host
            )),
        })?;
        let docker = docker.with_timeout(whole_seconds(config.call_timeout));
        let docker = tokio::time::timeout(config.call_timeout, docker.negotiate_version()).await;
        let docker = docker.map_err(|_| away())?.map_err(|failure| failed(&config.host, "connect", failure))?;
        let patient = docker.clone().with_timeout(whole_seconds(config.build_timeout));
        Ok(Self { docker, patient, config: Arc::new(config) })
    }

    /// What a failure to do `what` means: `move the source` reads as "Docker could not move the source".
    pub(crate) fn failed(&self, what: &str, failure: Failure) -> Error {
        failed(&self.config.host, what, failure)
    }
}

fn whole_seconds(timeout: Duration) -> Duration {
    Duration::from_secs(timeout.as_secs().max(1))
}

fn unreachable(host: &str) -> Error {
    Error::Engine(format!("Docker does not answer at {host}: start the Docker engine, then try again"))
}

fn failed(host: &str, what: &str, failure: Failure) -> Error {
    match failure {
        Failure::DockerResponseServerError { message, .. } => {
            Error::Engine(format!("Docker could not {what}: {}", message.trim()))
        }
        Failure::DockerStreamError { error } => Error::Engine(format!("Docker could not {what}: {}", error.trim())),
        Failure::IOError { .. }
        | Failure::HyperResponseError { .. }
        | Failure::HyperLegacyError { .. }
        | Failure::SocketNotFoundError(_)
        | Failure::RequestTimeoutError => {
            tracing::warn!(error = %failure, "Docker does not answer at {host}");
            unreachable(host)
        }
        other => Error::Engine(format!("Docker could not {what}: {other}")),
    }
}

/// The status that Docker answered with, where it answered.
pub(crate) fn status(failure: &Failure) -> Option<u16> {
    match failure {
        Failure::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// `Ok(None)` where Docker says that there is no such thing.
pub(crate) fn found<T>(answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(thing) => Ok(Some(thing)),
        Err(failure) if status(&failure) == Some(404) => Ok(None),
        Err(failure) => Err(failure),
    }
}
