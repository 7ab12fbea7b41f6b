//! Records in a SQLite file.
//!
//! One thread owns the one writing connection and puts whatever waits for it into one transaction: many small commits
//! cost one write to disk. Nobody is answered before that write is there.
//!
//! Single records are kept in a cache of bounded size. That thread alone fills it, with what it has just committed or
//! just read, so what is in there is never older than what was acknowledged: a reader that misses asks the same thread,
//! behind the commits that came before it. Lists are read by connections of their own, which the write-ahead log lets
//! run beside the writer; they see everything that was acknowledged before they began.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use quick_cache::{Weighter, sync::Cache};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use tokio::sync::{
    mpsc::{self, error::TryRecvError},
    oneshot,
};

use super::{Counts, Limit, Living, Place, Store, StoreError, Write, consumer_key};
use crate::{
    Consumer, InstanceName, OpaqueId, SealingKey,
    lifecycle::records::{BindingRecord, InstanceRecord, Operation},
};

/// How long a connection waits for another one's lock.
const BUSY: Duration = Duration::from_secs(10);
/// How long the writing thread looks for the next request before it sleeps.
const AWAKE: Duration = Duration::from_micros(50);
/// The most requests that share a transaction.
const BATCH: usize = 256;
/// What the cache may take, in bytes of sealed records.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;
/// What the row that proves the key says.
const PROOF: &[u8] = b"this key opens these records";
/// The tables, step by step. A step that was released is never changed.
const MIGRATIONS: [&str; 2] =
    [include_str!("migrations/sqlite/0001_records.sql"), include_str!("migrations/sqlite/0002_places.sql")];

/// Records in a SQLite file, sealed.
pub(crate) struct SqliteStore {
    key: SealingKey,
    cache: Arc<Records>,
    writer: mpsc::Sender<Request>,
    readers: Arc<Readers>,
}

/// What the writing thread is asked for, and who waits for it.
enum Request {
    /// Answered with the same rows: to free memory is cheap for the thread that asked for it, and makes others wait.
    Commit(Vec<RowWrite>, Answer<Vec<RowWrite>>),
    Instance(InstanceName, Answer<Option<InstanceRecord>>),
    Binding(OpaqueId, Consumer, Answer<Option<BindingRecord>>),
    ForgetOperations(DateTime<Utc>, usize, Answer<usize>),
}

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// A [`Write`] as the database takes it: bodies sealed, records at the revision that they come to.
enum RowWrite {
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

impl SqliteStore {
    /// Opens or makes the database, brings its tables up to date and proves that the key fits.
    pub(crate) async fn open(path: &Path, key: SealingKey) -> Result<Self, StoreError> {
        let (path, own_key) = (path.to_owned(), key.clone());
        blocking(move || Self::open_now(&path, own_key)).await
    }

    fn open_now(path: &Path, key: SealingKey) -> Result<Self, StoreError> {
        let mut connection = connect(path)?;
        migrate(&mut connection)?;
        prove(&connection, &key)?;
        Self::start(path, key, connection, Records::new(CACHE_BYTES), connect)
    }

    /// Opens the database to look at it, beside the process that writes it: nothing is made, changed, or kept in memory.
    pub(crate) async fn look(path: &Path, key: SealingKey) -> Result<Self, StoreError> {
        let path = path.to_owned();
        blocking(move || {
            let connection = connect_to_look(&path)?;
            fits(&connection)?;
            let proof = connection.query_row("SELECT body FROM seal", [], |row| row.get::<_, Vec<u8>>(0))?;
            key.open(&proof, b"seal")?;
            Self::start(&path, key, connection, Records::new(0), connect_to_look)
        })
        .await
    }

    fn start(
        path: &Path,
        key: SealingKey,
        connection: Connection,
        cache: Records,
        connect: fn(&Path) -> Result<Connection, StoreError>,
    ) -> Result<Self, StoreError> {
        let cache = Arc::new(cache);
        let (writer, requests) = mpsc::channel(4 * BATCH);
        let writing = Writer { connection, key: key.clone(), cache: cache.clone() };
        let thread = thread::Builder::new().name("broker-records".to_owned());
        thread.spawn(move || writing.run(requests)).map_err(|cause| StoreError::Failed(cause.into()))?;
        let readers = Arc::new(Readers { path: path.to_owned(), connect, idle: Mutex::default() });
        Ok(Self { key, cache, writer, readers })
    }

