//! What a broker has beside its instances: backups of them.

mod another;
mod archive;
mod config;
mod last;
mod listing;
mod operations;
mod reading;

use std::any::Any;

use async_trait::async_trait;
use broker_core::{BrokerError, Instance, Result, Tenant};
use futures::future::BoxFuture;
use tokio::io::AsyncRead;

use crate::{BackupError, Manifest, Restored};

pub use archive::Archive;
pub use config::{BackupConfig, BackupPlace};
pub use listing::ListBackups;
pub use operations::routes;
pub use reading::ReadBackup;

/// All that an instance holds, on its way into a backup.
pub struct Dump {
    server: String,
    format: &'static str,
    data: Box<dyn AsyncRead + Send + Unpin>,
    held: Option<Box<dyn Any + Send>>,
}

impl Dump {
    /// Data that a server of this name and version gives, as `mariadb 10.11.6`, in a format, as `sql`. The data must
    /// fail rather than end early.
    #[must_use]
    pub fn new(server: impl Into<String>, format: &'static str, data: impl AsyncRead + Send + Unpin + 'static) -> Self {
        Self { server: server.into(), format, data: Box::new(data), held: None }
    }

    /// The same, with something that is needed until the data's end, such as a file.
    #[must_use]
    pub fn holding(self, held: impl Any + Send) -> Self {
        Self { held: Some(Box::new(held)), ..self }
    }
}

impl std::fmt::Debug for Dump {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dump").field("server", &self.server).field("format", &self.format).finish_non_exhaustive()
    }
}

/// A dump that begins when its turn comes. It outlives the call that asked for it.
pub type Dumping = BoxFuture<'static, Result<Dump>>;

