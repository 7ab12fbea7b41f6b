//! Backups of a broker's instances: on demand, by a schedule, and restored.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use broker_core::{BrokerError, Instance, OpaqueId, Result, Tenant, in_time};
use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use tokio::{io::AsyncRead, task::JoinSet, time::timeout};
use tokio_util::io::{ReaderStream, StreamReader};
use tracing::{info, warn};

use super::{BackedUp, BackupConfig, Dump, Dumping, last::tidying};
use crate::{About, Backups, Manifest, Retention, Runner, Schedule};

/// How long a backup that nobody waits for may take.
pub(super) const WITHIN: Duration = Duration::from_secs(3600);
/// When a backup of the schedule that failed is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(600);
/// Backups at once.
const PARALLEL: usize = 2;

/// The backups of a broker's instances. Clones are the same.
#[derive(Clone, Debug)]
pub struct Archive {
    pub(super) service: &'static str,
    pub(super) backups: Backups,
    retention: Retention,
    schedule: Option<Schedule>,
    runner: Runner,
    due: Arc<Mutex<HashMap<OpaqueId, DateTime<Utc>>>>,
    pub(super) is_before_removal: bool,
    /// Goes on as long as somebody has the archive.
    _tidying: Arc<JoinSet<()>>,
}

impl Archive {
    /// The archive that the operator wants, for the service of this name. It removes by itself what is left of removed
    /// instances and of backups that were cut off.
    ///
    /// # Errors
    /// When the settings don't fit together, or the place or the key can't be used.
    pub fn open(service: &'static str, config: &BackupConfig) -> anyhow::Result<Option<Self>> {
        let Some(backups) = config.place()? else { return Ok(None) };
        let every = config.backup_every.map(|hours| Duration::from_secs(u64::from(hours) * 3600));
        Ok(Some(Self {
            service,
            retention: Retention { keep: Some(config.backups_kept), days: None },
            schedule: every.map(|every| Schedule { every, jitter: every / 4 }),
            runner: Runner::new(PARALLEL),
            due: Arc::default(),
            is_before_removal: config.backup_before_removal,
            _tidying: Arc::new(tidying(service, &backups, config.last_backups_kept)),
            backups,
        }))
    }

    /// Makes a backup now.
    ///
    /// # Errors
    /// When one of the instance runs already, or the server or the place can't be used.
    pub async fn back_up<B: BackedUp + ?Sized>(&self, broker: &B, instance: &Instance) -> Result<Manifest> {
        let made = self.make(self.about(instance), instance, broker.dump(instance)?).await?;
        self.retain(instance).await?;
        Ok(made)
    }

    /// The instance's backups, oldest first.
    ///
    /// # Errors
    /// When the place can't be used.
    pub async fn list(&self, instance: &Instance) -> Result<Vec<Manifest>> {
        Ok(self.backups.list(self.service, instance.id.as_str()).await?)
    }

    pub(super) fn about(&self, instance: &Instance) -> About {
        let about = About::new(self.service, instance.id.as_str(), instance.plan.as_str());
        about.owned(instance.name.as_str(), &instance.team)
    }

    pub(super) async fn make(&self, about: About, instance: &Instance, dumping: Dumping) -> Result<Manifest> {
        let made = self.runner.run(instance.id.as_str(), self.write(about, instance, dumping)).await;
        made.unwrap_or_else(|| Err(BrokerError::unavailable("a backup of the instance runs already")))
    }

    async fn write(&self, about: About, instance: &Instance, dumping: Dumping) -> Result<Manifest> {
        // What is held is dropped after the data was read.
        let Dump { server, format, data, held: _held } = dumping.await?;
        let made = self.backups.write(&about.server(&server).format(format), data).await?;
        info!(instance.name = %instance.name, "made backup {} of `{}`", made.id, instance.name);
        Ok(made)
    }

    pub(super) async fn retain(&self, instance: &Instance) -> Result<()> {
        self.backups.retain(self.service, instance.id.as_str(), &self.retention, Utc::now()).await?;
        Ok(())
    }

    /// Begins a backup when the schedule says so. Nobody waits for it: an author calls this from
    /// [`reconcile`](broker_core::Broker::reconcile).
    ///
    /// # Errors
    /// When the place can't be used.
    pub async fn keep_up<B: BackedUp + ?Sized>(&self, broker: &B, instance: &Instance) -> Result<()> {
        let Some(schedule) = self.schedule else { return Ok(()) };
        let known = self.due.lock().unwrap_or_else(PoisonError::into_inner).get(&instance.id).copied();
        let due = match known {
            Some(due) => due,
            None => {
                let newest = self.list(instance).await?.iter().map(|backup| backup.begun).max();
                newest.map_or_else(Utc::now, |begun| schedule.next(instance.id.as_str(), begun))
            }
        };
        let now = Utc::now();
        let next = if due <= now { schedule.next(instance.id.as_str(), now) } else { due };
        self.set_due(instance, next);
        if due <= now {
            let dumping = self.alone(instance, broker.dump(instance)?);
            let (archive, instance) = (self.clone(), instance.clone());
            tokio::spawn(async move {
                let make = async {
                    archive.make(archive.about(&instance), &instance, dumping).await?;
                    archive.retain(&instance).await
                };
                let made = timeout(WITHIN, make).await;
                if let Err(cause) = made.unwrap_or_else(|_| Err(BrokerError::failed("it took too long"))) {
                    archive.set_due(&instance, Utc::now() + AGAIN_AFTER);
                    warn!(instance.name = %instance.name, error = &cause as &dyn std::error::Error, "no backup of `{}` was made", instance.name);
                }
            });
        }
        Ok(())
    }

