//! Backups of instances: on demand, by a schedule, and restored into the instance they are of.
//!
//! A restore closes the database, keeps what is there as a backup of its own, and loads. While it is under way there
//! is an empty database beside the instance's, its mark: a restore that was cut off leaves the mark, and with it the
//! instance closed, until a restore ends well (SPEC M-11). What is done before an instance is removed is in `last`, what
//! operators do without a broker in `reading`.

mod last;
mod reading;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use broker_backup::{About, BackupError, BackupKey, Backups, Manifest, Retention, Runner, Schedule};
use broker_core::{BrokerError, Instance, OpaqueId, Result};
use chrono::{DateTime, Utc};
use tokio::{task::JoinSet, time::timeout};
use tracing::{info, warn};

use crate::{
    MysqlBroker,
    broker::charset,
    copy::Copier,
    link::{Fault, Link},
    tenant::Database,
};

pub use reading::ReadBackup;

/// Where backups are, and when they are made.
#[derive(Clone, Debug, clap::Args)]
pub struct BackupConfig {
    /// Folder for backups [default: there are none]
    #[arg(long, env = "MYSQL_BROKER_BACKUPS", value_name = "DIR")]
    pub backups: Option<PathBuf>,
    /// File with the key that seals backups, made when it is missing; keep a copy elsewhere [default: not sealed]
    #[arg(long, env = "MYSQL_BROKER_BACKUP_KEY", value_name = "FILE", requires = "backups")]
    pub backup_key: Option<PathBuf>,
    /// Hours between backups of an instance [default: on demand only]
    #[arg(long, env = "MYSQL_BROKER_BACKUP_EVERY", value_name = "HOURS", requires = "backups",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub backup_every: Option<u32>,
    /// How many backups of an instance are kept
    #[arg(long, env = "MYSQL_BROKER_BACKUPS_KEPT", value_name = "NUMBER", default_value_t = 7)]
    pub backups_kept: usize,
    /// Make a last backup of an instance before it is removed; what cannot be backed up is not removed
    #[arg(long, env = "MYSQL_BROKER_BACKUP_BEFORE_REMOVAL", requires = "backups")]
    pub backup_before_removal: bool,
    /// Days that the backups of a removed instance are kept after its last one [default: for ever]
    #[arg(long, env = "MYSQL_BROKER_LAST_BACKUPS_KEPT", value_name = "DAYS", requires = "backups",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub last_backups_kept: Option<u32>,
}

/// How long a backup that nobody waits for may take.
const WITHIN: Duration = Duration::from_secs(3600);
/// Backups at once.
const PARALLEL: usize = 2;
const SERVICE: &str = "mysql";

/// The backups of this broker's instances.
#[derive(Clone)]
pub(crate) struct Archive {
    backups: Backups,
    copier: Copier,
    retention: Retention,
    schedule: Option<Schedule>,
    runner: Runner,
    due: Arc<Mutex<HashMap<OpaqueId, DateTime<Utc>>>>,
    is_before_removal: bool,
    /// Forgets removed instances as long as somebody has the archive.
    _forgetting: Arc<JoinSet<()>>,
}

impl Archive {
    pub(crate) fn open(config: &BackupConfig, copier: Option<&Copier>) -> anyhow::Result<Option<Self>> {
        let Some(folder) = &config.backups else { return Ok(None) };
        let copier = copier.context("backups need the programs mariadb-dump and mariadb: install mariadb-client")?;
        let mut backups = Backups::in_folder(folder)?;
        if let Some(key) = &config.backup_key {
            backups = backups.sealed_with(BackupKey::kept(key)?);
        }
        let every = config.backup_every.map(|hours| Duration::from_secs(u64::from(hours) * 3600));
        let forgetting = Arc::new(last::forgetting(&backups, config.last_backups_kept));
        Ok(Some(Self {
            backups,
            copier: copier.clone(),
            retention: Retention { keep: Some(config.backups_kept), days: None },
            schedule: every.map(|every| Schedule { every, jitter: every / 4 }),
            runner: Runner::new(PARALLEL),
            due: Arc::default(),
            is_before_removal: config.backup_before_removal,
            _forgetting: forgetting,
        }))
    }

    async fn back_up(&self, instance: &Instance, link: &Link) -> Result<Manifest> {
        self.make(About::new(SERVICE, instance.id.as_str(), instance.plan.as_str()), instance, link).await
    }

    async fn make(&self, about: About, instance: &Instance, link: &Link) -> Result<Manifest> {
        let made = self.runner.run(instance.id.as_str(), self.write(about, instance, link)).await;
        made.unwrap_or_else(|| Err(BrokerError::unavailable("a backup of the instance runs already")))
    }

    async fn write(&self, about: About, instance: &Instance, link: &Link) -> Result<Manifest> {
        let about = about.server(&link.version().await?).format("sql");
        let (dump, _login) = self.copier.dump(&Database::of(instance), link.reach()).map_err(BrokerError::failed)?;
        let made = self.backups.write(&about, dump).await.map_err(failure)?;
        self.backups.retain(SERVICE, instance.id.as_str(), &self.retention, Utc::now()).await.map_err(failure)?;
        info!(instance.name = %instance.name, "made backup {} of `{}`", made.id, instance.name);
        Ok(made)
    }

