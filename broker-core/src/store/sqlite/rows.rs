//! Changes of the tables, a commit whole or not at all.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, params};

use super::super::{Limit, Place, StoreError, consumer_key};
use crate::{
    Consumer, InstanceName, OpaqueId,
    lifecycle::records::{BindingRecord, InstanceRecord, Operation},
};

/// A [`Write`] as the database takes it: bodies sealed, records at the revision that they come to.
pub(super) enum RowWrite {
    Instance { record: Arc<InstanceRecord>, body: Vec<u8> },
    NoInstance(InstanceName, OpaqueId),
    Binding { record: Arc<BindingRecord>, body: Vec<u8> },
    NoBinding(OpaqueId, Consumer),
    Ready(InstanceName, OpaqueId),
    Log { operation: Arc<Operation>, body: String },
    Places { name: InstanceName, id: OpaqueId, revision: Option<i64>, places: Vec<Place> },
    Within(Limit),
}

impl RowWrite {
    /// Whether it may be refused.
    fn is_conditional(&self) -> bool {
        match self {
            Self::Instance { .. } | Self::Binding { .. } | Self::Ready(..) | Self::Within(..) => true,
            Self::NoInstance(..) | Self::NoBinding(..) | Self::Log { .. } | Self::Places { .. } => false,
        }
    }
}
/// What a commit took away from under a name.
#[derive(Default)]
pub(super) struct Freed {
    pub(super) instances: Vec<InstanceName>,
    pub(super) bindings: Vec<(OpaqueId, Consumer)>,
}

/// All rows of a commit or none.
pub(super) fn apply_commit(connection: &Connection, rows: &[RowWrite]) -> Result<Freed, StoreError> {
    let mut freed = Freed::default();
    let conditions = rows.iter().filter(|row| row.is_conditional()).count();
    let deletes = rows.iter().any(|row| matches!(row, RowWrite::NoInstance(..) | RowWrite::NoBinding(..)));
    if conditions <= 1 && !deletes {
        // The one that may be refused goes first: then there is nothing to take back.
        for row in rows.iter().filter(|row| row.is_conditional()).chain(rows.iter().filter(|row| !row.is_conditional()))
        {
            apply(connection, row, &mut freed)?;
        }
        return Ok(freed);
    }
    connection.prepare_cached("SAVEPOINT one")?.execute([])?;
    let outcome = rows.iter().try_for_each(|row| apply(connection, row, &mut freed));
    if outcome.is_err() {
        connection.prepare_cached("ROLLBACK TO one")?.execute([])?;
    }
    connection.prepare_cached("RELEASE one")?.execute([])?;
    outcome.map(|()| freed)
}

fn apply(connection: &Connection, row: &RowWrite, freed: &mut Freed) -> Result<(), StoreError> {
    match row {
        RowWrite::Instance { record, body } => put_instance(connection, record, body),
        RowWrite::NoInstance(name, id) => delete_instance(connection, name, id, freed),
        RowWrite::Binding { record, body } => put_binding(connection, record, body),
        RowWrite::NoBinding(instance, consumer) => {
            const DELETE: &str = "DELETE FROM binding WHERE instance_id = ? AND kind = ? AND consumer = ?";
            let (kind, name) = consumer_key(consumer);
            connection.prepare_cached(DELETE)?.execute([instance.as_str(), kind, name])?;
            Ok(())
        }
        RowWrite::Ready(name, id) => {
            const QUERY: &str = "SELECT 1 FROM instance WHERE name = ? AND id = ? AND state = 'ready'";
            let is_ready = connection.prepare_cached(QUERY)?.exists([name.as_str(), id.as_str()])?;
            one_row(usize::from(is_ready), || format!("instance \"{name}\""))
        }
        RowWrite::Log { operation, body } => {
            const INSERT: &str = "INSERT INTO operation (instance, ended, body) VALUES (?, ?, ?)";
            let ended = operation.ended.unwrap_or_else(Utc::now).timestamp_millis();
            connection.prepare_cached(INSERT)?.execute(params![operation.instance.as_str(), ended, body])?;
            Ok(())
        }
        RowWrite::Places { name, id, revision, places } => put_places(connection, name, id, *revision, places),
        RowWrite::Within(limit) => keep_within(connection, limit),
    }
}

fn put_places(
    connection: &Connection,
    name: &InstanceName,
    id: &OpaqueId,
    revision: Option<i64>,
    places: &[Place],
) -> Result<(), StoreError> {
    const FIND: &str = "SELECT 1 FROM instance WHERE name = ?1 AND id = ?2 AND (?3 IS NULL OR revision = ?3)";
    const INSERT: &str = "INSERT INTO place (instance_id, plan, team) VALUES (?, ?, ?)";
    if !connection.prepare_cached(FIND)?.exists(params![name.as_str(), id.as_str(), revision])? {
        return Ok(());
    }
    delete_places(connection, id)?;
    for place in places {
        connection.prepare_cached(INSERT)?.execute([id.as_str(), place.plan.as_str(), &place.team])?;
    }
    Ok(())
}

