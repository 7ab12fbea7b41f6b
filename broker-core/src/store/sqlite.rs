//! Records in a SQLite file.
//!
//! One task owns the one writing connection and puts whatever waits for it into one transaction, each
//! commit in a savepoint of its own: many small commits cost one write to disk. Reads have
//! connections of their own, which the write-ahead log lets run beside it.

use std::{collections::HashSet, path::Path, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{
    Connection as _, Row as _, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous},
};
use tokio::sync::{mpsc, oneshot};

use super::{Counts, Store, StoreError, Write, consumer_key};
use crate::{
    Consumer, InstanceName, OpaqueId, SealingKey,
    lifecycle::records::{BindingRecord, InstanceRecord, Operation},
};

/// How long a connection waits for another one's lock.
const BUSY: Duration = Duration::from_secs(10);
/// The most commits that share a transaction.
const BATCH: usize = 128;
/// What the row that proves the key says.
const PROOF: &[u8] = b"this key opens these records";

/// Records in a SQLite file, sealed.
#[derive(Debug)]
pub(crate) struct SqliteStore {
    key: SealingKey,
    readers: SqlitePool,
    writer: mpsc::Sender<Request>,
}

/// A commit on its way to the writer, and who waits for it.
struct Request {
    rows: Vec<RowWrite>,
    answer: oneshot::Sender<Result<(), StoreError>>,
}

/// A [`Write`] as the database takes it: bodies sealed.
enum RowWrite {
    Instance { record: Box<InstanceRecord>, body: Vec<u8> },
    NoInstance(OpaqueId),
    Binding { record: Box<BindingRecord>, body: Vec<u8> },
    NoBinding(OpaqueId, Consumer),
    Ready(OpaqueId),
    Log { operation: Box<Operation>, body: String },
}

impl SqliteStore {
    /// Opens or makes the database, brings its tables up to date and proves that the key fits.
    pub(crate) async fn open(path: &Path, key: SealingKey) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .foreign_keys(true)
            .busy_timeout(BUSY)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        let migrations = sqlx::migrate!("src/store/migrations/sqlite");
        migrations.run(&mut connection).await.map_err(|error| StoreError::Failed(Box::new(error)))?;
        prove(&mut connection, &key).await?;

        let readers = SqlitePoolOptions::new().max_connections(4).connect_with(options).await?;
        let (writer, requests) = mpsc::channel(4 * BATCH);
        tokio::spawn(write(connection, requests));
        Ok(Self { key, readers, writer })
    }

    fn seal(&self, write: Write) -> Result<RowWrite, StoreError> {
        Ok(match write {
            Write::PutInstance(record) => RowWrite::Instance {
                body: self.key.seal(&serde_json::to_vec(&record)?, about_instance(&record.instance.id).as_bytes()),
                record,
            },
            Write::DeleteInstance(id) => RowWrite::NoInstance(id),
            Write::PutBinding(record) => RowWrite::Binding {
                body: self
                    .key
                    .seal(&serde_json::to_vec(&record)?, about_binding(&record.instance, record.consumer()).as_bytes()),
                record,
            },
            Write::DeleteBinding(instance, consumer) => RowWrite::NoBinding(instance, consumer),
            // There is no other replica: the process has the folder's lock.
            Write::RequireReady(id, _) => RowWrite::Ready(id),
            Write::Log(operation) => RowWrite::Log { body: serde_json::to_string(&operation)?, operation },
        })
    }

    fn open_instance(&self, row: &SqliteRow) -> Result<InstanceRecord, StoreError> {
        let id: String = row.try_get("id")?;
        let body: Vec<u8> = row.try_get("body")?;
        let plain = self.key.open(&body, format!("instance/{id}").as_bytes())?;
        let record: InstanceRecord = serde_json::from_slice(&plain)?;
        Ok(InstanceRecord { revision: row.try_get("revision")?, due: moment(row)?, ..record })
    }

    fn open_binding(&self, row: &SqliteRow) -> Result<BindingRecord, StoreError> {
        let (instance, kind): (String, String) = (row.try_get("instance_id")?, row.try_get("kind")?);
        let consumer: String = row.try_get("consumer")?;
        let body: Vec<u8> = row.try_get("body")?;
        let plain = self.key.open(&body, format!("binding/{instance}/{kind}/{consumer}").as_bytes())?;
        let record: BindingRecord = serde_json::from_slice(&plain)?;
        Ok(BindingRecord { revision: row.try_get("revision")?, due: moment(row)?, ..record })
    }
}

