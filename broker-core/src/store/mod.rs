//! The port behind which records are kept. Adapters keep one contract: `contract.rs`.

#[cfg(test)]
pub(crate) mod contract;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
mod reseal;
#[cfg(feature = "postgres")]
pub(crate) mod reseal_postgres;
mod sqlite;

pub(crate) use memory::MemoryStore;
#[cfg(feature = "postgres")]
pub(crate) use postgres::PostgresStore;
pub(crate) use reseal::reseal;
pub(crate) use sqlite::SqliteStore;

use std::{collections::HashSet, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::{
    BoxError, BrokerError, Consumer, InstanceName, OpaqueId,
    lifecycle::records::{BindingRecord, InstanceRecord, Operation},
};

/// What is remembered, durably: a commit that returned survives any crash (SPEC S-1).
///
/// `due` and `holder` of a record are kept beside its sealed body, so that a store can look for them.
#[async_trait]
pub(crate) trait Store: Send + Sync {
    /// All writes or none. A `Put` replaces the revision it carries, 0 for a record that must not
    /// exist yet; anything else there is a conflict.
    async fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError>;

    /// The instance of that name.
    async fn instance(&self, name: &InstanceName) -> Result<Option<InstanceRecord>, StoreError>;

    /// Up to `limit` instances in the order of their names' bytes, from the one after `after` on.
    async fn instances(&self, after: Option<&InstanceName>, limit: usize) -> Result<Vec<InstanceRecord>, StoreError>;

    /// A consumer's binding to an instance.
    async fn binding(&self, instance: &OpaqueId, consumer: &Consumer) -> Result<Option<BindingRecord>, StoreError>;

    /// An instance's bindings, by consumer.
    async fn bindings(&self, instance: &OpaqueId) -> Result<Vec<BindingRecord>, StoreError>;

    /// Up to `limit` instances that are due at `now`, the longest due first, leaving out the first `skip`.
    async fn due_instances(
        &self,
        now: DateTime<Utc>,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<InstanceRecord>, StoreError>;

    /// Up to `limit` bindings that are due at `now`, the longest due first, leaving out the first `skip`.
    async fn due_bindings(
        &self,
        now: DateTime<Utc>,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<BindingRecord>, StoreError>;

    /// Up to `limit` operations on instances of that name that have ended, the latest first.
    async fn operations(&self, instance: &InstanceName, limit: usize) -> Result<Vec<Operation>, StoreError>;

    /// Forgets operations that ended before a moment.
    async fn forget_operations(&self, before: DateTime<Utc>) -> Result<(), StoreError>;

    /// How many instances and bindings there are in each state.
    async fn counts(&self) -> Result<Counts, StoreError>;

    /// Says that a replica lives, and tells which ones do: those that said so within `lease`, by the store's
    /// clock. A store of one process has only that one.
    async fn beat(&self, replica: &OpaqueId, lease: Duration) -> Result<HashSet<OpaqueId>, StoreError>;

    /// Whether several replicas may use it at once.
    fn is_shared(&self) -> bool;
}

/// One change of a commit.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    PutInstance(Box<InstanceRecord>),
    /// The instance of that name and identifier. Its bindings go with it. One that is gone is a success.
    DeleteInstance(InstanceName, OpaqueId),
    PutBinding(Box<BindingRecord>),
    /// One that is gone is a success.
    DeleteBinding(OpaqueId, Consumer),
    /// No change, but a condition: the instance of that name and identifier is ready, and no other replica than this
    /// one holds it, until the commit is done. Otherwise the commit is a conflict.
    RequireReady(InstanceName, OpaqueId, OpaqueId),
    /// An operation that has ended goes into the log.
    Log(Box<Operation>),
}

/// How many there are, by state as [`as_str`](crate::lifecycle::states::InstanceState::as_str) spells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) instances: Vec<(String, u64)>,
    pub(crate) bindings: Vec<(String, u64)>,
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("the record of {0} was changed by another operation")]
    Conflict(String),
    #[error("the store failed: {0}")]
    Failed(#[source] BoxError),
}

impl From<StoreError> for BrokerError {
    fn from(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}

/// A consumer as a key: kinds don't share names.
fn consumer_key(consumer: &Consumer) -> (&'static str, &str) {
    match consumer {
        Consumer::App(name) => ("app", name.as_str()),
        Consumer::Job(name) => ("job", name.as_str()),
        Consumer::Binding(id) => ("binding", id.as_str()),
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        Self::Failed(Box::new(error))
    }
}

impl From<crate::SealError> for StoreError {
    fn from(error: crate::SealError) -> Self {
        Self::Failed(Box::new(error))
    }
}
