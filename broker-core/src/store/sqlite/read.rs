//! Rows as they are read, on connections of their own.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use chrono::{DateTime, Utc};
use rusqlite::{Connection, Row};

use super::{super::StoreError, about_binding, about_instance};
use crate::{
    SealingKey,
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
        let connection = idle.map_or_else(|| (self.connect)(&self.path), Ok)?;
        let outcome = read(&connection)?;
        // One that failed is not used again.
        let mut idle = self.idle();
        if idle.len() < IDLE_READERS {
            idle.push(connection);
        }
        Ok(outcome)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) const INSTANCES_PAGE: &str =
    "SELECT id, due, revision, body FROM instance WHERE name > ? ORDER BY name LIMIT ?";
pub(super) const INSTANCES_DUE: &str =
    "SELECT id, due, revision, body FROM instance WHERE due <= ? ORDER BY due LIMIT ? OFFSET ?";
pub(super) const BINDINGS_OF: &str = "SELECT instance_id, kind, consumer, due, revision, body FROM binding \
    WHERE instance_id = ? ORDER BY kind, consumer";
pub(super) const BINDINGS_DUE: &str = "SELECT instance_id, kind, consumer, due, revision, body FROM binding \
    WHERE due <= ? ORDER BY due LIMIT ? OFFSET ?";

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

pub(super) fn as_limit(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