fn delete_places(connection: &Connection, id: &OpaqueId) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM place WHERE instance_id = ?")?.execute([id.as_str()])?;
    Ok(())
}

fn keep_within(connection: &Connection, limit: &Limit) -> Result<(), StoreError> {
    const OF_PLAN: &str = "SELECT count(DISTINCT instance_id) FROM place WHERE plan = ?";
    const OF_TEAM: &str = "SELECT count(DISTINCT instance_id) FROM place WHERE plan = ? AND team = ?";
    let plan = limit.plan.as_str();
    let taken: u32 = match &limit.team {
        None => connection.prepare_cached(OF_PLAN)?.query_row([plan], |row| row.get(0))?,
        Some(team) => connection.prepare_cached(OF_TEAM)?.query_row([plan, team], |row| row.get(0))?,
    };
    if taken > limit.most { Err(StoreError::Full(limit.to_string())) } else { Ok(()) }
}

fn put_instance(connection: &Connection, record: &InstanceRecord, body: &[u8]) -> Result<(), StoreError> {
    const INSERT: &str =
        "INSERT INTO instance (state, due, revision, body, id, name) VALUES (?, ?, 1, ?, ?, ?) ON CONFLICT DO NOTHING";
    const UPDATE: &str = "UPDATE instance SET state = ?, due = ?, revision = revision + 1, body = ? WHERE name = ? AND id = ? AND revision = ?";
    let (id, state, due) = (record.instance.id.as_str(), record.state.as_str(), millis(record.due));
    let name = record.instance.name.as_str();
    let written = if record.revision == 1 {
        connection.prepare_cached(INSERT)?.execute(params![state, due, body, id, name])?
    } else {
        connection.prepare_cached(UPDATE)?.execute(params![state, due, body, name, id, record.revision - 1])?
    };
    one_row(written, || format!("instance \"{}\"", record.instance.name))
}

fn delete_instance(
    connection: &Connection,
    name: &InstanceName,
    id: &OpaqueId,
    freed: &mut Freed,
) -> Result<(), StoreError> {
    let mut bindings =
        connection.prepare_cached("DELETE FROM binding WHERE instance_id = ? RETURNING kind, consumer")?;
    let keys = bindings.query_map([id.as_str()], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    for key in keys {
        let (kind, name) = key?;
        freed.bindings.extend(consumer_from(&kind, name).map(|consumer| (id.clone(), consumer)));
    }
    connection
        .prepare_cached("DELETE FROM instance WHERE name = ? AND id = ?")?
        .execute([name.as_str(), id.as_str()])?;
    delete_places(connection, id)?;
    freed.instances.push(name.clone());
    Ok(())
}

fn put_binding(connection: &Connection, record: &BindingRecord, body: &[u8]) -> Result<(), StoreError> {
    // In two statements: an INSERT from a SELECT would first copy each page that it is going to change.
    const IS_THERE: &str = "SELECT 1 FROM instance WHERE name = ? AND id = ?";
    const INSERT: &str = "INSERT INTO binding (state, due, revision, body, instance_id, kind, consumer) \
        VALUES (?, ?, 1, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
    const UPDATE: &str = "UPDATE binding SET state = ?, due = ?, revision = revision + 1, body = ? \
        WHERE instance_id = ? AND kind = ? AND consumer = ? AND revision = ?";
    let (kind, name) = consumer_key(record.consumer());
    let (instance, state, due) = (record.instance.as_str(), record.state.as_str(), millis(record.due));
    let written = if record.revision > 1 {
        let parameters = params![state, due, body, instance, kind, name, record.revision - 1];
        connection.prepare_cached(UPDATE)?.execute(parameters)?
    } else if connection.prepare_cached(IS_THERE)?.exists([record.instance_name.as_str(), instance])? {
        connection.prepare_cached(INSERT)?.execute(params![state, due, body, instance, kind, name])?
    } else {
        0
    };
    one_row(written, || record.consumer().to_string())
}

fn one_row(affected: usize, what: impl FnOnce() -> String) -> Result<(), StoreError> {
    if affected == 1 { Ok(()) } else { Err(StoreError::Conflict(what())) }
}

pub(super) fn consumer_from(kind: &str, name: String) -> Option<Consumer> {
    match kind {
        "app" => name.parse().ok().map(Consumer::App),
        "job" => name.parse().ok().map(Consumer::Job),
        _ => name.parse().ok().map(Consumer::Binding),
    }
}

pub(super) fn millis(moment: Option<DateTime<Utc>>) -> Option<i64> {
    moment.map(|moment| moment.timestamp_millis())
}
