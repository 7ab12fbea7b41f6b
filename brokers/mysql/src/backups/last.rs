//! The last backup of an instance, made before it is removed, and how long removed instances are remembered
//! (SPEC M-15).

use std::time::Duration;

use broker_backup::{About, Backups, Manifest};
use broker_core::{BrokerError, Instance, Result};
use chrono::Utc;
use tokio::{
    task::JoinSet,
    time::{interval, timeout},
};
use tracing::{info, warn};

use super::{Archive, SERVICE, WITHIN, failure};
use crate::{MysqlBroker, servers::is_dedicated, tenant::Database};

/// How often removed instances are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Forgets the backups of removed instances, from now on until it is dropped, if the operator wants that.
pub(super) fn forgetting(backups: &Backups, kept_days: Option<u32>) -> JoinSet<()> {
    let mut forgetting = JoinSet::new();
    if let Some(days) = kept_days {
        let (backups, age) = (backups.clone(), chrono::Duration::days(days.into()));
        forgetting.spawn(async move {
            let mut looks = interval(LOOK_EVERY);
            loop {
                looks.tick().await;
                match backups.forget(SERVICE, age, Utc::now()).await {
                    Ok(gone) if gone.is_empty() => {}
                    Ok(gone) => info!("removed {} backups of instances that were removed {days} days ago", gone.len()),
                    Err(cause) => warn!("the backups of removed instances are not removed yet: {cause}"),
                }
            }
        });
    }
    forgetting
}

impl MysqlBroker {
    /// Makes the last backup of an instance that is to be removed, where the operator wants one. Without it the
    /// instance is not removed.
    pub(crate) async fn keep_last_backup(&self, instance: &Instance) -> Result<()> {
        let Some(archive) = self.archive.as_ref().filter(|archive| archive.is_before_removal) else { return Ok(()) };
        self.make_last(archive, instance).await.map_err(|cause| {
            warn!(instance.name = %instance.name, error = &cause as &dyn std::error::Error, "no last backup of `{}` was made", instance.name);
            BrokerError::NotReady(format!(
                "instance \"{}\" is not removed, since its last backup could not be made: the broker tries again, and its \
                 operator finds the cause in its log",
                instance.name
            ))
        })
    }

    async fn make_last(&self, archive: &Archive, instance: &Instance) -> Result<()> {
        if self.is_half_made_dedicated(instance) || is_dedicated(instance) && !self.servers.has_dedicated(instance)? {
            return Ok(());
        }
        let server = self.server(instance)?;
        if server.was_never_made() {
            return Ok(());
        }
        let (database, link) = (Database::of(instance), server.up().await?);
        // What was never used, or is half a restore, is nothing to keep; the latter was backed up before.
        if link.is_empty(&database).await?
            || self.is_half_restored(instance, &link).await?
            || archive.last_of(instance).await?.is_some()
        {
            return Ok(());
        }
        // Nobody writes what would not be in it.
        link.freeze(&database).await?;
        let (archive, instance) = (archive.clone(), instance.clone());
        // It goes on when the removal is given up for now: the next try finds it.
        let making = tokio::spawn(async move {
            let about = About::new(SERVICE, instance.id.as_str(), instance.plan.as_str()).last();
            let made = timeout(WITHIN, archive.make(about, &instance, &link)).await;
            made.unwrap_or_else(|_| Err(BrokerError::failed("it took too long")))
        });
        making.await.map_err(BrokerError::failed)?.map(drop)
    }
}

impl Archive {
    async fn last_of(&self, instance: &Instance) -> Result<Option<Manifest>> {
        let made = self.backups.list(SERVICE, instance.id.as_str()).await.map_err(failure)?;
        Ok(made.into_iter().find(|backup| backup.about.is_last))
    }
}
