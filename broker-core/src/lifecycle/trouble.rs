//! A whole engine whose records fail in the middle, whose clock was set back, or that finds a lot to do.

mod chaos;
mod store;

use std::{sync::Arc, time::Duration};

use chrono::{TimeDelta, Utc};

use self::store::{Trouble, Troubled};
use super::{
    Ask, Change, Engine, NewInstance, OperationKind, Outcome, Schemas, Timing, Wishes,
    locks::Mode,
    records::{BindingRecord, InstanceRecord},
    states::{BindingEvent, BindingState, InstanceEvent, InstanceState},
};
use crate::{
    Broker as _, BrokerError, Catalog, Consumer, EnvVars, InstanceName, Parameters, Plan, Result,
    store::{MemoryStore, Store, contract},
    testing::{FakeBroker, Misdeed, eventually},
};

/// An engine that repeats nothing at once and pauses for so long between its rounds.
fn engine_on(store: Arc<dyn Store>, fake: &FakeBroker, reconcile_every: Duration) -> Arc<Engine> {
    let catalog = fake.catalog();
    let schemas = Schemas::of(&catalog).unwrap();
    let timing = Timing { retries: 0, reconcile_every, ..Timing::default() };
    Engine::new(Arc::new(fake.clone()), catalog, schemas, store, timing, None)
}

const OFTEN: Duration = Duration::from_millis(20);

async fn with_trouble() -> (Arc<Troubled>, FakeBroker, Arc<Engine>) {
    let (store, fake) = (Troubled::on(Arc::new(MemoryStore::default())), FakeBroker::new());
    let engine = engine_on(store.clone(), &fake, OFTEN);
    engine.start();
    (store, fake, engine)
}

async fn create(engine: &Arc<Engine>) -> Result<Outcome<()>> {
    create_as(engine, Ask::default()).await
}

async fn create_as(engine: &Arc<Engine>, ask: Ask) -> Result<Outcome<()>> {
    engine.create(NewInstance { name: name(), plan: None, wishes: wishes() }, ask).await
}

async fn update(engine: &Arc<Engine>, plan: &str) -> Result<Outcome<()>> {
    let plan = Some(plan.parse().unwrap());
    engine.update(Change { name: name(), plan, upgrades: false, wishes: wishes() }, Ask::default()).await
}

fn wishes() -> Wishes {
    Wishes { team: "data".to_owned(), description: String::new(), tags: Vec::new(), parameters: Parameters::new() }
}

async fn bind(engine: &Arc<Engine>) -> Result<Outcome<EnvVars>> {
    bind_as(engine, Ask::default()).await
}

async fn bind_as(engine: &Arc<Engine>, ask: Ask) -> Result<Outcome<EnvVars>> {
    engine.bind(name(), web(), Parameters::new(), ask).await
}

/// What the records have of the binding.
async fn binding(store: &Troubled) -> Option<BindingRecord> {
    let instance = store.instance(&name()).await.unwrap()?;
    store.binding(&instance.instance.id, &web()).await.unwrap()
}

fn name() -> InstanceName {
    "cache".parse().unwrap()
}

fn web() -> Consumer {
    Consumer::App("web".parse().unwrap())
}

#[tokio::test] // SPEC L-12
async fn what_is_done_is_answered_by_what_the_records_have_once_they_can_be_asked() {
    // The intent, then the outcome.
    for troubles in [[Trouble::AnswerLost, Trouble::None], [Trouble::None, Trouble::Lost], [Trouble::AnswerLost; 2]] {
        let (store, fake, engine) = with_trouble().await;

        store.next(&troubles);
        create(&engine).await.unwrap();
        store.next(&troubles);
        update(&engine, "large").await.unwrap();
        store.next(&troubles);
        bind(&engine).await.unwrap();
        store.next(&troubles);
        engine.rotate(name(), web(), Ask::default()).await.unwrap();
        assert_eq!((fake.instances(), fake.accounts().len()), (1, 2));
        store.next(&troubles);
        engine.unbind(name(), web(), Ask::default()).await.unwrap();

        assert_eq!(fake.plan().as_deref(), Some("large"));
        assert_eq!(fake.accounts().len(), 0);
        let calls = ["provision", "update", "bind", "unbind"].map(|call| fake.count(call));
        assert_eq!(calls, [1, 1, 2, 2], "the author is asked once: {troubles:?}");
        assert!(engine.stop(Duration::from_secs(5)).await);
    }
}

