//! What every store keeps, told as one instance's life.

#[cfg(feature = "postgres")]
use std::{sync::Arc, time::Duration};

use chrono::{TimeDelta, Utc};
use futures::future::join_all;

use super::{Limit, Place, Store, StoreError, Write};
use crate::{
    Actor, Binding, Consumer, Instance, OpaqueId,
    lifecycle::{
        AT_ONCE,
        records::{BindingRecord, InstanceRecord, Operation, OperationKind},
        states::InstanceEvent,
    },
};

/// Runs the contract on a store that has no instances `contract` and `other`.
pub(super) async fn check(store: &dyn Store) {
    reads_what_was_written(store).await;
    refuses_what_was_overtaken(store).await;
    keeps_bindings_with_their_instance(store).await;
    serves_many_at_once(store).await;
    finds_what_is_due(store).await;
    finds_what_is_unfinished_page_by_page(store).await;
    lets_one_of_many_win(store).await;
    commits_on_condition(store).await;
    keeps_within_limits(store).await;
    remembers_what_was_done(store).await;
}

/// Runs the contract's second part on two stores of two replicas that share their records.
#[cfg(feature = "postgres")]
pub(super) async fn check_shared(one: &dyn Store, other: &dyn Store) {
    tells_who_lives(one, other).await;
    lets_one_replica_win(one, other).await;
    keeps_binds_from_held_instances(one, other).await;
    keeps_limits_over_replicas(one, other).await;
}

#[cfg(feature = "postgres")]
async fn tells_who_lives(one: &dyn Store, other: &dyn Store) {
    let (ours, theirs) = (OpaqueId::generate(), OpaqueId::generate());
    let lease = Duration::from_secs(60);

    assert!(!one.beat(&ours, lease).await.unwrap().alive.contains(&theirs));
    assert!(other.beat(&theirs, lease).await.unwrap().alive.contains(&ours));
    let lived = one.beat(&ours, lease).await.unwrap();
    assert!(lived.alive.contains(&theirs) && !lived.was_dead);

    let late = one.beat(&ours, Duration::ZERO).await.unwrap();
    assert!(!late.alive.contains(&theirs), "who was silent for longer than a lease is dead");
    assert!(late.was_dead, "and hears of it");
    assert!(!one.beat(&OpaqueId::generate(), Duration::ZERO).await.unwrap().was_dead, "who is new was not");
}

#[cfg(feature = "postgres")]
async fn lets_one_replica_win(one: &dyn Store, other: &dyn Store) {
    let records: Vec<_> = (0..20).map(|number| an_instance(&format!("shared-{number}"))).collect();
    let put_all = |store| {
        let forth = records.iter();
        join_all(forth.map(move |record| Store::commit(store, vec![put(record)])))
    };
    let put_all_backwards = |store| {
        let back = records.iter().rev();
        join_all(back.map(move |record| Store::commit(store, vec![put(record)])))
    };

    let (ours, theirs) = futures::join!(put_all(one), put_all_backwards(other));

    let won = ours.iter().zip(theirs.iter().rev()).filter(|(ours, theirs)| ours.is_ok() != theirs.is_ok()).count();
    assert_eq!(won, records.len(), "each instance is made by one of the two");
    one.commit(records.iter().map(|record| delete(&record.instance)).collect()).await.unwrap();
    assert!(other.instances(None, 100).await.unwrap().is_empty());
}

#[cfg(feature = "postgres")]
async fn keeps_binds_from_held_instances(one: &dyn Store, other: &dyn Store) {
    let (ours, theirs) = (OpaqueId::generate(), OpaqueId::generate());
    let mut record = an_instance("held");
    record.live(InstanceEvent::Provisioned);
    record.holder = Some(theirs.clone());
    other.commit(vec![put(&record)]).await.unwrap();
    let binding = a_binding(&record.instance, &Consumer::App("web".parse().unwrap()));
    let bind = |replica: &OpaqueId| {
        let ready = Write::RequireReady(record.instance.name.clone(), record.instance.id.clone(), replica.clone());
        vec![ready, put_binding(&binding)]
    };

    assert!(matches!(one.commit(bind(&ours)).await, Err(StoreError::Conflict(_))));
    other.commit(bind(&theirs)).await.unwrap();

    one.commit(vec![delete(&record.instance)]).await.unwrap();
}

