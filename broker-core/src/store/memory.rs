//! Records in memory.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{Counts, Living, Place, Store, StoreError, Write};
use crate::{
    Consumer, InstanceName, OpaqueId,
    lifecycle::{
        records::{BindingRecord, InstanceRecord, Operation},
        states::InstanceState,
    },
};

/// Records that live as long as the process.
#[derive(Debug, Default)]
pub(crate) struct MemoryStore(Mutex<Tables>);

#[derive(Debug, Default)]
struct Tables {
    instances: BTreeMap<InstanceName, InstanceRecord>,
    names: HashMap<OpaqueId, InstanceName>,
    bindings: BTreeMap<(OpaqueId, Consumer), BindingRecord>,
    operations: Vec<Operation>,
    places: BTreeMap<OpaqueId, Vec<Place>>,
}

/// How to take back a write that was applied.
enum Undo {
    Instance(InstanceName, Option<Box<InstanceRecord>>),
    Binding((OpaqueId, Consumer), Option<Box<BindingRecord>>),
    Log,
    Places(OpaqueId, Vec<Place>),
}

impl MemoryStore {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().expect("no thread panics while it holds the tables")
    }
}

impl Tables {
    fn apply(&mut self, write: Write, undo: &mut Vec<Undo>) -> Result<(), StoreError> {
        match write {
            Write::PutInstance(mut record) => {
                let name = record.instance.name.clone();
                let stored = self.instances.get(&name).map_or(0, |stored| stored.revision);
                record.revision = next_revision(stored, record.revision, name.as_str())?;
                undo.push(self.set_instance(name, Some(record)));
            }
            Write::DeleteInstance(name, id) => {
                let theirs: Vec<_> = self.bindings_of(&id).map(|record| record.consumer().clone()).collect();
                undo.extend(theirs.into_iter().map(|consumer| self.set_binding((id.clone(), consumer), None)));
                undo.push(self.set_places(id.clone(), Vec::new()));
                if self.names.get(&id) == Some(&name) {
                    undo.push(self.set_instance(name, None));
                }
            }
            Write::PutBinding(mut record) => {
                let key = (record.instance.clone(), record.consumer().clone());
                if !self.names.contains_key(&record.instance) {
                    return Err(StoreError::Conflict(format!("the instance of {}", record.consumer())));
                }
                let stored = self.bindings.get(&key).map_or(0, |stored| stored.revision);
                record.revision = next_revision(stored, record.revision, &record.consumer().to_string())?;
                undo.push(self.set_binding(key, Some(record)));
            }
            Write::DeleteBinding(instance, consumer) => undo.push(self.set_binding((instance, consumer), None)),
            Write::RequireReady(name, id, replica) => {
                let record = self.instances.get(&name).filter(|record| record.instance.id == id);
                let is_free = |record: &InstanceRecord| {
                    record.state == InstanceState::Ready
                        && record.holder.as_ref().is_none_or(|holder| *holder == replica)
                };
                if !record.is_some_and(is_free) {
                    return Err(StoreError::Conflict(format!("instance \"{name}\"")));
                }
            }
            Write::Log(operation) => {
                self.operations.push(Arc::unwrap_or_clone(operation));
                undo.push(Undo::Log);
            }
            Write::Places { name, id, revision, places } => {
                let found = self.instances.get(&name).filter(|record| record.instance.id == id);
                if found.is_some_and(|record| revision.is_none_or(|revision| record.revision == revision)) {
                    undo.push(self.set_places(id, places));
                }
            }
            Write::Within(limit) => {
                let counts = |place: &Place| {
                    place.plan == limit.plan && limit.team.as_ref().is_none_or(|team| place.team == *team)
                };
                let taken = self.places.values().filter(|places| places.iter().any(counts)).count();
                if taken > limit.most as usize {
                    return Err(StoreError::Full(limit.to_string()));
                }
            }
        }
        Ok(())
    }

    fn set_instance(&mut self, name: InstanceName, record: Option<Box<InstanceRecord>>) -> Undo {
        let before = match record {
            Some(record) => {
                self.names.insert(record.instance.id.clone(), name.clone());
                self.instances.insert(name.clone(), *record)
            }
            None => self.instances.remove(&name).inspect(|record| drop(self.names.remove(&record.instance.id))),
        };
        Undo::Instance(name, before.map(Box::new))
    }

    fn set_binding(&mut self, key: (OpaqueId, Consumer), record: Option<Box<BindingRecord>>) -> Undo {
        let before = match record {
            Some(record) => self.bindings.insert(key.clone(), *record),
            None => self.bindings.remove(&key),
        };
        Undo::Binding(key, before.map(Box::new))
    }

    fn set_places(&mut self, id: OpaqueId, places: Vec<Place>) -> Undo {
        let before = if places.is_empty() { self.places.remove(&id) } else { self.places.insert(id.clone(), places) };
        Undo::Places(id, before.unwrap_or_default())
    }