/// An ask that is answered soon.
fn soon() -> Ask {
    Ask { wait: Some(Duration::from_millis(200)), accepts_incomplete: true, ..Ask::default() }
}

#[tokio::test] // SPEC I-2
async fn a_create_whose_outcome_was_not_written_in_time_leaves_nothing_behind() {
    for trouble in [Trouble::Away, Trouble::AwayAfter] {
        let (store, fake, engine) = with_trouble().await;
        store.next(&[Trouble::None, trouble]);

        let refusal = create_as(&engine, soon()).await.unwrap_err();

        assert!(matches!(refusal, BrokerError::Store(_)), "{refusal}");
        store.come_back();
        eventually("nothing is left", async || fake.instances() == 0).await;
        eventually("its name is free", async || store.instance(&name()).await.unwrap().is_none()).await;
        create(&engine).await.unwrap();
        assert!(engine.stop(Duration::from_secs(5)).await);
    }
}

#[tokio::test] // SPEC I-2
async fn a_refusal_that_was_not_written_in_time_leaves_nothing_behind() {
    let (store, fake, engine) = with_trouble().await;
    fake.next("provision", Misdeed::Fail);
    store.next(&[Trouble::None, Trouble::Away]);

    create_as(&engine, soon()).await.unwrap_err();

    store.come_back();
    eventually("nothing is left", async || fake.instances() == 0).await;
    eventually("its name is free", async || store.instance(&name()).await.unwrap().is_none()).await;
    assert_eq!(fake.count("provision"), 1, "what was refused is not made after all");
}

#[tokio::test] // SPEC B-6
async fn a_bind_whose_outcome_was_not_written_in_time_leaves_no_credentials_that_work() {
    for trouble in [Trouble::Away, Trouble::AwayAfter] {
        let (store, fake, engine) = with_trouble().await;
        create(&engine).await.unwrap();
        store.next(&[Trouble::None, trouble]);

        let refusal = bind_as(&engine, soon()).await.unwrap_err();

        assert!(matches!(refusal, BrokerError::Store(_)), "{refusal}");
        store.come_back();
        eventually("no account is left", async || fake.accounts().is_empty()).await;
        bind(&engine).await.unwrap();
        assert!(engine.stop(Duration::from_secs(5)).await);
    }
}

#[tokio::test] // SPEC L-12
async fn nobody_hears_no_before_it_is_known_whether_yes_is_written_not_even_by_a_crash() {
    for trouble in [Trouble::Away, Trouble::AwayAfter] {
        for work in ["create", "bind"] {
            let (store, fake, engine) = with_trouble().await;
            if work == "bind" {
                create(&engine).await.unwrap();
            }
            store.next(&[Trouble::None, trouble]);
            let asked = engine.clone();
            let caller = tokio::spawn(async move {
                if work == "create" { create(&asked).await.map(drop) } else { bind(&asked).await.map(drop) }
            });
            eventually("it is tried again", async || store.missed() > 1).await;

            engine.kill().await;

            let unheard = caller.await.unwrap().unwrap_err();
            assert!(!unheard.is_of_records(), "the caller lost its connection and heard no word: {unheard}");
            store.come_back();
            let engine = engine_on(store.clone(), &fake, OFTEN);
            engine.start();
            let asked = engine.clone();
            eventually("what is there can be used and removed", async || bind(&asked).await.is_ok()).await;
            assert_eq!((fake.instances(), fake.accounts().len()), (1, 1));
            engine.remove(name(), Ask::default()).await.unwrap();
            assert_eq!((fake.instances(), fake.accounts().len()), (0, 0));
        }
    }
}