async fn reads_what_was_written(store: &dyn Store) {
    let record = an_instance("contract");
    assert!(store.instance(&record.instance.name).await.unwrap().is_none());

    store.commit(vec![put(&record)]).await.unwrap();

    let read = store.instance(&record.instance.name).await.unwrap().unwrap();
    assert_eq!((&read.instance.id, &read.instance.secret), (&record.instance.id, &record.instance.secret));
    assert_eq!((read.revision, read.state), (1, record.state));
    assert_eq!(store.instances(None, 100).await.unwrap().len(), 1);
}

async fn refuses_what_was_overtaken(store: &dyn Store) {
    let mut first = read(store, "contract").await;
    let second = first.clone();
    first.live(InstanceEvent::Provisioned);
    store.commit(vec![put(&first)]).await.unwrap();

    let other = an_instance("other");
    let late = store.commit(vec![put(&other), put(&second)]).await;

    assert!(matches!(late, Err(StoreError::Conflict(_))));
    assert_eq!(read(store, "contract").await.state, first.state);
    let twice = store.commit(vec![put(&an_instance("contract"))]).await;
    assert!(matches!(twice, Err(StoreError::Conflict(_))));
    assert!(store.instance(&"other".parse().unwrap()).await.unwrap().is_none(), "a refused commit left a part behind");
}

async fn keeps_bindings_with_their_instance(store: &dyn Store) {
    let instance = read(store, "contract").await.instance;
    let id = instance.id.clone();
    let app = Consumer::App("web".parse().unwrap());
    let job = Consumer::Job("web".parse().unwrap());
    let of_app = a_binding(&instance, &app);
    let of_job = a_binding(&instance, &job);
    store.commit(vec![put_binding(&of_app), put_binding(&of_job)]).await.unwrap();
    assert_eq!(store.bindings(&id).await.unwrap().len(), 2);
    let read = store.binding(&id, &app).await.unwrap().unwrap();
    assert_eq!((read.binding.secret, read.revision), (of_app.binding.secret, 1));

    store
        .commit(vec![Write::DeleteBinding(id.clone(), job.clone()), Write::DeleteBinding(id.clone(), job)])
        .await
        .unwrap();
    assert_eq!(store.bindings(&id).await.unwrap().len(), 1);

    store.commit(vec![delete(&instance), delete(&instance)]).await.unwrap();
    assert!(store.bindings(&id).await.unwrap().is_empty());
    assert!(store.instances(None, 100).await.unwrap().is_empty());
    let orphan = a_binding(&instance, &app);
    assert!(store.commit(vec![put_binding(&orphan)]).await.is_err());
}

async fn serves_many_at_once(store: &dyn Store) {
    let made: Vec<Instance> = join_all((0..50).map(|number| async move {
        let record = an_instance(&format!("many-{number}"));
        store.commit(vec![put(&record)]).await.unwrap();
        record.instance
    }))
    .await;
    assert_eq!(store.instances(None, 100).await.unwrap().len(), 50);
    store.commit(made.iter().map(delete).collect()).await.unwrap();
    assert!(store.instances(None, 100).await.unwrap().is_empty());
}