    fn take_back(&mut self, undo: Undo) {
        match undo {
            Undo::Instance(name, before) => drop(self.set_instance(name, before)),
            Undo::Binding(key, before) => drop(self.set_binding(key, before)),
            Undo::Log => drop(self.operations.pop()),
            Undo::Places(id, before) => drop(self.set_places(id, before)),
        }
    }

    fn bindings_of(&self, instance: &OpaqueId) -> impl Iterator<Item = &BindingRecord> {
        self.bindings.values().filter(move |record| record.instance == *instance)
    }
}

fn next_revision(stored: i64, replaces: i64, what: &str) -> Result<i64, StoreError> {
    if stored == replaces { Ok(stored + 1) } else { Err(StoreError::Conflict(what.to_owned())) }
}

/// Those of `all` that are due, the longest due first.
fn due<'a, K: Ord, T: Clone + 'a>(
    all: impl Iterator<Item = &'a T>,
    place: impl Fn(&T) -> Option<(DateTime<Utc>, K)>,
    now: DateTime<Utc>,
    after: Option<&T>,
    limit: usize,
) -> Vec<T> {
    let after = after.and_then(&place);
    let mut due: Vec<_> = all.filter_map(|record| Some((place(record)?, record))).collect();
    due.retain(|(place, _)| place.0 <= now && after.as_ref().is_none_or(|after| place > after));
    due.sort_by(|(one, _), (other, _)| one.cmp(other));
    due.into_iter().take(limit).map(|(_, record)| record.clone()).collect()
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let mut tables = self.tables();
        let mut undo = Vec::new();
        let outcome = writes.into_iter().try_for_each(|write| tables.apply(write, &mut undo));
        if outcome.is_err() {
            undo.into_iter().rev().for_each(|step| tables.take_back(step));
        }
        outcome
    }

    async fn instance(&self, name: &InstanceName) -> Result<Option<InstanceRecord>, StoreError> {
        Ok(self.tables().instances.get(name).cloned())
    }

    async fn instances(&self, after: Option<&InstanceName>, limit: usize) -> Result<Vec<InstanceRecord>, StoreError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let tables = self.tables();
        Ok(tables.instances.range((from, Bound::Unbounded)).map(|(_, record)| record.clone()).take(limit).collect())
    }

    async fn binding(&self, instance: &OpaqueId, consumer: &Consumer) -> Result<Option<BindingRecord>, StoreError> {
        Ok(self.tables().bindings.get(&(instance.clone(), consumer.clone())).cloned())
    }

    async fn bindings(&self, instance: &OpaqueId) -> Result<Vec<BindingRecord>, StoreError> {
        Ok(self.tables().bindings_of(instance).cloned().collect())
    }

    async fn due_instances(
        &self,
        now: DateTime<Utc>,
        after: Option<&InstanceRecord>,
        limit: usize,
    ) -> Result<Vec<InstanceRecord>, StoreError> {
        let place = |record: &InstanceRecord| Some((record.due?, record.instance.name.clone()));
        Ok(due(self.tables().instances.values(), place, now, after, limit))
    }

    async fn due_bindings(
        &self,
        now: DateTime<Utc>,
        after: Option<&BindingRecord>,
        limit: usize,
    ) -> Result<Vec<BindingRecord>, StoreError> {
        let place = |record: &BindingRecord| Some((record.due?, (record.instance.clone(), record.consumer().clone())));
        Ok(due(self.tables().bindings.values(), place, now, after, limit))
    }

    async fn operations(&self, instance: &InstanceName, limit: usize) -> Result<Vec<Operation>, StoreError> {
        let tables = self.tables();
        let theirs = tables.operations.iter().rev().filter(|operation| operation.instance == *instance);
        Ok(theirs.take(limit).cloned().collect())
    }

    async fn forget_operations(&self, before: DateTime<Utc>, limit: usize) -> Result<usize, StoreError> {
        let operations = &mut self.tables().operations;
        let (all, oldest) = (operations.len(), limit.min(operations.len()));
        let is_over = |operation: &mut Operation| operation.ended.is_some_and(|ended| ended < before);
        operations.extract_if(..oldest, is_over).for_each(drop);
        Ok(all - operations.len())
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        let tables = self.tables();
        let instances = tables.instances.values().map(|record| record.state.as_str());
        let bindings = tables.bindings.values().map(|record| record.state.as_str());
        Ok(Counts { instances: count(instances), bindings: count(bindings) })
    }

    async fn beat(&self, replica: &OpaqueId, _: Duration) -> Result<Living, StoreError> {
        Ok(Living::alone(replica))
    }

    fn is_shared(&self) -> bool {
        false
    }
}

fn count<'a>(states: impl Iterator<Item = &'a str>) -> Vec<(String, u64)> {
    let mut counts = BTreeMap::<&str, u64>::new();
    states.for_each(|state| *counts.entry(state).or_default() += 1);
    counts.into_iter().map(|(state, count)| (state.to_owned(), count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test] // SPEC S-1
    async fn memory_keeps_the_contract() {
        super::super::contract::check(&MemoryStore::default()).await;
    }
}