    fn set_due(&self, instance: &Instance, due: DateTime<Utc>) {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).insert(instance.id.clone(), due);
    }

    /// A dump that has no turn among the operations on its instance: it ends with an error when another backup was
    /// begun meanwhile, as it is by a restore before anything is changed.
    fn alone(&self, instance: &Instance, dumping: Dumping) -> Dumping {
        let (archive, instance) = (self.clone(), instance.clone());
        Box::pin(async move {
            let begun = Utc::now();
            let Dump { server, format, data, held } = dumping.await?;
            let is_alone = async move {
                let made = archive.list(&instance).await.map_err(io::Error::other)?;
                match made.iter().any(|backup| backup.begun >= begun) {
                    true => Err(io::Error::other("another backup was made meanwhile")),
                    false => Ok(()),
                }
            };
            Ok(Dump { server, format, data: Box::new(followed_by(data, is_alone)), held })
        })
    }

    /// Puts a backup in the place of what an instance holds, and returns the backup of what it held: none when that was
    /// half a restore. What fails before the load changes nothing; when the load fails, what was there is loaded again
    /// (SPEC Z-8).
    ///
    /// # Errors
    /// When there is no such backup, it is damaged, or can't be restored into this instance. When neither it nor what
    /// was there can be loaded, the instance is closed until a restore ends well.
    pub async fn restore<B: BackedUp + ?Sized>(
        &self,
        broker: &B,
        tenant: &Tenant,
        id: &str,
    ) -> Result<Option<Manifest>> {
        let backup = self.backups.get(self.service, tenant.instance.id.as_str(), id).await?;
        self.put(broker, tenant, &backup.ok_or_else(no_such_backup)?).await
    }

    /// Puts a backup that the tenant may have in the place of what its instance holds.
    pub(super) async fn put<B: BackedUp + ?Sized>(
        &self,
        broker: &B,
        tenant: &Tenant,
        backup: &Manifest,
    ) -> Result<Option<Manifest>> {
        let (instance, id) = (&tenant.instance, &backup.id);
        broker.examine(instance, backup, self.backups.read(backup).await?).await?;
        let before = match broker.hold(instance).await? {
            // What a restore that was cut off left is nothing to keep.
            true => None,
            false => Some(self.keep_before(broker, tenant).await?),
        };
        // As much is left for what was there before, in case that is to be put back.
        if let Err(why) = self.load(broker, instance, backup, 0.45).await {
            return Err(self.put_back(broker, tenant, before.as_ref(), why).await);
        }
        broker.open(tenant).await?;
        info!(instance.name = %instance.name, "restored backup {id} of `{}`", instance.name);
        // Only now: the backup that was restored may be one that goes.
        if let Err(cause) = self.retain(instance).await {
            warn!(instance.name = %instance.name, error = &cause as &dyn std::error::Error, "old backups of `{}` are not removed yet", instance.name);
        }
        Ok(before)
    }

    /// Without a backup of what is there nothing is changed, and the instance is open again.
    async fn keep_before<B: BackedUp + ?Sized>(&self, broker: &B, tenant: &Tenant) -> Result<Manifest> {
        let instance = &tenant.instance;
        let made = match broker.dump(instance) {
            Ok(dumping) => self.make(self.about(instance), instance, dumping).await,
            Err(unknown) => Err(unknown),
        };
        if made.is_err() {
            broker.open(tenant).await?;
        }
        made
    }

    async fn load<B: BackedUp + ?Sized>(
        &self,
        broker: &B,
        instance: &Instance,
        backup: &Manifest,
        part: f32,
    ) -> Result<()> {
        in_time(part, "loading the backup", async { broker.load(instance, self.backups.read(backup).await?).await })
            .await
    }

    /// Loads what was there before a restore that failed, and returns what the restore is answered with.
    async fn put_back<B: BackedUp + ?Sized>(
        &self,
        broker: &B,
        tenant: &Tenant,
        before: Option<&Manifest>,
        why: BrokerError,
    ) -> BrokerError {
        let instance = &tenant.instance;
        let back = async {
            let before = before.ok_or_else(|| BrokerError::failed("what was there is half a restore"))?;
            self.load(broker, instance, before, 0.9).await?;
            broker.open(tenant).await
        };
        match back.await {
            Ok(()) => {
                warn!(instance.name = %instance.name, error = &why as &dyn std::error::Error, "a restore of `{}` failed, what was there is back", instance.name);
                why
            }
            Err(cause) => {
                warn!(instance.name = %instance.name, error = &cause as &dyn std::error::Error, "a restore of `{}` failed, and it stays closed until one ends well", instance.name);
                BrokerError::failed(why)
            }
        }
    }
}

/// What a restore is answered that names none which its caller may have.
pub(super) fn no_such_backup() -> BrokerError {
    BrokerError::bad_request("the instance has no such backup")
}

/// The data, which fails at its end when something else does.
fn followed_by(
    data: impl AsyncRead + Send + Unpin + 'static,
    check: impl Future<Output = io::Result<()>> + Send + 'static,
) -> impl AsyncRead + Send + Unpin + 'static {
    let end = futures::stream::once(check).filter_map(async |outcome| outcome.err().map(Err));
    StreamReader::new(ReaderStream::with_capacity(data, 128 << 10).chain(end).boxed())
}