    /// Begins a backup when the schedule says so. Nobody waits for it: it is consistent whatever happens meanwhile.
    async fn keep_up(&self, instance: &Instance, link: &Arc<Link>) -> Result<()> {
        let Some(schedule) = self.schedule else { return Ok(()) };
        let known = self.due.lock().unwrap_or_else(PoisonError::into_inner).get(&instance.id).copied();
        let due = match known {
            Some(due) => due,
            None => {
                let made = self.backups.list(SERVICE, instance.id.as_str()).await.map_err(failure)?;
                let newest = made.iter().map(|backup| backup.begun).max();
                newest.map_or_else(Utc::now, |begun| schedule.next(instance.id.as_str(), begun))
            }
        };
        let now = Utc::now();
        let next = if due <= now { schedule.next(instance.id.as_str(), now) } else { due };
        self.due.lock().unwrap_or_else(PoisonError::into_inner).insert(instance.id.clone(), next);
        if due <= now {
            let (archive, instance, link) = (self.clone(), instance.clone(), Arc::clone(link));
            tokio::spawn(async move {
                let made = timeout(WITHIN, archive.back_up(&instance, &link)).await;
                if let Err(cause) = made.unwrap_or_else(|_| Err(BrokerError::failed("it took too long"))) {
                    warn!(instance.name = %instance.name, error = &cause as &dyn std::error::Error, "no backup of `{}` was made", instance.name);
                }
            });
        }
        Ok(())
    }
}

impl MysqlBroker {
    fn archive(&self) -> Result<&Archive> {
        self.archive.as_ref().ok_or_else(|| BrokerError::bad_request("this service keeps no backups"))
    }

    /// Makes a backup now.
    ///
    /// # Errors
    /// When there is no place for backups, or the server or the place can't be used.
    pub async fn back_up(&self, instance: &Instance) -> Result<Manifest> {
        self.archive()?.back_up(instance, &*self.server(instance)?.up().await?).await
    }

    /// The instance's backups.
    ///
    /// # Errors
    /// When there is no place for backups, or it can't be used.
    pub async fn list_backups(&self, instance: &Instance) -> Result<Vec<Manifest>> {
        self.archive()?.backups.list(SERVICE, instance.id.as_str()).await.map_err(failure)
    }

    /// Begins what the schedule wants.
    pub(crate) async fn keep_backups_up(&self, instance: &Instance, link: &Arc<Link>) -> Result<()> {
        match &self.archive {
            Some(archive) => archive.keep_up(instance, link).await,
            None => Ok(()),
        }
    }

    /// Whether a restore was cut off: then nobody may use what is there.
    pub(crate) async fn is_half_restored(&self, instance: &Instance, link: &Link) -> Result<bool> {
        Ok(self.archive.is_some() && link.has(&Database::of(instance).mark()).await?)
    }

    /// Puts a backup in the place of what the instance holds, and returns the backup of what it held: none when that
    /// was half a restore.
    ///
    /// # Errors
    /// When there is no such backup, or it is damaged: nothing is changed. When it can't be loaded: the instance is
    /// closed until a restore ends well (SPEC M-11).
    pub async fn restore_backup(&self, instance: &Instance, id: &str) -> Result<Option<Manifest>> {
        let archive = self.archive()?;
        let (database, link) = (Database::of(instance), self.server(instance)?.up().await?);
        let backup = archive.backups.get(SERVICE, instance.id.as_str(), id).await.map_err(failure)?;
        let backup = backup.ok_or_else(|| BrokerError::bad_request("the instance has no such backup"))?;
        archive.backups.verify(&backup).await.map_err(failure)?;
        // What a restore that was cut off left is nothing to keep.
        let was_cut_off = link.has(&database.mark()).await?;
        link.create(&database.mark(), charset(instance)).await?;
        let accounts = link.freeze(&database).await?;
        let kept = if was_cut_off { None } else { Some(self.keep_before(archive, instance, &link).await?) };
        link.clear(&database, charset(instance)).await?;
        for account in &accounts {
            link.stand_in(account, &database).await?;
        }
        let data = archive.backups.read(&backup).await.map_err(failure)?;
        archive.copier.load(&database, link.reach(), data).await?;
        link.thaw(&database).await?;
        link.drop_mark(&database).await?;
        info!(instance.name = %instance.name, "restored backup {id} of `{}`", instance.name);
        Ok(kept)
    }

    /// Without a backup of what is there nothing is changed, and the database is open again.
    async fn keep_before(&self, archive: &Archive, instance: &Instance, link: &Link) -> Result<Manifest> {
        let made = archive.back_up(instance, link).await;
        if made.is_err() {
            self.open_again(&Database::of(instance), link).await?;
        }
        made
    }

    async fn open_again(&self, database: &Database, link: &Link) -> Result<(), Fault> {
        link.thaw(database).await?;
        link.drop_mark(database).await
    }
}

fn failure(error: BackupError) -> BrokerError {
    match error {
        BackupError::Store(_) => BrokerError::unavailable(error),
        other => BrokerError::failed(other),
    }
}