    fn seal(&self, write: Write) -> Result<RowWrite, StoreError> {
        Ok(match write {
            Write::PutInstance(mut record) => {
                let about = about_instance(record.instance.id.as_str());
                let body = self.key.seal(&serde_json::to_vec(&record)?, about.as_bytes());
                record.revision += 1;
                RowWrite::Instance { record: Arc::new(*record), body }
            }
            Write::DeleteInstance(name, id) => RowWrite::NoInstance(name, id),
            Write::PutBinding(mut record) => {
                let (kind, consumer) = consumer_key(record.consumer());
                let about = about_binding(record.instance.as_str(), kind, consumer);
                let body = self.key.seal(&serde_json::to_vec(&record)?, about.as_bytes());
                record.revision += 1;
                RowWrite::Binding { record: Arc::new(*record), body }
            }
            Write::DeleteBinding(instance, consumer) => RowWrite::NoBinding(instance, consumer),
            // There is no other replica: the process has the folder's lock.
            Write::RequireReady(name, id, _) => RowWrite::Ready(name, id),
            Write::Log(operation) => RowWrite::Log { body: serde_json::to_string(&operation)?, operation },
            Write::Places { name, id, revision, places } => RowWrite::Places { name, id, revision, places },
            Write::Within(limit) => RowWrite::Within(limit),
        })
    }

    /// Asks the writing thread.
    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, StoreError> {
        let (answer, outcome) = oneshot::channel();
        let gone = || StoreError::Failed("the thread that writes records has ended".into());
        self.writer.send(request(answer)).await.map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }

    /// Reads on a connection of its own.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection, &SealingKey) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (readers, key) = (self.readers.clone(), self.key.clone());
        blocking(move || readers.with(|connection| read(connection, &key))).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|cause| Err(StoreError::Failed(Box::new(cause))))
}

