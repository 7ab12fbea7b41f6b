//! The store itself: opening a database, and the port's three verbs.

use std::{
    fs,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    time::Duration,
};

use async_trait::async_trait;
use broker_core::SealingKey;
use platform_core::ports::{Page, Record, RecordKind, Store, StoreError, Write};
use sqlx::{
    Connection as _, QueryBuilder, Sqlite, SqliteConnection, SqlitePool,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{
    prefix,
    trouble::{Trouble, sql},
};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// `PRAGMA application_id` of the platform's databases; the first migration sets it.
const OURS: i64 = 0x7473_7264;

/// What the key check is sealed about, and its content.
const KEY_CHECK: &[u8] = b"key-check";

/// How long a statement waits for another process's lock, or for a connection.
const PATIENCE: Duration = Duration::from_secs(10);

const READERS: u32 = 4;

/// The platform's records in one SQLite file, each body sealed.
///
/// ```no_run
/// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
/// # use std::path::Path;
/// let key = broker_core::SealingKey::load_or_create(Path::new("/var/lib/tsuru/key"))?;
/// let store = platform_store::SqliteStore::open(Path::new("/var/lib/tsuru/platform.db"), key).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct SqliteStore {
    key: SealingKey,
    /// One connection: writers queue here, in order, rather than on SQLite's lock.
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens a database, made with mode 0600 when there is none yet, and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Failed`] with a source that says what to do: the file can't be opened, is not
    /// the platform's, is sealed with another key, or was written by a newer version.
    pub async fn open(path: &Path, key: SealingKey) -> Result<Self, StoreError> {
        make_private(path).map_err(|error| Trouble::File(path.to_owned(), error))?;
        expect_ours(path).await?;
        let writer = pool(path, 1);
        prepare(&writer, path, &key).await?;
        Ok(Self { key, writer, readers: pool(path, READERS) })
    }

    /// Waits for work in hand and closes the database. Whatever is asked afterwards fails.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    fn opened(&self, kind: RecordKind, row: Row) -> Result<Record, StoreError> {
        let (key, revision, sealed) = row;
        let damaged = |error| Trouble::Damaged(kind.as_str().to_owned(), key.clone(), error);
        let body = self.key.open(&sealed, about(kind, &key).as_bytes()).map_err(damaged)?;
        let body = String::from_utf8(body).map_err(|_| damaged(broker_core::SealError))?;
        Ok(Record { key, revision, body })
    }

    async fn apply(&self, writer: &mut SqliteConnection, write: &Write) -> Result<(), StoreError> {
        match write {
            Write::Put { kind, key, replaces, body } => {
                let sealed = self.key.seal(body.as_bytes(), about(*kind, key).as_bytes());
                let written = put(writer, *kind, key, *replaces, sealed).await.map_err(sql)?;
                if written { Ok(()) } else { Err(StoreError::Conflict(kind.as_str(), key.clone())) }
            }
            Write::Delete { kind, key } => delete(writer, *kind, key).await.map_err(sql),
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn get(&self, kind: RecordKind, key: &str) -> Result<Option<Record>, StoreError> {
        let row = sqlx::query_as("SELECT key, revision, body FROM record WHERE kind = ? AND key = ?")
            .bind(kind.as_str())
            .bind(key)
            .fetch_optional(&self.readers)
            .await
            .map_err(sql)?;
        row.map(|row| self.opened(kind, row)).transpose()
    }

    async fn list(&self, kind: RecordKind, page: Page<'_>) -> Result<Vec<Record>, StoreError> {
        let rows = listing(kind, page).build_query_as().fetch_all(&self.readers).await.map_err(sql)?;
        rows.into_iter().map(|row| self.opened(kind, row)).collect()
    }

    async fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(sql)?;
        for write in writes {
            // Returning early drops the transaction, which rolls it back.
            self.apply(&mut transaction, write).await?;
        }
        transaction.commit().await.map_err(sql)
    }
}

type Row = (String, i64, Vec<u8>);

/// A kind has no slash, so that no two records share this.
fn about(kind: RecordKind, key: &str) -> String {
    format!("{}/{key}", kind.as_str())
}

/// Whether the record was at the revision it was read at.
async fn put(
    writer: &mut SqliteConnection,
    kind: RecordKind,
    key: &str,
    replaces: i64,
    sealed: Vec<u8>,
) -> sqlx::Result<bool> {
    let query = if replaces == 0 {
        sqlx::query("INSERT INTO record (body, kind, key, revision) VALUES (?, ?, ?, ? + 1) ON CONFLICT DO NOTHING")
    } else {
        sqlx::query("UPDATE record SET body = ?, revision = revision + 1 WHERE kind = ? AND key = ? AND revision = ?")
    };
    let done = query.bind(sealed).bind(kind.as_str()).bind(key).bind(replaces).execute(writer).await?;
    Ok(done.rows_affected() == 1)
}

async fn delete(writer: &mut SqliteConnection, kind: RecordKind, key: &str) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM record WHERE kind = ? AND key = ?").bind(kind.as_str()).bind(key).execute(writer).await?;
    Ok(())
}

fn listing(kind: RecordKind, page: Page<'_>) -> QueryBuilder<Sqlite> {
    let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let mut query = QueryBuilder::new("SELECT key, revision, body FROM record WHERE kind = ");
    query.push_bind(kind.as_str()).push(" AND key >= ").push_bind(page.prefix.to_owned());
    if let Some(end) = prefix::end_of(page.prefix) {
        query.push(" AND key < ").push_bind(end);
    }
    query.push(if page.descending { " ORDER BY key DESC" } else { " ORDER BY key" });
    // SQLite: a negative limit is none.
    query.push(" LIMIT ").push_bind(if page.limit == 0 { -1 } else { whole(page.limit) });
    query.push(" OFFSET ").push_bind(whole(page.skip));
    query
}

/// SQLite gives the files beside the database (`-wal`, `-shm`) the mode of the database.
fn make_private(path: &Path) -> std::io::Result<()> {
    let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

fn file(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path).create_if_missing(false).busy_timeout(PATIENCE)
}

fn pool(path: &Path, connections: u32) -> SqlitePool {
    let options = file(path).journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(PATIENCE)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(options)
}

/// Looks at a file before anything is written to it: setting the journal mode would be a write.
async fn expect_ours(path: &Path) -> Result<(), Trouble> {
    let mut connection = SqliteConnection::connect_with(&file(path)).await?;
    let ours = is_ours_or_empty(&mut connection).await;
    connection.close().await?;
    match ours {
        Ok(true) => Ok(()),
        Ok(false) => Err(Trouble::Foreign(path.to_owned())),
        Err(error) if is_no_database(&error) => Err(Trouble::Foreign(path.to_owned())),
        Err(error) => Err(Trouble::Sql(error)),
    }
}

async fn is_ours_or_empty(connection: &mut SqliteConnection) -> sqlx::Result<bool> {
    let id: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *connection).await?;
    // A crash before the first migration leaves the migrations' own table alone.
    let others = "SELECT count(*) FROM sqlite_master WHERE tbl_name <> '_sqlx_migrations'";
    let others: i64 = sqlx::query_scalar(others).fetch_one(connection).await?;
    Ok(id == OURS || others == 0)
}

fn is_no_database(error: &sqlx::Error) -> bool {
    const SQLITE_NOTADB: &str = "26";
    error.as_database_error().is_some_and(|of| of.code().as_deref() == Some(SQLITE_NOTADB))
}

async fn prepare(writer: &SqlitePool, path: &Path, key: &SealingKey) -> Result<(), Trouble> {
    MIGRATIONS.run(writer).await.map_err(|error| match error {
        MigrateError::VersionMissing(_) => Trouble::Newer(path.to_owned()),
        other => Trouble::Migration(path.to_owned(), other),
    })?;
    let mut connection = writer.acquire().await?;
    if is_sealed_with(&mut connection, key).await? { Ok(()) } else { Err(Trouble::OtherKey(path.to_owned())) }
}

async fn is_sealed_with(connection: &mut SqliteConnection, key: &SealingKey) -> sqlx::Result<bool> {
    sqlx::query("INSERT INTO key_check (id, sealed) VALUES (1, ?) ON CONFLICT DO NOTHING")
        .bind(key.seal(KEY_CHECK, KEY_CHECK))
        .execute(&mut *connection)
        .await?;
    let sealed: Vec<u8> = sqlx::query_scalar("SELECT sealed FROM key_check").fetch_one(connection).await?;
    Ok(key.open(&sealed, KEY_CHECK).is_ok())
}
