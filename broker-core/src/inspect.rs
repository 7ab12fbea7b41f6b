//! A look at a broker's records, for its operator: names, states and what was done, never a secret.

mod remembered;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::{
    BoxError, Consumer, InstanceName, OpaqueId, PlanName, State,
    lifecycle::{
        AT_ONCE,
        records::{InstanceRecord, Operation},
    },
};

pub(crate) use remembered::Remembered;

/// Records to look at: [`State::inspect`] opens them beside a broker that runs.
#[derive(Clone, Debug)]
pub struct Inspection {
    state: State,
}

/// An instance as its operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct InstanceView {
    /// What users call it.
    pub name: InstanceName,
    /// What things on the server are named after.
    pub id: OpaqueId,
    /// The plan it is on.
    pub plan: PlanName,
    /// The team that owns it, as the platform claims.
    pub team: String,
    /// Where it stands: `provisioning`, `ready`, `updating`, `deprovisioning`, `failed`.
    pub state: &'static str,
    /// When it came to that.
    pub since: DateTime<Utc>,
    /// When the broker will look after it without being asked; none when it need not.
    pub due: Option<DateTime<Utc>>,
    /// Why it failed, if it did.
    pub reason: Option<String>,
    /// What was begun last.
    pub operation: OperationView,
}

/// Something that was done, or is being done, to an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct OperationView {
    /// Its identifier, as logs have it.
    pub id: OpaqueId,
    /// What was done: `create`, `update`, `remove`, `bind`, `unbind`, `rotate`, `retry`, `call`.
    pub kind: &'static str,
    /// The instance it was done to.
    pub instance: InstanceName,
    /// Whose access it was about, if it was about one.
    pub consumer: Option<Consumer>,
    /// Method and path of a call of the author's own; none for everything else.
    pub request: Option<String>,
    /// The user who asked, as the platform says; may be empty.
    pub user: String,
    /// The platform's event or request identity; may be empty.
    pub event: String,
    /// When it began.
    pub began: DateTime<Utc>,
    /// When it ended; none while it goes on.
    pub ended: Option<DateTime<Utc>>,
    /// Why it failed; none when it went well or goes on.
    pub failure: Option<String>,
    /// What the broker's author said last about how far it was; of what goes on, nothing yet.
    pub progress: Option<String>,
}

/// The records can't be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the records: {0}")]
pub struct InspectError(BoxError);

impl Inspection {
    pub(crate) fn new(state: State) -> Self {
        Self { state }
    }

    /// Up to `limit` instances in the order of their names, from the one after `after` on: the last name of a page asks
    /// for the next one.
    ///
    /// # Errors
    /// When the records can't be read.
    pub async fn instances(
        &self,
        after: Option<&InstanceName>,
        limit: usize,
    ) -> Result<Vec<InstanceView>, InspectError> {
        let records = self.state.store.instances(after, limit).await.map_err(failed)?;
        Ok(records.into_iter().map(InstanceView::from).collect())
    }

    /// How many instances and bindings there are, in words.
    pub(crate) async fn counted(&self) -> Result<String, InspectError> {
        let counts = self.state.store.counts().await.map_err(failed)?;
        let sum = |counts: &[(String, u64)]| counts.iter().map(|(_, number)| number).sum::<u64>();
        Ok(format!("{} instances, {} bindings", sum(&counts.instances), sum(&counts.bindings)))
    }

    /// The instance of that name.
    ///
    /// # Errors
    /// When the records can't be read.
    pub async fn instance(&self, name: &InstanceName) -> Result<Option<InstanceView>, InspectError> {
        Ok(self.state.store.instance(name).await.map_err(failed)?.map(InstanceView::from))
    }

    /// Up to `limit` operations on instances of that name that have ended, the latest first; those of instances that are
    /// gone, too. What goes on now stands in [`InstanceView::operation`].
    ///
    /// # Errors
    /// When the records can't be read.
    pub async fn operations(&self, name: &InstanceName, limit: usize) -> Result<Vec<OperationView>, InspectError> {
        let operations = self.state.store.operations(name, limit).await.map_err(failed)?;
        Ok(operations.into_iter().map(OperationView::from).collect())
    }
}

fn failed(error: crate::store::StoreError) -> InspectError {
    InspectError(Box::new(error))
}

impl From<InstanceRecord> for InstanceView {
    fn from(record: InstanceRecord) -> Self {
        Self {
            name: record.instance.name,
            id: record.instance.id,
            plan: record.instance.plan,
            team: record.instance.team,
            state: record.state.as_str(),
            since: record.since,
            // What is due at once has been so since its state was entered.
            due: record.due.map(|due| if due == AT_ONCE { record.since } else { due }),
            reason: record.reason,
            operation: record.operation.into(),
        }
    }
}

impl From<Operation> for OperationView {
    fn from(operation: Operation) -> Self {
        Self {
            id: operation.id,
            kind: operation.kind.as_str(),
            instance: operation.instance,
            consumer: operation.consumer,
            request: operation.request,
            user: operation.actor.user,
            event: operation.actor.event,
            began: operation.began,
            ended: operation.ended,
            failure: operation.failure,
            progress: operation.progress,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Actor,
        lifecycle::records::OperationKind,
        store::{Write, contract},
    };

    #[tokio::test] // SPEC S-9
    async fn records_are_seen_as_they_are_while_a_broker_writes_them() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("data");
        assert!(State::inspect(&folder).await.is_err());
        assert!(!folder.exists());
        let running = State::open(&folder).await.unwrap();
        let look = State::inspect(&folder).await.unwrap();
        let record = contract::an_instance("cache");
        let name = record.instance.name.clone();
        let mut operation = Operation::begin(OperationKind::Bind, name.clone(), None, Actor::default());
        operation.end(Some("no".to_owned()));

        running.store.commit(vec![Write::PutInstance(Box::new(record))]).await.unwrap();
        running.store.commit(vec![Write::Log(std::sync::Arc::new(operation.clone()))]).await.unwrap();

        let seen = look.instance(&name).await.unwrap().unwrap();
        assert_eq!(look.instances(None, 10).await.unwrap(), std::slice::from_ref(&seen));
        assert!(look.instances(Some(&name), 10).await.unwrap().is_empty());
        assert_eq!(look.operations(&name, 10).await.unwrap(), [OperationView::from(operation)]);
        let mut record = running.store.instance(&name).await.unwrap().unwrap();
        record.reason = Some("changed".to_owned());
        running.store.commit(vec![Write::PutInstance(Box::new(record))]).await.unwrap();
        assert_eq!(look.instance(&name).await.unwrap().unwrap().reason.as_deref(), Some("changed"));
        assert!(look.state.store.commit(vec![Write::DeleteInstance(name, seen.id)]).await.is_err());
    }

    #[tokio::test] // SPEC S-9
    async fn records_are_seen_when_no_broker_runs() {
        let place = tempfile::tempdir().unwrap();
        drop(State::open(place.path()).await.unwrap());

        let look = State::inspect(place.path()).await.unwrap();

        assert!(look.instances(None, 10).await.unwrap().is_empty());
    }
}
