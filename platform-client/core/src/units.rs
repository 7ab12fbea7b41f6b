//! Bringing an app's units in line with what is wanted: used by deploys, scaling, restarts, binds
//! and repairs alike.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    App, AppName, Backend, Error, Plan, Platform, Process, Progress, Release, Result, Route, Unit, UnitId, UnitSpec,
    UnitState,
};

/// Units that are started at the same time; more would only slow each other down.
const AT_ONCE: usize = 4;

/// A unit that should run, with what is needed to judge it.
pub(crate) struct Wanted<'a> {
    pub(crate) spec: UnitSpec,
    pub(crate) process: &'a Process,
    /// Whether requests go to it, so that its port has to answer.
    pub(crate) listens: bool,
}

impl App {
    /// A unit's identifier: the same wish has the same identifier, so a start can be repeated. The
    /// dots keep apart what may hold dashes itself.
    fn unit_id(&self, release: &Release, process: &Process, slot: u32) -> UnitId {
        UnitId(format!("{}.{}.{}-{}.{slot}", self.name, process.name, release.version, self.generation))
    }

    /// The units that should run now.
    pub(crate) fn wanted<'a>(&'a self, plan: &Plan, api_url: &str) -> Vec<Wanted<'a>> {
        let Some(release) = self.current_release() else { return Vec::new() };
        let main = release.main_process().map(|main| &main.name);
        let mut wanted = Vec::new();
        for process in &release.processes {
            let running = self.formation.get(&process.name).map_or(0, |scale| scale.running());
            for slot in 1..=running {
                let spec = self.unit_spec(release, process, self.unit_id(release, process, slot), plan, api_url);
                wanted.push(Wanted { spec, process, listens: main == Some(&process.name) });
            }
        }
        wanted
    }

    pub(crate) fn unit_spec(
        &self,
        release: &Release,
        process: &Process,
        id: UnitId,
        plan: &Plan,
        api_url: &str,
    ) -> UnitSpec {
        UnitSpec {
            id,
            app: self.name.clone(),
            process: process.name.clone(),
            version: release.version,
            generation: self.generation,
            image: release.image.clone(),
            command: process.start_command(&release.hooks),
            env: self.unit_env(&process.name, release.version, api_url),
            memory: plan.memory,
            cpu_milli: plan.cpu_milli,
        }
    }
}

impl Platform {
    pub(crate) async fn plan_of(&self, app: &App) -> Result<Plan> {
        let plan = self.records.get::<Plan>(app.plan.as_str()).await?;
        plan.map(crate::records::Kept::into_inner)
            .ok_or_else(|| Error::NotFound(format!("plan {} of app {} does not exist any more", app.plan, app.name)))
    }

    /// Stops units of the generation that `app` is about to have: an attempt that never got as far as
    /// the record left them, and they may have another environment.
    pub(crate) async fn stop_leftovers(&self, app: &App) -> Result<()> {
        for unit in self.engine.units(Some(&app.name)).await? {
            if unit.generation >= app.generation {
                self.engine.stop(&unit.id, self.settings.stop_grace).await?;
            }
        }
        Ok(())
    }

    /// Starts what is missing of `app` as it is wanted to be, and returns once all of it is ready.
    /// If it fails, what it started is gone again and nothing else has changed.
    pub(crate) async fn start_wanted(&self, app: &App, progress: &Progress) -> Result<Vec<Unit>> {
        let plan = self.plan_of(app).await?;
        let wanted = app.wanted(&plan, &self.settings.api_url);
        let there = self.engine.units(Some(&app.name)).await?;
        let running: HashSet<&UnitId> =
            there.iter().filter(|unit| unit.state == UnitState::Started).map(|unit| &unit.id).collect();
        let fresh: Vec<UnitId> = wanted.iter().map(|w| w.spec.id.clone()).filter(|id| !running.contains(id)).collect();
        let started = self.start_each(&wanted, &fresh, progress).await;
        if started.is_err() {
            self.stop_units(&fresh).await;
        }
        started
    }

