//! What all operations share: owned tasks, calls of the author's, records.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt as _;
use tokio::{
    sync::{OnceCell, Semaphore, watch},
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

use super::{
    ask::{Ask, Outcome},
    backoff::Backoff,
    lease::Lease,
    locks::{Held, Key, Locks, Mode},
    parameters::Schemas,
    progress::Lines,
    records::{BindingRecord, InstanceRecord, Operation},
    reply::Reply,
    states::{BindingState, InstanceState},
};
use crate::{
    Broker, BrokerError, Catalog, Consumer, Instance, InstanceName, OpaqueId, Plan, PlanName, PublicUrl, Result,
    author::{Checked, text_of},
    deadline::limited,
    metrics::Metrics,
    store::{Store, StoreError, Write},
};

/// How long a call that is to be dropped may go on: dropped between a command and its answer, it leaves a command
/// on its way that might act after whatever comes next.
pub(super) const LAST_STEP: Duration = Duration::from_millis(500);
/// How many pieces of unfinished work are driven on at once.
const DRIVEN_AT_ONCE: usize = 16;
/// When unfinished work is due: whatever the clock says, now or after it was set back.
pub(crate) const AT_ONCE: DateTime<Utc> = DateTime::UNIX_EPOCH;
/// How often is looked whether another replica has let go of a record, or has one removed that is worked on here.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What runs where another replica was faster, and it is not known with what.
const OUTRUN: &str = "an operation of another replica";
/// How often is tried to let go of a record; after that, others wait until this replica works on it again.
const LET_GO_TRIES: usize = 3;
/// How long a removal is remembered that nobody was told of.
const GONE_FOR: TimeDelta = TimeDelta::days(30);
/// An attempt that took longer than this is not repeated while a caller waits.
const QUICK: Duration = Duration::from_secs(10);

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// Until a caller is answered that the work goes on.
    pub(crate) answer_within: Duration,
    /// One call of the author's.
    pub(crate) call_timeout: Duration,
    /// One bind or unbind, if it is not as long as any call.
    pub(crate) bind_timeout: Option<Duration>,
    /// A second caller's turn.
    pub(crate) turn_within: Duration,
    /// A question whose answer is shown to people: status and info.
    pub(crate) look_timeout: Duration,
    /// A stopping server's last work.
    pub(crate) finish_within: Duration,
    /// Between two rounds of the reconciler.
    pub(crate) reconcile_every: Duration,
    /// How long an unbound consumer's secret is remembered (SPEC B-5).
    pub(crate) grace: Duration,
    /// How long an instance stays whose creation nobody was told of.
    pub(crate) unconfirmed_for: Duration,
    /// How long a create or update that was accepted is tried.
    pub(crate) give_up_after: Duration,
    /// How often a call that failed because its server is unavailable is repeated at once.
    pub(crate) retries: u32,
    /// The pause before the first repeat; each further one is twice as long.
    pub(crate) retry_after: Duration,
    /// How long replaced credentials keep working.
    pub(crate) rotation_grace: Duration,
    /// How long a replica that does not say that it lives is taken to live.
    pub(crate) lease: Duration,
    /// How long the operation log goes back.
    pub(crate) log_for: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            answer_within: Duration::from_secs(240),
            call_timeout: Duration::from_secs(280),
            bind_timeout: None,
            turn_within: Duration::from_secs(5),
            look_timeout: Duration::from_secs(10),
            finish_within: Duration::from_secs(30),
            reconcile_every: Duration::from_secs(5),
            grace: Duration::from_secs(15 * 60),
            unconfirmed_for: Duration::from_secs(24 * 60 * 60),
            give_up_after: Duration::from_secs(60 * 60),
            retries: 2,
            retry_after: Duration::from_millis(200),
            rotation_grace: Duration::from_secs(60 * 60),
            lease: Duration::from_secs(15),
            log_for: Duration::from_secs(30 * 24 * 60 * 60),
        }
    }
}

