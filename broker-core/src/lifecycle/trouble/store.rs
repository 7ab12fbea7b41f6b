//! Records that fail as they are told.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use crate::{
    Consumer, InstanceName, OpaqueId,
    lifecycle::records::{BindingRecord, InstanceRecord, Operation},
    store::{Counts, Living, Store, StoreError, Write},
};

/// What goes wrong with a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nothing.
    None,
    /// It is not done.
    Lost,
    /// It is done, but its answer says that it is not.
    AnswerLost,
    /// It is not done, and the records are away from then on.
    Away,
    /// It is done, and the records are away from then on, so that nobody hears of it.
    AwayAfter,
    /// The process dies before it.
    DiesBefore,
    /// The process dies after it.
    DiesAfter,
}

/// Records whose commits fail as they are told.
pub(super) struct Troubled {
    records: Arc<dyn Store>,
    next: Mutex<VecDeque<Trouble>>,
    away: AtomicBool,
    missed: AtomicUsize,
    died: CancellationToken,
}

impl Troubled {
    pub(super) fn on(records: Arc<dyn Store>) -> Arc<Self> {
        let (next, away, missed, died) = Default::default();
        Arc::new(Self { records, next, away, missed, died })
    }

    /// What becomes of the next commits.
    pub(super) fn next(&self, troubles: &[Trouble]) {
        *self.next.lock().unwrap() = troubles.iter().copied().collect();
    }

    /// The records are there again.
    pub(super) fn come_back(&self) {
        self.away.store(false, Ordering::Release);
    }

    pub(super) fn is_away(&self) -> bool {
        self.away.load(Ordering::Acquire)
    }

    /// How many commits failed because the records were away.
    pub(super) fn missed(&self) -> usize {
        self.missed.load(Ordering::Acquire)
    }

    /// Waits until nothing is on its way to the disk: a process that is dead does not write any more, and the thread that
    /// writes is still there in a test.
    pub(super) async fn end_writing(&self) {
        let nothing = Write::DeleteBinding(OpaqueId::generate(), Consumer::App("nobody".parse().unwrap()));
        self.records.commit(vec![nothing]).await.unwrap();
    }

    /// Completes when the process should be dead: what asked the records does not go on.
    pub(super) async fn died(&self) {
        self.died.cancelled().await;
    }

    async fn die(&self) -> Result<(), StoreError> {
        self.died.cancel();
        std::future::pending().await
    }

    fn leave(&self) {
        self.away.store(true, Ordering::Release);
    }

    fn there(&self) -> Result<&dyn Store, StoreError> {
        if self.is_away() { Err(failed()) } else { Ok(&*self.records) }
    }
}

fn failed() -> StoreError {
    StoreError::Failed("the disk is full".into())
}

#[async_trait]
impl Store for Troubled {
    async fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let there = self.there().inspect_err(|_| {
            self.missed.fetch_add(1, Ordering::AcqRel);
        })?;
        let trouble = self.next.lock().unwrap().pop_front().unwrap_or(Trouble::None);
        match trouble {
            Trouble::None => there.commit(writes).await,
            Trouble::Lost => Err(failed()),
            Trouble::AnswerLost => there.commit(writes).await.and(Err(failed())),
            Trouble::Away => {
                self.leave();
                Err(failed())
            }
            Trouble::AwayAfter => {
                let outcome = there.commit(writes).await;
                self.leave();
                outcome.and(Err(failed()))
            }
            Trouble::DiesBefore => self.die().await,
            Trouble::DiesAfter => {
                there.commit(writes).await?;
                self.die().await
            }
        }
    }

    async fn instance(&self, name: &InstanceName) -> Result<Option<InstanceRecord>, StoreError> {
        self.there()?.instance(name).await
    }

    async fn instances(&self, after: Option<&InstanceName>, limit: usize) -> Result<Vec<InstanceRecord>, StoreError> {
        self.there()?.instances(after, limit).await
    }

    async fn binding(&self, instance: &OpaqueId, consumer: &Consumer) -> Result<Option<BindingRecord>, StoreError> {
        self.there()?.binding(instance, consumer).await
    }

    async fn bindings(&self, instance: &OpaqueId) -> Result<Vec<BindingRecord>, StoreError> {
        self.there()?.bindings(instance).await
    }

    async fn due_instances(
        &self,
        now: DateTime<Utc>,
        after: Option<&InstanceRecord>,
        limit: usize,
    ) -> Result<Vec<InstanceRecord>, StoreError> {
        self.there()?.due_instances(now, after, limit).await
    }

    async fn due_bindings(
        &self,
        now: DateTime<Utc>,
        after: Option<&BindingRecord>,
        limit: usize,
    ) -> Result<Vec<BindingRecord>, StoreError> {
        self.there()?.due_bindings(now, after, limit).await
    }

    async fn operations(&self, instance: &InstanceName, limit: usize) -> Result<Vec<Operation>, StoreError> {
        self.there()?.operations(instance, limit).await
    }

    async fn forget_operations(&self, before: DateTime<Utc>, limit: usize) -> Result<usize, StoreError> {
        self.there()?.forget_operations(before, limit).await
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        self.there()?.counts().await
    }

    async fn beat(&self, replica: &OpaqueId, lease: Duration) -> Result<Living, StoreError> {
        self.there()?.beat(replica, lease).await
    }

    fn is_shared(&self) -> bool {
        false
    }
}