    async fn start_each(&self, wanted: &[Wanted<'_>], fresh: &[UnitId], progress: &Progress) -> Result<Vec<Unit>> {
        let ready = AtomicUsize::new(0);
        let ready = &ready;
        let starts = (0..wanted.len()).map(|at| async move {
            let unit = self.engine.start(&wanted[at].spec).await?;
            self.wait_ready(&wanted[at], &unit).await?;
            if fresh.contains(&unit.id) {
                let number = ready.fetch_add(1, Ordering::Relaxed) + 1;
                progress.step(format!("{number} of {} new units ready", fresh.len()));
            }
            Ok::<_, Error>(unit)
        });
        stream::iter(starts).buffered(AT_ONCE).try_collect().await
    }

    pub(crate) async fn wait_ready(&self, wanted: &Wanted<'_>, unit: &Unit) -> Result<()> {
        let check = wanted.process.healthcheck.as_ref();
        let asked = check.map_or(0, |check| check.deploy_timeout_seconds);
        let within = self.settings.ready_within.max(Duration::from_secs(asked));
        self.engine.wait_ready(unit, check, wanted.listens, within).await
    }

    /// Sends requests to `serving` at once, then takes away every other unit of the app: drained
    /// first, then asked to stop. The record says so already, so there is no way back: what does not
    /// work now, the reconciler does later.
    pub(crate) async fn switch_to(&self, app: &App, serving: &[Unit]) {
        if let Err(error) = self.try_switch(app, serving).await {
            tracing::warn!(app = %app.name, %error, "could not switch app `{}` over yet, trying again later", app.name);
            self.changed.notify_one();
        }
    }

    async fn try_switch(&self, app: &App, serving: &[Unit]) -> Result<()> {
        {
            let _publishing = self.publishing.lock().await;
            self.routes.publish(self.route(app, serving)).await?;
        }
        let keep: HashSet<&UnitId> = serving.iter().map(|unit| &unit.id).collect();
        let retired = self.engine.units(Some(&app.name)).await?;
        let retired: Vec<UnitId> = retired.into_iter().map(|unit| unit.id).filter(|id| !keep.contains(id)).collect();
        self.retire(&retired).await;
        Ok(())
    }

    /// Takes an app out of the routes.
    pub(crate) async fn withdraw(&self, app: &AppName) -> Result<()> {
        let _publishing = self.publishing.lock().await;
        self.routes.withdraw(app).await
    }

    /// Where requests for an app go: to the ready units of its main process.
    pub(crate) fn route(&self, app: &App, units: &[Unit]) -> Route {
        let main = app.main_process().map(|process| &process.name);
        let hosts = std::iter::once(self.default_host(&app.name))
            .chain(app.cnames.iter().map(|cname| cname.as_str().to_lowercase()))
            .collect();
        let backends = units
            .iter()
            .filter(|unit| main == Some(&unit.process))
            .filter_map(|unit| Some(Backend { id: unit.id.clone(), address: unit.address? }))
            .collect();
        Route { app: app.name.clone(), hosts, units: backends }
    }

    /// Lets requests in flight end, then stops the units.
    async fn retire(&self, units: &[UnitId]) {
        let retirements = units.iter().cloned().map(|unit| async move {
            match self.routes.drained(&unit, self.settings.drain_within).await {
                Ok(true) => {}
                Ok(false) => tracing::warn!(unit.id = %unit, "requests were still in flight when a unit was stopped"),
                Err(error) => tracing::warn!(unit.id = %unit, %error, "could not learn whether a unit is drained"),
            }
            unit
        });
        let drained: Vec<UnitId> = futures::future::join_all(retirements).await;
        self.stop_units(&drained).await;
    }

    /// Stops units; one that resists is left to the reconciler, which finds it again.
    pub(crate) async fn stop_units(&self, units: &[UnitId]) {
        let stops = units.iter().cloned().map(|unit| async move {
            if let Err(error) = self.engine.stop(&unit, self.settings.stop_grace).await {
                tracing::warn!(unit.id = %unit, %error, "could not stop a unit, trying again later");
                self.changed.notify_one();
            }
        });
        stream::iter(stops).buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    /// An app's units as the engine reports them, by identifier.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn units(self: &Arc<Self>, app: &App) -> Result<Vec<Unit>> {
        let mut units = self.engine.units(Some(&app.name)).await?;
        units.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(units)
    }

    /// Units of all apps as the engine reports them, by identifier.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn units_by_app(&self) -> Result<BTreeMap<AppName, Vec<Unit>>> {
        let mut units = self.engine.units(None).await?;
        units.sort_by(|a, b| a.id.cmp(&b.id));
        let mut by_app = BTreeMap::<AppName, Vec<Unit>>::new();
        for unit in units {
            by_app.entry(unit.app.clone()).or_default().push(unit);
        }
        Ok(by_app)
    }

    /// The units that requests go to now.
    ///
    /// # Errors
    /// When the router does not answer.
    pub async fn serving(&self) -> Result<HashSet<UnitId>> {
        let routes = self.routes.published().await?;
        Ok(routes.into_iter().flat_map(|route| route.units).map(|backend| backend.id).collect())
    }
}