#[tokio::test] // SPEC B-7
async fn an_unbind_whose_outcome_is_not_written_is_finished_as_soon_as_the_records_answer() {
    for (misdeed, trouble) in [(None, Trouble::Away), (None, Trouble::AwayAfter), (Some(Misdeed::Fail), Trouble::Away)]
    {
        let (store, fake, engine) = with_trouble().await;
        create(&engine).await.unwrap();
        let Outcome::Done(env) = bind(&engine).await.unwrap() else { panic!("bound at once") };
        if let Some(misdeed) = misdeed {
            fake.next("unbind", misdeed);
        }
        store.next(&[Trouble::None, trouble]);

        let answer = engine.unbind(name(), web(), soon()).await.unwrap();

        assert!(matches!(answer, Outcome::GoesOn(_)), "{answer:?}");
        assert!(fake.accounts().is_empty());
        store.come_back();
        let state = async || binding(&store).await.map(|binding| binding.state);
        eventually("the records know", async || state().await == Some(BindingState::Gone)).await;
        assert!(fake.accounts().is_empty());
        let refusal = engine.unbind(name(), web(), Ask::default()).await.unwrap_err();
        assert!(matches!(refusal, BrokerError::NotBound { .. }), "{refusal}");
        assert_eq!(bind(&engine).await.unwrap(), Outcome::Done(env), "the secret is remembered");
        assert!(engine.stop(Duration::from_secs(5)).await);
    }
}

#[tokio::test] // SPEC L-12
async fn a_caller_whose_time_comes_while_the_records_are_away_hears_how_it_ends() {
    for trouble in [Trouble::Away, Trouble::AwayAfter] {
        let (store, fake, engine) = with_trouble().await;
        fake.next("provision", Misdeed::Hang);
        store.next(&[Trouble::None, trouble]);
        let asked = engine.clone();
        let caller = tokio::spawn(async move { create_as(&asked, soon()).await });
        eventually("the answer is not written", async || store.is_away()).await;

        store.come_back();
        fake.release();

        assert_eq!(caller.await.unwrap().unwrap(), Outcome::Done(()));
        assert_eq!(store.instance(&name()).await.unwrap().unwrap().state, InstanceState::Ready);
        assert!(engine.stop(Duration::from_secs(5)).await);
    }
}

/// An engine whose plan lets credentials end soon.
fn engine_that_ends_credentials(store: Arc<dyn Store>, fake: &FakeBroker) -> Arc<Engine> {
    let soon = Plan::new("small", "ends soon").bindings_expire_after(Duration::from_millis(200), Duration::ZERO);
    let catalog = Catalog::new("fake".parse().unwrap()).plan(soon);
    let timing = Timing { retries: 0, reconcile_every: OFTEN, ..Timing::default() };
    Engine::new(Arc::new(fake.clone()), catalog.clone(), Schemas::of(&catalog).unwrap(), store, timing, None)
}

