//! The port behind which records are kept. Adapters keep one contract: `contract.rs`.

#[cfg(test)]
pub(crate) mod contract;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(all(test, feature = "postgres"))]
mod released;
mod reseal;
#[cfg(feature = "postgres")]
pub(crate) mod reseal_postgres;
mod sqlite;

pub(crate) use memory::MemoryStore;
#[cfg(feature = "postgres")]
pub(crate) use postgres::PostgresStore;
pub(crate) use reseal::reseal;
pub(crate) use sqlite::SqliteStore;

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::{
    BoxError, BrokerError, Consumer, InstanceName, OpaqueId, PlanName,
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

    /// As [`instance`](Self::instance), to look at: a store that has it at hand does not copy it.
    async fn shared_instance(&self, name: &InstanceName) -> Result<Option<Arc<InstanceRecord>>, StoreError> {
        Ok(self.instance(name).await?.map(Arc::new))
    }

    /// Up to `limit` instances in the order of their names' bytes, from the one after `after` on.
    async fn instances(&self, after: Option<&InstanceName>, limit: usize) -> Result<Vec<InstanceRecord>, StoreError>;

    /// A consumer's binding to an instance.
    async fn binding(&self, instance: &OpaqueId, consumer: &Consumer) -> Result<Option<BindingRecord>, StoreError>;

    /// An instance's bindings, by consumer.
    async fn bindings(&self, instance: &OpaqueId) -> Result<Vec<BindingRecord>, StoreError>;

    /// Up to `limit` instances that are due at `now`, the longest due first, from the one after `after` on: the last
    /// one that was seen. Those that are due at the same moment are in the order of their keys.
    async fn due_instances(
        &self,
        now: DateTime<Utc>,
        after: Option<&InstanceRecord>,
        limit: usize,
    ) -> Result<Vec<InstanceRecord>, StoreError>;

    /// Up to `limit` bindings that are due at `now`, as [`due_instances`](Self::due_instances).
    async fn due_bindings(
        &self,
        now: DateTime<Utc>,
        after: Option<&BindingRecord>,
        limit: usize,
    ) -> Result<Vec<BindingRecord>, StoreError>;

    /// Up to `limit` operations on instances of that name that have ended, the latest first.
    async fn operations(&self, instance: &InstanceName, limit: usize) -> Result<Vec<Operation>, StoreError>;

    /// Of the `limit` operations that were logged first, forgets those that ended before a moment, and says how many:
    /// a log of any length is pruned in small commits.
    async fn forget_operations(&self, before: DateTime<Utc>, limit: usize) -> Result<usize, StoreError>;

    /// How many instances and bindings there are in each state.
    async fn counts(&self) -> Result<Counts, StoreError>;

    /// Says that a replica lives, and tells which ones do: those that said so within `lease`, by the store's
    /// clock. A store of one process has only that one.
    async fn beat(&self, replica: &OpaqueId, lease: Duration) -> Result<Living, StoreError>;

    /// Whether several replicas may use it at once.
    fn is_shared(&self) -> bool;
}

/// Which replicas live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Living {
    pub(crate) alive: HashSet<OpaqueId>,
    /// Whether the one that asks was silent for so long that the others may have taken it for dead: a machine that
    /// sleeps does not notice that by its own clock.
    pub(crate) was_dead: bool,
}

impl Living {
    /// In a store of one process.
    fn alone(replica: &OpaqueId) -> Self {
        Self { alive: HashSet::from([replica.clone()]), was_dead: false }
    }
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
    /// An operation that has ended goes into the log. Shared, since a commit may be tried again.
    Log(Arc<Operation>),
    /// What an instance takes of plans that have limits, from now on; nothing happens when it is not there, or not at
    /// the revision that is named.
    Places {
        name: InstanceName,
        id: OpaqueId,
        revision: Option<i64>,
        places: Vec<Place>,
    },
    /// No change, but a condition: with the writes before it, a limit is kept. Otherwise the commit is refused.
    Within(Limit),
}

/// A place that an instance takes of a plan that has limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) plan: PlanName,
    pub(crate) team: String,
}

/// How many instances of a plan there may be, or how many a team may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) plan: PlanName,
    pub(crate) team: Option<String>,
    pub(crate) most: u32,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, team, most } = self;
        let instances = if *most == 1 { "instance" } else { "instances" };
        match team {
            Some(team) => write!(f, "team \"{team}\" has {most} {instances} of plan \"{plan}\"")?,
            None => write!(f, "plan \"{plan}\" has {most} {instances}")?,
        }
        f.write_str(" and may not have more, remove one or choose another plan")
    }
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
    /// A limit would be exceeded: the sentence is for the platform's user.
    #[error("{0}")]
    Full(String),
    #[error("the store failed: {0}")]
    Failed(#[source] BoxError),
}

impl From<StoreError> for BrokerError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full(sentence) => Self::BadRequest(sentence),
            error => Self::Store(Box::new(error)),
        }
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
