//! The container of one server: made, looked at, changed, cleared away.
//!
//! Everything is found by label or by name, so whatever a crash left is met by the next call: a container that
//! runs is adopted, one that does not is made anew on the same folder.

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use bollard::{
    container::LogOutput,
    models::{ContainerCreateBody, ContainerInspectResponse, RestartPolicyNameEnum},
    query_parameters::{
        CreateContainerOptionsBuilder, ListContainersOptionsBuilder, ListNetworksOptionsBuilder, LogsOptionsBuilder,
        RemoveContainerOptionsBuilder, StatsOptionsBuilder, StopContainerOptionsBuilder, WaitContainerOptions,
    },
};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::{
    Container, HostError, Limits, Place, ServerId, Usage,
    engine::{Engine, found, last_lines},
    files,
    vessel::{self, BROKER, SERVER, Vessel},
};

/// The container of one server.
#[derive(Clone)]
pub(crate) struct Contained {
    pub(crate) engine: Arc<Engine>,
    pub(crate) group: String,
    pub(crate) id: ServerId,
    pub(crate) user: String,
}

/// What the engine says of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) container: String,
    pub(crate) started: String,
    pub(crate) pid: u32,
    pub(crate) runs: bool,
    is_kept_running: bool,
}

/// Why a container did not start.
pub(crate) enum Failed {
    PortTaken,
    Other(HostError),
}

impl From<HostError> for Failed {
    fn from(error: HostError) -> Self {
        Self::Other(error)
    }
}

impl Contained {
    fn name(&self) -> String {
        format!("{}.{}", self.group, self.id)
    }

    fn vessel<'a>(&'a self, place: &'a Place) -> Vessel<'a> {
        Vessel { group: &self.group, id: &self.id, place, user: self.user.clone() }
    }

    fn failed(&self, what: &str, failure: &bollard::errors::Error) -> HostError {
        self.engine.failed(&format!("{what} of server \"{}\"", self.id), failure)
    }

    /// The server's container, running or not.
    pub(crate) async fn look(&self) -> Result<Option<Seen>, HostError> {
        let answer = self.engine.docker().await?.inspect_container(&self.name(), None).await;
        Ok(found(answer).map_err(|failure| self.failed("inspect the container", &failure))?.and_then(seen))
    }

    /// Makes network and container, and starts it; what was there is cleared away before.
    pub(crate) async fn start(
        &self,
        place: &Place,
        kind: &Container,
        args: Vec<String>,
        limits: &Limits,
    ) -> Result<Seen, Failed> {
        let image = self.engine.image(&kind.image).await?;
        let docker = self.engine.docker().await?;
        let vessel = self.vessel(place);
        let network = vessel.network(self.engine.settings.subnet(place.port));
        docker.create_network(network).await.map_err(|failure| self.failed("make the network", &failure))?;
        self.create(&self.name(), vessel.server(image, kind, args, limits)).await?;
        match docker.start_container(&self.name(), None).await {
            Ok(()) => {}
            Err(failure) if is_about_a_port(&failure) => return Err(Failed::PortTaken),
            Err(failure) => return Err(self.failed("start the container", &failure).into()),
        }
        self.look().await?.ok_or_else(|| Failed::Other(self.ended(place, "its container is gone".to_owned())))
    }

    async fn create(&self, name: &str, body: ContainerCreateBody) -> Result<(), HostError> {
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let created = self.engine.docker().await?.create_container(Some(options), body).await;
        created.map(drop).map_err(|failure| self.failed("make the container", &failure))
    }

    /// From now on the engine starts it again, whatever ends it or the engine.
    pub(crate) async fn keep_running(&self, seen: &Seen) -> Result<(), HostError> {
        if seen.is_kept_running {
            return Ok(());
        }
        let done = self.engine.docker().await?.update_container(&self.name(), vessel::keep_running()).await;
        done.map_err(|failure| self.failed("keep running the container", &failure))
    }

