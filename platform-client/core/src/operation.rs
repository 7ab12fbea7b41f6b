//! Operations: what holds locks, is audited, and survives a crash by its journal.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::{
    AppName, Error, Event, EventId, InstanceName, Platform, Progress, Result, ServiceName, Target, TargetType, User,
    ports::Acting, records::Kept,
};

/// What a restart has to know of an operation that a crash interrupted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Journal {
    /// Nothing to do: the records tell the whole story.
    Nothing,
    /// A broker may have made an instance that the platform does not know: delete it there.
    CreateInstance { service: ServiceName, instance: InstanceName },
    /// An instance was to be removed: go on.
    RemoveInstance { service: ServiceName, instance: InstanceName },
    /// A broker may have bound an app that the platform does not count as bound: unbind it there.
    Bind { service: ServiceName, instance: InstanceName, app: AppName },
    /// An app was to be unbound: go on.
    Unbind { service: ServiceName, instance: InstanceName, app: AppName },
    /// An app was to be removed: go on.
    RemoveApp { app: AppName },
    /// An image was built for a release: unless the app has that release, nobody wants it.
    Deploy { app: AppName, image: String },
}

impl Journal {
    /// Whether recovery finishes what was begun, where it would else undo it.
    fn goes_forward(&self) -> bool {
        match self {
            Self::Nothing | Self::CreateInstance { .. } | Self::Bind { .. } | Self::Deploy { .. } => false,
            Self::RemoveInstance { .. } | Self::Unbind { .. } | Self::RemoveApp { .. } => true,
        }
    }
}

/// Who holds a target, in the words of the refusal.
#[derive(Clone, Debug)]
struct Holder {
    kind: String,
    owner: String,
    since: DateTime<Utc>,
    /// Rung when an operation waits for what a repair holds.
    bell: Option<Arc<Notify>>,
}

/// Targets that operations of this process hold. One daemon owns a store, so these are all there are.
#[derive(Default)]
pub(crate) struct Locks {
    held: Mutex<HashMap<String, Holder>>,
    freed: Notify,
}

impl Locks {
    /// Takes all targets or none; returns the first that is taken by somebody else.
    fn try_take(&self, targets: &[Target], holder: &Holder) -> Result<(), (Target, Holder)> {
        let mut held = self.held.lock().expect("no holder of the lock panics");
        for target in targets {
            if let Some(other) = held.get(&target.to_string()) {
                return Err((target.clone(), other.clone()));
            }
        }
        held.extend(targets.iter().map(|target| (target.to_string(), holder.clone())));
        Ok(())
    }

    /// Waits for targets; where it `insists`, a repair that holds one is told to give way.
    async fn take(&self, targets: &[Target], holder: &Holder, wait: Duration, insists: bool) -> Result<()> {
        let deadline = Instant::now() + wait;
        loop {
            let freed = self.freed.notified();
            let Err((target, other)) = self.try_take(targets, holder) else { return Ok(()) };
            if let Some(bell) = other.bell.as_ref().filter(|_| insists) {
                bell.notify_one();
            }
            if timeout_at(deadline, freed).await.is_err() {
                let since = other.since.to_rfc3339_opts(SecondsFormat::Secs, true);
                return Err(Error::Locked(format!(
                    "{target} running \"{}\" start by user {} at {since}",
                    other.kind, other.owner
                )));
            }
        }
    }

    fn release(&self, targets: &[Target]) {
        let mut held = self.held.lock().expect("no holder of the lock panics");
        for target in targets {
            held.remove(&target.to_string());
        }
        drop(held);
        self.freed.notify_waiters();
    }

    pub(crate) async fn idle(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        loop {
            let freed = self.freed.notified();
            if self.held.lock().expect("no holder of the lock panics").is_empty() {
                return true;
            }
            if timeout_at(deadline, freed).await.is_err() {
                return false;
            }
        }
    }
}

/// Targets that are held until this is dropped.
pub(crate) struct Hold {
    platform: Arc<Platform>,
    targets: Vec<Target>,
    bell: Arc<Notify>,
}

impl Hold {
    /// Returns when an operation waits for these targets. Only a hold of [`Platform::try_hold_for_repair`]
    /// hears of it.
    pub(crate) async fn asked_for(&self) {
        self.bell.notified().await;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.platform.locks.release(&self.targets);
    }
}

/// An operation that runs: its event is recorded, its targets are locked.
pub(crate) struct Operation {
    hold: Hold,
    event: Kept<Event>,
    progress: Progress,
    ended: bool,
    /// Whether the broker is still to be told what the journal says.
    owes: AtomicBool,
}

impl Platform {
    /// Waits for targets and holds them for the platform's own work, without an event.
    ///
    /// # Errors
    /// When somebody has them for too long.
    pub(crate) async fn hold(self: &Arc<Self>, targets: Vec<Target>, what: &str) -> Result<Hold> {
        let holder = Holder { kind: what.to_owned(), owner: "tsuru".to_owned(), since: Utc::now(), bell: None };
        // Recovery may come again and again, and must not keep repairs from their end.
        self.locks.take(&targets, &holder, self.settings.lock_wait, false).await?;
        Ok(Hold { platform: Arc::clone(self), targets, bell: Arc::default() })
    }

