//! The work that outlives requests: finishing what was begun, forgetting what is over, and keeping
//! the server in line with the records.

use std::{
    hash::{Hash as _, Hasher as _},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt as _, stream};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tracing::{debug, info, warn};

use super::{
    engine::{Engine, LAST_STEP},
    locks::{Held, Key, Mode},
    records::{BindingRecord, InstanceRecord},
    reply::Reply,
    states::{BindingState, InstanceEvent, InstanceState},
};
use crate::{BrokerError, Consumer, InstanceName, Result, Tenant, store::Write};

/// How many records are read at a time.
const PAGE: usize = 256;
/// The most that a round takes up of what is due: names, in memory.
const ROUND: usize = 4096;
/// How many instances are checked at once.
const CHECKED_AT_ONCE: usize = 16;
/// The least time for the check of an instance, so that many of them don't keep the broker busy.
const CHECK_PACE: Duration = Duration::from_millis(2);
/// How often the operation log is pruned.
const PRUNE_EVERY: Duration = Duration::from_secs(60 * 60);
/// How many lines of it are looked at in one commit.
const PRUNED_AT_ONCE: usize = 1000;
/// Between two of those commits.
const PRUNE_PAUSE: Duration = Duration::from_millis(5);

impl Engine {
    /// Finishes what was begun, round after round, until the engine stops.
    ///
    /// Instances and bindings apart: what hangs of the ones must not keep the others waiting for their next round.
    pub(super) async fn drive_until_stopped(self: Arc<Self>) {
        let what = "unfinished work could not be looked for";
        let instances = |engine: Arc<Self>| async move { engine.drive_instances().await };
        let bindings = |engine: Arc<Self>| async move {
            engine.drive_bindings().await?;
            engine.forget_old_operations().await
        };
        futures::join!(self.rounds(what, instances), self.rounds(what, bindings));
    }

    /// Keeps the service in line, round after round, until the engine stops. Apart from the other rounds: a server
    /// that hangs must not keep work on others from being finished.
    pub(super) async fn reconcile_until_stopped(self: Arc<Self>) {
        let round = |engine: Arc<Self>| async move { engine.bring_in_line().await };
        self.rounds("the service could not be brought in line", round).await;
    }

    /// One round after another, with a pause between them that ends early when there is work.
    async fn rounds<F: Future<Output = Result<()>>>(self: &Arc<Self>, what: &str, round: impl Fn(Arc<Self>) -> F) {
        let (mut outage, mut woken) = (Outage::default(), self.wake.subscribe());
        while !self.stopping.is_cancelled() {
            outage.note(what, round(self.clone()).await);
            let pause = timeout(self.timing.reconcile_every, woken.changed());
            // However the pause ends, the next round follows.
            let _ = self.stopping.run_until_cancelled(pause).await;
        }
    }

    async fn drive_instances(self: &Arc<Self>) -> Result<()> {
        self.lease.begin().await?;
        let (now, mut seen, mut due) = (Utc::now(), None, Vec::new());
        loop {
            let page = self.store.due_instances(now, seen.as_ref(), PAGE).await?;
            seen = page.last().cloned();
            let is_last = page.len() < PAGE;
            for record in page {
                if self.backoff.is_due(&record.instance.id) && self.lease.may_take(record.holder.as_ref()).await? {
                    due.push(record.instance.name);
                }
            }
            if is_last || due.len() >= ROUND {
                break;
            }
        }
        self.go_on_at_once_after(due.len());
        for name in due {
            let Some(turn) = self.turn(&self.driving).await else { break };
            self.drive_in_background(name, turn);
        }
        Ok(())
    }

    async fn drive_bindings(self: &Arc<Self>) -> Result<()> {
        self.lease.begin().await?;
        let (now, mut seen, mut due) = (Utc::now(), None, Vec::new());
        loop {
            let page = self.store.due_bindings(now, seen.as_ref(), PAGE).await?;
            seen = page.last().cloned();
            let is_last = page.len() < PAGE;
            for record in page {
                if self.backoff.is_due(&record.binding.id) && self.lease.may_take(record.holder.as_ref()).await? {
                    due.push((record.instance_name, record.binding.consumer));
                }
            }
            if is_last || due.len() >= ROUND {
                break;
            }
        }
        self.go_on_at_once_after(due.len());
        for (name, consumer) in due {
            let Some(turn) = self.turn(&self.driving_bindings).await else { break };
            self.drive_binding_in_background(name, consumer, turn);
        }
        Ok(())
    }

    /// A round that could not take up all that is due is followed by the next one without a pause.
    fn go_on_at_once_after(&self, due: usize) {
        if due >= ROUND {
            self.wake.send_replace(());
        }
    }

    /// Waits for a free place among those that are driven on at once; none when the engine stops.
    async fn turn(&self, places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        self.stopping.run_until_cancelled(places.clone().acquire_owned()).await?.ok()
    }