pub(super) fn connect(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // With every commit, its write-ahead log is on the disk itself.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // In pages and KiB: the log is folded into the tables less often, and more of them is at hand.
    connection.pragma_update(None, "wal_autocheckpoint", 8000)?;
    connection.pragma_update(None, "cache_size", -8192)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

fn connect_to_look(path: &Path) -> Result<Connection, StoreError> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

/// Refuses tables of another version than this one's.
fn fits(connection: &Connection) -> Result<(), StoreError> {
    let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version as usize == MIGRATIONS.len() {
        return Ok(());
    }
    let sentence = "the records were written by another version of the broker, look at them with that one";
    Err(StoreError::Failed(sentence.into()))
}

/// Brings the tables up to date, each step whole or not at all.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let done: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let done = done as usize;
    if done > MIGRATIONS.len() {
        let sentence = "the records were written by a newer version of the broker, which this one can't read";
        return Err(StoreError::Failed(sentence.into()));
    }
    for (number, step) in (1_u32..).zip(MIGRATIONS).skip(done) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Writes the proof into a new database; in an old one, the key must open it.
pub(super) fn prove(connection: &Connection, key: &SealingKey) -> Result<(), StoreError> {
    let body = connection.query_row("SELECT body FROM seal", [], |row| row.get::<_, Vec<u8>>(0)).optional()?;
    if let Some(body) = body {
        key.open(&body, b"seal")?;
        return Ok(());
    }
    connection.execute("INSERT INTO seal (one, body) VALUES (1, ?)", [key.seal(PROOF, b"seal")])?;
    Ok(())
}

pub(super) fn about_instance(id: &str) -> String {
    format!("instance/{id}")
}

pub(super) fn about_binding(instance: &str, kind: &str, consumer: &str) -> String {
    format!("binding/{instance}/{kind}/{consumer}")
}

/// The thread that writes.
struct Writer {
    connection: Connection,
    key: SealingKey,
    cache: Arc<Records>,
}

/// A commit that waits for its batch.
type Waiting = (Vec<RowWrite>, Answer<Vec<RowWrite>>);

impl Writer {
    fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut commits: Vec<Waiting> = Vec::with_capacity(BATCH);
        let mut questions = Vec::new();
        while let Some(first) = next(&mut requests) {
            let mut next = Some(first);
            while let Some(request) = next {
                match request {
                    Request::Commit(rows, answer) => commits.push((rows, answer)),
                    question => questions.push(question),
                }
                let is_full = commits.len() + questions.len() >= BATCH;
                next = if is_full { None } else { requests.try_recv().ok() };
            }
            if !commits.is_empty() {
                self.commit(std::mem::take(&mut commits));
            }
            // After the commits: what was asked before one of them may as well be told what came of it.
            questions.drain(..).for_each(|question| self.answer(question));
        }
    }

    /// Commits a batch, and answers when it is on disk.
    fn commit(&mut self, batch: Vec<Waiting>) {
        match self.commit_all(&batch) {
            Ok(outcomes) => {
                for ((rows, answer), outcome) in batch.into_iter().zip(outcomes) {
                    let outcome = outcome.map(|freed| {
                        self.note(&rows, freed);
                        rows
                    });
                    // Whoever asked may have given up; what was written stays written.
                    let _ = answer.send(outcome);
                }
            }
            Err(error) => {
                // It may have been done all the same: what is there now is read from the file.
                self.cache.clear();
                let text = error.to_string();
                for (_, answer) in batch {
                    let _ = answer.send(Err(StoreError::Failed(text.clone().into())));
                }
            }
        }
    }

    /// One transaction: a conflict in one commit leaves the others alone.
    fn commit_all(&mut self, batch: &[Waiting]) -> Result<Vec<Result<Freed, StoreError>>, StoreError> {
        in_transaction(&self.connection, |connection| {
            let outcomes = batch.iter().map(|(rows, _)| match apply_commit(connection, rows) {
                Err(StoreError::Failed(cause)) => Err(StoreError::Failed(cause)),
                outcome => Ok(outcome),
            });
            outcomes.collect()
        })
    }

    /// Takes what was committed into the cache.
    fn note(&self, rows: &[RowWrite], freed: Freed) {
        for name in freed.instances {
            self.cache.instances.remove(&name);
        }
        for key in freed.bindings {
            self.cache.bindings.remove(&key);
        }
        for row in rows {
            match row {
                RowWrite::Instance { record, body } => {
                    let name = record.instance.name.clone();
                    self.cache.instances.insert(name, Kept { record: Some(record.clone()), bytes: body.len() });
                }
                RowWrite::Binding { record, body } => {
                    let key = (record.instance.clone(), record.consumer().clone());
                    self.cache.bindings.insert(key, Kept { record: Some(record.clone()), bytes: body.len() });
                }
                RowWrite::NoBinding(instance, consumer) => {
                    self.cache.bindings.remove(&(instance.clone(), consumer.clone()));
                }
                RowWrite::NoInstance(..)
                | RowWrite::Ready(..)
                | RowWrite::Log { .. }
                | RowWrite::Places { .. }
                | RowWrite::Within(..) => {}
            }
        }
    }

    fn answer(&mut self, question: Request) {
        match question {
            Request::Instance(name, answer) => drop(answer.send(self.instance(name))),
            Request::Binding(instance, consumer, answer) => drop(answer.send(self.binding(instance, consumer))),
            Request::ForgetOperations(before, limit, answer) => {
                const DELETE: &str = "DELETE FROM operation WHERE ended < ? \
                    AND number IN (SELECT number FROM operation ORDER BY number LIMIT ?)";
                let gone = self.connection.execute(DELETE, params![before.timestamp_millis(), as_limit(limit)]);
                drop(answer.send(gone.map_err(StoreError::from)));
            }
            // Commits are not answered here.
            Request::Commit(rows, answer) => self.commit(vec![(rows, answer)]),
        }
    }

    fn instance(&self, name: InstanceName) -> Result<Option<InstanceRecord>, StoreError> {
        const QUERY: &str = "SELECT id, due, revision, body FROM instance WHERE name = ?";
        let row = self.connection.prepare_cached(QUERY)?.query_row([name.as_str()], sealed_instance).optional()?;
        let bytes = row.as_ref().map_or(0, |row| row.body.len());
        let record = row.map(|row| row.open(&self.key)).transpose()?;
        self.cache.instances.insert(name, Kept { record: record.clone().map(Arc::new), bytes });
        Ok(record)
    }

    fn binding(&self, instance: OpaqueId, consumer: Consumer) -> Result<Option<BindingRecord>, StoreError> {
        const QUERY: &str = "SELECT instance_id, kind, consumer, due, revision, body FROM binding \
            WHERE instance_id = ? AND kind = ? AND consumer = ?";
        let (kind, name) = consumer_key(&consumer);
        let mut query = self.connection.prepare_cached(QUERY)?;
        let row = query.query_row([instance.as_str(), kind, name], sealed_binding).optional()?;
        let bytes = row.as_ref().map_or(0, |row| row.body.len());
        let record = row.map(|row| row.open(&self.key)).transpose()?;
        self.cache.bindings.insert((instance, consumer), Kept { record: record.clone().map(Arc::new), bytes });
        Ok(record)
    }
}

