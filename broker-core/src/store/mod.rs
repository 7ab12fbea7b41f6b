//! The port behind which records are kept. Adapters keep one contract: `contract.rs`.

#[cfg(test)]
mod contract;
mod memory;
mod sqlite;

pub(crate) use memory::MemoryStore;
pub(crate) use sqlite::SqliteStore;

use async_trait::async_trait;

use crate::{
    BoxError, BrokerError, Consumer, InstanceName, OpaqueId,
    lifecycle::records::{BindingRecord, InstanceRecord},
};

/// What is remembered, durably: a commit that returned survives any crash (SPEC S-1).
#[async_trait]
pub(crate) trait Store: Send + Sync {
    /// All writes or none. A `Put` replaces the revision it carries, 0 for a record that must not
    /// exist yet; anything else there is a conflict.
    async fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError>;

    /// The instance of that name.
    async fn instance(&self, name: &InstanceName) -> Result<Option<InstanceRecord>, StoreError>;

    /// All instances, by name.
    async fn instances(&self) -> Result<Vec<InstanceRecord>, StoreError>;

    /// A consumer's binding to an instance.
    async fn binding(&self, instance: &OpaqueId, consumer: &Consumer) -> Result<Option<BindingRecord>, StoreError>;

    /// An instance's bindings, by consumer.
    async fn bindings(&self, instance: &OpaqueId) -> Result<Vec<BindingRecord>, StoreError>;

    /// The bindings of all instances.
    async fn all_bindings(&self) -> Result<Vec<BindingRecord>, StoreError>;
}

/// One change of a commit.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a commit has one or two, and lives as long as it is written")]
pub(crate) enum Write {
    PutInstance(InstanceRecord),
    /// Its bindings go with it. One that is gone is a success.
    DeleteInstance(OpaqueId),
    PutBinding(BindingRecord),
    /// One that is gone is a success.
    DeleteBinding(OpaqueId, Consumer),
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
    }
}