    /// Once in a while: what the operation log need not hold any more goes.
    async fn forget_old_operations(&self) -> Result<()> {
        let now = tokio::time::Instant::now();
        let is_time = {
            let mut next = self.log_pruned.lock().expect("no thread panics while it looks at the clock");
            let is_time = next.is_none_or(|next| next <= now);
            if is_time {
                *next = Some(now + PRUNE_EVERY);
            }
            is_time
        };
        if !is_time {
            return Ok(());
        }
        let keep = TimeDelta::from_std(self.timing.log_for).unwrap_or(TimeDelta::MAX);
        let before = Utc::now().checked_sub_signed(keep).unwrap_or(DateTime::<Utc>::MIN_UTC);
        while self.store.forget_operations(before, PRUNED_AT_ONCE).await? > 0 && !self.stopping.is_cancelled() {
            // Commits of requests go first.
            tokio::time::sleep(PRUNE_PAUSE).await;
        }
        Ok(())
    }

    fn needs_driving(&self, record: &InstanceRecord) -> bool {
        self.due(record).is_some_and(|due| due <= Utc::now())
    }

    fn binding_needs_driving(&self, record: &BindingRecord) -> bool {
        self.binding_due(record).is_some_and(|due| due <= Utc::now())
    }

    fn drive_in_background(self: &Arc<Self>, name: InstanceName, turn: OwnedSemaphorePermit) {
        let engine = self.clone();
        self.own(async move {
            let _turn = turn;
            if let Err(error) = engine.drive(&name).await {
                debug!(instance.name = %name, error = &error as &dyn std::error::Error, "`{name}` is not finished yet");
            }
        });
    }

    /// Finishes what was begun with an instance, unless somebody is at it.
    async fn drive(&self, name: &InstanceName) -> Result<()> {
        let Some(held) = self.locks.try_take(&(name.clone(), None), Mode::Exclusive, "a recovery") else {
            return Ok(());
        };
        let Some(mut record) = self.store.instance(name).await? else { return Ok(()) };
        if !self.needs_driving(&record) || !self.lease.may_take(record.holder.as_ref()).await? {
            return Ok(());
        }
        if self.store.is_shared() {
            // Taken over before anything is done: of two replicas that try, one is refused.
            record.holder = self.holder();
            self.save(&mut record).await?;
        }
        let outcome = match self.wait_for_bindings(&record).await {
            Ok(()) => self.drive_held(record, &held).await,
            Err(busy) => Err(busy),
        };
        self.let_go(name).await;
        outcome
    }

    async fn drive_held(&self, mut record: InstanceRecord, held: &Held) -> Result<()> {
        let nobody = Reply::to_nobody();
        let name = record.instance.name.clone();
        match record.state {
            InstanceState::Provisioning => self.provision(Box::new(record), held, &nobody).await.map(drop),
            InstanceState::Updating => self.change(record, held, &nobody).await.map(drop),
            InstanceState::Deprovisioning => self.finish_removal(record, held, &nobody).await.map(drop),
            InstanceState::Ready => {
                info!(instance.name = %name, "removing instance `{name}`, whose creation nobody was told of");
                record.live(InstanceEvent::RemovalAsked);
                record.holder = self.holder();
                self.save(&mut record).await?;
                self.finish_removal(record, held, &nobody).await.map(drop)
            }
            InstanceState::Gone => {
                Ok(self.store.commit(vec![Write::DeleteInstance(record.instance.name, record.instance.id)]).await?)
            }
            InstanceState::Failed => Ok(()),
        }
    }

    fn drive_binding_in_background(
        self: &Arc<Self>,
        name: InstanceName,
        consumer: Consumer,
        turn: OwnedSemaphorePermit,
    ) {
        let engine = self.clone();
        self.own(async move {
            let _turn = turn;
            if let Err(error) = engine.drive_one_binding(&name, &consumer).await {
                debug!(instance.name = %name, error = &error as &dyn std::error::Error, "{consumer} at `{name}` is not finished yet");
            }
        });
    }

    async fn drive_one_binding(&self, name: &InstanceName, consumer: &Consumer) -> Result<()> {
        let own: Key = (name.clone(), Some(consumer.clone()));
        let Some(held) = self.locks.try_take(&(name.clone(), None), Mode::Shared, "a recovery") else { return Ok(()) };
        let Some(_own) = self.locks.try_take(&own, Mode::Exclusive, "a recovery") else { return Ok(()) };
        let Some(instance) = self.store.instance(name).await? else { return Ok(()) };
        let live = matches!(instance.state, InstanceState::Ready | InstanceState::Updating);
        let Some(mut record) = self.store.binding(&instance.instance.id, consumer).await?.filter(|_| live) else {
            return Ok(());
        };
        if !self.lease.may_take(record.holder.as_ref()).await? {
            return Ok(());
        }
        self.hold_binding(&instance.instance, &mut record).await?;
        let outcome = self.drive_binding(&instance.instance, record, &held).await;
        self.let_go_binding(&instance.instance.id, consumer).await;
        outcome
    }