fn moment(row: &SqliteRow) -> Result<Option<DateTime<Utc>>, StoreError> {
    Ok(row.try_get::<Option<i64>, _>("due")?.and_then(DateTime::from_timestamp_millis))
}

fn about_instance(id: &OpaqueId) -> String {
    format!("instance/{id}")
}

fn about_binding(instance: &OpaqueId, consumer: &Consumer) -> String {
    let (kind, name) = consumer_key(consumer);
    format!("binding/{instance}/{kind}/{name}")
}

/// Writes the proof into a new database; in an old one, the key must open it.
async fn prove(connection: &mut SqliteConnection, key: &SealingKey) -> Result<(), StoreError> {
    let row = sqlx::query("SELECT body FROM seal").fetch_optional(&mut *connection).await?;
    if let Some(row) = row {
        let body: Vec<u8> = row.try_get("body")?;
        key.open(&body, b"seal")?;
        return Ok(());
    }
    let insert = sqlx::query("INSERT INTO seal (one, body) VALUES (1, ?)").bind(key.seal(PROOF, b"seal"));
    insert.execute(connection).await?;
    Ok(())
}

/// Commits what comes, in batches, until the store is dropped.
async fn write(mut connection: SqliteConnection, mut requests: mpsc::Receiver<Request>) {
    let mut batch = Vec::with_capacity(BATCH);
    while requests.recv_many(&mut batch, BATCH).await > 0 {
        let (rows, answers): (Vec<_>, Vec<_>) = batch.drain(..).map(|request| (request.rows, request.answer)).unzip();
        let outcomes = commit_batch(&mut connection, &rows).await;
        let outcomes = outcomes.unwrap_or_else(|error| {
            let text = error.to_string();
            rows.iter().map(|_| Err(StoreError::Failed(text.clone().into()))).collect()
        });
        for (answer, outcome) in answers.into_iter().zip(outcomes) {
            // Whoever asked may have given up; what was written stays written.
            let _ = answer.send(outcome);
        }
    }
    if let Err(error) = connection.close().await {
        tracing::warn!("the records could not be closed in good order: {error}");
    }
}

/// One transaction, a savepoint for each commit: a conflict in one leaves the others alone.
async fn commit_batch(
    connection: &mut SqliteConnection,
    batch: &[Vec<RowWrite>],
) -> Result<Vec<Result<(), StoreError>>, StoreError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut outcomes = Vec::with_capacity(batch.len());
    for rows in batch {
        let mut savepoint = transaction.begin().await?;
        let outcome = apply_all(&mut savepoint, rows).await;
        match outcome {
            Ok(()) => savepoint.commit().await?,
            Err(_) => savepoint.rollback().await?,
        }
        outcomes.push(outcome);
    }
    transaction.commit().await?;
    Ok(outcomes)
}

async fn apply_all(connection: &mut SqliteConnection, rows: &[RowWrite]) -> Result<(), StoreError> {
    for row in rows {
        apply(connection, row).await?;
    }
    Ok(())
}

async fn apply(connection: &mut SqliteConnection, row: &RowWrite) -> Result<(), StoreError> {
    match row {
        RowWrite::Instance { record, body } => put_instance(connection, record, body).await,
        RowWrite::NoInstance(id) => {
            sqlx::query("DELETE FROM instance WHERE id = ?").bind(id.as_str()).execute(connection).await?;
            Ok(())
        }
        RowWrite::Binding { record, body } => put_binding(connection, record, body).await,
        RowWrite::NoBinding(instance, consumer) => {
            let (kind, name) = consumer_key(consumer);
            sqlx::query("DELETE FROM binding WHERE instance_id = ? AND kind = ? AND consumer = ?")
                .bind(instance.as_str())
                .bind(kind)
                .bind(name)
                .execute(connection)
                .await?;
            Ok(())
        }
        RowWrite::Ready(id) => {
            let row = sqlx::query("SELECT 1 FROM instance WHERE id = ? AND state = 'ready'").bind(id.as_str());
            let found = row.fetch_optional(connection).await?;
            found.map(drop).ok_or_else(|| StoreError::Conflict(format!("the instance {id}")))
        }
        RowWrite::Log { operation, body } => {
            sqlx::query("INSERT INTO operation (instance, ended, body) VALUES (?, ?, ?)")
                .bind(operation.instance.as_str())
                .bind(operation.ended.unwrap_or_else(Utc::now).timestamp_millis())
                .bind(body)
                .execute(connection)
                .await?;
            Ok(())
        }
    }
}