/// A broker whose instances have backups: how one is dumped, and how a backup is put in the place of what is there.
///
/// [`Archive`] calls these in their order; each may be called again after a crash at any point.
///
/// ```
/// use std::{collections::HashMap, io::Cursor, sync::{Arc, Mutex}};
///
/// use async_trait::async_trait;
/// use broker_backup::{Archive, BackedUp, BackupConfig, Dump, Dumping, Restored};
/// use broker_core::{BrokerError, Instance, OpaqueId, Result, Tenant};
/// use tokio::io::AsyncReadExt as _;
///
/// /// Each instance is a text.
/// struct Notebook { archive: Option<Archive>, texts: Arc<Mutex<HashMap<OpaqueId, Vec<u8>>>> }
///
/// impl Notebook {
///     fn text(&self, instance: &Instance) -> Vec<u8> {
///         self.texts.lock().unwrap().get(&instance.id).cloned().unwrap_or_default()
///     }
/// }
///
/// #[async_trait]
/// impl BackedUp for Notebook {
///     fn archive(&self) -> Option<&Archive> { self.archive.as_ref() }
///
///     fn dump(&self, instance: &Instance) -> Result<Dumping> {
///         let (texts, id) = (Arc::clone(&self.texts), instance.id.clone());
///         Ok(Box::pin(async move {
///             let text = texts.lock().unwrap().get(&id).cloned().unwrap_or_default();
///             Ok(Dump::new("notebook 1.0", "text", Cursor::new(text)))
///         }))
///     }
///
///     async fn last_dump(&self, instance: &Instance) -> Result<Option<Dumping>> {
///         if self.text(instance).is_empty() { Ok(None) } else { self.dump(instance).map(Some) }
///     }
///
///     async fn hold(&self, _: &Instance) -> Result<bool> { Ok(false) }
///
///     async fn load(&self, instance: &Instance, mut data: Restored) -> Result<()> {
///         let mut text = Vec::new();
///         data.read_to_end(&mut text).await.map_err(BrokerError::failed)?;
///         self.texts.lock().unwrap().insert(instance.id.clone(), text);
///         Ok(())
///     }
///
///     async fn open(&self, _: &Tenant) -> Result<()> { Ok(()) }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let config = BackupConfig { backups: Some(folder.path().into()), ..BackupConfig::default() };
/// let notebook = Notebook { archive: Archive::open("notebook", &config)?, texts: Arc::default() };
/// let instance = Instance::new("diary".parse()?, "small".parse()?);
/// notebook.texts.lock().unwrap().insert(instance.id.clone(), b"kind words".to_vec());
///
/// let archive = notebook.archive().unwrap();
/// let made = archive.back_up(&notebook, &instance).await?;
/// notebook.texts.lock().unwrap().clear();
/// archive.restore(&notebook, &Tenant::new(instance.clone(), Vec::new()), &made.id).await?;
///
/// assert_eq!(notebook.text(&instance), b"kind words");
/// # Ok(()) }
/// ```
#[async_trait]
pub trait BackedUp: Send + Sync + 'static {
    /// Where the backups are; none when the operator wants none.
    fn archive(&self) -> Option<&Archive>;

    /// A dump of all that an instance holds, also while apps write.
    ///
    /// # Errors
    /// When the instance's plan or server is not known any more.
    fn dump(&self, instance: &Instance) -> Result<Dumping>;

    /// Looks at a backup before anything is touched: reads it to its end, and refuses, with
    /// [`BadRequest`](BrokerError::BadRequest), what the instance can't hold.
    ///
    /// # Errors
    /// When the backup is damaged, or can't be restored into this instance.
    async fn examine(&self, _instance: &Instance, backup: &Manifest, mut data: Restored) -> Result<()> {
        let read = tokio::io::copy(&mut data, &mut tokio::io::sink()).await;
        Ok(read.map(drop).map_err(|cause| BackupError::damaged(backup, cause))?)
    }

    /// Keeps an instance's apps from writing, for a restore; says whether one was cut off before, so that what is there
    /// is nothing to keep.
    ///
    /// # Errors
    /// When the server can't be used.
    async fn hold(&self, instance: &Instance) -> Result<bool>;

    /// Puts data in the place of all that an instance holds, which nobody may use until it is [open](Self::open) again,
    /// also if the broker dies.
    ///
    /// # Errors
    /// When it could not be done: [`BadRequest`](BrokerError::BadRequest) when the data does not fit.
    async fn load(&self, instance: &Instance, data: Restored) -> Result<()>;

    /// Gives an instance back to its apps.
    ///
    /// # Errors
    /// When the server can't be used.
    async fn open(&self, tenant: &Tenant) -> Result<()>;

    /// Keeps apps from writing to an instance that is about to be removed, and dumps it; none when there is nothing to
    /// keep: it is empty, was never made, or is half a restore.
    ///
    /// # Errors
    /// When the server can't be used.
    async fn last_dump(&self, instance: &Instance) -> Result<Option<Dumping>>;

    /// The archive.
    ///
    /// # Errors
    /// When the operator wants no backups.
    fn kept(&self) -> Result<&Archive> {
        self.archive().ok_or_else(|| BrokerError::bad_request("this service keeps no backups"))
    }

    /// Makes a backup now: [`Archive::back_up`].
    ///
    /// # Errors
    /// When the operator wants no backups, or the server or the place can't be used.
    async fn back_up(&self, instance: &Instance) -> Result<Manifest> {
        self.kept()?.back_up(self, instance).await
    }

    /// The instance's backups, oldest first.
    ///
    /// # Errors
    /// When the operator wants no backups, or the place can't be used.
    async fn list_backups(&self, instance: &Instance) -> Result<Vec<Manifest>> {
        self.kept()?.list(instance).await
    }

    /// Puts a backup of the instance in the place of what it holds: [`Archive::restore`].
    ///
    /// # Errors
    /// When the operator wants no backups, and those of [`Archive::restore`].
    async fn restore_backup(&self, tenant: &Tenant, id: &str) -> Result<Option<Manifest>> {
        self.kept()?.restore(self, tenant, id).await
    }
}

impl From<BackupError> for BrokerError {
    /// A place that can't be used may be there again later.
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Store(_) => Self::unavailable(error),
            other => Self::failed(other),
        }
    }
}