/// Runs the lives of one broker's instances and bindings.
pub(crate) struct Engine {
    pub(super) broker: Arc<dyn Broker>,
    pub(super) catalog: Catalog,
    pub(super) schemas: Schemas,
    pub(super) store: Arc<dyn Store>,
    pub(super) timing: Timing,
    /// What links to dashboards begin with; without it there are none.
    pub(super) public_url: Option<PublicUrl>,
    pub(crate) metrics: Arc<Metrics>,
    pub(super) locks: Locks,
    pub(super) lease: Lease,
    pub(super) backoff: Backoff,
    pub(super) driving: Arc<Semaphore>,
    pub(super) driving_bindings: Arc<Semaphore>,
    pub(super) progress: Lines,
    pub(super) stopping: CancellationToken,
    /// There is work for the next round, now.
    pub(super) wake: watch::Sender<()>,
    /// Whether a plan has a limit.
    pub(super) has_limits: bool,
    /// Set when everything was counted that has to keep limits.
    pub(super) counted: OnceCell<()>,
    /// When the operation log is pruned next.
    pub(super) log_pruned: Mutex<Option<Instant>>,
    killed: CancellationToken,
    tasks: TaskTracker,
}

impl Engine {
    pub(crate) fn new(
        broker: Arc<dyn Broker>,
        catalog: Catalog,
        schemas: Schemas,
        store: Arc<dyn Store>,
        timing: Timing,
        public_url: Option<PublicUrl>,
    ) -> Arc<Self> {
        let broker = Checked::around(broker);
        Arc::new(Self {
            has_limits: catalog.has_limits(),
            counted: OnceCell::new(),
            metrics: Metrics::new(catalog.service.as_str()),
            catalog,
            schemas,
            broker,
            lease: Lease::new(store.clone(), timing.lease),
            store,
            timing,
            public_url,
            locks: Locks::new(timing.turn_within),
            backoff: Backoff::new(timing.reconcile_every.min(Duration::from_secs(1))),
            driving: Arc::new(Semaphore::new(DRIVEN_AT_ONCE)),
            driving_bindings: Arc::new(Semaphore::new(DRIVEN_AT_ONCE)),
            progress: Lines::default(),
            stopping: CancellationToken::new(),
            wake: watch::Sender::new(()),
            log_pruned: Mutex::default(),
            killed: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Takes up what an earlier process left, and whatever is left from now on.
    pub(crate) fn start(self: &Arc<Self>) {
        self.own(self.clone().keep_lease());
        self.own(self.clone().drive_until_stopped());
        self.own(self.clone().reconcile_until_stopped());
    }

    /// Finishes what was begun, at most for `within`; the rest is cut off and taken up at the next
    /// start. Returns whether everything was finished.
    pub(crate) async fn stop(&self, within: Duration) -> bool {
        self.stopping.cancel();
        self.tasks.close();
        let finished = timeout(within, self.tasks.wait()).await.is_ok();
        self.killed.cancel();
        self.tasks.wait().await;
        finished
    }

    /// Ends every task where it waits, as a crash does.
    #[cfg(test)]
    pub(super) async fn kill(&self) {
        self.killed.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Runs a task that belongs to the engine, whatever becomes of the request that asked for it.
    pub(super) fn own(&self, task: impl Future<Output = ()> + Send + 'static) {
        // In a box, because all that is wrapped around it would hold it twice.
        let (task, killed) = (Box::pin(task), self.killed.clone());
        self.tasks.spawn(async move { killed.run_until_cancelled_owned(task).await }.in_current_span());
    }

    /// Runs an operation in a task of the engine's, from now on; what is returned waits for its answer.
    pub(super) fn operate<T, F, O>(
        self: &Arc<Self>,
        ask: &Ask,
        operation: O,
    ) -> impl Future<Output = Result<Outcome<T>>> + Send + use<T, F, O>
    where
        O: FnOnce(Arc<Self>, Reply<Outcome<T>>) -> F,
        T: Send + 'static,
        F: Future<Output = Result<Outcome<T>>> + Send + 'static,
    {
        let wait = ask.wait.unwrap_or(self.timing.answer_within).min(self.timing.answer_within);
        let (reply, answer) = Reply::by(Instant::now() + wait, ask.accepts_incomplete);
        let work = Box::pin(operation(self.clone(), reply.clone()));
        let running = self.metrics.operation_begun();
        self.own(async move {
            let _running = running;
            let outcome = work.await;
            if let Err(error) = &outcome {
                tracing::debug!("the operation ended: {error}");
            }
            reply.send(outcome);
        });
        async move {
            let stopped = || BrokerError::unavailable("the broker stopped before the operation ended");
            answer.await.unwrap_or_else(|_| Err(stopped()))
        }
    }

    /// Calls the author: with a deadline, and so that a panic is a failure like another.
    pub(super) async fn call<T>(&self, what: &'static str, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let begun = Instant::now();
        let outcome = self.call_within_limits(what, call).await;
        self.metrics.author_call(what, outcome_of(&outcome), begun.elapsed());
        outcome
    }

    async fn call_within_limits<T>(
        &self,
        what: &'static str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let limit = self.timing.limit_of(what);
        let call = timeout(limit, limited(limit, AssertUnwindSafe(call).catch_unwind()));
        let ended = tokio::select! {
            ended = call => ended,
            () = self.lease.lost() => {
                return Err(BrokerError::unavailable(format!("{what} was dropped: this replica lost its lease")));
            }
        };
        match ended {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => Err(BrokerError::failed(format!("{what} panicked: {}", text_of(panic.as_ref())))),
            Err(_) => Err(BrokerError::unavailable(format!("{what} did not end within {} s", limit.as_secs_f32()))),
        }
    }

    /// As [`call`](Self::call), but repeats what failed because the server is unavailable, a few times (SPEC L-9),
    /// and gives up soon when the instance is to be removed.
    pub(super) async fn call_while<T, F>(
        &self,
        held: &Held,
        what: &'static str,
        mut call: impl FnMut() -> F,
    ) -> Called<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let mut pause = self.timing.retry_after;
        let mut left = self.timing.retries;
        loop {
            let begun = Instant::now();
            match self.call_once(held, what, call()).await {
                Called::Failed(BrokerError::Unavailable(cause)) if left > 0 && begun.elapsed() < QUICK => {
                    left -= 1;
                    tracing::debug!("{what} is repeated in {} ms: {cause}", pause.as_millis());
                }
                ended => return ended,
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause *= 2,
                () = self.interrupted(held) => return Called::Interrupted,
            }
        }
    }

    /// As [`call`](Self::call), but gives up soon when the instance is to be removed.
    pub(super) async fn call_once<T>(
        &self,
        held: &Held,
        what: &'static str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Called<T> {
        let mut call = pin!(self.call(what, call));
        tokio::select! {
            outcome = &mut call => match outcome {
                Ok(value) => Called::Done(value),
                Err(error) => Called::Failed(error),
            },
            () = self.interrupted(held) => {
                // Whatever it comes to, the removal goes on from there.
                let _ = timeout(LAST_STEP, call).await;
                Called::Interrupted
            }
        }
    }

    /// Completes when the instance is to be removed, here or by another replica.
    async fn interrupted(&self, held: &Held) {
        tokio::select! {
            () = held.interrupted() => {}
            () = self.removed_elsewhere(held.instance()) => {}
        }
    }

    async fn removed_elsewhere(&self, name: &InstanceName) {
        if !self.store.is_shared() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            match self.store.instance(name).await {
                Ok(Some(record)) if record.state != InstanceState::Deprovisioning => {}
                Ok(_) => return,
                Err(error) => tracing::debug!("cannot see whether `{name}` is being removed: {error}"),
            }
        }
    }

    /// The instance as no other replica works on it; waits a little for one that does (SPEC L-8).
    pub(super) async fn claim(&self, name: &InstanceName) -> Result<Option<InstanceRecord>> {
        self.lease.begin().await?;
        let deadline = Instant::now() + self.timing.turn_within;
        loop {
            let Some(record) = self.store.instance(name).await? else { return Ok(None) };
            if self.lease.may_take(record.holder.as_ref()).await? {
                if !self.is_orphan(&record) {
                    return Ok(Some(record));
                }
                match Box::pin(self.disown(record)).await {
                    Err(error) if error.is_overtaken() && Instant::now() < deadline => continue,
                    outcome => return outcome.map(Some),
                }
            }
            if Instant::now() >= deadline {
                return Err(BrokerError::Busy { instance: name.clone(), operation: record.operation.described() });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Takes the name of a replica that died out of an instance that is ready: nothing is left to be finished there, but
    /// whatever requires that nobody else holds the instance would wait for somebody to look after it.
    async fn disown(&self, mut record: InstanceRecord) -> Result<InstanceRecord> {
        record.holder = None;
        self.save(&mut record).await?;
        Ok(record)
    }

    /// Whether an instance that may be taken, and is ready, has the name of a replica that died in it.
    fn is_orphan(&self, record: &InstanceRecord) -> bool {
        let is_foreign = record.holder.as_ref().is_some_and(|holder| holder != self.lease.replica());
        is_foreign && record.state == InstanceState::Ready && self.store.is_shared()
    }

    /// As [`claim`](Self::claim), of a binding.
    pub(super) async fn claim_binding(
        &self,
        instance: &OpaqueId,
        consumer: &Consumer,
    ) -> Result<Option<BindingRecord>> {
        let deadline = Instant::now() + self.timing.turn_within;
        loop {
            let Some(record) = self.store.binding(instance, consumer).await? else { return Ok(None) };
            if self.lease.may_take(record.holder.as_ref()).await? {
                return Ok(Some(record));
            }
            if Instant::now() >= deadline {
                let operation = record.operation.described();
                return Err(BrokerError::Busy { instance: record.instance_name, operation });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Keeps the other replicas away from a binding before anything is done with it, and does not take it from under one
    /// that has the instance.
    pub(super) async fn hold_binding(&self, instance: &Instance, record: &mut BindingRecord) -> Result<()> {
        if !self.store.is_shared() {
            return Ok(());
        }
        record.holder = self.holder();
        self.save_binding_with(record, self.require_ready(instance)).await
    }

    /// Waits until no other replica works on a binding of the instance, whose own state keeps new work away.
    pub(super) async fn wait_for_bindings(&self, record: &InstanceRecord) -> Result<()> {
        if !self.store.is_shared() {
            return Ok(());
        }
        let deadline = Instant::now() + self.timing.turn_within;
        loop {
            let Some(operation) = self.has_busy_bindings(&record.instance.id).await? else { return Ok(()) };
            if Instant::now() >= deadline {
                let instance = record.instance.name.clone();
                return Err(BrokerError::Busy { instance, operation: operation.described() });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Runs an operation; begins it anew when another replica was faster, as long as a second caller waits (SPEC L-4).
    pub(super) async fn in_turn<T, F>(&self, attempt: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let deadline = Instant::now() + self.timing.turn_within;
        loop {
            match attempt().await {
                Err(error) if error.is_outrun() && Instant::now() < deadline => {
                    tokio::time::sleep(LOOK_EVERY / 4).await
                }
                outcome => return outcome,
            }
        }
    }

    /// What an intent that came too late means: another replica is at it.
    pub(super) fn outrun(&self, name: &InstanceName, error: BrokerError) -> BrokerError {
        if error.is_overtaken() && self.store.is_shared() {
            return BrokerError::Busy { instance: name.clone(), operation: OUTRUN.to_owned() };
        }
        error
    }

    /// Lets other replicas have an instance, whatever came of the work on it. While the lock is held, so that nothing
    /// else that begins here loses its hold.
    pub(super) async fn let_go(&self, name: &InstanceName) {
        if self.store.is_shared() {
            Box::pin(self.let_go_shared(name)).await;
        }
    }

    async fn let_go_shared(&self, name: &InstanceName) {
        for _ in 0..LET_GO_TRIES {
            let released = match self.store.instance(name).await {
                Ok(Some(mut record)) if record.holder.as_ref() == Some(self.lease.replica()) => {
                    record.holder = None;
                    self.save(&mut record).await
                }
                Ok(_) => return,
                Err(error) => Err(error.into()),
            };
            match released {
                Ok(()) => return,
                Err(error) => tracing::debug!("`{name}` is not let go of yet: {error}"),
            }
        }
    }

    /// As [`let_go`](Self::let_go), of a binding.
    pub(super) async fn let_go_binding(&self, instance: &OpaqueId, consumer: &Consumer) {
        if self.store.is_shared() {
            Box::pin(self.let_go_shared_binding(instance, consumer)).await;
        }
    }

    async fn let_go_shared_binding(&self, instance: &OpaqueId, consumer: &Consumer) {
        for _ in 0..LET_GO_TRIES {
            let released = match self.store.binding(instance, consumer).await {
                Ok(Some(mut record)) if record.holder.as_ref() == Some(self.lease.replica()) => {
                    record.holder = None;
                    self.save_binding(&mut record).await
                }
                Ok(_) => return,
                Err(error) => Err(error.into()),
            };
            match released {
                Ok(()) => return,
                Err(error) => tracing::debug!("{consumer} is not let go of yet: {error}"),
            }
        }
    }

    /// Whether another replica works on a binding of the instance.
    pub(super) async fn has_busy_bindings(&self, instance: &OpaqueId) -> Result<Option<Operation>> {
        for binding in self.store.bindings(instance).await? {
            if !self.lease.may_take(binding.holder.as_ref()).await? {
                return Ok(Some(binding.operation));
            }
        }
        Ok(None)
    }

    async fn keep_lease(self: Arc<Self>) {
        if !self.store.is_shared() {
            return;
        }
        loop {
            self.lease.keep().await;
            // Until the very end: what a stopping server finishes needs the lease too.
            tokio::select! {
                () = tokio::time::sleep(self.lease.pause()) => {}
                () = self.idle() => return,
            }
        }
    }

    /// Completes when the engine stops and this task is the last one.
    async fn idle(&self) {
        self.stopping.cancelled().await;
        while self.tasks.len() > 1 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub(super) async fn lock(&self, name: &InstanceName, mode: Mode, operation: &'static str) -> Result<Held> {
        self.locks.take((name.clone(), None), mode, operation).await
    }

    pub(super) async fn lock_binding(
        &self,
        name: &InstanceName,
        consumer: &Consumer,
        operation: &'static str,
    ) -> Result<Held> {
        let key: Key = (name.clone(), Some(consumer.clone()));
        self.locks.take(key, Mode::Exclusive, operation).await
    }

    /// The instance of that name, unless it is gone or nobody was told that it is there.
    pub(super) async fn known(&self, name: &InstanceName) -> Result<InstanceRecord> {
        let record = self.store.instance(name).await?;
        record.filter(InstanceRecord::is_visible).ok_or_else(|| BrokerError::UnknownInstance(name.clone()))
    }

    /// The plan that was asked for, or the default one.
    pub(super) fn plan(&self, asked: Option<&PlanName>) -> Result<&Plan> {
        let unknown = |asked: &PlanName| BrokerError::UnknownPlan { asked: asked.clone(), offered: self.offered() };
        match asked {
            Some(asked) => self.catalog.find(asked).ok_or_else(|| unknown(asked)),
            None => {
                let none = || BrokerError::bad_request("this service has no plans, its operator has to configure one");
                self.catalog.default_plan().ok_or_else(none)
            }
        }
    }

    fn offered(&self) -> String {
        let names: Vec<&str> = self.catalog.plans().iter().map(|plan| plan.name.as_str()).collect();
        names.join(", ")
    }

    /// Writes an instance's record, whose revision follows. A replica that is overtaken is refused.
    pub(super) async fn save(&self, record: &mut InstanceRecord) -> Result<()> {
        self.save_with(record, Vec::new()).await
    }

    /// Writes an instance's record and what belongs to the same step.
    pub(super) async fn save_with(&self, record: &mut InstanceRecord, also: Vec<Write>) -> Result<()> {
        self.save_within(record, also, Vec::new()).await
    }

    /// As [`save_with`](Self::save_with), if limits are kept then.
    pub(super) async fn save_within(
        &self,
        record: &mut InstanceRecord,
        mut also: Vec<Write>,
        limits: Vec<Write>,
    ) -> Result<()> {
        record.due = self.due(record);
        also.push(Write::PutInstance(Box::new(record.clone())));
        also.extend(self.places(record));
        also.extend(limits);
        self.store.commit(also).await?;
        record.revision += 1;
        Ok(())
    }

    /// Ends the operation that is written down in the record, whose state says how.
    pub(super) async fn save_ended<T>(
        &self,
        record: &mut InstanceRecord,
        failure: Option<&BrokerError>,
        reply: &Reply<T>,
    ) -> Result<()> {
        record.holder = None;
        let log = self.end_operation(&mut record.operation, failure.map(ToString::to_string));
        self.write_instance(record, log, Vec::new(), reply).await?;
        self.metrics.operation_ended(record.operation.kind.as_str(), failure.is_none());
        Ok(())
    }

    /// An operation ends now: what goes into the log.
    pub(super) fn end_operation(&self, operation: &mut Operation, failure: Option<String>) -> Vec<Write> {
        operation.progress = self.progress.of(&operation.id).last();
        operation.end(failure);
        vec![Write::Log(Arc::new(operation.clone()))]
    }

    /// Writes a binding's record, whose revision follows.
    pub(super) async fn save_binding(&self, record: &mut BindingRecord) -> Result<()> {
        self.save_binding_with(record, Vec::new()).await
    }

    /// Writes a binding's record and what belongs to the same step.
    pub(super) async fn save_binding_with(&self, record: &mut BindingRecord, mut also: Vec<Write>) -> Result<()> {
        record.due = self.binding_due(record);
        also.push(Write::PutBinding(Box::new(record.clone())));
        self.store.commit(also).await?;
        record.revision += 1;
        Ok(())
    }

    /// Ends the operation that is written down in the record, whose state says how.
    pub(super) async fn save_binding_ended<T>(
        &self,
        record: &mut BindingRecord,
        failure: Option<&BrokerError>,
        reply: &Reply<T>,
    ) -> Result<()> {
        record.holder = None;
        record.operation.end(failure.map(ToString::to_string));
        let log = vec![Write::Log(Arc::new(record.operation.clone()))];
        self.write_binding(record, log, reply).await?;
        self.metrics.operation_ended(record.operation.kind.as_str(), failure.is_none());
        Ok(())
    }

    /// What a commit requires that begins work on a binding: where replicas share the store, that none of the
    /// others has begun something with the instance since it was read.
    pub(super) fn require_ready(&self, instance: &Instance) -> Vec<Write> {
        if !self.store.is_shared() {
            return Vec::new();
        }
        vec![Write::RequireReady(instance.name.clone(), instance.id.clone(), self.lease.replica().clone())]
    }

    /// This replica, as the holder of what it works on.
    pub(super) fn holder(&self) -> Option<OpaqueId> {
        Some(self.lease.replica().clone())
    }

    /// When the instance has to be looked after.
    pub(super) fn due(&self, record: &InstanceRecord) -> Option<DateTime<Utc>> {
        match record.state {
            InstanceState::Provisioning | InstanceState::Updating | InstanceState::Deprovisioning => Some(AT_ONCE),
            InstanceState::Ready if record.confirmed => None,
            InstanceState::Ready => Some(later(record.since, self.timing.unconfirmed_for)),
            InstanceState::Gone => Some(record.since + GONE_FOR),
            InstanceState::Failed => None,
        }
    }

    /// When the binding has to be looked after.
    pub(super) fn binding_due(&self, record: &BindingRecord) -> Option<DateTime<Utc>> {
        let own = match record.state {
            BindingState::Bound if record.confirmed => record.expires,
            BindingState::Bound | BindingState::Gone => Some(later(record.since, self.timing.grace)),
            BindingState::Binding | BindingState::Unbinding | BindingState::Rotating | BindingState::Restoring => {
                Some(AT_ONCE)
            }
        };
        record.retired.iter().map(|retired| retired.until).chain(own).min()
    }
}

impl Timing {
    /// How long such a call of the author's may take.
    fn limit_of(&self, call: &str) -> Duration {
        match call {
            "bind" | "unbind" => self.bind_timeout.unwrap_or(self.call_timeout),
            _ => self.call_timeout,
        }
    }
}

/// A moment, and some time after it.
pub(super) fn later(moment: DateTime<Utc>, by: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(by).ok().and_then(|by| moment.checked_add_signed(by)).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// How a call of the author's ended.
pub(super) enum Called<T> {
    Done(T),
    Failed(BrokerError),
    /// The instance is to be removed: whoever does that goes on from here.
    Interrupted,
}

impl InstanceRecord {
    /// What is left of a create that failed, or of an instance that is gone, is nobody's business.
    pub(super) fn is_visible(&self) -> bool {
        match self.state {
            InstanceState::Gone => false,
            InstanceState::Deprovisioning => self.confirmed,
            InstanceState::Provisioning | InstanceState::Ready | InstanceState::Updating | InstanceState::Failed => {
                true
            }
        }
    }

    /// Whether its author has made it, and nobody wants it removed.
    pub(super) fn is_there(&self) -> bool {
        match self.state {
            InstanceState::Ready | InstanceState::Updating => true,
            InstanceState::Provisioning
            | InstanceState::Failed
            | InstanceState::Deprovisioning
            | InstanceState::Gone => false,
        }
    }
}

impl BrokerError {
    /// Whether trying again may help without anybody changing anything.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::NotReady(_) | Self::GoesOn(_) | Self::Unavailable(_) | Self::Busy { .. } | Self::Store(_) => true,
            Self::BadRequest(_)
            | Self::Conflict(_)
            | Self::Failed(_)
            | Self::UnknownInstance(_)
            | Self::InvalidName(_)
            | Self::AlreadyExists(_)
            | Self::NotBound { .. }
            | Self::UnknownPlan { .. }
            | Self::ChangeRefused(_) => false,
        }
    }

    /// A refusal of the request itself, before anything was touched.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::BadRequest(_) | Self::UnknownPlan { .. } | Self::ChangeRefused(_))
    }
}

impl BrokerError {
    /// Whether an operation could not begin, since another replica was faster.
    fn is_outrun(&self) -> bool {
        matches!(self, Self::Busy { operation, .. } if operation == OUTRUN)
    }

    /// Whether it was the records that failed.
    pub(super) fn is_of_records(&self) -> bool {
        matches!(self, Self::Store(_))
    }

    /// Whether a write came too late: something else was written meanwhile.
    pub(super) fn is_overtaken(&self) -> bool {
        let Self::Store(cause) = self else { return false };
        matches!(cause.downcast_ref(), Some(StoreError::Conflict(_)))
    }
}

/// The instance was removed while something was done to it.
pub(super) fn being_removed(name: &InstanceName) -> BrokerError {
    BrokerError::Conflict(format!("instance \"{name}\" is being removed"))
}

/// How a call of the author's ended, for those who count.
pub(super) fn outcome_of<T>(outcome: &Result<T>) -> &'static str {
    match outcome {
        Ok(_) => "succeeded",
        Err(error) if error.is_refusal() => "refused",
        Err(error) if error.may_pass() => "unavailable",
        Err(_) => "failed",
    }
}
