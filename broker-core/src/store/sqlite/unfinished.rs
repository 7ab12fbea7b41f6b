//! What is being worked on right now: the records that are due at once.
//!
//! Each operation makes its record one of them, and a moment later no more. In an index of the file that would be two
//! pages more to write each time, so that they are kept in memory; after a start, and when it is unknown what a commit
//! came to, the whole file is looked through once, in the background.
//!
//! A name may be in here that is finished by now: whoever reads its record sees that. None is ever missing.

use std::{
    collections::BTreeSet,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, Utc};
use rusqlite::Connection;

use super::{super::StoreError, consumer_from, millis};
use crate::{Consumer, InstanceName, OpaqueId};

/// Where a binding is kept.
pub(super) type BindingKey = (OpaqueId, Consumer);

/// Whether a record that is due then stands in the file's index, or in here.
pub(super) fn is_at_once(due: Option<DateTime<Utc>>) -> bool {
    millis(due).is_some_and(|due| due <= 0)
}

#[derive(Default)]
pub(super) struct Unfinished {
    names: Mutex<Names>,
    /// Taken by whoever looks through the file.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Names {
    instances: BTreeSet<InstanceName>,
    bindings: BTreeSet<BindingKey>,
    /// How often it became unknown what is in the file.
    doubts: u64,
    /// Whether the file was looked through since then.
    are_known: bool,
}

impl Unfinished {
    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A commit has made an instance due then.
    pub(super) fn note_instance(&self, name: &InstanceName, due: Option<DateTime<Utc>>) {
        note(&mut self.names().instances, name, is_at_once(due));
    }

    /// A commit has made a binding due then.
    pub(super) fn note_binding(&self, key: &BindingKey, due: Option<DateTime<Utc>>) {
        note(&mut self.names().bindings, key, is_at_once(due));
    }

    /// It is unknown what a commit came to.
    pub(super) fn doubt(&self) {
        let mut names = self.names();
        *names = Names { doubts: names.doubts + 1, ..Names::default() };
    }

    /// All instances after one, and all bindings after one, in the order of their keys.
    pub(super) fn instances(&self, after: Option<&InstanceName>) -> Vec<InstanceName> {
        self.names().instances.range((behind(after), Bound::Unbounded)).cloned().collect()
    }

    pub(super) fn bindings(&self, after: Option<&BindingKey>) -> Vec<BindingKey> {
        self.names().bindings.range((behind(after), Bound::Unbounded)).cloned().collect()
    }

    /// Returns when all that is in the file is known; `look` reads it.
    pub(super) async fn know<F>(&self, look: impl Fn() -> F) -> Result<(), StoreError>
    where
        F: Future<Output = Result<Found, StoreError>>,
    {
        if self.names().are_known {
            return Ok(());
        }
        let _looking = self.looking.lock().await;
        loop {
            let doubts = {
                let names = self.names();
                if names.are_known {
                    return Ok(());
                }
                names.doubts
            };
            let found = look().await?;
            let mut names = self.names();
            if names.doubts == doubts {
                names.instances.extend(found.instances);
                names.bindings.extend(found.bindings);
                names.are_known = true;
            }
        }
    }
}

fn note<K: Ord + Clone>(names: &mut BTreeSet<K>, name: &K, is_unfinished: bool) {
    if !is_unfinished {
        names.remove(name);
    } else if !names.contains(name) {
        names.insert(name.clone());
    }
}

fn behind<K>(after: Option<&K>) -> Bound<&K> {
    after.map_or(Bound::Unbounded, Bound::Excluded)
}

/// What the file says is unfinished.
pub(super) struct Found {
    instances: Vec<InstanceName>,
    bindings: Vec<BindingKey>,
}

/// Looks through the whole file.
pub(super) fn look(connection: &Connection) -> Result<Found, StoreError> {
    let mut instances = connection.prepare("SELECT name FROM instance WHERE due <= 0")?;
    let names = instances.query_map([], |row| row.get::<_, String>(0))?;
    let instances =
        names.map(|name| parsed(InstanceName::made_by_platform(&name?))).collect::<Result<_, StoreError>>()?;
    let mut bindings = connection.prepare("SELECT instance_id, kind, consumer FROM binding WHERE due <= 0")?;
    let keys = bindings.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let bindings = keys.map(|key| {
        let (instance, kind, name): (String, String, String) = key?;
        let consumer =
            consumer_from(&kind, name).ok_or_else(|| StoreError::Failed("a consumer's name is broken".into()))?;
        Ok((parsed(instance.parse())?, consumer))
    });
    Ok(Found { instances, bindings: bindings.collect::<Result<_, StoreError>>()? })
}

fn parsed<T, E: std::error::Error + Send + Sync + 'static>(name: Result<T, E>) -> Result<T, StoreError> {
    name.map_err(|cause| StoreError::Failed(Box::new(cause)))
}
