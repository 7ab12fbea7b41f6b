//! What whoever was given an instance's link sees of it.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{
    engine::Engine,
    look::Condition,
    records::{BindingRecord, InstanceRecord, Operation, OperationKind},
    states::{BindingState, InstanceState},
};
use crate::{
    Consumer, InfoItem, InstanceName, PlanName, Result, Secret, ServiceName, author::masked, dashboard::opens,
};

/// How many operations that have ended are shown.
const OPERATIONS_SHOWN: usize = 20;
/// How many consumers are shown.
const CONSUMERS_SHOWN: usize = 100;

/// An instance, as its dashboard shows it (SPEC I-14). No secret that the framework knows of is in it.
#[derive(Debug)]
pub(crate) struct Dashboard {
    pub(crate) service: ServiceName,
    pub(crate) instance: InstanceName,
    /// Its owner's own words; may be empty.
    pub(crate) description: String,
    pub(crate) plan: PlanName,
    /// Empty where the plan has left the catalog.
    pub(crate) plan_description: String,
    pub(crate) state: InstanceState,
    pub(crate) condition: Condition,
    /// What the author says, or why it is missing.
    pub(crate) info: std::result::Result<Vec<InfoItem>, String>,
    /// A newer maintenance version that an update would bring.
    pub(crate) update: Option<String>,
    pub(crate) consumers: Vec<ConsumerView>,
    /// How many consumers there are beside those.
    pub(crate) further_consumers: usize,
    /// What goes on, then what has ended, the latest first.
    pub(crate) operations: Vec<Operation>,
}

/// Who is bound, or is about to be.
#[derive(Debug)]
pub(crate) struct ConsumerView {
    pub(crate) consumer: Consumer,
    pub(crate) state: BindingState,
    /// When it came to that: of one that is bound, when it got its present credentials.
    pub(crate) since: DateTime<Utc>,
    /// When its credentials end, if they do.
    pub(crate) expires: Option<DateTime<Utc>>,
}

impl Dashboard {
    /// Whether it will soon be another one.
    pub(crate) fn is_about_to_change(&self) -> bool {
        self.operations.iter().any(|operation| operation.ended.is_none())
    }
}

impl Engine {
    /// The instance's dashboard, when there are any and the key is its own. Changes nothing: the platform did not ask.
    pub(crate) async fn dashboard_opened_by(
        self: &Arc<Self>,
        key: &str,
        name: &InstanceName,
    ) -> Result<Option<Dashboard>> {
        if self.public_url.is_none() {
            return Ok(None);
        }
        let record = self.store.shared_instance(name).await?.filter(|record| record.is_visible());
        let is_opened = opens(key, record.as_ref().map(|record| &record.instance));
        match record.filter(|_| is_opened) {
            Some(record) => Ok(Some(self.dashboard_of(&record).await?)),
            None => Ok(None),
        }
    }

    async fn dashboard_of(&self, record: &InstanceRecord) -> Result<Dashboard> {
        let instance = &record.instance;
        let (condition, info) = tokio::join!(self.condition(record), self.said(record));
        let bindings = self.store.bindings(&instance.id).await?;
        let ended = self.store.operations(&instance.name, OPERATIONS_SHOWN).await?;
        let going_on = going_on(record, &bindings).map(|operation| self.with_line(operation));
        let operations = going_on.chain(of_this_instance(record, ended)).collect();
        let plan = self.catalog.find(&instance.plan);
        let consumers = bindings.iter().filter(|binding| binding.state != BindingState::Gone && !binding.has_expired());
        let known = Known::of(record, &bindings);
        Ok(Dashboard {
            service: self.catalog.service.clone(),
            instance: instance.name.clone(),
            description: known.left_out_of(&instance.description),
            plan: instance.plan.clone(),
            plan_description: plan.map(|plan| plan.description.clone()).unwrap_or_default(),
            state: record.state,
            condition: known.left_out_of_condition(condition),
            info: match info {
                Ok(items) => Ok(items.into_iter().map(|item| known.left_out_of_item(&item)).collect()),
                Err(error) => Err(error.to_string()),
            },
            update: self.newer_version(instance),
            further_consumers: consumers.clone().count().saturating_sub(CONSUMERS_SHOWN),
            consumers: consumers.take(CONSUMERS_SHOWN).map(ConsumerView::from).collect(),
            operations: known.left_out_of_operations(operations),
        })
    }
}

/// What has begun and not ended, as it is written down.
fn going_on<'a>(
    record: &'a InstanceRecord,
    bindings: &'a [BindingRecord],
) -> impl Iterator<Item = Operation> + use<'a> {
    let of_bindings = bindings.iter().map(|binding| &binding.operation);
    let all = [&record.operation].into_iter().chain(&record.call).chain(of_bindings);
    all.filter(|operation| operation.ended.is_none()).cloned()
}

/// The log is that of a name: what was done to an instance that had it before is not for whoever was given the link to
/// this one.
fn of_this_instance(record: &InstanceRecord, ended: Vec<Operation>) -> impl Iterator<Item = Operation> {
    let is_new = record.state == InstanceState::Provisioning && record.operation.kind == OperationKind::Create;
    let mut is_earlier = is_new;
    ended.into_iter().take_while(move |operation| {
        let is_own = !is_earlier && operation.kind != OperationKind::Remove;
        is_earlier = !is_own || operation.kind == OperationKind::Create;
        is_own
    })
}

