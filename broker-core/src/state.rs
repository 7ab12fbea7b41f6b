//! Where a broker's records are kept.

use std::{
    fmt, fs, io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{
    BoxError, Inspection, SealingKey,
    secret::private_folder,
    store::{self, MemoryStore, SqliteStore, Store},
};
#[cfg(feature = "postgres")]
use crate::{Secret, store::PostgresStore, store::reseal_postgres::Resealing};

/// How long a folder may still look used by a broker that is gone: a program that it was just starting has what was
/// open in the broker until the kernel has loaded it.
const LET_GO_WITHIN: Duration = Duration::from_secs(1);

/// Where a broker's records are kept: instances, bindings, what authors noted down.
///
/// Records are sealed; whoever reads the files without the key learns names and states only, and who has instances of
/// plans with limits (SPEC S-3).
#[derive(Clone)]
pub struct State {
    pub(crate) store: Arc<dyn Store>,
    _lock: Option<Arc<fs::File>>,
}

impl State {
    /// In memory, for tests and for brokers that may forget: nothing survives the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { store: Arc::new(MemoryStore::default()), _lock: None }
    }

    /// In a folder of its own, made with mode 0700 when it is missing: the database `state.db` and the
    /// key `state.key`. Whatever was acknowledged is on disk.
    ///
    /// # Errors
    /// When the folder can't be used, another process uses it, or the key does not fit the records.
    pub async fn open(folder: &Path) -> Result<Self, StateError> {
        let lock = prepare(folder).await?;
        let key_file = folder.join("state.key");
        let key = SealingKey::load_or_create(&key_file).map_err(|cause| StateError::file(&key_file, cause))?;
        let database = folder.join("state.db");
        private_file(&database)?;
        let store = SqliteStore::open(&database, key)
            .await
            .map_err(|cause| StateError::Database { path: database, cause: Box::new(cause) })?;
        Ok(Self { store: Arc::new(store), _lock: Some(Arc::new(lock)) })
    }

    /// Opens the records in a folder to look at them, also while a broker runs on them (SPEC S-9).
    ///
    /// # Errors
    /// When there are no records in the folder, they are of another version, or the key does not fit them.
    pub async fn inspect(folder: &Path) -> Result<Inspection, StateError> {
        let (database, key_file) = (folder.join("state.db"), folder.join("state.key"));
        fs::metadata(&database).map_err(|cause| StateError::file(&database, cause))?;
        let key = SealingKey::load(&key_file).map_err(|cause| StateError::file(&key_file, cause))?;
        let store = SqliteStore::look(&database, key)
            .await
            .map_err(|cause| StateError::Database { path: database, cause: Box::new(cause) })?;
        Ok(Inspection::new(Self { store: Arc::new(store), _lock: None }))
    }

    /// Seals all records in a folder with a new key and forgets the old one (SPEC S-8). The broker must not run.
    ///
    /// The key file gets the new key before anything is sealed with it, and loses the old one when nothing is sealed
    /// with that any more: interrupted anywhere, the records open, and rotating again finishes what was begun.
    ///
    /// # Errors
    /// When there are no records in the folder, another process uses it, or its files can't be read or written.
    pub async fn rotate_key(folder: &Path) -> Result<(), StateError> {
        let (database, key_file) = (folder.join("state.db"), folder.join("state.key"));
        for path in [&database, &key_file] {
            fs::metadata(path).map_err(|cause| StateError::file(path, cause))?;
        }
        let lock = prepare(folder).await?;
        let rotation = tokio::task::spawn_blocking(move || {
            let ring = SealingKey::begin_rotation(&key_file).map_err(|cause| StateError::file(&key_file, cause))?;
            store::reseal(&database, &ring)
                .map_err(|cause| StateError::Database { path: database, cause: Box::new(cause) })?;
            let finished = SealingKey::finish_rotation(&key_file).map_err(|cause| StateError::file(&key_file, cause));
            // Kept until here, also when whoever asked has given up.
            drop(lock);
            finished
        });
        let in_folder = |cause| StateError::file(folder, io::Error::other(cause));
        rotation.await.map_err(in_folder)?
    }

    /// In a PostgreSQL database, which several replicas of the broker can share (SPEC L-8): each gets the same URL, such
    /// as `postgres://user:password@host:5432/database`, and a copy of the same key file, which is made when it is
    /// missing.
    ///
    /// # Errors
    /// When the key file can't be used, the database can't be reached or prepared, or the key does not fit the records.
    #[cfg(feature = "postgres")]
    pub async fn connect(url: &Secret, key_file: &Path) -> Result<Self, StateError> {
        let key = SealingKey::load_or_create(key_file).map_err(|cause| StateError::file(key_file, cause))?;
        let store = PostgresStore::connect(url, key).await.map_err(StateError::server)?;
        Ok(Self { store: Arc::new(store), _lock: None })
    }
}

/// Looking after records that a broker may be using.
impl State {
    /// Whether a broker process has the folder.
    pub(crate) fn is_in_use(folder: &Path) -> bool {
        let lock = fs::File::open(folder.join("state.lock"));
        lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
    }

    /// Whether there are records in a PostgreSQL database; asking makes none.
    #[cfg(feature = "postgres")]
    pub(crate) async fn has_records(url: &Secret) -> Result<bool, StateError> {
        PostgresStore::has_tables(url).await.map_err(StateError::server)
    }