/// What is due at once comes before what is due by the clock, each one once however small the pages are, and no longer
/// than it is due.
async fn finds_what_is_unfinished_page_by_page(store: &dyn Store) {
    let now = Utc::now();
    let mut gone = Vec::new();
    for (name, due) in [
        ("b-at-once", AT_ONCE),
        ("a-by-the-clock", now - TimeDelta::seconds(1)),
        ("c-at-once", AT_ONCE),
        ("d-finished", AT_ONCE),
    ] {
        let mut record = an_instance(name);
        record.due = Some(due);
        store.commit(vec![put(&record)]).await.unwrap();
        let mut binding = a_binding(&record.instance, &Consumer::App(name.parse().unwrap()));
        binding.due = Some(due);
        store.commit(vec![put_binding(&binding)]).await.unwrap();
        gone.push(delete(&record.instance));
    }
    let mut finished = read(store, "d-finished").await;
    finished.due = None;
    let consumer = Consumer::App("d-finished".parse().unwrap());
    let mut unbound = store.binding(&finished.instance.id, &consumer).await.unwrap().unwrap();
    unbound.due = None;
    store.commit(vec![put(&finished), put_binding(&unbound)]).await.unwrap();

    let (mut instances, mut seen) = (Vec::new(), None);
    while let Some(next) = store.due_instances(now, seen.as_ref(), 1).await.unwrap().pop() {
        instances.push(next.instance.name.to_string());
        seen = Some(next);
    }
    let (mut bindings, mut seen) = (Vec::new(), None);
    while let Some(next) = store.due_bindings(now, seen.as_ref(), 1).await.unwrap().pop() {
        bindings.push(next.instance_name.to_string());
        seen = Some(next);
    }
    // Bindings that are due at the same moment are in the order of their instances' identifiers, which are random.
    bindings[..2].sort_unstable();
    let wanted = ["b-at-once", "c-at-once", "a-by-the-clock"];
    assert_eq!((instances, bindings), (wanted.map(String::from).to_vec(), wanted.map(String::from).to_vec()));
    store.commit(gone).await.unwrap();
    assert!(store.due_instances(now, None, 9).await.unwrap().is_empty());
    assert!(store.due_bindings(now, None, 9).await.unwrap().is_empty());
}