/// The next request. Whoever was just told that an intent is written often has its outcome at once: to wait a moment
/// for that takes less than to sleep and be woken.
fn next(requests: &mut mpsc::Receiver<Request>) -> Option<Request> {
    let asleep = Instant::now() + AWAKE;
    loop {
        match requests.try_recv() {
            Ok(request) => return Some(request),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) if Instant::now() < asleep => thread::yield_now(),
            Err(TryRecvError::Empty) => return requests.blocking_recv(),
        }
    }
}

/// Does all of it or nothing. The statements are kept: to read them anew each time would take longer than to run them.
fn in_transaction<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let run = |statement| connection.prepare_cached(statement)?.execute([]);
    run("BEGIN IMMEDIATE")?;
    let done = work(connection).and_then(|done| {
        run("COMMIT")?;
        Ok(done)
    });
    // Some failures have ended it already. The first one counts, not what taking back came to.
    if done.is_err()
        && !connection.is_autocommit()
        && let Err(error) = run("ROLLBACK")
    {
        tracing::warn!("a failed commit is not taken back: {error}");
    }
    done
}

/// What a commit took away from under a name.
#[derive(Default)]
struct Freed {
    instances: Vec<InstanceName>,
    bindings: Vec<(OpaqueId, Consumer)>,
}

/// All rows of a commit or none.
fn apply_commit(connection: &Connection, rows: &[RowWrite]) -> Result<Freed, StoreError> {
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

fn consumer_from(kind: &str, name: String) -> Option<Consumer> {
    match kind {
        "app" => name.parse().ok().map(Consumer::App),
        "job" => name.parse().ok().map(Consumer::Job),
        _ => name.parse().ok().map(Consumer::Binding),
    }
}

fn millis(moment: Option<DateTime<Utc>>) -> Option<i64> {
    moment.map(|moment| moment.timestamp_millis())
}

/// A row as it was read, and what its body is about.
struct Sealed {
    about: String,
    due: Option<i64>,
    revision: i64,
    body: Vec<u8>,
}

fn sealed_instance(row: &Row<'_>) -> rusqlite::Result<Sealed> {
    let about = about_instance(row.get_ref("id")?.as_str()?);
    Ok(Sealed { about, due: row.get("due")?, revision: row.get("revision")?, body: row.get("body")? })
}

fn sealed_binding(row: &Row<'_>) -> rusqlite::Result<Sealed> {
    let (instance, kind) = (row.get_ref("instance_id")?, row.get_ref("kind")?);
    let about = about_binding(instance.as_str()?, kind.as_str()?, row.get_ref("consumer")?.as_str()?);
    Ok(Sealed { about, due: row.get("due")?, revision: row.get("revision")?, body: row.get("body")? })
}

/// A record whose due time and revision stand beside its body.
trait Opened: serde::de::DeserializeOwned {
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
    fn open<T: Opened>(self, key: &SealingKey) -> Result<T, StoreError> {
        let plain = key.open(&self.body, self.about.as_bytes())?;
        let record: T = serde_json::from_slice(&plain)?;
        Ok(record.beside(self.due.and_then(DateTime::from_timestamp_millis), self.revision))
    }
}

/// Records that were read or written lately. A name without a record is remembered too.
struct Records {
    instances: Cache<InstanceName, Kept<InstanceRecord>, BySize>,
    bindings: Cache<(OpaqueId, Consumer), Kept<BindingRecord>, BySize>,
}

impl Records {
    fn new(bytes: u64) -> Self {
        let items = 4096;
        Self {
            instances: Cache::with_weighter(items, bytes / 2, BySize),
            bindings: Cache::with_weighter(items, bytes / 2, BySize),
        }
    }

    fn clear(&self) {
        self.instances.clear();
        self.bindings.clear();
    }
}

struct Kept<T> {
    record: Option<Arc<T>>,
    bytes: usize,
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self { record: self.record.clone(), bytes: self.bytes }
    }
}

