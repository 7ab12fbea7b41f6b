//! The reconciler: compares the units that are wanted with those there are, and repairs. It is
//! driven by levels, not by edges: a missed message delays a repair, it does not lose it.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use broker_core::AppName;
use futures::StreamExt as _;
use tokio::time::{Instant, sleep_until};

use crate::{
    App, EventId, Plan, Platform, Result, Target, TargetType, Unit, UnitId, UnitState, operation::Hold, records::Kept,
    units::Wanted,
};

/// How often everything is looked at although nothing has been heard.
const LOOK_AT_ALL: Duration = Duration::from_secs(15);
/// The longest pause between two attempts to bring a unit back.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A unit that has run for so long has recovered: its next failure starts over.
const RECOVERED: Duration = Duration::from_secs(60);

/// What is broken and when it is tried again.
#[derive(Default)]
pub(crate) struct Repairs {
    attempts: Mutex<HashMap<UnitId, Attempts>>,
    interrupted: Mutex<Vec<EventId>>,
    /// How often in a row not all that was interrupted could be ended.
    in_vain: AtomicU32,
}

#[derive(Clone, Copy)]
struct Attempts {
    failed: u32,
    last: Instant,
}

impl Attempts {
    /// At once, then after 1, 2, 4, ... seconds.
    fn next(self) -> Instant {
        let pause = Duration::from_secs(1 << self.failed.saturating_sub(1).min(6)).min(LONGEST_PAUSE);
        self.last + if self.failed == 0 { Duration::ZERO } else { pause }
    }
}

impl Repairs {
    pub(crate) fn interrupted(&self, event: EventId) {
        let mut interrupted = self.interrupted.lock().expect("no holder of the list panics");
        if !interrupted.contains(&event) {
            interrupted.push(event);
        }
    }

    pub(crate) fn interruptions(&self) -> Vec<EventId> {
        self.interrupted.lock().expect("no holder of the list panics").clone()
    }

    pub(crate) fn ended(&self, event: &EventId) {
        self.interrupted.lock().expect("no holder of the list panics").retain(|known| known != event);
    }

    /// Waits until what is interrupted is tried again: after 2, 4, 8, ... seconds.
    pub(crate) async fn pause(&self, all_ended: bool) {
        if all_ended {
            self.in_vain.store(0, Ordering::Relaxed);
        } else {
            let in_vain = self.in_vain.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(2 << in_vain.min(5)).min(LONGEST_PAUSE)).await;
        }
    }

    /// Whether a unit may be tried now; counts the attempt.
    fn may_try(&self, unit: &UnitId) -> bool {
        let now = Instant::now();
        let mut attempts = self.attempts.lock().expect("no holder of the map panics");
        let so_far = attempts.entry(unit.clone()).or_insert(Attempts { failed: 0, last: now });
        if so_far.next() > now {
            return false;
        }
        *so_far = Attempts { failed: so_far.failed + 1, last: now };
        true
    }

    fn forget(&self, unit: &UnitId) {
        self.attempts.lock().expect("no holder of the map panics").remove(unit);
    }

    /// When the next unit is due, or everything.
    fn due(&self) -> Instant {
        let attempts = self.attempts.lock().expect("no holder of the map panics");
        let soonest = attempts.values().map(|attempts| attempts.next()).filter(|next| *next > Instant::now()).min();
        let all = Instant::now() + LOOK_AT_ALL;
        soonest.map_or(all, |soonest| soonest.min(all))
    }
}