async fn finds_what_is_due(store: &dyn Store) {
    let now = Utc::now();
    let mut ids = Vec::new();
    for (name, age) in [("due-late", 1), ("due-early", 5), ("due-later", -60)] {
        let mut record = an_instance(name);
        record.due = Some(now - TimeDelta::seconds(age));
        store.commit(vec![put(&record)]).await.unwrap();
        ids.push(delete(&record.instance));
    }
    let instance = read(store, "due-late").await.instance;
    let mut binding = a_binding(&instance, &Consumer::App("web".parse().unwrap()));
    binding.due = Some(now);
    store.commit(vec![put_binding(&binding)]).await.unwrap();

    let names = async |after: Option<&InstanceRecord>, limit| {
        let due = store.due_instances(now, after, limit).await.unwrap();
        due.into_iter().map(|record| record.instance.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(None, 10).await, ["due-early", "due-late"]);
    let first = store.due_instances(now, None, 1).await.unwrap().remove(0);
    assert_eq!(first.instance.name.as_str(), "due-early");
    assert_eq!(names(Some(&first), 9).await, ["due-late"]);
    let due = store.due_bindings(now + TimeDelta::seconds(1), None, 10).await.unwrap();
    assert_eq!((due.len(), due[0].due.is_some(), due[0].revision), (1, true, 1));
    assert!(store.due_bindings(now + TimeDelta::seconds(1), Some(&due[0]), 10).await.unwrap().is_empty());
    assert!(store.due_bindings(now - TimeDelta::seconds(1), None, 10).await.unwrap().is_empty());

    let page = store.instances(Some(&"due-early".parse().unwrap()), 1).await.unwrap();
    assert_eq!(page[0].instance.name.as_str(), "due-late");
    let counts = store.counts().await.unwrap();
    assert_eq!(counts.instances, [("provisioning".to_owned(), 3)]);
    assert_eq!(counts.bindings, [("binding".to_owned(), 1)]);
    store.commit(ids).await.unwrap();
}

async fn lets_one_of_many_win(store: &dyn Store) {
    let record = an_instance("race");
    let inserted = join_all((0..10).map(|_| store.commit(vec![put(&record)]))).await;
    assert_eq!(inserted.iter().filter(|outcome| outcome.is_ok()).count(), 1);

    let known = read(store, "race").await;
    let others: Vec<_> = (0..5).map(|number| an_instance(&format!("bystander-{number}"))).collect();
    let changed = join_all((0..10).map(|_| store.commit(vec![put(&known)])));
    let (changed, bystanders) = futures::join!(changed, join_all(others.iter().map(|it| store.commit(vec![put(it)]))));

    assert_eq!(changed.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(bystanders.iter().all(Result::is_ok), "a conflict in one commit touched another");
    assert_eq!(read(store, "race").await.revision, 2);
    let all = others.into_iter().chain([record]).map(|record| delete(&record.instance));
    store.commit(all.collect()).await.unwrap();
}

async fn commits_on_condition(store: &dyn Store) {
    let (ours, app) = (OpaqueId::generate(), Consumer::App("web".parse().unwrap()));
    let record = an_instance("condition");
    let binding = a_binding(&record.instance, &app);
    store.commit(vec![put(&record)]).await.unwrap();
    let bind = || {
        vec![
            Write::RequireReady(record.instance.name.clone(), record.instance.id.clone(), ours.clone()),
            put_binding(&binding),
        ]
    };

    assert!(matches!(store.commit(bind()).await, Err(StoreError::Conflict(_))), "it is not ready yet");
    assert!(store.binding(&record.instance.id, &app).await.unwrap().is_none());
    let mut ready = read(store, "condition").await;
    ready.live(InstanceEvent::Provisioned);
    store.commit(vec![put(&ready)]).await.unwrap();
    store.commit(bind()).await.unwrap();

    assert!(store.binding(&record.instance.id, &app).await.unwrap().is_some());
    store.commit(vec![delete(&record.instance)]).await.unwrap();
}

/// A new instance on the plan `small`, of which there may be so many.
fn within(name: &str, team: &str, limit: Limit) -> (Vec<Write>, Instance) {
    let record = an_instance(name);
    let Instance { name, id, plan, .. } = record.instance.clone();
    let places = vec![Place { plan, team: team.to_owned() }];
    let taken = Write::Places { name, id, revision: None, places };
    (vec![put(&record), taken, Write::Within(limit)], record.instance)
}

fn at_most(most: u32, team: Option<&str>) -> Limit {
    Limit { plan: "small".parse().unwrap(), team: team.map(str::to_owned), most }
}

async fn keeps_within_limits(store: &dyn Store) {
    let begun: Vec<_> = (0..10).map(|number| within(&format!("limited-{number}"), "data", at_most(3, None))).collect();
    let outcomes = join_all(begun.iter().map(|(writes, _)| store.commit(writes.clone()))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 3);
    let refusal = outcomes.into_iter().find_map(Result::err).unwrap();
    let sentence = "plan \"small\" has 3 instances and may not have more, remove one or choose another plan";
    assert_eq!(refusal.to_string(), sentence);
    assert_eq!(store.instances(None, 100).await.unwrap().len(), 3, "a refused commit left a part behind");

    let of_team = |name: &str, team: &str| store.commit(within(name, team, at_most(1, Some(team))).0);
    of_team("of-web", "web").await.unwrap();
    assert!(matches!(of_team("also-of-web", "web").await, Err(StoreError::Full(_))));
    let one = store.instances(None, 1).await.unwrap().remove(0);
    let Instance { name, id, .. } = one.instance.clone();
    let stale = Write::Places { name: name.clone(), id: id.clone(), revision: Some(99), places: Vec::new() };
    store.commit(vec![stale]).await.unwrap();
    let fifth = || within("fifth", "data", at_most(4, None)).0;
    assert!(matches!(store.commit(fifth()).await, Err(StoreError::Full(_))));
    store.commit(vec![delete(&one.instance)]).await.unwrap();
    store.commit(fifth()).await.unwrap();

    let left = store.instances(None, 100).await.unwrap();
    store.commit(left.iter().map(|record| delete(&record.instance)).collect()).await.unwrap();
}

#[cfg(feature = "postgres")]
async fn keeps_limits_over_replicas(one: &dyn Store, other: &dyn Store) {
    let begin = |store, number: usize| {
        let (writes, _) = within(&format!("replicated-{number}"), "data", at_most(5, None));
        Store::commit(store, writes)
    };
    let forth = join_all((0..15).map(|number| begin(one, number)));
    let back = join_all((15..30).map(|number| begin(other, number)));

    let (ours, theirs) = futures::join!(forth, back);

    assert_eq!(ours.iter().chain(&theirs).filter(|outcome| outcome.is_ok()).count(), 5);
    assert!(ours.into_iter().chain(theirs).all(|outcome| matches!(outcome, Ok(()) | Err(StoreError::Full(_)))));
    let made = one.instances(None, 100).await.unwrap();
    assert_eq!(made.len(), 5);
    one.commit(made.iter().map(|record| delete(&record.instance)).collect()).await.unwrap();
}

async fn remembers_what_was_done(store: &dyn Store) {
    let name = "history".parse().unwrap();
    let mut record = an_instance("history");
    let mut logged = Vec::new();
    for failure in [None, Some("the disk is full".to_owned())] {
        let mut operation = record.operation.clone();
        operation.end(failure);
        logged.push(operation.clone());
        store.commit(vec![Write::Log(Arc::new(operation)), put(&record)]).await.unwrap();
        record = read(store, "history").await;
    }
    let refused = vec![Write::Log(Arc::new(logged[0].clone())), put(&an_instance("history"))];
    assert!(store.commit(refused).await.is_err());
    store.commit(vec![delete(&record.instance)]).await.unwrap();

    logged.reverse();
    assert_eq!(store.operations(&name, 10).await.unwrap(), logged, "the latest first, also after the instance is gone");
    assert_eq!(store.operations(&name, 1).await.unwrap(), logged[..1]);
    let forget = async |before, limit| store.forget_operations(before, limit).await.unwrap();
    assert_eq!(forget(Utc::now() - TimeDelta::hours(1), 10).await, 0);
    assert_eq!(store.operations(&name, 10).await.unwrap().len(), 2);
    assert_eq!(forget(Utc::now() + TimeDelta::hours(1), 1).await, 1);
    assert_eq!(store.operations(&name, 10).await.unwrap(), logged[..1], "the oldest goes first");
    assert_eq!(forget(Utc::now() + TimeDelta::hours(1), 10).await, 1);
    assert!(store.operations(&name, 10).await.unwrap().is_empty());
}

pub(crate) fn an_instance(name: &str) -> InstanceRecord {
    let instance = Instance::new(name.parse().unwrap(), "small".parse().unwrap());
    let operation = Operation::begin(OperationKind::Create, instance.name.clone(), None, Actor::default());
    InstanceRecord::new(instance, operation)
}

pub(super) fn a_binding(instance: &Instance, consumer: &Consumer) -> BindingRecord {
    let whose = Some(consumer.clone());
    let operation = Operation::begin(OperationKind::Bind, instance.name.clone(), whose, Actor::default());
    BindingRecord::new(instance, Binding::new(consumer.clone()), operation)
}

fn delete(instance: &Instance) -> Write {
    Write::DeleteInstance(instance.name.clone(), instance.id.clone())
}

fn put(record: &InstanceRecord) -> Write {
    Write::PutInstance(Box::new(record.clone()))
}

fn put_binding(record: &BindingRecord) -> Write {
    Write::PutBinding(Box::new(record.clone()))
}

async fn read(store: &dyn Store, name: &str) -> InstanceRecord {
    store.instance(&name.parse().unwrap()).await.unwrap().unwrap()
}