#[derive(Clone)]
struct BySize;

impl<K, T> Weighter<K, Kept<T>> for BySize {
    fn weight(&self, _: &K, kept: &Kept<T>) -> u64 {
        // A record takes about as much again in memory as its text, and the entry something of its own.
        2 * kept.bytes as u64 + 512
    }
}

/// Connections for lists, opened when they are wanted.
struct Readers {
    path: PathBuf,
    connect: fn(&Path) -> Result<Connection, StoreError>,
    idle: Mutex<Vec<Connection>>,
}

/// How many connections for lists are kept open.
const IDLE_READERS: usize = 4;

impl Readers {
    fn with<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
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

const INSTANCES_PAGE: &str = "SELECT id, due, revision, body FROM instance WHERE name > ? ORDER BY name LIMIT ?";
const INSTANCES_DUE: &str = "SELECT id, due, revision, body FROM instance WHERE due <= ? ORDER BY due LIMIT ? OFFSET ?";
const BINDINGS_OF: &str = "SELECT instance_id, kind, consumer, due, revision, body FROM binding \
    WHERE instance_id = ? ORDER BY kind, consumer";
const BINDINGS_DUE: &str = "SELECT instance_id, kind, consumer, due, revision, body FROM binding \
    WHERE due <= ? ORDER BY due LIMIT ? OFFSET ?";

fn list<T: Opened>(
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

fn as_limit(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let rows = writes.into_iter().map(|write| self.seal(write)).collect::<Result<_, _>>()?;
        self.ask(|answer| Request::Commit(rows, answer)).await.map(drop)
    }

    async fn instance(&self, name: &InstanceName) -> Result<Option<InstanceRecord>, StoreError> {
        if let Some(kept) = self.cache.instances.get(name) {
            return Ok(kept.record.map(|record| (*record).clone()));
        }
        self.ask(|answer| Request::Instance(name.clone(), answer)).await
    }

    async fn shared_instance(&self, name: &InstanceName) -> Result<Option<Arc<InstanceRecord>>, StoreError> {
        if let Some(kept) = self.cache.instances.get(name) {
            return Ok(kept.record);
        }
        Ok(self.ask(|answer| Request::Instance(name.clone(), answer)).await?.map(Arc::new))
    }

    async fn instances(&self, after: Option<&InstanceName>, limit: usize) -> Result<Vec<InstanceRecord>, StoreError> {
        let after = after.map_or_else(String::new, ToString::to_string);
        self.read(move |connection, key| {
            list(connection, key, INSTANCES_PAGE, params![after, as_limit(limit)], sealed_instance)
        })
        .await
    }

    async fn binding(&self, instance: &OpaqueId, consumer: &Consumer) -> Result<Option<BindingRecord>, StoreError> {
        let key = (instance.clone(), consumer.clone());
        if let Some(kept) = self.cache.bindings.get(&key) {
            return Ok(kept.record.map(|record| (*record).clone()));
        }
        self.ask(|answer| Request::Binding(key.0, key.1, answer)).await
    }

    async fn bindings(&self, instance: &OpaqueId) -> Result<Vec<BindingRecord>, StoreError> {
        let id = instance.to_string();
        self.read(move |connection, key| list(connection, key, BINDINGS_OF, [id], sealed_binding)).await
    }

    async fn due_instances(
        &self,
        now: DateTime<Utc>,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<InstanceRecord>, StoreError> {
        self.read(move |connection, key| {
            let parameters = params![now.timestamp_millis(), as_limit(limit), as_limit(skip)];
            list(connection, key, INSTANCES_DUE, parameters, sealed_instance)
        })
        .await
    }

    async fn due_bindings(
        &self,
        now: DateTime<Utc>,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<BindingRecord>, StoreError> {
        self.read(move |connection, key| {
            let parameters = params![now.timestamp_millis(), as_limit(limit), as_limit(skip)];
            list(connection, key, BINDINGS_DUE, parameters, sealed_binding)
        })
        .await
    }

    async fn operations(&self, instance: &InstanceName, limit: usize) -> Result<Vec<Operation>, StoreError> {
        let name = instance.to_string();
        self.read(move |connection, _| {
            const QUERY: &str = "SELECT body FROM operation WHERE instance = ? ORDER BY number DESC LIMIT ?";
            let mut query = connection.prepare_cached(QUERY)?;
            let rows = query.query_map(params![name, as_limit(limit)], |row| row.get::<_, String>(0))?;
            rows.map(|row| Ok(serde_json::from_str(&row?)?)).collect()
        })
        .await
    }

    async fn forget_operations(&self, before: DateTime<Utc>, limit: usize) -> Result<usize, StoreError> {
        self.ask(|answer| Request::ForgetOperations(before, limit, answer)).await
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        self.read(|connection, _| {
            let count = |table: &str| -> Result<Vec<(String, u64)>, StoreError> {
                let mut query =
                    connection.prepare_cached(&format!("SELECT state, count(*) FROM {table} GROUP BY state"))?;
                let rows = query.query_map([], |row| Ok((row.get(0)?, row.get::<_, u32>(1)?.into())))?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            };
            Ok(Counts { instances: count("instance")?, bindings: count("binding")? })
        })
        .await
    }

    async fn beat(&self, replica: &OpaqueId, _: Duration) -> Result<Living, StoreError> {
        Ok(Living::alone(replica))
    }

    fn is_shared(&self) -> bool {
        false
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract;

    fn put(record: &InstanceRecord) -> Vec<Write> {
        vec![Write::PutInstance(Box::new(record.clone()))]
    }

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
        store.commit(put(&record)).await.unwrap();
        drop(store);

        let again = SqliteStore::open(&path, key).await.unwrap();

        assert_eq!(again.instances(None, 10).await.unwrap()[0].instance.id, record.instance.id);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)] // SPEC S-1
    async fn a_reader_never_sees_less_than_what_was_acknowledged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let store = Arc::new(SqliteStore::open(&path, SealingKey::generate()).await.unwrap());
        let name: InstanceName = "cache".parse().unwrap();
        store.commit(put(&contract::an_instance("cache"))).await.unwrap();
        let acknowledged = Arc::new(std::sync::atomic::AtomicI64::new(1));
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let (store, acknowledged, name) = (store.clone(), acknowledged.clone(), name.clone());
                tokio::spawn(async move {
                    while acknowledged.load(std::sync::atomic::Ordering::SeqCst) < 300 {
                        let least = acknowledged.load(std::sync::atomic::Ordering::SeqCst);
                        store.cache.instances.remove(&name);
                        let seen = store.instance(&name).await.unwrap().unwrap().revision;
                        assert!(seen >= least, "read {seen} after {least} was acknowledged");
                    }
                })
            })
            .collect();

