//! The port, method by method.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bollard::{
    models::{ContainerInspectResponse, ContainerStateStatusEnum},
    query_parameters::{
        AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, ListContainersOptionsBuilder,
        RemoveContainerOptionsBuilder, StopContainerOptionsBuilder,
    },
};
use futures::{StreamExt, stream::BoxStream};
use platform_core::{
    AppName, Error, HealthCheck, PlatformName, Progress, Result, Unit, UnitEnv, UnitId, UnitSpec,
    ports::{Build, Built, Engine, LogLine},
};

use crate::{
    DockerConfig, build,
    client::{Client, found, status},
    dependencies::Making,
    events::{Change, watch},
    image::{self, Image},
    logs, ready,
    undo::{Made, Undo},
    unit::{APP, INSTANCE, ROLE, container, container_name, from_inspection, from_summary, is_of},
    workshop::{Step, exec, tell},
};

/// How long Docker may take to take a container away.
const REMOVAL: Duration = Duration::from_secs(20);

/// Units as containers of one Docker.
///
/// Of each unit Docker itself remembers everything but how often it was started again: that is
/// counted from the engine's own start on. Clones are the same engine.
#[derive(Clone)]
pub struct DockerEngine {
    client: Client,
    http: reqwest::Client,
    making: Arc<Making>,
    restarts: Arc<Mutex<HashMap<UnitId, u32>>>,
}

impl DockerEngine {
    /// Connects to Docker and agrees on a version of its API.
    ///
    /// # Errors
    /// When Docker does not answer, or the address is none.
    pub async fn connect(config: DockerConfig) -> Result<Self> {
        let client = Client::connect(config).await?;
        // Whoever came first has chosen; it is the same choice all over the platform.
        let _chosen_already = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            // A unit's own certificate is for its own name, not for its address.
            .tls_danger_accept_invalid_certs(true)
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|reason| Error::Engine(format!("health checks cannot be made: {reason}")))?;
        Ok(Self { client, http, making: Arc::default(), restarts: Arc::default() })
    }

    /// Removes what builds and single commands left that were interrupted with their process. For
    /// the start of the one process that builds.
    ///
    /// # Errors
    /// When Docker does not answer.
    pub async fn sweep(&self) -> Result<()> {
        for role in ["build", "run"] {
            for summary in self.containers(&[format!("{ROLE}={role}")]).await? {
                let name = summary.id.unwrap_or_default();
                tracing::info!(container = %name, "removing container `{name}`, left by an interrupted {role}");
                self.remove_container(&name).await?;
            }
        }
        Ok(())
    }

    async fn containers(&self, more_labels: &[String]) -> Result<Vec<bollard::models::ContainerSummary>> {
        let mut labels = vec![format!("{INSTANCE}={}", self.client.config.instance)];
        labels.extend_from_slice(more_labels);
        let filters: HashMap<String, Vec<String>> = [("label".to_owned(), labels)].into();
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let listed = self.client.docker.list_containers(Some(options)).await;
        listed.map_err(|failure| self.client.failed("list units", failure))
    }

    /// Takes a container away, and returns once it is gone.
    async fn remove_container(&self, name: &str) -> Result<()> {
        let deadline = tokio::time::Instant::now() + REMOVAL;
        loop {
            let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
            match found(self.client.docker.remove_container(name, Some(options)).await) {
                Ok(None) => return Ok(()),
                // It is gone when Docker says so twice, and on its way when somebody else takes it away.
                Ok(Some(())) => return Ok(()),
                Err(failure) if status(&failure) == Some(409) && tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(failure) => return Err(self.client.failed(&format!("remove {name}"), failure)),
            }
        }
    }

    async fn create(&self, name: &str, spec: &UnitSpec, role: &str) -> Result<Created> {
        let image = Image::inspect(&self.client, &spec.image).await?;
        let image = image.ok_or_else(|| {
            Error::Engine(format!(
                "image {} of app {} is not there any more: deploy the app again",
                spec.image, spec.app
            ))
        })?;
        let body = container(&self.client.config, spec, role, image.is_root());
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        match self.client.docker.create_container(Some(options), body).await {
            Ok(_) => Ok(Created::New),
            Err(failure) if status(&failure) == Some(409) => Ok(Created::Known),
            Err(failure) => Err(self.client.failed(&format!("make unit {}", spec.id), failure)),
        }
    }

    /// Starts a container that stands still. One that can't start does not stay.
    async fn run(&self, name: &str, unit: &UnitId) -> Result<()> {
        let Err(failure) = self.client.docker.start_container(name, None).await else { return Ok(()) };
        let reason = self.client.failed(&format!("start unit {unit}"), failure);
        if let Err(left) = self.remove_container(name).await {
            tracing::warn!(container = %name, error = %left, "could not remove container `{name}`, which does not start");
        }
        Err(reason)
    }

    /// Takes over a container of the unit's name; `None` where it had to go.
    async fn adopt(&self, name: &str, spec: &UnitSpec) -> Result<Option<()>> {
        let Some(there) = ready::inspect(&self.client, name).await? else { return Ok(None) };
        let state = there.state.as_ref().and_then(|state| state.status);
        let mine = is_of(&there, &self.client.config, spec);
        match state {
            Some(ContainerStateStatusEnum::RUNNING) if mine => Ok(Some(())),
            Some(ContainerStateStatusEnum::PAUSED) if mine => {
                let resumed = self.client.docker.unpause_container(name).await;
                resumed.map(Some).map_err(|failure| self.client.failed(&format!("resume unit {}", spec.id), failure))
            }
            Some(ContainerStateStatusEnum::CREATED | ContainerStateStatusEnum::EXITED) if mine => {
                let has_run = state == Some(ContainerStateStatusEnum::EXITED);
                match self.run(name, &spec.id).await {
                    Ok(()) => {
                        if has_run {
                            *self.restarts().entry(spec.id.clone()).or_default() += 1;
                        }
                        Ok(Some(()))
                    }
                    // It is gone now: a new one may do better.
                    Err(reason) => {
                        tracing::warn!(unit.id = %spec.id, error = %reason, "replacing unit `{}`", spec.id);
                        Ok(None)
                    }
                }
            }
            _ => {
                tracing::warn!(unit.id = %spec.id, "replacing unit `{}`, which is broken or not what it should be", spec.id);
                self.remove_container(name).await?;
                Ok(None)
            }
        }
    }

    fn restarts(&self) -> std::sync::MutexGuard<'_, HashMap<UnitId, u32>> {
        self.restarts.lock().expect("no holder of the counts panics")
    }

    fn counted(&self, unit: Unit) -> Unit {
        let restarts = self.restarts().get(&unit.id).copied().unwrap_or(0);
        Unit { restarts, ..unit }
    }

    fn unit(&self, container: &ContainerInspectResponse) -> Result<Unit> {
        from_inspection(&self.client.config, container)
            .map(|unit| self.counted(unit))
            .ok_or_else(|| Error::Engine("Docker described a unit that cannot be understood".to_owned()))
    }
}