#[tokio::test] // SPEC B-9, L-3
async fn a_crash_at_any_point_of_an_expiry_leaves_no_access_and_no_error() {
    use Trouble::{DiesAfter, DiesBefore, None};
    // What becomes of the intent, and of the outcome; without either, it dies while the author is at work.
    for point in [&[DiesBefore][..], &[DiesAfter], &[], &[None, DiesBefore], &[None, DiesAfter]] {
        let (memory, fake): (Arc<dyn Store>, _) = (Arc::new(MemoryStore::default()), FakeBroker::new());
        let dying = Troubled::on(memory.clone());
        let engine = engine_that_ends_credentials(dying.clone(), &fake);
        engine.start();
        create(&engine).await.unwrap();
        dying.next(&[&[None, None], point].concat());
        if point.is_empty() {
            fake.next("unbind", Misdeed::Hang);
        }
        let whose = Consumer::Binding("b1".parse().unwrap());
        engine.bind(name(), whose.clone(), Parameters::new(), Ask::default()).await.unwrap();
        let in_call = eventually("the author is at work", async || point.is_empty() && fake.count("unbind") == 1);
        tokio::select! {
            () = dying.died() => {}
            () = in_call => {}
        }
        engine.kill().await;

        let engine = engine_that_ends_credentials(memory.clone(), &fake);
        engine.start();

        let instance = memory.instance(&name()).await.unwrap().unwrap().instance.id;
        let state = async || memory.binding(&instance, &whose).await.unwrap().unwrap().state;
        eventually("it is over", async || state().await == BindingState::Gone).await;
        assert!(fake.accounts().is_empty());
        let asked = fake.count("unbind");
        assert!((1..=2).contains(&asked), "once by each process at most: {asked}");
        let rounds = fake.count("reconcile");
        eventually("a few rounds are over", async || fake.count("reconcile") > rounds + 3).await;
        assert_eq!(fake.count("unbind"), asked, "and not again: {point:?}");
        let log = memory.operations(&name(), 10).await.unwrap();
        let ends: Vec<_> = log.iter().filter(|it| it.kind == OperationKind::Unbind).map(|it| &it.failure).collect();
        assert_eq!(ends, [&Option::None], "{point:?}");
        assert!(engine.stop(Duration::from_secs(5)).await);
    }
}

#[tokio::test] // SPEC B-9, L-3
async fn credentials_that_end_while_nothing_runs_are_taken_away_at_the_next_start() {
    let (memory, fake): (Arc<dyn Store>, _) = (Arc::new(MemoryStore::default()), FakeBroker::new());
    let engine = engine_that_ends_credentials(memory.clone(), &fake);
    create(&engine).await.unwrap();
    let whose = Consumer::Binding("b1".parse().unwrap());
    engine.bind(name(), whose.clone(), Parameters::new(), Ask::default()).await.unwrap();
    engine.kill().await;
    assert_eq!(fake.accounts().len(), 1, "an engine that was not started looks after nothing");

    let engine = engine_that_ends_credentials(memory.clone(), &fake);
    engine.start();

    eventually("access is taken away", async || fake.accounts().is_empty()).await;
    assert!(engine.stop(Duration::from_secs(5)).await);
    assert_eq!(fake.count("unbind"), 1);
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
    finishes_a_binding_while_instances_hang(false).await;
}

#[tokio::test(flavor = "multi_thread")] // SPEC L-3
async fn nor_do_they_keep_one_from_the_next_round_that_was_busy_in_the_first() {
    finishes_a_binding_while_instances_hang(true).await;
}

async fn finishes_a_binding_while_instances_hang(is_busy_at_first: bool) {
    let (store, fake) = (Arc::new(MemoryStore::default()), FakeBroker::new());
    let engine = engine_on(store.clone(), &fake, OFTEN);
    let mut ready = accepted("cache");
    ready.live(InstanceEvent::Provisioned);
    ready.instance.notes.insert("address".to_owned(), "fake.test:1".into());
    engine.save(&mut ready).await.unwrap();
    bind(&engine).await.unwrap();
    let mut binding = store.binding(&ready.instance.id, &web()).await.unwrap().unwrap();
    binding.live(BindingEvent::RemovalAsked);
    engine.save_binding(&mut binding).await.unwrap();
    for number in 0..40 {
        fake.next("provision", Misdeed::Hang);
        engine.save(&mut accepted(&format!("hangs-{number}"))).await.unwrap();
    }

    let busy = if is_busy_at_first { engine.lock(&name(), Mode::Exclusive, "a test").await.ok() } else { None };

    engine.start();

    if let Some(busy) = busy {
        eventually("as many as may are at work", async || fake.count("provision") == 16).await;
        drop(busy);
    }
    eventually("access is taken away", async || fake.accounts().is_empty()).await;
    eventually("as many as may are at work", async || fake.count("provision") == 16).await;
}
