//! How an instance is dumped and loaded, for backups; when that happens is `broker-backup`'s.
//!
//! A backup has the keys one by one, as the server writes them, so that one of a shared plan can be restored on a
//! dedicated one and the other way round. A restore takes the accounts away and marks the instance before it removes a
//! key: one that was cut off leaves the mark, and with it the instance closed, until a restore ends well (SPEC K-15).

mod dump;
mod format;
mod load;
mod mark;
mod reading;

use std::sync::Arc;

use async_trait::async_trait;
use broker_backup::{Archive, BackedUp, BackupError, Dumping, Manifest, Restored};
use broker_core::{BrokerError, Instance, Result, Tenant};
use tracing::info;

use self::{
    dump::Source,
    load::{Contents, Load, refused},
    mark::{reads, restoring, version_in},
};
use crate::{
    RedisBroker, Size,
    broker::{Home, account},
    link::{Link, failure},
    plans::Kind,
    settings::keeps_prefix,
    tenants::Tenants,
};

pub use reading::ReadBackup;

pub(crate) const SERVICE: &str = "redis";

#[async_trait]
impl BackedUp for RedisBroker {
    fn archive(&self) -> Option<&Archive> {
        self.archive.as_ref()
    }

    /// Each key as it was at one moment, while apps write (SPEC K-14).
    fn dump(&self, instance: &Instance) -> Result<Dumping> {
        let Home { tenants, is_shared, .. } = self.home(instance)?;
        let source = Source { needs_mark: true, ..source(instance, tenants, is_shared) };
        Ok(Box::pin(source.open()))
    }

    async fn examine(&self, instance: &Instance, backup: &Manifest, data: Restored) -> Result<()> {
        let contents = Contents::of(data).await.map_err(|cause| BackupError::damaged(backup, cause))?;
        let home = self.home(instance)?;
        if let Some(what) = contents.beyond_shared().filter(|_| home.is_shared) {
            return Err(BrokerError::bad_request(format!(
                "the backup has {what}, which a shared plan does not have: move the instance to a dedicated plan first"
            )));
        }
        let ours = version_in(&home.tenants.link().await?.functions().await.map_err(failure)?);
        if !reads(ours, contents.version) {
            return Err(BrokerError::bad_request(format!(
                "the backup is of a server ({}) whose data the instance's does not read: its operator has to upgrade that first",
                backup.about.server
            )));
        }
        Ok(())
    }

    async fn hold(&self, instance: &Instance) -> Result<bool> {
        let tenants = self.home(instance)?.tenants;
        let was_cut_off = tenants.link().await?.is_half_restored(&instance.id).await.map_err(failure)?;
        tenants.fence(&instance.id).await?;
        Ok(was_cut_off)
    }

    async fn load(&self, instance: &Instance, data: Restored) -> Result<()> {
        let Home { tenants, is_shared, .. } = self.home(instance)?;
        let link = tenants.link().await?;
        let pattern = if is_shared { format!("{}:*", instance.id) } else { "*".to_owned() };
        link.begin_restore(&instance.id, &pattern).await.map_err(refused)?;
        tenants.close(&instance.id).await?;
        link.erase_all(&pattern, restoring(&instance.id).as_bytes()).await.map_err(failure)?;
        if !is_shared {
            for database in link.databases_in_use().await.map_err(failure)?.into_iter().filter(|number| *number != 0) {
                link.apart(database).await.map_err(failure)?.flush_database().await.map_err(failure)?;
            }
            link.set_functions(None).await.map_err(failure)?;
        }
        link.freed().await.map_err(failure)?;
        let prefix = has_prefix(instance, is_shared).then(|| format!("{}:", instance.id));
        let loaded = Load::run(instance, &link, prefix, is_shared, data).await?;
        info!(instance.id = %instance.id, "loaded {} keys, {}", loaded.keys, Size(loaded.bytes));
        Ok(())
    }

    async fn open(&self, Tenant { instance, bindings, .. }: &Tenant) -> Result<()> {
        let home = self.home(instance)?;
        home.tenants.link().await?.end_restore(&instance.id).await.map_err(failure)?;
        let accounts = bindings.iter().map(|binding| account(&home, instance, binding)).collect();
        home.tenants.restore(instance, accounts).await
    }

    async fn last_dump(&self, instance: &Instance) -> Result<Option<Dumping>> {
        let (homes, is_shared) = match &self.find(&instance.plan)?.kind {
            Kind::Shared { servers, settings } => {
                let homes = self.shared.all_of(instance, servers, settings)?;
                (homes.into_iter().map(|server| server.tenants).collect(), true)
            }
            Kind::Dedicated { .. } if self.own_place(instance)?.is_none() => return Ok(None),
            Kind::Dedicated { .. } => (vec![self.home(instance)?.tenants], false),
        };
        for tenants in homes {
            if tenants.was_never_made() {
                continue;
            }
            let link = tenants.link().await?;
            // Half a restore was backed up before.
            let is_half_restored = link.is_half_restored(&instance.id).await.map_err(failure)?;
            if is_half_restored || holds_nothing(instance, &link, is_shared).await? {
                continue;
            }
            // Nobody writes what would not be in it.
            tenants.fence(&instance.id).await?;
            return Ok(Some(Box::pin(source(instance, tenants, is_shared).open())));
        }
        Ok(None)
    }
}

impl RedisBroker {
    /// Whether a restore was cut off: then nobody may use what is there.
    pub(crate) async fn is_half_restored(&self, instance: &Instance) -> Result<bool> {
        if self.archive.is_none() {
            return Ok(false);
        }
        self.home(instance)?.tenants.link().await?.is_half_restored(&instance.id).await.map_err(failure)
    }
}

fn source(instance: &Instance, tenants: Arc<Tenants>, is_shared: bool) -> Source {
    let has_prefix = has_prefix(instance, is_shared);
    Source { tenants, instance: instance.id.clone(), is_shared, has_prefix, needs_mark: false }
}

/// Whether the instance's apps are told a prefix.
fn has_prefix(instance: &Instance, is_shared: bool) -> bool {
    is_shared || keeps_prefix(instance)
}

async fn holds_nothing(instance: &Instance, link: &Link, is_shared: bool) -> Result<bool> {
    if is_shared {
        return Ok(link.any(&format!("{}:*", instance.id)).await.map_err(failure)?.is_none());
    }
    let has_keys = !link.databases_in_use().await.map_err(failure)?.is_empty();
    Ok(!has_keys && !link.has_functions().await.map_err(failure)?)
}