async fn put_instance(
    connection: &mut SqliteConnection,
    record: &InstanceRecord,
    body: &[u8],
) -> Result<(), StoreError> {
    let instance = &record.instance;
    let written = if record.revision == 0 {
        sqlx::query(
            "INSERT INTO instance (state, due, revision, body, id, name) VALUES (?, ?, 1, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(record.state.as_str())
        .bind(record.due.map(|due| due.timestamp_millis()))
        .bind(body)
        .bind(instance.id.as_str())
        .bind(instance.name.as_str())
        .execute(connection)
        .await?
    } else {
        sqlx::query(
            "UPDATE instance SET state = ?, due = ?, revision = revision + 1, body = ? WHERE id = ? AND revision = ?",
        )
        .bind(record.state.as_str())
        .bind(record.due.map(|due| due.timestamp_millis()))
        .bind(body)
        .bind(instance.id.as_str())
        .bind(record.revision)
        .execute(connection)
        .await?
    };
    one_row(written.rows_affected(), || format!("instance \"{}\"", instance.name))
}

async fn put_binding(connection: &mut SqliteConnection, record: &BindingRecord, body: &[u8]) -> Result<(), StoreError> {
    let (kind, name) = consumer_key(record.consumer());
    let written = if record.revision == 0 {
        sqlx::query(
            "INSERT INTO binding (state, due, revision, body, instance_id, kind, consumer) VALUES (?, ?, 1, ?, ?, ?, ?) \
             ON CONFLICT DO NOTHING",
        )
        .bind(record.state.as_str())
        .bind(record.due.map(|due| due.timestamp_millis()))
        .bind(body)
        .bind(record.instance.as_str())
        .bind(kind)
        .bind(name)
        .execute(connection)
        .await?
    } else {
        sqlx::query(
            "UPDATE binding SET state = ?, due = ?, revision = revision + 1, body = ? \
             WHERE instance_id = ? AND kind = ? AND consumer = ? AND revision = ?",
        )
        .bind(record.state.as_str())
        .bind(record.due.map(|due| due.timestamp_millis()))
        .bind(body)
        .bind(record.instance.as_str())
        .bind(kind)
        .bind(name)
        .bind(record.revision)
        .execute(connection)
        .await?
    };
    one_row(written.rows_affected(), || record.consumer().to_string())
}

fn one_row(affected: u64, what: impl FnOnce() -> String) -> Result<(), StoreError> {
    if affected == 1 { Ok(()) } else { Err(StoreError::Conflict(what())) }
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let rows = writes.into_iter().map(|write| self.seal(write)).collect::<Result<_, _>>()?;
        let (answer, outcome) = oneshot::channel();
        let gone = || StoreError::Failed("the task that writes records has ended".into());
        self.writer.send(Request { rows, answer }).await.map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }

    async fn instance(&self, name: &InstanceName) -> Result<Option<InstanceRecord>, StoreError> {
        let query = sqlx::query("SELECT id, due, revision, body FROM instance WHERE name = ?").bind(name.as_str());
        query.fetch_optional(&self.readers).await?.map(|row| self.open_instance(&row)).transpose()
    }

    async fn instances(&self, after: Option<&InstanceName>, limit: usize) -> Result<Vec<InstanceRecord>, StoreError> {
        let query = sqlx::query("SELECT id, due, revision, body FROM instance WHERE name > ? ORDER BY name LIMIT ?");
        let query = query.bind(after.map_or("", |name| name.as_str())).bind(i64::try_from(limit).unwrap_or(i64::MAX));
        query.fetch_all(&self.readers).await?.iter().map(|row| self.open_instance(row)).collect()
    }

    async fn binding(&self, instance: &OpaqueId, consumer: &Consumer) -> Result<Option<BindingRecord>, StoreError> {
        let (kind, name) = consumer_key(consumer);
        let query = sqlx::query(
            "SELECT instance_id, kind, consumer, due, revision, body FROM binding \
             WHERE instance_id = ? AND kind = ? AND consumer = ?",
        );
        let row = query.bind(instance.as_str()).bind(kind).bind(name).fetch_optional(&self.readers).await?;
        row.map(|row| self.open_binding(&row)).transpose()
    }

    async fn bindings(&self, instance: &OpaqueId) -> Result<Vec<BindingRecord>, StoreError> {
        let query = sqlx::query(
            "SELECT instance_id, kind, consumer, due, revision, body FROM binding \
             WHERE instance_id = ? ORDER BY kind, consumer",
        );
        let rows = query.bind(instance.as_str()).fetch_all(&self.readers).await?;
        rows.iter().map(|row| self.open_binding(row)).collect()
    }

    async fn due_instances(
        &self,
        now: DateTime<Utc>,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<InstanceRecord>, StoreError> {
        let query =
            sqlx::query("SELECT id, due, revision, body FROM instance WHERE due <= ? ORDER BY due LIMIT ? OFFSET ?");
        let query = query.bind(now.timestamp_millis()).bind(limit as i64).bind(skip as i64);
        query.fetch_all(&self.readers).await?.iter().map(|row| self.open_instance(row)).collect()
    }

    async fn due_bindings(
        &self,
        now: DateTime<Utc>,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<BindingRecord>, StoreError> {
        let query = sqlx::query(
            "SELECT instance_id, kind, consumer, due, revision, body FROM binding WHERE due <= ? ORDER BY due LIMIT ? OFFSET ?",
        );
        let query = query.bind(now.timestamp_millis()).bind(limit as i64).bind(skip as i64);
        query.fetch_all(&self.readers).await?.iter().map(|row| self.open_binding(row)).collect()
    }

    async fn operations(&self, instance: &InstanceName, limit: usize) -> Result<Vec<Operation>, StoreError> {
        let query = sqlx::query("SELECT body FROM operation WHERE instance = ? ORDER BY number DESC LIMIT ?");
        let rows = query.bind(instance.as_str()).bind(limit as i64).fetch_all(&self.readers).await?;
        rows.iter().map(|row| Ok(serde_json::from_str(row.try_get("body")?)?)).collect()
    }

    async fn forget_operations(&self, before: DateTime<Utc>) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM operation WHERE ended < ?").bind(before.timestamp_millis());
        query.execute(&self.readers).await?;
        Ok(())
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        let mut counts = Counts::default();
        for (table, into) in [("instance", &mut counts.instances), ("binding", &mut counts.bindings)] {
            let query =
                sqlx::query(sqlx::AssertSqlSafe(format!("SELECT state, count(*) AS n FROM {table} GROUP BY state")));
            for row in query.fetch_all(&self.readers).await? {
                into.push((row.try_get("state")?, row.try_get::<i64, _>("n")? as u64));
            }
        }
        Ok(counts)
    }

    async fn beat(&self, replica: &OpaqueId, _: Duration) -> Result<HashSet<OpaqueId>, StoreError> {
        Ok(HashSet::from([replica.clone()]))
    }

    fn is_shared(&self) -> bool {
        false
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(Box::new(error))
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        Self::Failed(Box::new(error))
    }
}

impl From<crate::SealError> for StoreError {
    fn from(error: crate::SealError) -> Self {
        Self::Failed(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract;

    #[tokio::test] // SPEC S-1
    async fn sqlite_keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("state.db"), SealingKey::generate()).await.unwrap();

        contract::check(&store).await;
    }

    #[tokio::test] // SPEC S-1
    async fn what_was_committed_is_there_after_opening_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, key) = (folder.path().join("state.db"), SealingKey::generate());
        let record = contract::an_instance("cache");
        let store = SqliteStore::open(&path, key.clone()).await.unwrap();
        store.commit(vec![Write::PutInstance(Box::new(record.clone()))]).await.unwrap();
        drop(store);

        let again = SqliteStore::open(&path, key).await.unwrap();

        assert_eq!(again.instances(None, 10).await.unwrap()[0].instance.id, record.instance.id);
    }

    #[tokio::test] // SPEC S-3
    async fn secrets_are_sealed_and_another_key_is_refused_at_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let record = contract::an_instance("cache");
        let store = SqliteStore::open(&path, SealingKey::generate()).await.unwrap();
        store.commit(vec![Write::PutInstance(Box::new(record.clone()))]).await.unwrap();

        let refusal = SqliteStore::open(&path, SealingKey::generate()).await.unwrap_err();

        assert!(refusal.to_string().contains("cannot be opened"), "{refusal}");
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            let secret = record.instance.secret.expose().as_bytes();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret));
        }
    }
}
