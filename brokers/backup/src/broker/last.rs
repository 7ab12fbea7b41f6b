//! The last backup of an instance, made before it is removed, and how long removed instances are remembered
//! (SPEC Z-9).

use std::time::Duration;

use broker_core::{BrokerError, Instance, Result};
use chrono::Utc;
use tokio::{
    task::JoinSet,
    time::{interval, timeout},
};
use tracing::{info, warn};

use super::{Archive, BackedUp, Dumping, archive::WITHIN};
use crate::Backups;

/// How often removed instances, and what was cut off, are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Removes what is left of backups that were cut off and, if the operator wants that, the backups of removed
/// instances: from now on until it is dropped.
pub(super) fn tidying(service: &'static str, backups: &Backups, kept_days: Option<u32>) -> JoinSet<()> {
    let (mut tidying, backups) = (JoinSet::new(), backups.clone());
    tidying.spawn(async move {
        let mut looks = interval(LOOK_EVERY);
        loop {
            looks.tick().await;
            if let Some(days) = kept_days {
                match backups.forget(service, chrono::Duration::days(days.into()), Utc::now()).await {
                    Ok(gone) if gone.is_empty() => {}
                    Ok(gone) => info!("removed {} backups of instances that were removed {days} days ago", gone.len()),
                    Err(cause) => warn!("the backups of removed instances are not removed yet: {cause}"),
                }
            }
            match backups.sweep(service, LOOK_EVERY).await {
                Ok(0) => {}
                Ok(swept) => info!("removed what was left of {swept} backups that were cut off"),
                Err(cause) => warn!("what is left of backups that were cut off is not removed yet: {cause}"),
            }
        }
    });
    tidying
}

impl Archive {
    /// Makes the last backup of an instance that is to be removed, where the operator wants one: an author calls this
    /// before anything is removed. A repeat makes no second one (SPEC Z-9).
    ///
    /// # Errors
    /// When there is something to keep and it could not be kept: then nothing may be removed.
    pub async fn keep_last<B: BackedUp + ?Sized>(&self, broker: &B, instance: &Instance) -> Result<()> {
        if !self.is_before_removal {
            return Ok(());
        }
        self.make_last(broker, instance).await.map_err(|cause| {
            warn!(instance.name = %instance.name, error = &cause as &dyn std::error::Error, "no last backup of `{}` was made", instance.name);
            BrokerError::NotReady(format!(
                "instance \"{}\" is not removed, since its last backup could not be made: the broker tries again, and its \
                 operator finds the cause in its log",
                instance.name
            ))
        })
    }

    async fn make_last<B: BackedUp + ?Sized>(&self, broker: &B, instance: &Instance) -> Result<()> {
        let Some(dumping) = broker.last_dump(instance).await? else { return Ok(()) };
        if self.list(instance).await?.iter().any(|backup| backup.about.is_last) {
            return Ok(());
        }
        // It goes on when the removal is given up for now: the next try finds it.
        let making = tokio::spawn(self.clone().make_in_time(instance.clone(), dumping));
        making.await.map_err(BrokerError::failed)?
    }

    async fn make_in_time(self, instance: Instance, dumping: Dumping) -> Result<()> {
        let about = self.about(&instance).last();
        let make = async {
            self.make(about, &instance, dumping).await?;
            self.retain(&instance).await
        };
        timeout(WITHIN, make).await.unwrap_or_else(|_| Err(BrokerError::failed("it took too long")))
    }
}
