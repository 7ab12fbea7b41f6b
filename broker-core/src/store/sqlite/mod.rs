//! Records in a SQLite file.
//!
//! One thread owns the one writing connection and puts whatever waits for it into one transaction: many small commits
//! cost one write to disk. Nobody is answered before that write is there.
//!
//! Single records are kept in a cache of bounded size. That thread alone fills it, with what it has just committed or
//! just read, so what is in there is never older than what was acknowledged: a reader that misses asks the same thread,
//! behind the commits that came before it. Lists are read by connections of their own, which the write-ahead log lets
//! run beside the writer; they see everything that was acknowledged before they began.

mod cache;
mod read;
mod rows;
mod unfinished;
mod writer;

use std::{
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use async_trait::async_trait;
use cache::{CACHE_BYTES, Records};
use chrono::{DateTime, Utc};
use read::{BINDINGS_OF, Due, INSTANCES_PAGE, Readers, as_limit, list, sealed_binding, sealed_instance};
use rows::{RowWrite, consumer_from, millis};
use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::sync::{mpsc, oneshot};
use unfinished::{Unfinished, is_at_once};
use writer::{Answer, BATCH, Request, Writer};

use super::{Counts, Living, Store, StoreError, Write, consumer_key};
use crate::{
    Consumer, InstanceName, OpaqueId, SealingKey,
    lifecycle::records::{BindingRecord, InstanceRecord, Operation},
};

/// How long a connection waits for another one's lock.
const BUSY: Duration = Duration::from_secs(10);
/// What the row that proves the key says.
const PROOF: &[u8] = b"this key opens these records";
/// The tables, step by step. A step that was released is never changed.
const MIGRATIONS: [&str; 3] = [
    include_str!("../migrations/sqlite/0001_records.sql"),
    include_str!("../migrations/sqlite/0002_places.sql"),
    include_str!("../migrations/sqlite/0003_rows.sql"),
];

/// Records in a SQLite file, sealed.
pub(crate) struct SqliteStore {
    key: SealingKey,
    cache: Arc<Records>,
    unfinished: Arc<Unfinished>,
    writer: mpsc::Sender<Request>,
    readers: Arc<Readers>,
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
        let (cache, unfinished) = (Arc::new(cache), Arc::new(Unfinished::default()));
        let (writer, requests) = mpsc::channel(4 * BATCH);
        let writing = Writer { connection, key: key.clone(), cache: cache.clone(), unfinished: unfinished.clone() };
        let thread = thread::Builder::new().name("broker-records".to_owned());
        thread.spawn(move || writing.run(requests)).map_err(|cause| StoreError::Failed(cause.into()))?;
        let readers = Arc::new(Readers { path: path.to_owned(), connect, idle: Mutex::default() });
        Ok(Self { key, cache, unfinished, writer, readers })
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

    /// The names of what is due at once, unless whoever reads on has come past that.
    async fn at_once<K>(
        &self,
        after: Option<&(Option<DateTime<Utc>>, K)>,
        names: impl FnOnce(&Unfinished, Option<&K>) -> Vec<K>,
    ) -> Result<Vec<K>, StoreError> {
        if after.is_some_and(|(due, _)| !is_at_once(*due)) {
            return Ok(Vec::new());
        }
        self.unfinished.know(|| self.read(|connection, _| unfinished::look(connection))).await?;
        Ok(names(&self.unfinished, after.map(|(_, key)| key)))
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
    // In pages and KiB. A log that is folded into the tables seldom takes more commits that make its file longer, and
    // those take longer to sync.
    connection.pragma_update(None, "wal_autocheckpoint", 2000)?;
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
        after: Option<&InstanceRecord>,
        limit: usize,
    ) -> Result<Vec<InstanceRecord>, StoreError> {
        let after = after.map(|record| (record.due, record.instance.name.clone()));
        let at_once = self.at_once(after.as_ref(), Unfinished::instances).await?;
        let due = Due { by: now, at_once, after, limit };
        self.read(move |connection, key| read::due_instances(connection, key, &due)).await
    }

    async fn due_bindings(
        &self,
        now: DateTime<Utc>,
        after: Option<&BindingRecord>,
        limit: usize,
    ) -> Result<Vec<BindingRecord>, StoreError> {
        let after = after.map(|record| (record.due, (record.instance.clone(), record.consumer().clone())));
        let at_once = self.at_once(after.as_ref(), Unfinished::bindings).await?;
        let due = Due { by: now, at_once, after, limit };
        self.read(move |connection, key| read::due_bindings(connection, key, &due)).await
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
    use crate::{lifecycle::AT_ONCE, store::contract};

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

    /// The names of instances that are due by now, and how many bindings are.
    async fn due(store: &SqliteStore) -> (Vec<String>, usize) {
        let instances = store.due_instances(Utc::now(), None, 10).await.unwrap();
        let bindings = store.due_bindings(Utc::now(), None, 10).await.unwrap();
        (instances.into_iter().map(|record| record.instance.name.to_string()).collect(), bindings.len())
    }

    fn at_once(name: &str) -> Vec<Write> {
        let mut record = contract::an_instance(name);
        record.due = Some(AT_ONCE);
        let mut binding = contract::a_binding(&record.instance, &Consumer::App("web".parse().unwrap()));
        binding.due = Some(AT_ONCE);
        vec![Write::PutInstance(Box::new(record)), Write::PutBinding(Box::new(binding))]
    }

    #[tokio::test] // SPEC L-3
    async fn what_is_unfinished_is_found_again_after_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let (path, key) = (folder.path().join("state.db"), SealingKey::generate());
        let store = SqliteStore::open(&path, key.clone()).await.unwrap();
        store.commit(at_once("unfinished")).await.unwrap();
        store.commit(put(&contract::an_instance("finished"))).await.unwrap();
        let mut made_by_platform = contract::an_instance("elsewhere");
        made_by_platform.instance.name = InstanceName::made_by_platform("1b5c0bd4").unwrap();
        made_by_platform.due = Some(AT_ONCE);
        store.commit(put(&made_by_platform)).await.unwrap();

        let again = SqliteStore::open(&path, key).await.unwrap();

        again.commit(at_once("begun-since")).await.unwrap();
        let wanted = ["1b5c0bd4", "begun-since", "unfinished"].map(String::from).to_vec();
        assert_eq!(due(&again).await, (wanted, 2));
    }

    #[tokio::test] // SPEC L-12
    async fn what_is_unfinished_is_found_when_nobody_knows_what_a_commit_came_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let store = SqliteStore::open(&path, SealingKey::generate()).await.unwrap();
        store.commit(at_once("known")).await.unwrap();
        assert_eq!(due(&store).await.1, 1);
        // As a commit whose failure came after it was on disk.
        let write = "UPDATE instance SET due = 0 WHERE name = 'unknown'";
        store.commit(put(&contract::an_instance("unknown"))).await.unwrap();
        Connection::open(&path).unwrap().execute(write, []).unwrap();
        assert_eq!(due(&store).await.0, ["known"]);

        let rename = |from: &str, to: &str| {
            Connection::open(&path).unwrap().execute(&format!("ALTER TABLE {from} RENAME TO {to}"), []).unwrap()
        };
        rename("binding", "elsewhere");
        store
            .commit(vec![Write::DeleteBinding(OpaqueId::generate(), Consumer::App("web".parse().unwrap()))])
            .await
            .unwrap_err();
        rename("elsewhere", "binding");

        assert_eq!(due(&store).await, (vec!["known".to_owned(), "unknown".to_owned()], 1));
    }

    #[tokio::test] // SPEC L-3
    async fn what_is_due_by_the_clock_is_looked_up_in_an_index() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        drop(SqliteStore::open(&path, SealingKey::generate()).await.unwrap());
        let connection = Connection::open(&path).unwrap();

        for (query, index) in [(read::INSTANCES_DUE, "instance_due"), (read::BINDINGS_DUE, "binding_due")] {
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {query}")).unwrap();
            let unbound = vec![rusqlite::types::Null; plan.parameter_count()];
            let steps = plan.query_map(rusqlite::params_from_iter(unbound), |row| row.get::<_, String>(3)).unwrap();
            let steps: Vec<String> = steps.map(Result::unwrap).collect();
            assert!(matches!(&steps[..], [only] if only.contains(&format!("USING INDEX {index}"))), "{steps:?}");
        }
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
