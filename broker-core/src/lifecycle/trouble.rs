//! A whole engine whose records fail in the middle, whose clock was set back, or that finds a lot to do.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};

use super::{
    Ask, Engine, NewInstance, Outcome, Schemas, Timing, Wishes,
    records::{BindingRecord, InstanceRecord, Operation},
    states::{InstanceEvent, InstanceState},
};
use crate::{
    Broker as _, BrokerError, Consumer, EnvVars, InstanceName, OpaqueId, Parameters,
    store::{Counts, Living, MemoryStore, Store, StoreError, Write, contract},
    testing::{FakeBroker, eventually},
};

/// What goes wrong with a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// It is done.
    None,
    /// It is not done.
    Lost,
    /// It is done, but its answer says that it is not.
    AnswerLost,
}

/// Records in memory whose commits fail as they are told.
#[derive(Default)]
struct Troubled {
    records: MemoryStore,
    next: Mutex<VecDeque<Trouble>>,
}

impl Troubled {
    fn next(&self, troubles: &[Trouble]) {
        *self.next.lock().unwrap() = troubles.iter().copied().collect();
    }
}

#[async_trait]
impl Store for Troubled {
    async fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let trouble = self.next.lock().unwrap().pop_front().unwrap_or(Trouble::None);
        let failed = || StoreError::Failed("the disk is full".into());
        match trouble {
            Trouble::None => self.records.commit(writes).await,
            Trouble::Lost => Err(failed()),
            Trouble::AnswerLost => self.records.commit(writes).await.and(Err(failed())),
        }
    }

    async fn instance(&self, name: &InstanceName) -> Result<Option<InstanceRecord>, StoreError> {
        self.records.instance(name).await
    }

    async fn instances(&self, after: Option<&InstanceName>, limit: usize) -> Result<Vec<InstanceRecord>, StoreError> {
        self.records.instances(after, limit).await
    }

    async fn binding(&self, instance: &OpaqueId, consumer: &Consumer) -> Result<Option<BindingRecord>, StoreError> {
        self.records.binding(instance, consumer).await
    }

    async fn bindings(&self, instance: &OpaqueId) -> Result<Vec<BindingRecord>, StoreError> {
        self.records.bindings(instance).await
    }

    async fn due_instances(
        &self,
        now: DateTime<Utc>,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<InstanceRecord>, StoreError> {
        self.records.due_instances(now, skip, limit).await
    }

    async fn due_bindings(
        &self,
        now: DateTime<Utc>,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<BindingRecord>, StoreError> {
        self.records.due_bindings(now, skip, limit).await
    }

    async fn operations(&self, instance: &InstanceName, limit: usize) -> Result<Vec<Operation>, StoreError> {
        self.records.operations(instance, limit).await
    }

    async fn forget_operations(&self, before: DateTime<Utc>, limit: usize) -> Result<usize, StoreError> {
        self.records.forget_operations(before, limit).await
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        self.records.counts().await
    }

    async fn beat(&self, replica: &OpaqueId, lease: Duration) -> Result<Living, StoreError> {
        self.records.beat(replica, lease).await
    }

    fn is_shared(&self) -> bool {
        false
    }
}

/// An engine that repeats nothing at once and pauses for so long between its rounds.
fn engine_on(store: Arc<dyn Store>, fake: &FakeBroker, reconcile_every: Duration) -> Arc<Engine> {
    let catalog = fake.catalog();
    let schemas = Schemas::of(&catalog).unwrap();
    let timing = Timing { retries: 0, reconcile_every, ..Timing::default() };
    Engine::new(Arc::new(fake.clone()), catalog, schemas, store, timing)
}

const OFTEN: Duration = Duration::from_millis(20);

async fn with_trouble() -> (Arc<Troubled>, FakeBroker, Arc<Engine>) {
    let (store, fake) = (Arc::new(Troubled::default()), FakeBroker::new());
    let engine = engine_on(store.clone(), &fake, OFTEN);
    engine.start();
    (store, fake, engine)
}

async fn create(engine: &Arc<Engine>) -> crate::Result<Outcome<()>> {
    let wishes =
        Wishes { team: "data".to_owned(), description: String::new(), tags: Vec::new(), parameters: Parameters::new() };
    engine.create(NewInstance { name: name(), plan: None, wishes }, Ask::default()).await
}

async fn bind(engine: &Arc<Engine>) -> crate::Result<Outcome<EnvVars>> {
    engine.bind(name(), web(), Parameters::new(), Ask::default()).await
}

fn name() -> InstanceName {
    "cache".parse().unwrap()
}

fn web() -> Consumer {
    Consumer::App("web".parse().unwrap())
}

#[tokio::test] // SPEC I-2
async fn a_create_whose_outcome_may_not_be_written_leaves_nothing_behind() {
    for trouble in [Trouble::Lost, Trouble::AnswerLost] {
        let (store, fake, engine) = with_trouble().await;
        store.next(&[Trouble::None, trouble]);

        let refusal = create(&engine).await.unwrap_err();

        assert!(matches!(refusal, BrokerError::Store(_)), "{refusal}");
        eventually("nothing is left", async || fake.instances() == 0).await;
        eventually("its name is free", async || store.instance(&name()).await.unwrap().is_none()).await;
        create(&engine).await.unwrap();
        assert!(engine.stop(Duration::from_secs(5)).await);
    }
}

#[tokio::test] // SPEC B-6
async fn a_bind_whose_outcome_may_not_be_written_leaves_no_credentials_that_work() {
    for trouble in [Trouble::Lost, Trouble::AnswerLost] {
        let (store, fake, engine) = with_trouble().await;
        create(&engine).await.unwrap();
        store.next(&[Trouble::None, trouble]);

        let refusal = bind(&engine).await.unwrap_err();

        assert!(matches!(refusal, BrokerError::Store(_)), "{refusal}");
        eventually("no account is left", async || fake.accounts().is_empty()).await;
        bind(&engine).await.unwrap();
        assert!(engine.stop(Duration::from_secs(5)).await);
    }
}

#[tokio::test] // SPEC B-7
async fn an_unbind_is_a_success_when_only_the_answer_of_the_records_was_lost() {
    let (store, fake, engine) = with_trouble().await;
    create(&engine).await.unwrap();
    bind(&engine).await.unwrap();
    store.next(&[Trouble::None, Trouble::AnswerLost]);

    engine.unbind(name(), web(), Ask::default()).await.unwrap();

    assert!(fake.accounts().is_empty());
}

#[tokio::test] // SPEC E-3
async fn what_cannot_be_written_down_is_not_begun() {
    let (store, fake, engine) = with_trouble().await;
    store.next(&[Trouble::Lost]);
    create(&engine).await.unwrap_err();
    assert_eq!(fake.count("provision"), 0);
    create(&engine).await.unwrap();

    store.next(&[Trouble::Lost]);
    bind(&engine).await.unwrap_err();
    bind(&engine).await.unwrap();
    store.next(&[Trouble::Lost]);
    engine.unbind(name(), web(), Ask::default()).await.unwrap_err();
    store.next(&[Trouble::Lost]);
    engine.remove(name(), Ask::default()).await.unwrap_err();

    assert_eq!((fake.count("bind"), fake.count("unbind"), fake.count("deprovision")), (1, 0, 0));
    assert_eq!((fake.instances(), fake.accounts().len()), (1, 1));
}

/// An instance that was accepted and is not made yet.
fn accepted(name: &str) -> InstanceRecord {
    let mut record = contract::an_instance(name);
    record.confirmed = true;
    record
}

#[tokio::test] // SPEC L-3
async fn what_was_begun_before_the_clock_was_set_back_is_finished() {
    let (store, fake) = (Arc::new(MemoryStore::default()), FakeBroker::new());
    let engine = engine_on(store.clone(), &fake, OFTEN);
    let mut record = accepted("cache");
    record.since = Utc::now() + TimeDelta::days(365);
    record.operation.began = record.since;
    engine.save(&mut record).await.unwrap();

    engine.start();

    let is_ready = async || store.instance(&name()).await.unwrap().unwrap().state == InstanceState::Ready;
    eventually("it is made", is_ready).await;
}

#[tokio::test(flavor = "multi_thread")] // SPEC L-3
async fn a_thousand_that_are_due_at_start_are_finished_in_one_round_and_keep_nobody_waiting() {
    let (store, fake) = (Arc::new(MemoryStore::default()), FakeBroker::new());
    let engine = engine_on(store.clone(), &fake, Duration::from_secs(600));
    for number in 0..1000 {
        engine.save(&mut accepted(&format!("due-{number}"))).await.unwrap();
    }

    engine.start();
    create(&engine).await.unwrap();

    eventually("all are made", async || fake.instances() == 1001).await;
    assert_eq!(fake.count("provision"), 1001, "each once");
}

#[tokio::test(flavor = "multi_thread")] // SPEC L-3
async fn instances_that_hang_keep_no_binding_from_being_finished() {
    let (store, fake) = (Arc::new(MemoryStore::default()), FakeBroker::new());
    let engine = engine_on(store.clone(), &fake, OFTEN);
    let mut ready = accepted("cache");
    ready.live(InstanceEvent::Provisioned);
    ready.instance.notes.insert("address".to_owned(), "fake.test:1".into());
    engine.save(&mut ready).await.unwrap();
    bind(&engine).await.unwrap();
    let mut binding = store.binding(&ready.instance.id, &web()).await.unwrap().unwrap();
    binding.live(super::states::BindingEvent::RemovalAsked);
    engine.save_binding(&mut binding).await.unwrap();
    for number in 0..40 {
        fake.next("provision", crate::testing::Misdeed::Hang);
        engine.save(&mut accepted(&format!("hangs-{number}"))).await.unwrap();
    }

    engine.start();

    eventually("access is taken away", async || fake.accounts().is_empty()).await;
    eventually("as many as may are at work", async || fake.count("provision") == 16).await;
}
