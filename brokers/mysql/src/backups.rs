//! How an instance is dumped and loaded, for backups; when that happens is `broker-backup`'s.
//!
//! A restore closes the database. While it is under way there is an empty database beside the instance's, its mark: a
//! restore that was cut off leaves the mark, and with it the instance closed, until a restore ends well (SPEC M-11).

use async_trait::async_trait;
use broker_backup::{Archive, BackedUp, Dump, Dumping, Manifest, Restored};
use broker_core::{BrokerError, Instance, Result, Tenant};

use crate::{MysqlBroker, broker::charset, copy::Copier, link::Link, servers::is_dedicated, tenant::Database};

pub(crate) const SERVICE: &str = "mysql";

#[async_trait]
impl BackedUp for MysqlBroker {
    fn archive(&self) -> Option<&Archive> {
        self.archive.as_ref()
    }

    /// The database at a moment, whatever happens meanwhile.
    fn dump(&self, instance: &Instance) -> Result<Dumping> {
        let (copier, server, database) = (self.copier()?.clone(), self.server(instance)?, Database::of(instance));
        Ok(Box::pin(async move {
            let link = server.up().await?;
            let version = link.version().await?;
            let (data, login) = copier.dump(&database, link.reach()).map_err(BrokerError::failed)?;
            Ok(Dump::new(version, "sql", data).holding(login))
        }))
    }

    async fn hold(&self, instance: &Instance) -> Result<bool> {
        let (database, link) = (Database::of(instance), self.server(instance)?.up().await?);
        let was_cut_off = link.has(&database.mark()).await?;
        link.create(&database.mark(), charset(instance)).await?;
        link.freeze(&database).await?;
        Ok(was_cut_off)
    }

    async fn load(&self, instance: &Instance, data: Restored) -> Result<()> {
        let (database, link) = (Database::of(instance), self.server(instance)?.up().await?);
        let accounts = link.freeze(&database).await?;
        link.clear(&database, charset(instance)).await?;
        for account in &accounts {
            link.stand_in(account, &database).await?;
        }
        self.copier()?.load(&database, link.reach(), data).await
    }

    async fn open(&self, tenant: &Tenant) -> Result<()> {
        let (database, link) = (Database::of(&tenant.instance), self.server(&tenant.instance)?.up().await?);
        link.thaw(&database).await?;
        Ok(link.drop_mark(&database).await?)
    }

    async fn last_dump(&self, instance: &Instance) -> Result<Option<Dumping>> {
        if self.is_half_made_dedicated(instance) || is_dedicated(instance) && !self.servers.has_dedicated(instance)? {
            return Ok(None);
        }
        let server = self.server(instance)?;
        if server.was_never_made() {
            return Ok(None);
        }
        let (database, link) = (Database::of(instance), server.up().await?);
        // Half a restore was backed up before.
        if link.is_empty(&database).await? || self.is_half_restored(instance, &link).await? {
            return Ok(None);
        }
        // Nobody writes what would not be in it.
        link.freeze(&database).await?;
        self.dump(instance).map(Some)
    }
}

impl MysqlBroker {
    fn copier(&self) -> Result<&Copier> {
        self.copier.as_ref().ok_or_else(|| BrokerError::failed("the programs mariadb-dump and mariadb are not there"))
    }

    fn kept(&self) -> Result<&Archive> {
        self.archive.as_ref().ok_or_else(|| BrokerError::bad_request("this service keeps no backups"))
    }

    /// Makes a backup now.
    ///
    /// # Errors
    /// When there is no place for backups, or the server or the place can't be used.
    pub async fn back_up(&self, instance: &Instance) -> Result<Manifest> {
        self.kept()?.back_up(self, instance).await
    }

    /// The instance's backups.
    ///
    /// # Errors
    /// When there is no place for backups, or it can't be used.
    pub async fn list_backups(&self, instance: &Instance) -> Result<Vec<Manifest>> {
        self.kept()?.list(instance).await
    }

    /// Puts a backup in the place of what the instance holds, and returns the backup of what it held: none when that
    /// was half a restore.
    ///
    /// # Errors
    /// When there is no such backup, or it is damaged: nothing is changed. When it can't be loaded: what was there is
    /// loaded again, or the instance is closed until a restore ends well (SPEC M-11).
    pub async fn restore_backup(&self, instance: &Instance, id: &str) -> Result<Option<Manifest>> {
        self.kept()?.restore(self, &Tenant::new(instance.clone(), Vec::new()), id).await
    }

    /// Whether a restore was cut off: then nobody may use what is there.
    pub(crate) async fn is_half_restored(&self, instance: &Instance, link: &Link) -> Result<bool> {
        Ok(self.archive.is_some() && link.has(&Database::of(instance).mark()).await?)
    }
}