    /// Changes limits while it runs. False when the engine says that this can't be done while it runs.
    pub(crate) async fn change(&self, limits: &Limits) -> Result<bool, HostError> {
        let docker = self.engine.docker().await?;
        match docker.update_container(&self.name(), vessel::change_of_limits(limits)).await {
            Ok(()) => Ok(true),
            Err(failure) => match self.failed("change the limits", &failure) {
                HostError::Engine { cause, .. } => {
                    tracing::info!(server.id = %self.id, "server `{}` is made anew for its limits: {cause}", self.id);
                    Ok(false)
                }
                away => Err(away),
            },
        }
    }

    /// Ends the container, politely for as long as `within`; it stays ended, and what it said last is kept.
    pub(crate) async fn stop(&self, within: Duration) -> Result<(), HostError> {
        let docker = self.engine.docker().await?;
        let seconds = i32::try_from(within.as_secs()).unwrap_or(i32::MAX);
        let patient = docker.clone().with_timeout(self.engine.settings.call_timeout + within);
        let options = StopContainerOptionsBuilder::default().t(seconds).build();
        let stopped = patient.stop_container(&self.name(), Some(options)).await;
        found(stopped).map(drop).map_err(|failure| self.failed("stop the container", &failure))
    }

    /// Removes all containers and networks of the server, those of an interrupted preparation too.
    pub(crate) async fn clear(&self) -> Result<(), HostError> {
        let docker = self.engine.docker().await?;
        let labels = vec![format!("{BROKER}={}", self.group), format!("{SERVER}={}", self.id)];
        let filters = HashMap::from([("label".to_owned(), labels)]);
        let list = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let containers = docker.list_containers(Some(list)).await;
        for container in containers.map_err(|failure| self.failed("list containers", &failure))? {
            let id = container.id.unwrap_or_default();
            let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
            let removed = found(docker.remove_container(&id, Some(options)).await);
            match removed {
                // Somebody else's removal goes on.
                Err(bollard::errors::Error::DockerResponseServerError { status_code: 409, .. }) => {}
                other => drop(other.map_err(|failure| self.failed("remove the container", &failure))?),
            }
        }
        let list = ListNetworksOptionsBuilder::default().filters(&filters).build();
        let networks = docker.list_networks(Some(list)).await;
        for network in networks.map_err(|failure| self.failed("list networks", &failure))? {
            let removed = found(docker.remove_network(&network.id.unwrap_or_default()).await);
            removed.map_err(|failure| self.failed("remove the network", &failure))?;
        }
        Ok(())
    }