impl From<&BindingRecord> for ConsumerView {
    fn from(record: &BindingRecord) -> Self {
        let (consumer, expires) = (record.consumer().clone(), record.expires);
        Self { consumer, state: record.state, since: record.since, expires }
    }
}

/// The secrets that the framework made for an instance and its bindings.
struct Known<'a>(Vec<&'a Secret>);

impl<'a> Known<'a> {
    fn of(record: &'a InstanceRecord, bindings: &'a [BindingRecord]) -> Self {
        let own = bindings.iter().map(|binding| &binding.binding);
        let others = bindings.iter().flat_map(BindingRecord::with_access);
        let of_bindings = own.chain(others).map(|binding| &binding.secret);
        Self([&record.instance.secret].into_iter().chain(of_bindings).collect())
    }

    /// The text without them, and without passwords in URLs, whatever its author thought.
    fn left_out_of(&self, text: &str) -> String {
        masked(text, &self.0)
    }

    fn left_out_of_item(&self, item: &InfoItem) -> InfoItem {
        InfoItem::new(self.left_out_of(&item.label), self.left_out_of(&item.value))
    }

    fn left_out_of_condition(&self, condition: Condition) -> Condition {
        match condition {
            Condition::Up => Condition::Up,
            Condition::Notice(line) => Condition::Notice(self.left_out_of(&line)),
            Condition::Pending(line) => Condition::Pending(line.map(|line| self.left_out_of(&line))),
            Condition::Down(line) => Condition::Down(self.left_out_of(&line)),
        }
    }

    fn left_out_of_operations(&self, mut operations: Vec<Operation>) -> Vec<Operation> {
        for operation in &mut operations {
            operation.failure = operation.failure.as_deref().map(|text| self.left_out_of(text));
            operation.progress = operation.progress.as_deref().map(|text| self.left_out_of(text));
        }
        operations
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Actor, Instance};

    fn record(kind: OperationKind, state: InstanceState) -> InstanceRecord {
        let instance = Instance::new("cache".parse().unwrap(), "small".parse().unwrap());
        let operation = Operation::begin(kind, instance.name.clone(), None, Actor::default());
        InstanceRecord { state, ..InstanceRecord::new(instance, operation) }
    }

    #[test] // SPEC I-14
    fn only_what_was_done_to_this_instance_is_shown_of_the_log_of_its_name() {
        use OperationKind::{Bind, Create, Remove, Retry, Update};
        let shown = |last: OperationKind, state: InstanceState, log: &[OperationKind]| {
            let record = record(last, state);
            let ended =
                log.iter().map(|kind| Operation::begin(*kind, record.instance.name.clone(), None, Actor::default()));
            of_this_instance(&record, ended.collect()).map(|operation| operation.kind).collect::<Vec<_>>()
        };

        let log = [Bind, Update, Create, Remove, Bind, Create];
        assert_eq!(shown(Update, InstanceState::Ready, &log), [Bind, Update, Create]);
        assert_eq!(shown(Create, InstanceState::Provisioning, &log), []);
        assert_eq!(shown(Retry, InstanceState::Provisioning, &log[2..]), [Create]);
        // Its own beginning is forgotten.
        assert_eq!(shown(Bind, InstanceState::Ready, &[Bind, Update]), [Bind, Update]);
        assert_eq!(shown(Bind, InstanceState::Ready, &[Bind, Remove, Create]), [Bind]);
    }
    #[cfg(feature = "testing")]
    #[tokio::test] // SPEC I-13, I-7
    async fn a_look_at_a_dashboard_is_no_question_of_the_platforms() {
        use std::sync::Arc;

        use crate::{
            Broker as _, PublicUrl,
            lifecycle::{Schemas, Timing},
            store::{MemoryStore, Store, Write},
            testing::FakeBroker,
        };

        let (store, fake): (Arc<dyn Store>, _) = (Arc::new(MemoryStore::default()), FakeBroker::new());
        let public_url: PublicUrl = "https://x.test".parse().unwrap();
        let link = |record: &InstanceRecord| public_url.link(&record.instance);
        let catalog = fake.catalog();
        let schemas = Schemas::of(&catalog).unwrap();
        let engine =
            Engine::new(Arc::new(fake), catalog, schemas, store.clone(), Timing::default(), Some(public_url.clone()));
        let unconfirmed = record(OperationKind::Create, InstanceState::Ready);
        let (name, link) = (unconfirmed.instance.name.clone(), link(&unconfirmed));
        store.commit(vec![Write::PutInstance(Box::new(unconfirmed))]).await.unwrap();

        let key = link.split_once("?key=").unwrap().1;
        let seen = engine.dashboard_opened_by(key, &name).await.unwrap();

        assert!(seen.is_some());
        let record = store.instance(&name).await.unwrap().unwrap();
        assert!(!record.confirmed && record.revision == 1);
    }
}
