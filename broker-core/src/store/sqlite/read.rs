//! Rows as they are read, and the connections that lists are read by.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use chrono::{DateTime, Utc};
use rusqlite::{Connection, Row, params};

use super::{
    super::{StoreError, consumer_key},
    about_binding, about_instance, millis,
    unfinished::BindingKey,
};
use crate::{
    InstanceName, SealingKey,
    lifecycle::records::{BindingRecord, InstanceRecord},
};

/// A row as it was read, and what its body is about.
pub(super) struct Sealed {
    about: String,
    due: Option<i64>,
    revision: i64,
    pub(super) body: Vec<u8>,
}

pub(super) fn sealed_instance(row: &Row<'_>) -> rusqlite::Result<Sealed> {
    let about = about_instance(row.get_ref("id")?.as_str()?);
    Ok(Sealed { about, due: row.get("due")?, revision: row.get("revision")?, body: row.get("body")? })
}

pub(super) fn sealed_binding(row: &Row<'_>) -> rusqlite::Result<Sealed> {
    let (instance, kind) = (row.get_ref("instance_id")?, row.get_ref("kind")?);
    let about = about_binding(instance.as_str()?, kind.as_str()?, row.get_ref("consumer")?.as_str()?);
    Ok(Sealed { about, due: row.get("due")?, revision: row.get("revision")?, body: row.get("body")? })
}

/// A record whose due time and revision stand beside its body.
pub(super) trait Opened: serde::de::DeserializeOwned {
    fn beside(self, due: Option<DateTime<Utc>>, revision: i64) -> Self;
}

impl Opened for InstanceRecord {
    fn beside(self, due: Option<DateTime<Utc>>, revision: i64) -> Self {
        Self { due, revision, ..self }
    }
}

impl Opened for BindingRecord {
    fn beside(self, due: Option<DateTime<Utc>>, revision: i64) -> Self {
        Self { due, revision, ..self }
    }
}

impl Sealed {
    pub(super) fn open<T: Opened>(self, key: &SealingKey) -> Result<T, StoreError> {
        let plain = key.open(&self.body, self.about.as_bytes())?;
        let record: T = serde_json::from_slice(&plain)?;
        Ok(record.beside(self.due.and_then(DateTime::from_timestamp_millis), self.revision))
    }
}

/// Connections for lists, opened when they are wanted.
pub(super) struct Readers {
    pub(super) path: PathBuf,
    pub(super) connect: fn(&Path) -> Result<Connection, StoreError>,
    pub(super) idle: Mutex<Vec<Connection>>,
}

/// How many connections for lists are kept open.
const IDLE_READERS: usize = 4;

impl Readers {
    pub(super) fn with<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = self.idle().pop();
        let connection = idle.map_or_else(|| self.open(), Ok)?;
        let outcome = read(&connection)?;
        // One that failed is not used again.
        let mut idle = self.idle();
        if idle.len() < IDLE_READERS {
            idle.push(connection);
        }
        Ok(outcome)
    }

    fn open(&self) -> Result<Connection, StoreError> {
        let connection = (self.connect)(&self.path)?;
        // In KiB: lists go through the pages once, to keep many of them would be of no use.
        connection.pragma_update(None, "cache_size", -1024)?;
        Ok(connection)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) const INSTANCES_PAGE: &str =
    "SELECT id, due, revision, body FROM instance WHERE name > ? ORDER BY name LIMIT ?";
pub(super) const BINDINGS_OF: &str = "SELECT instance_id, kind, consumer, due, revision, body FROM binding \
    WHERE instance_id = ? ORDER BY kind, consumer";
pub(super) const INSTANCES_DUE: &str = "SELECT id, due, revision, body FROM instance \
    WHERE due > 0 AND due <= ? AND (due, name) > (?, ?) ORDER BY due, name LIMIT ?";

pub(super) const BINDINGS_DUE: &str = "SELECT instance_id, kind, consumer, due, revision, body FROM binding \
    WHERE due > 0 AND due <= ? AND (due, instance_id, kind, consumer) > (?, ?, ?, ?) \
    ORDER BY due, instance_id, kind, consumer LIMIT ?";

pub(super) fn list<T: Opened>(
    connection: &Connection,
    key: &SealingKey,
    query: &str,
    parameters: impl rusqlite::Params,
    sealed: impl FnMut(&Row<'_>) -> rusqlite::Result<Sealed>,
) -> Result<Vec<T>, StoreError> {
    let mut query = connection.prepare_cached(query)?;
    let rows = query.query_map(parameters, sealed)?;
    rows.map(|row| row?.open(key)).collect()
}

/// What is due by a moment, from the place on where the reader is: first those of `at_once` that still are, then what
/// the index has.
pub(super) struct Due<K> {
    pub(super) by: DateTime<Utc>,
    pub(super) at_once: Vec<K>,
    /// The last one that was seen, and when that was due.
    pub(super) after: Option<(Option<DateTime<Utc>>, K)>,
    pub(super) limit: usize,
}

impl<K> Due<K> {
    fn moment(&self) -> i64 {
        self.after.as_ref().and_then(|(due, _)| millis(*due)).unwrap_or(0)
    }

    fn place(&self) -> Option<&K> {
        self.after.as_ref().map(|(_, key)| key)
    }

    fn unfinished<T>(&self, read: impl Fn(&K) -> Result<Vec<T>, StoreError>) -> Result<Vec<T>, StoreError> {
        let mut found = Vec::new();
        for key in &self.at_once {
            if found.len() == self.limit {
                break;
            }
            found.extend(read(key)?);
        }
        Ok(found)
    }
}

pub(super) fn due_instances(
    connection: &Connection,
    key: &SealingKey,
    due: &Due<InstanceName>,
) -> Result<Vec<InstanceRecord>, StoreError> {
    const ONE: &str = "SELECT id, due, revision, body FROM instance WHERE name = ? AND due <= 0";
    let mut found = due.unfinished(|name| list(connection, key, ONE, [name.as_str()], sealed_instance))?;
    let name = due.place().map_or("", InstanceName::as_str);
    let rest = as_limit(due.limit - found.len());
    let parameters = params![due.by.timestamp_millis(), due.moment(), name, rest];
    found.extend(list(connection, key, INSTANCES_DUE, parameters, sealed_instance)?);
    Ok(found)
}

pub(super) fn due_bindings(
    connection: &Connection,
    key: &SealingKey,
    due: &Due<BindingKey>,
) -> Result<Vec<BindingRecord>, StoreError> {
    const ONE: &str = "SELECT instance_id, kind, consumer, due, revision, body FROM binding \
        WHERE instance_id = ? AND kind = ? AND consumer = ? AND due <= 0";
    let mut found = due.unfinished(|(instance, consumer)| {
        let (kind, name) = consumer_key(consumer);
        list(connection, key, ONE, [instance.as_str(), kind, name], sealed_binding)
    })?;
    let place = due.place().map(|(instance, consumer)| (instance.as_str(), consumer_key(consumer)));
    let (instance, (kind, name)) = place.unwrap_or_default();
    let rest = as_limit(due.limit - found.len());
    let parameters = params![due.by.timestamp_millis(), due.moment(), instance, kind, name, rest];
    found.extend(list(connection, key, BINDINGS_DUE, parameters, sealed_binding)?);
    Ok(found)
}

pub(super) fn as_limit(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