    /// Tells the author what should be there, instance by instance.
    async fn bring_in_line(&self) -> Result<()> {
        self.lease.begin().await?;
        let mut after: Option<InstanceName> = None;
        let mut failure = None;
        loop {
            let begun = tokio::time::Instant::now();
            let page = self.store.instances(after.as_ref(), PAGE).await?;
            after = page.last().map(|record| record.instance.name.clone());
            let checked = page.len();
            let theirs = page.into_iter().filter(|record| self.is_tenant(record) && self.is_ours_to_check(record));
            let failures = stream::iter(theirs.map(|record| self.check(record.instance.name)))
                .buffer_unordered(CHECKED_AT_ONCE)
                .filter_map(async |outcome| outcome.err());
            let failures: Vec<BrokerError> = failures.collect().await;
            failure = failure.or(failures.into_iter().next());
            if checked < PAGE || self.stopping.is_cancelled() {
                return failure.map_or(Ok(()), Err);
            }
            let pace = CHECK_PACE * u32::try_from(checked).unwrap_or(u32::MAX);
            let rest = pace.saturating_sub(begun.elapsed());
            self.stopping.run_until_cancelled(tokio::time::sleep(rest)).await;
        }
    }

    fn is_tenant(&self, record: &InstanceRecord) -> bool {
        record.state == InstanceState::Ready && !self.needs_driving(record)
    }

    /// Replicas share the checks: each instance is one's.
    fn is_ours_to_check(&self, record: &InstanceRecord) -> bool {
        let (place, of) = self.lease.share();
        let mut hasher = std::hash::DefaultHasher::new();
        record.instance.id.hash(&mut hasher);
        hasher.finish() % of == place
    }

    /// Has the author look after one instance, unless somebody works on it. Whoever has to wait for it meanwhile
    /// goes first.
    async fn check(&self, name: InstanceName) -> Result<()> {
        let key: Key = (name, None);
        let Some(held) = self.locks.try_take(&key, Mode::Exclusive, "a check") else { return Ok(()) };
        let Some(mut record) = self.store.instance(&key.0).await?.filter(|record| self.is_tenant(record)) else {
            return Ok(());
        };
        if self.store.is_shared() {
            if !self.lease.may_take(record.holder.as_ref()).await? {
                return Ok(());
            }
            record.holder = self.holder();
            match self.save(&mut record).await {
                Err(error) if error.is_overtaken() => return Ok(()),
                outcome => outcome?,
            }
        }
        let is_busy = self.store.is_shared() && self.has_busy_bindings(&record.instance.id).await?.is_some();
        let outcome = if is_busy { Ok(()) } else { self.check_held(&record, &held).await };
        self.let_go(&key.0).await;
        outcome
    }

    /// An instance with the bindings that nothing is being done to.
    pub(super) async fn tenant_of(&self, record: &InstanceRecord) -> Result<Tenant> {
        let (mut bindings, mut variables) = (Vec::new(), Vec::new());
        for known in self.store.bindings(&record.instance.id).await? {
            let is_bound = known.state == BindingState::Bound && !self.binding_needs_driving(&known);
            let is_here = is_bound && self.lease.may_take(known.holder.as_ref()).await?;
            variables.extend(known.env);
            if is_here {
                bindings.push(known.binding);
                bindings.extend(known.retired.into_iter().map(|retired| retired.binding));
            }
        }
        Ok(Tenant { instance: record.instance.clone(), bindings, variables })
    }

    /// As [`check`](Self::check), with nobody else at it.
    async fn check_held(&self, record: &InstanceRecord, held: &Held) -> Result<()> {
        let tenant = self.tenant_of(record).await?;
        let mut call = pin!(self.call("reconcile", self.broker.reconcile(&tenant)));
        tokio::select! {
            outcome = &mut call => return outcome,
            () = held.wanted() => {}
            () = held.interrupted() => {}
            () = self.stopping.cancelled() => {}
        }
        timeout(LAST_STEP, call).await.unwrap_or(Ok(()))
    }
}

/// Whether rounds fail: said once, since an outage lasts for many of them.
#[derive(Default)]
struct Outage(bool);

impl Outage {
    fn note(&mut self, what: &str, outcome: Result<()>) {
        match outcome {
            Ok(()) => self.0 = false,
            Err(error) if self.0 => debug!(error = &error as &dyn std::error::Error, "{what}"),
            Err(error) => {
                self.0 = true;
                warn!(error = &error as &dyn std::error::Error, "{what}, it is tried again");
            }
        }
    }
}
