//! Backups of one instance that are restored into another (SPEC Z-10).
//!
//! The platform vouches for the instance that a request's path names. Of the one whose backup it wants there is only a
//! name that somebody wrote, so both must be the same team's, and the backup's identifier, which nobody guesses, must be
//! known: it is listed below its own instance.

use broker_core::{Instance, Result, Tenant};

use super::{Archive, BackedUp, archive::no_such_backup};
use crate::Manifest;

impl Archive {
    /// As [`restore`](Self::restore), of a backup of the instance of another `name`: a `neighbour`, as
    /// [`Neighbours`](broker_core::Neighbours) finds it, or one that is gone.
    ///
    /// # Errors
    /// Those of [`restore`](Self::restore). A backup of another team's is answered as one that is not there.
    pub async fn restore_from<B: BackedUp + ?Sized>(
        &self,
        broker: &B,
        tenant: &Tenant,
        name: &str,
        neighbour: Option<&Instance>,
        id: &str,
    ) -> Result<Option<Manifest>> {
        let mut backup = match neighbour {
            Some(neighbour) => self.backups.get(self.service, neighbour.id.as_str(), id).await?,
            None => None,
        };
        if backup.is_none() {
            backup = self.of_one_that_is_gone(&tenant.instance.team, name, id).await?;
        }
        self.put(broker, tenant, &backup.ok_or_else(no_such_backup)?).await
    }

    /// Of a removed instance the last backup says whose it was to its end; without one, nobody's.
    async fn of_one_that_is_gone(&self, team: &str, name: &str, id: &str) -> Result<Option<Manifest>> {
        let Some(backup) = self.backups.find(self.service, id).await? else { return Ok(None) };
        let all = self.backups.list(self.service, &backup.about.instance).await?;
        let was_theirs = !team.is_empty()
            && all
                .iter()
                .map(|backup| &backup.about)
                .any(|last| last.is_last && last.name == name && last.team == team);
        Ok(was_theirs.then_some(backup))
    }
}