impl Platform {
    /// Keeps reality in line with what is wanted, for as long as the process lives.
    pub async fn reconcile_forever(self: Arc<Self>) {
        let mut changes = self.engine.changes().await;
        let mut recovery = tokio::task::JoinSet::new();
        loop {
            // Beside the units: a broker that takes its time must not keep them from coming back.
            while recovery.try_join_next().is_some() {}
            if recovery.is_empty() && !self.repairs.interruptions().is_empty() {
                let platform = Arc::clone(&self);
                recovery.spawn(async move { platform.end_interrupted().await });
            }
            if let Err(error) = self.reconcile().await {
                tracing::warn!(%error, "could not compare the units there are with those that are wanted, trying again later");
            }
            tokio::select! {
                Some(_app) = changes.next() => {
                    // Several messages come with one change: hear them all before looking.
                    while let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(50), changes.next()).await {}
                }
                () = self.changed.notified() => {}
                Some(_ended) = recovery.join_next() => {}
                () = sleep_until(self.repairs.due()) => {}
            }
        }
    }

    /// Looks at every app once and starts the repairs that are due; each app is repaired on its own.
    ///
    /// # Errors
    /// When the records can't be read or the engine does not answer.
    pub async fn reconcile(self: &Arc<Self>) -> Result<()> {
        let apps = self.records.all::<App>().await?.into_iter().map(|app| app.name);
        let units = self.engine.units(None).await?.into_iter().map(|unit| unit.app);
        let routes = self.routes.published().await?.into_iter().map(|route| route.app);
        let names: BTreeSet<AppName> = apps.chain(units).chain(routes).collect();
        // Whoever holds an app is changing it now; its end brings us back here.
        let held: Vec<(AppName, Hold)> = names
            .into_iter()
            .filter_map(|name| {
                Some((name.clone(), self.try_hold_for_repair(vec![Target::new(TargetType::App, &name)])?))
            })
            .collect();
        self.take_out_dead_units().await?;
        for (name, hold) in held {
            let platform = Arc::clone(self);
            tokio::spawn(async move {
                // A unit may take minutes to become ready: an operation, which may be what helps it,
                // does not wait for that. A repair that is broken off can be repeated.
                tokio::select! {
                    biased;
                    () = hold.asked_for() => tracing::info!(app = %name, "the repair of app `{name}` gives way to an operation"),
                    outcome = platform.repair(&name) => if let Err(error) = outcome {
                        tracing::warn!(app = %name, %error, "app `{name}` is not as it should be: {error}");
                    },
                }
                drop(hold);
            });
        }
        Ok(())
    }

    /// Takes every unit out of the routes that does not run at its address any more, before anything
    /// is started: the engine gives free addresses away, and one app's requests must not reach another.
    /// That goes for apps too that an operation is changing, for a build may take long.
    async fn take_out_dead_units(&self) -> Result<()> {
        let _publishing = self.publishing.lock().await;
        // In this order: what is published now was started before.
        let published = self.routes.published().await?;
        let running: HashMap<UnitId, Option<SocketAddr>> = self
            .engine
            .units(None)
            .await?
            .into_iter()
            .filter(|unit| unit.state == UnitState::Started)
            .map(|unit| (unit.id, unit.address))
            .collect();
        for mut route in published {
            let before = route.units.len();
            route.units.retain(|unit| running.get(&unit.id) == Some(&Some(unit.address)));
            if route.units.len() < before {
                self.routes.publish(route).await?;
            }
        }
        Ok(())
    }

    async fn repair(&self, name: &AppName) -> Result<()> {
        let there = self.engine.units(Some(name)).await?;
        let Some(app) = self.records.get::<App>(name.as_str()).await? else {
            self.withdraw(name).await?;
            let units: Vec<UnitId> = there.into_iter().map(|unit| unit.id).collect();
            self.stop_units(&units).await;
            return Ok(());
        };
        self.repair_app(&app, there).await
    }

    async fn repair_app(&self, app: &Kept<App>, there: Vec<Unit>) -> Result<()> {
        let plan: Plan = self.plan_of(app).await?;
        let wanted = app.wanted(&plan, &self.settings.api_url);
        let mut serving = self.still_serving(app, &wanted, &there).await?;
        self.publish_if_changed(app, &serving).await?;
        for wanted in &wanted {
            if !serving.iter().any(|unit| unit.id == wanted.spec.id)
                && let Some(unit) = self.bring_back(wanted, &there).await
            {
                serving.push(unit);
                self.publish_if_changed(app, &serving).await?;
            }
        }
        if serving.len() == wanted.len() {
            let keep: HashSet<&UnitId> = wanted.iter().map(|wanted| &wanted.spec.id).collect();
            if there.iter().any(|unit| !keep.contains(&unit.id)) {
                self.switch_to(app, &serving).await;
            }
        }
        Ok(())
    }

    /// Wanted units that run and get requests already, or need none.
    async fn still_serving(&self, app: &App, wanted: &[Wanted<'_>], there: &[Unit]) -> Result<Vec<Unit>> {
        let published = self.routes.published().await?.into_iter().find(|route| route.app == app.name);
        let known: HashSet<UnitId> = published.into_iter().flat_map(|route| route.units).map(|unit| unit.id).collect();
        let mut serving = Vec::new();
        for wanted in wanted {
            let unit = there.iter().find(|unit| unit.id == wanted.spec.id && unit.state == UnitState::Started);
            let Some(unit) = unit else { continue };
            if known.contains(&unit.id) || !wanted.listens {
                if chrono::Utc::now() - unit.created_at > chrono::Duration::from_std(RECOVERED).unwrap_or_default() {
                    self.repairs.forget(&unit.id);
                }
                serving.push(unit.clone());
            }
        }
        Ok(serving)
    }

    /// Publishes the units that serve. While none of those wanted is ready, the ones that were
    /// published before and still run are better than none.
    async fn publish_if_changed(&self, app: &App, serving: &[Unit]) -> Result<()> {
        let _publishing = self.publishing.lock().await;
        let mut route = self.route(app, serving);
        let published = self.routes.published().await?.into_iter().find(|known| known.app == app.name);
        if route.units.is_empty() && app.wanted_units() > 0 {
            route.units = published.as_ref().map(|known| known.units.clone()).unwrap_or_default();
        }
        if published.as_ref() == Some(&route) { Ok(()) } else { self.routes.publish(route).await }
    }

    /// Starts a unit that should run, unless it failed a moment ago.
    async fn bring_back(&self, wanted: &Wanted<'_>, there: &[Unit]) -> Option<Unit> {
        let id = &wanted.spec.id;
        let present = there.iter().find(|unit| unit.id == *id);
        let starting = present.is_some_and(|unit| unit.state == UnitState::Started);
        if !starting && !self.repairs.may_try(id) {
            return None;
        }
        tracing::info!(unit.id = %id, "bringing back unit `{id}`");
        let brought = async {
            if present.is_some() && !starting {
                self.engine.stop(id, self.settings.stop_grace).await?;
            }
            let unit = self.engine.start(&wanted.spec).await?;
            self.wait_ready(wanted, &unit).await?;
            Result::<Unit>::Ok(unit)
        };
        match brought.await {
            Ok(unit) => Some(unit),
            Err(error) => {
                tracing::warn!(unit.id = %id, %error, "unit `{id}` does not come back: {error}");
                None
            }
        }
    }
}