enum Created {
    New,
    Known,
}

#[async_trait]
impl Engine for DockerEngine {
    async fn build_platform(
        &self,
        name: &PlatformName,
        version: u32,
        dockerfile: &str,
        progress: &Progress,
    ) -> Result<String> {
        image::build_platform(&self.client, name, version, dockerfile, progress).await
    }

    async fn build(&self, build: &Build<'_>, progress: &Progress) -> Result<Built> {
        build::build(&self.client, &self.making, build, progress).await
    }

    async fn take_image(&self, app: &AppName, version: u32, image: &str, progress: &Progress) -> Result<Built> {
        image::take(&self.client, app, version, image, progress).await
    }

    async fn start(&self, spec: &UnitSpec) -> Result<Unit> {
        const TRIES: usize = 3;
        let name = container_name(&self.client.config, &spec.id);
        for _ in 0..TRIES {
            let there = match self.create(&name, spec, "unit").await? {
                Created::New => self.run(&name, &spec.id).await.map(Some)?,
                Created::Known => self.adopt(&name, spec).await?,
            };
            if there.is_some()
                && let Some(container) = ready::inspect(&self.client, &name).await?
            {
                return self.unit(&container);
            }
        }
        Err(Error::Engine(format!("unit {} could not be started: something removes it again and again", spec.id)))
    }

    async fn wait_ready(
        &self,
        unit: &Unit,
        check: Option<&HealthCheck>,
        listens: bool,
        within: Duration,
    ) -> Result<()> {
        ready::wait_ready(&self.client, &self.http, unit, check, listens, within).await
    }

    async fn stop(&self, unit: &UnitId, grace: Duration) -> Result<()> {
        let name = container_name(&self.client.config, unit);
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let patient = self.client.docker.clone().with_timeout(grace + self.client.config.call_timeout);
        let options = StopContainerOptionsBuilder::default().t(seconds).build();
        if let Err(failure) = found(patient.stop_container(&name, Some(options)).await) {
            // It is removed by force then. If Docker is away, that fails too and says so.
            tracing::warn!(unit.id = %unit, error = %failure, "unit `{unit}` does not stop in good order");
        }
        self.remove_container(&name).await?;
        self.restarts().remove(unit);
        Ok(())
    }

    async fn units(&self, app: Option<&AppName>) -> Result<Vec<Unit>> {
        let mut labels = vec![format!("{ROLE}=unit")];
        labels.extend(app.map(|app| format!("{APP}={app}")));
        let listed = self.containers(&labels).await?;
        let units = listed.iter().filter_map(|summary| from_summary(&self.client.config, summary));
        let mut units: Vec<Unit> = units.map(|unit| self.counted(unit)).collect();
        units.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(units)
    }

    async fn logs(&self, app: &AppName, lines: usize, follow: bool) -> Result<BoxStream<'static, LogLine>> {
        logs::logs(&self.client, app, lines, follow).await
    }

    async fn run_in(&self, unit: &UnitId, command: &str, progress: &Progress) -> Result<i64> {
        let name = container_name(&self.client.config, unit);
        exec(&self.client, &name, Step::shell("", command, UnitEnv::new()), None, progress).await
    }

    async fn run_once(&self, spec: &UnitSpec, progress: &Progress) -> Result<i64> {
        let name = format!("{}.run.{}", self.client.config.instance, uuid::Uuid::new_v4().simple());
        let undo = Undo::new(&self.client.docker, Made::Container(name.clone()));
        let failed = |failure| self.client.failed("run a command", failure);
        if let Created::Known = self.create(&name, spec, "run").await? {
            return Err(Error::Engine(format!("container {name} exists already: try again")));
        }
        let options = AttachContainerOptionsBuilder::default().stdout(true).stderr(true).stream(true).build();
        let attached = self.client.docker.attach_container(&name, Some(options)).await.map_err(failed)?;
        self.run(&name, &spec.id).await?;
        tell(attached.output, progress).await.map_err(failed)?;
        let status = ready::exit_status(&self.client, &name).await?;
        undo.now().await;
        Ok(status)
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        image::remove(&self.client, image).await
    }

    async fn changes(&self) -> BoxStream<'static, Option<AppName>> {
        let changes = watch(&self.client, &[]);
        changes
            .filter_map(|change| async move {
                match change {
                    Change::Anything => Some(None),
                    Change::Unit { labels, .. } => labels.get(APP)?.parse().ok().map(Some),
                }
            })
            .boxed()
    }
}