    /// Holds targets for repairs, which give way: see [`Hold::asked_for`]. None if somebody has them.
    pub(crate) fn try_hold_for_repair(self: &Arc<Self>, targets: Vec<Target>) -> Option<Hold> {
        let bell = Arc::<Notify>::default();
        let owner = "tsuru".to_owned();
        let holder = Holder { kind: "repair".to_owned(), owner, since: Utc::now(), bell: Some(Arc::clone(&bell)) };
        self.locks.try_take(&targets, &holder).ok()?;
        Some(Hold { platform: Arc::clone(self), targets, bell })
    }

    /// Begins an operation on an app that the user may use, with nothing for a restart to know: what
    /// an app's record says, the reconciler brings about.
    pub(crate) async fn begin_on_app(
        self: &Arc<Self>,
        user: &User,
        name: &AppName,
        kind: &str,
        progress: &Progress,
    ) -> Result<Operation> {
        self.app(user, name).await?;
        self.begin(user, kind, vec![Target::new(TargetType::App, name)], Journal::Nothing, progress).await
    }

    /// Begins an operation: waits for its targets, then records it with what a restart needs to know.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        user: &User,
        kind: &str,
        targets: Vec<Target>,
        journal: Journal,
        progress: &Progress,
    ) -> Result<Operation> {
        let owner = user.email.to_string();
        let holder = Holder { kind: kind.to_owned(), owner, since: Utc::now(), bell: None };
        self.locks.take(&targets, &holder, self.settings.lock_wait, true).await?;
        let hold = Hold { platform: Arc::clone(self), targets: targets.clone(), bell: Arc::default() };
        let operation = self.record(user, kind, targets, hold, &journal, progress).await?;
        if journal.goes_forward() {
            self.take_over(&operation.event.journal).await?;
        }
        Ok(operation)
    }

    /// Begins an operation that goes well beside any other on its target: nothing is locked.
    pub(crate) async fn begin_beside(
        self: &Arc<Self>,
        user: &User,
        kind: &str,
        target: Target,
        progress: &Progress,
    ) -> Result<Operation> {
        let hold = Hold { platform: Arc::clone(self), targets: Vec::new(), bell: Arc::default() };
        self.record(user, kind, vec![target], hold, &Journal::Nothing, progress).await
    }

    async fn record(
        &self,
        user: &User,
        kind: &str,
        targets: Vec<Target>,
        hold: Hold,
        journal: &Journal,
        progress: &Progress,
    ) -> Result<Operation> {
        let event = Event {
            id: EventId::generate(),
            kind: kind.to_owned(),
            targets,
            owner: user.email.to_string(),
            started_at: Utc::now(),
            ended_at: None,
            error: String::new(),
            log: String::new(),
            journal: serde_json::to_value(journal).map_err(|unwritable| Error::Store(unwritable.into()))?,
            data: serde_json::Value::Null,
        };
        let mut event = Kept::new(event);
        self.records.save(&mut event).await?;
        Ok(Operation { hold, event, progress: progress.clone(), ended: false, owes: AtomicBool::new(false) })
    }
}

impl Operation {
    /// The event's identifier.
    pub(crate) fn id(&self) -> &EventId {
        &self.event.id
    }

    /// Who acts, for brokers.
    pub(crate) fn acting(&self) -> Acting {
        Acting { user: self.event.owner.clone(), event: self.event.id.clone() }
    }

    /// Where the user is told how it goes.
    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Facts for listings.
    pub(crate) fn note(&mut self, data: serde_json::Value) {
        self.event.data = data;
    }

    /// Writes down what a restart needs to know from here on.
    pub(crate) async fn journal(&mut self, journal: &Journal) -> Result<()> {
        self.event.journal = serde_json::to_value(journal).map_err(|unwritable| Error::Store(unwritable.into()))?;
        self.hold.platform.records.save(&mut self.event).await
    }

    /// Leaves what the journal says to the reconciler, although the operation ends: it tries until it
    /// succeeds, after a restart too.
    pub(crate) fn leave_to_recovery(&self) {
        self.owes.store(true, Ordering::Relaxed);
    }

    /// Records how it ended, frees its targets and passes the outcome on.
    pub(crate) async fn end<T>(mut self, outcome: Result<T>) -> Result<T> {
        self.ended = true;
        self.event.ended_at = Some(Utc::now());
        self.event.log = self.progress.log();
        let owes = self.owes.load(Ordering::Relaxed);
        if !owes {
            self.event.journal = serde_json::Value::Null;
        }
        if let Err(error) = &outcome {
            self.event.error = error.to_string();
        }
        let recorded = self.hold.platform.records.save(&mut self.event).await;
        if owes {
            self.hold.platform.repairs.interrupted(self.event.id.clone());
        }
        self.hold.platform.changed.notify_one();
        if let Err(unrecorded) = recorded {
            // What was done stays done; a restart finds the event running and closes it.
            tracing::error!(event.id = %self.event.id, error = ?unrecorded, "could not record the end of an operation");
        }
        outcome
    }
}

impl Drop for Operation {
    /// Only a panic or a dropped task comes here before the end: the reconciler ends it by its journal.
    fn drop(&mut self) {
        if !self.ended {
            let platform = &self.hold.platform;
            tracing::error!(event.id = %self.event.id, event.kind = %self.event.kind, "an operation was dropped half-way");
            platform.repairs.interrupted(self.event.id.clone());
            platform.changed.notify_one();
        }
    }
}