    /// What the container said last.
    pub(crate) async fn tail(&self) -> String {
        let Ok(docker) = self.engine.docker().await else { return String::new() };
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).tail("20").build();
        let said: Vec<LogOutput> = docker.logs(&self.name(), Some(options)).try_collect().await.unwrap_or_default();
        let text: String = said.iter().map(|piece| String::from_utf8_lossy(piece.as_ref()).into_owned()).collect();
        last_lines(&text, 4)
    }

    pub(crate) fn ended(&self, place: &Place, tail: String) -> HostError {
        HostError::Ended { id: self.id.clone(), log: place.log(), tail }
    }

    /// Memory, processor time and processes; none when it does not run.
    pub(crate) async fn usage(&self) -> Result<Option<Usage>, HostError> {
        let docker = self.engine.docker().await?;
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        let answer = Box::pin(docker.stats(&self.name(), Some(options))).next().await;
        let Some(stats) = answer.and_then(|answer| found(answer).transpose()) else { return Ok(None) };
        let stats = stats.map_err(|failure| self.failed("ask for the use", &failure))?;
        let memory = stats.memory_stats.unwrap_or_default();
        let Some(used) = memory.usage else { return Ok(None) };
        let details = memory.stats.unwrap_or_default();
        // Version 1 of control groups counts by another name than version 2.
        let kept = details.get("total_inactive_file").or_else(|| details.get("inactive_file")).copied().unwrap_or(0);
        let cpu = stats.cpu_stats.and_then(|cpu| cpu.cpu_usage).and_then(|cpu| cpu.total_usage).unwrap_or(0);
        let processes = stats.pids_stats.and_then(|pids| pids.current).unwrap_or(0);
        Ok(Some(Usage { memory: used.saturating_sub(kept), cpu: Duration::from_nanos(cpu), processes, disk: 0 }))
    }

    /// Runs one step of a preparation in a container of its own and adds what it says to the server's log.
    pub(crate) async fn step(
        &self,
        place: &Place,
        image: &str,
        program: &Path,
        args: Vec<String>,
        within: Duration,
    ) -> std::io::Result<()> {
        let name = format!("{}.step", self.name());
        let body = self.vessel(place).step(image.to_owned(), program.display().to_string(), args);
        let ran = tokio::time::timeout(within, self.ran(&name, body, place)).await;
        // Gone in any case: the next step has the same name.
        let removed = match self.engine.docker().await {
            Ok(docker) => {
                let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
                found(docker.remove_container(&name, Some(options)).await)
            }
            Err(away) => return Err(std::io::Error::other(away)),
        };
        let late = || format!("{} took longer than {}s", program.display(), within.as_secs());
        let status = ran.map_err(|_| std::io::Error::new(std::io::ErrorKind::TimedOut, late()))?;
        let status = status.map_err(std::io::Error::other)?;
        removed.map_err(std::io::Error::other)?;
        if status == 0 {
            return Ok(());
        }
        Err(std::io::Error::other(format!("{} failed, see {}", program.display(), place.log().display())))
    }

    async fn ran(&self, name: &str, body: ContainerCreateBody, place: &Place) -> Result<i64, HostError> {
        let docker = self.engine.docker().await?;
        let options = RemoveContainerOptionsBuilder::default().force(true).build();
        found(docker.remove_container(name, Some(options)).await)
            .map_err(|failure| self.failed("clear a step", &failure))?;
        self.create(name, body).await?;
        docker.start_container(name, None).await.map_err(|failure| self.failed("start a step", &failure))?;
        let patient = docker.clone().with_timeout(Duration::from_secs(3600));
        let waited = Box::pin(patient.wait_container(name, None::<WaitContainerOptions>)).next().await;
        let status = match waited {
            Some(Ok(end)) => end.status_code,
            Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => code,
            Some(Err(failure)) => return Err(self.failed("wait for a step", &failure)),
            None => return Err(self.ended(place, "the engine forgot a step".to_owned())),
        };
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).build();
        let said: Vec<LogOutput> = docker.logs(name, Some(options)).try_collect().await.unwrap_or_default();
        let text: Vec<u8> = said.iter().flat_map(|piece| piece.as_ref().to_vec()).collect();
        files::append(&place.log(), &text).map_err(|cause| HostError::Io { path: place.log(), cause })?;
        Ok(status)
    }
}

/// The engine proxies published ports, and fails to start a container whose port it can't have.
fn is_about_a_port(failure: &bollard::errors::Error) -> bool {
    let text = failure.to_string();
    text.contains("port is already allocated") || text.contains("address already in use")
}

fn seen(container: ContainerInspectResponse) -> Option<Seen> {
    let state = container.state?;
    let policy = container.host_config.and_then(|host| host.restart_policy).and_then(|policy| policy.name);
    Some(Seen {
        container: container.id?,
        started: state.started_at.unwrap_or_default(),
        pid: u32::try_from(state.pid.unwrap_or(0)).unwrap_or(0),
        runs: state.running == Some(true) && state.restarting != Some(true) && state.paused != Some(true),
        is_kept_running: policy == Some(RestartPolicyNameEnum::UNLESS_STOPPED),
    })
}