    /// Opens the records in a PostgreSQL database to look at them, also while replicas run on them (SPEC S-9).
    ///
    /// # Errors
    /// When the database can't be reached, there are no records in it, or the key does not fit them.
    #[cfg(feature = "postgres")]
    pub async fn inspect_database(url: &Secret, key_file: &Path) -> Result<Inspection, StateError> {
        let key = SealingKey::load(key_file).map_err(|cause| StateError::file(key_file, cause))?;
        let store = PostgresStore::look(url, key).await.map_err(StateError::server)?;
        Ok(Inspection::new(Self { store: Arc::new(store), _lock: None }))
    }

    /// Seals all records in a PostgreSQL database with a new key and forgets the old one (SPEC S-8). No replica may run:
    /// it is refused while one said within `lease` that it lives. Other replicas need the new key file before they are
    /// started again; one that is started with the old key is refused.
    ///
    /// As [`rotate_key`](Self::rotate_key), it can be interrupted anywhere and is finished by a repeat.
    ///
    /// # Errors
    /// When a replica or another rotation runs, the database can't be reached or has no records, or the key file can't
    /// be read or written.
    #[cfg(feature = "postgres")]
    pub async fn rotate_database_key(
        url: &Secret,
        key_file: &Path,
        lease: std::time::Duration,
    ) -> Result<(), StateError> {
        let in_file = |cause| StateError::file(key_file, cause);
        let key = SealingKey::load(key_file).map_err(in_file)?;
        let mut resealing = Resealing::begin(url, &key, lease).await.map_err(StateError::server)?;
        let ring = SealingKey::begin_rotation(key_file).map_err(in_file)?;
        resealing.all(&ring).await.map_err(StateError::server)?;
        SealingKey::finish_rotation(key_file).map_err(in_file)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

/// Makes the folder and takes its lock, which the kernel takes back when the process ends.
async fn prepare(folder: &Path) -> Result<fs::File, StateError> {
    private_folder(folder).map_err(|cause| StateError::file(folder, cause))?;
    let path = folder.join("state.lock");
    let lock = private_file(&path)?;
    let deadline = Instant::now() + LET_GO_WITHIN;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => sleep(Duration::from_millis(10)).await,
            Err(fs::TryLockError::WouldBlock) => return Err(StateError::InUse(folder.to_owned())),
            Err(fs::TryLockError::Error(cause)) => return Err(StateError::file(&path, cause)),
        }
    }
}

/// A file for its owner only, made if it is missing: the folder may have been there before, and open to others.
fn private_file(path: &Path) -> Result<fs::File, StateError> {
    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    file.map_err(|cause| StateError::file(path, cause))
}

/// Why a broker's records can't be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// A file or folder can't be read or made.
    #[error("cannot use {}: {cause}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// Another process has the folder.
    #[error("{} is in use by another broker process, stop that one or choose another folder", .0.display())]
    InUse(PathBuf),
    /// The database server can't be reached, or its records don't fit the key.
    #[error("cannot use the records in the database: {0}")]
    Server(BoxError),
    /// The database can't be opened, or does not fit the key.
    #[error("cannot open the records in {}: {cause}", path.display())]
    Database {
        /// Its file.
        path: PathBuf,
        /// What went wrong.
        cause: BoxError,
    },
}

impl StateError {
    #[cfg(feature = "postgres")]
    fn server(cause: store::StoreError) -> Self {
        Self::Server(Box::new(cause))
    }

    fn file(path: &Path, cause: io::Error) -> Self {
        Self::File { path: path.to_owned(), cause }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test] // SPEC H-5, S-4
    fn only_the_folder_itself_is_closed_to_others() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("broker/data");

        private_folder(&folder).unwrap();
        private_folder(&folder).unwrap();

        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert_ne!(mode(folder.parent().unwrap()) & 0o100, 0);
        assert_eq!(mode(folder.parent().unwrap()) & 0o001, mode_of_new_folder(place.path()) & 0o001);
        fs::write(place.path().join("file"), "").unwrap();
        assert!(private_folder(&place.path().join("file")).is_err());
    }

    #[tokio::test] // SPEC S-2
    async fn records_that_are_let_go_a_moment_late_open_all_the_same() {
        let place = tempfile::tempdir().unwrap();
        let ending = State::open(place.path()).await.unwrap();
        let late = tokio::spawn(async move {
            sleep(Duration::from_millis(100)).await;
            drop(ending);
        });

        State::open(place.path()).await.unwrap();

        assert!(late.is_finished());
    }

    #[tokio::test] // SPEC S-2, S-7
    async fn a_key_is_rotated_while_no_broker_runs() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("data");
        assert!(matches!(State::rotate_key(&folder).await, Err(StateError::File { .. })));
        let running = State::open(&folder).await.unwrap();
        assert!(matches!(State::rotate_key(&folder).await, Err(StateError::InUse(_))));
        drop(running);
        let before = fs::read_to_string(folder.join("state.key")).unwrap();

        State::rotate_key(&folder).await.unwrap();

        let after = fs::read_to_string(folder.join("state.key")).unwrap();
        assert_eq!(after.lines().count(), 1);
        assert_ne!(after, before);
        State::open(&folder).await.unwrap();
    }

    /// What the process's mask leaves of a folder's permissions.
    fn mode_of_new_folder(place: &Path) -> u32 {
        let usual = place.join("usual");
        fs::create_dir(&usual).unwrap();
        fs::metadata(&usual).unwrap().permissions().mode()
    }
}
