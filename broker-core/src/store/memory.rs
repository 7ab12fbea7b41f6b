//! Records in memory.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use async_trait::async_trait;

use super::{Store, StoreError, Write};
use crate::{
    Consumer, InstanceName, OpaqueId,
    lifecycle::records::{BindingRecord, InstanceRecord},
};

/// Records that live as long as the process.
#[derive(Debug, Default)]
pub(crate) struct MemoryStore(Mutex<Tables>);

#[derive(Clone, Debug, Default)]
struct Tables {
    instances: BTreeMap<InstanceName, InstanceRecord>,
    bindings: BTreeMap<(OpaqueId, Consumer), BindingRecord>,
}

impl MemoryStore {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().expect("no thread panics while it holds the tables")
    }
}

impl Tables {
    fn apply(&mut self, write: Write) -> Result<(), StoreError> {
        match write {
            Write::PutInstance(mut record) => {
                let name = record.instance.name.clone();
                let stored = self.instances.get(&name).map_or(0, |stored| stored.revision);
                record.revision = next_revision(stored, record.revision, name.as_str())?;
                self.instances.insert(name, record);
            }
            Write::DeleteInstance(id) => {
                self.instances.retain(|_, record| record.instance.id != id);
                self.bindings.retain(|(instance, _), _| *instance != id);
            }
            Write::PutBinding(mut record) => {
                let key = (record.instance.clone(), record.consumer().clone());
                if !self.instances.values().any(|known| known.instance.id == record.instance) {
                    return Err(StoreError::Conflict(format!("the instance of {}", record.consumer())));
                }
                let stored = self.bindings.get(&key).map_or(0, |stored| stored.revision);
                record.revision = next_revision(stored, record.revision, &record.consumer().to_string())?;
                self.bindings.insert(key, record);
            }
            Write::DeleteBinding(instance, consumer) => {
                self.bindings.remove(&(instance, consumer));
            }
        }
        Ok(())
    }
}

fn next_revision(stored: i64, replaces: i64, what: &str) -> Result<i64, StoreError> {
    if stored == replaces { Ok(stored + 1) } else { Err(StoreError::Conflict(what.to_owned())) }
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let mut tables = self.tables();
        let mut changed = tables.clone();
        writes.into_iter().try_for_each(|write| changed.apply(write))?;
        *tables = changed;
        Ok(())
    }

    async fn instance(&self, name: &InstanceName) -> Result<Option<InstanceRecord>, StoreError> {
        Ok(self.tables().instances.get(name).cloned())
    }

    async fn instances(&self) -> Result<Vec<InstanceRecord>, StoreError> {
        Ok(self.tables().instances.values().cloned().collect())
    }

    async fn binding(&self, instance: &OpaqueId, consumer: &Consumer) -> Result<Option<BindingRecord>, StoreError> {
        Ok(self.tables().bindings.get(&(instance.clone(), consumer.clone())).cloned())
    }

    async fn bindings(&self, instance: &OpaqueId) -> Result<Vec<BindingRecord>, StoreError> {
        let tables = self.tables();
        let theirs = tables.bindings.values().filter(|record| record.instance == *instance);
        Ok(theirs.cloned().collect())
    }

    async fn all_bindings(&self) -> Result<Vec<BindingRecord>, StoreError> {
        Ok(self.tables().bindings.values().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test] // SPEC S-1
    async fn memory_keeps_the_contract() {
        super::super::contract::check(&MemoryStore::default()).await;
    }
}
