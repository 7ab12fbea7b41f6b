//! What every store keeps, told as one instance's life.

use super::{Store, StoreError, Write};
use crate::{
    Binding, Consumer, Instance, OpaqueId,
    lifecycle::{
        records::{Actor, BindingRecord, InstanceRecord, Operation, OperationKind},
        states::InstanceEvent,
    },
};

/// Runs the contract on a store that has no instances `contract` and `other`.
pub(super) async fn check(store: &dyn Store) {
    reads_what_was_written(store).await;
    refuses_what_was_overtaken(store).await;
    keeps_bindings_with_their_instance(store).await;
    serves_many_at_once(store).await;
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

    store.commit(vec![Write::DeleteInstance(id.clone()), Write::DeleteInstance(id.clone())]).await.unwrap();
    assert!(store.bindings(&id).await.unwrap().is_empty());
    assert!(store.instances(None, 100).await.unwrap().is_empty());
    let orphan = a_binding(&instance, &app);
    assert!(store.commit(vec![put_binding(&orphan)]).await.is_err());
}

async fn serves_many_at_once(store: &dyn Store) {
    let ids: Vec<OpaqueId> = futures::future::join_all((0..50).map(|number| async move {
        let record = an_instance(&format!("many-{number}"));
        store.commit(vec![put(&record)]).await.unwrap();
        record.instance.id
    }))
    .await;
    assert_eq!(store.instances(None, 100).await.unwrap().len(), 50);
    store.commit(ids.into_iter().map(Write::DeleteInstance).collect()).await.unwrap();
    assert!(store.instances(None, 100).await.unwrap().is_empty());
}

pub(super) fn an_instance(name: &str) -> InstanceRecord {
    let instance = Instance::new(name.parse().unwrap(), "small".parse().unwrap());
    let operation = Operation::begin(OperationKind::Create, instance.name.clone(), None, Actor::default());
    InstanceRecord::new(instance, operation)
}

fn a_binding(instance: &Instance, consumer: &Consumer) -> BindingRecord {
    let whose = Some(consumer.clone());
    let operation = Operation::begin(OperationKind::Bind, instance.name.clone(), whose, Actor::default());
    BindingRecord::new(instance, Binding::new(consumer.clone()), operation)
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
