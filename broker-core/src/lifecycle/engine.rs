//! What all operations share: owned tasks, calls of the author's, records.

use std::{any::Any, future::Future, panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};

use futures::FutureExt as _;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

use super::{
    backoff::Backoff,
    locks::{Held, Key, Locks, Mode},
    records::{BindingRecord, InstanceRecord},
    reply::Reply,
    states::InstanceState,
};
use crate::{
    Broker, BrokerError, Catalog, Consumer, InstanceName, Plan, PlanName, Result,
    store::{Store, Write},
};

/// How long a call that is to be dropped may go on: dropped between a command and its answer, it leaves a command
/// on its way that might act after whatever comes next.
pub(super) const LAST_STEP: Duration = Duration::from_millis(500);
/// How many pieces of unfinished work are driven on at once.
const DRIVEN_AT_ONCE: usize = 16;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// Until a caller is answered that the work goes on.
    pub(crate) answer_within: Duration,
    /// One call of the author's.
    pub(crate) call_timeout: Duration,
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
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            answer_within: Duration::from_secs(240),
            call_timeout: Duration::from_secs(280),
            turn_within: Duration::from_secs(5),
            look_timeout: Duration::from_secs(10),
            finish_within: Duration::from_secs(30),
            reconcile_every: Duration::from_secs(5),
            grace: Duration::from_secs(15 * 60),
            unconfirmed_for: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// Runs the lives of one broker's instances and bindings.
pub(crate) struct Engine {
    pub(super) broker: Arc<dyn Broker>,
    pub(super) catalog: Catalog,
    pub(super) store: Arc<dyn Store>,
    pub(super) timing: Timing,
    pub(super) locks: Locks,
    pub(super) backoff: Backoff,
    pub(super) driving: Arc<Semaphore>,
    pub(super) stopping: CancellationToken,
    killed: CancellationToken,
    tasks: TaskTracker,
}

impl Engine {
    pub(crate) fn new(broker: Arc<dyn Broker>, store: Arc<dyn Store>, timing: Timing) -> Arc<Self> {
        Arc::new(Self {
            catalog: broker.catalog(),
            broker,
            store,
            timing,
            locks: Locks::new(timing.turn_within),
            backoff: Backoff::new(timing.reconcile_every.min(Duration::from_secs(1))),
            driving: Arc::new(Semaphore::new(DRIVEN_AT_ONCE)),
            stopping: CancellationToken::new(),
            killed: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Takes up what an earlier process left, and whatever is left from now on.
    pub(crate) fn start(self: &Arc<Self>) {
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

    /// Runs a task that belongs to the engine, whatever becomes of the request that asked for it.
    pub(super) fn own(&self, task: impl Future<Output = ()> + Send + 'static) {
        let killed = self.killed.clone();
        self.tasks.spawn(async move { killed.run_until_cancelled_owned(task).await }.in_current_span());
    }

    /// Runs an operation in a task of the engine's and waits for its answer.
    pub(super) async fn operate<T, F>(self: &Arc<Self>, operation: impl FnOnce(Arc<Self>, Reply<T>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let (reply, answer) = Reply::by(Instant::now() + self.timing.answer_within);
        let work = operation(self.clone(), reply.clone());
        self.own(async move {
            let outcome = work.await;
            if let Err(error) = &outcome {
                tracing::debug!("the operation ended: {error}");
            }
            reply.send(outcome);
        });
        answer.await.unwrap_or_else(|_| Err(BrokerError::unavailable("the broker stopped before the operation ended")))
    }

    /// Calls the author: with a deadline, and so that a panic is a failure like another.
    pub(super) async fn call<T>(&self, what: &'static str, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let limit = self.timing.call_timeout;
        match timeout(limit, AssertUnwindSafe(call).catch_unwind()).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => Err(BrokerError::failed(format!("{what} panicked: {}", text_of(panic.as_ref())))),
            Err(_) => Err(BrokerError::unavailable(format!("{what} did not end within {} s", limit.as_secs_f32()))),
        }
    }

    /// As [`call`](Self::call), but gives up soon when the instance is to be removed.
    pub(super) async fn call_while<T>(
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
            () = held.interrupted() => {
                // Whatever it comes to, the removal goes on from there.
                let _ = timeout(LAST_STEP, call).await;
                Called::Interrupted
            }
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

    /// Writes an instance's record, whose revision follows.
    pub(super) async fn save(&self, record: &mut InstanceRecord) -> Result<()> {
        self.store.commit(vec![Write::PutInstance(record.clone())]).await?;
        record.revision += 1;
        Ok(())
    }

    /// Writes a binding's record, whose revision follows.
    pub(super) async fn save_binding(&self, record: &mut BindingRecord) -> Result<()> {
        self.store.commit(vec![Write::PutBinding(record.clone())]).await?;
        record.revision += 1;
        Ok(())
    }
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
}

impl BrokerError {
    /// Whether trying again may help without anybody changing anything.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::NotReady(_) | Self::Unavailable(_) | Self::Busy { .. } | Self::Store(_) => true,
            Self::BadRequest(_)
            | Self::Conflict(_)
            | Self::Failed(_)
            | Self::UnknownInstance(_)
            | Self::InvalidName(_)
            | Self::AlreadyExists(_)
            | Self::NotBound { .. }
            | Self::UnknownPlan { .. } => false,
        }
    }

    /// A refusal of the request itself, before anything was touched.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::BadRequest(_) | Self::UnknownPlan { .. })
    }
}

/// The instance was removed while something was done to it.
pub(super) fn being_removed(name: &InstanceName) -> BrokerError {
    BrokerError::Conflict(format!("instance \"{name}\" is being removed"))
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}