        for _ in 1..300 {
            let record = store.instance(&name).await.unwrap().unwrap();
            store.commit(put(&record)).await.unwrap();
            acknowledged.store(record.revision + 1, std::sync::atomic::Ordering::SeqCst);
        }

        for reader in readers {
            reader.await.unwrap();
        }
    }

    #[tokio::test] // SPEC S-1
    async fn a_full_disk_fails_commits_and_loses_nothing_that_was_acknowledged() {
        let folder = tempfile::tempdir().unwrap();
        let (path, key) = (folder.path().join("state.db"), SealingKey::generate());
        let mut connection = connect(&path).unwrap();
        migrate(&mut connection).unwrap();
        prove(&connection, &key).unwrap();
        // To SQLite, a database that may not grow is a disk that is full.
        connection.pragma_update(None, "max_page_count", 60).unwrap();
        let store = SqliteStore::start(&path, key, connection, Records::new(0), connect).unwrap();
        let mut written = Vec::new();
        let failure = loop {
            let mut record = contract::an_instance(&format!("large-{}", written.len()));
            record.instance.description = "x".repeat(20_000);
            match store.commit(put(&record)).await {
                Ok(()) => written.push(record.instance),
                Err(error) => break error,
            }
            assert!(written.len() < 100, "the disk is never full");
        };

        assert!(failure.to_string().contains("full"), "{failure}");
        let together = (0..5).map(|number| {
            let mut record = contract::an_instance(&format!("together-{number}"));
            record.instance.description = "x".repeat(20_000);
            store.commit(put(&record))
        });
        assert!(futures::future::join_all(together).await.iter().all(Result::is_err));
        assert_eq!(store.instances(None, 100).await.unwrap().len(), written.len());
        let gone = written.pop().unwrap();
        store.commit(vec![Write::DeleteInstance(gone.name, gone.id)]).await.unwrap();
        store.commit(put(&contract::an_instance("small"))).await.unwrap();
        assert!(store.instance(&"small".parse().unwrap()).await.unwrap().is_some());
    }

    #[tokio::test(flavor = "multi_thread")] // SPEC L-10
    async fn a_long_log_is_pruned_while_commits_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let store = SqliteStore::open(&path, SealingKey::generate()).await.unwrap();
        let fill = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) \
            INSERT INTO operation (instance, ended, body) SELECT 'old', CASE WHEN i > 20000 THEN 4e12 ELSE 1 END, '' FROM n";
        Connection::open(&path).unwrap().execute(fill, []).unwrap();

        let prune = async {
            let mut forgotten = 0;
            loop {
                match store.forget_operations(Utc::now(), 1000).await.unwrap() {
                    0 => return forgotten,
                    some => forgotten += some,
                }
            }
        };
        let mut slowest = Duration::ZERO;
        let work = async {
            for number in 0..50 {
                let begun = std::time::Instant::now();
                store.commit(put(&contract::an_instance(&format!("busy-{number}")))).await.unwrap();
                slowest = slowest.max(begun.elapsed());
            }
        };
        let (forgotten, ()) = futures::join!(prune, work);

        assert_eq!(forgotten, 20_000);
        assert!(slowest < Duration::from_secs(1), "a commit waited {slowest:?} for the log");
    }

    #[tokio::test] // SPEC S-6
    async fn records_of_a_newer_version_are_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        drop(SqliteStore::open(&path, SealingKey::generate()).await.unwrap());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();

        let refusal = SqliteStore::open(&path, SealingKey::generate()).await.err().unwrap();

        assert!(refusal.to_string().contains("a newer version of the broker"), "{refusal}");
    }

    #[tokio::test] // SPEC S-3
    async fn secrets_are_sealed_and_another_key_is_refused_at_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let record = contract::an_instance("cache");
        let store = SqliteStore::open(&path, SealingKey::generate()).await.unwrap();
        store.commit(put(&record)).await.unwrap();

        let refusal = SqliteStore::open(&path, SealingKey::generate()).await.err().unwrap();

        assert!(refusal.to_string().contains("cannot be opened"), "{refusal}");
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            let secret = record.instance.secret.expose().as_bytes();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret));
        }
    }
}
