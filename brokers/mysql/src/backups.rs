//! How an instance is dumped and loaded, for backups; when that happens is `broker-backup`'s.
//!
//! A restore closes the database. While it is under way there is an empty database beside the instance's, its mark: a
//! restore that was cut off leaves the mark, and with it the instance closed, until a restore ends well (SPEC M-11).

use async_trait::async_trait;
use broker_backup::{Archive, BackedUp, Dump, Dumping, Restored};
use broker_core::{BrokerError, Instance, Result, Tenant};
use tracing::warn;

use crate::{
    MysqlBroker,
    broker::charset,
    copy::Copier,
    definers::Definers,
    link::Link,
    servers::is_dedicated,
    tenant::{Account, Database},
};

pub(crate) const SERVICE: &str = "mysql";

#[async_trait]
impl BackedUp for MysqlBroker {
    fn archive(&self) -> Option<&Archive> {
        self.archive.as_ref()
    }

    /// The database at a moment, whatever happens meanwhile. A view that refers to what is gone is left out: nobody could
    /// make it again, and without that there would be no backup at all.
    fn dump(&self, instance: &Instance) -> Result<Dumping> {
        let (copier, server, instance) = (self.copier()?.clone(), self.server(instance)?, instance.clone());
        Ok(Box::pin(async move {
            let (link, database) = (server.up().await?, Database::of(&instance));
            let (version, broken) = (link.version().await?, link.broken_views(&database).await?);
            if !broken.is_empty() {
                let (name, views) = (&instance.name, broken.join(", "));
                warn!(instance.name = %name, "a backup of `{name}` is without views that refer to what is gone: {views}");
            }
            let (data, login) = copier.dump(&database, link.reach(), &broken).map_err(BrokerError::failed)?;
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
        let definers = Definers { there: accounts, otherwise: Account::of_instance(instance) };
        for account in definers.there.iter().chain([&definers.otherwise]) {
            link.stand_in(account, &database).await?;
        }
        self.copier()?.load(&database, link.reach(), &definers, data).await
    }

    async fn open(&self, tenant: &Tenant) -> Result<()> {
        let (database, link) = (Database::of(&tenant.instance), self.server(&tenant.instance)?.up().await?);
        link.thaw(&database).await?;
        // It goes, unless something runs as it: then it stays locked.
        link.forbid(&Account::of_instance(&tenant.instance), &database).await?;
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

    /// Whether a restore was cut off: then nobody may use what is there.
    pub(crate) async fn is_half_restored(&self, instance: &Instance, link: &Link) -> Result<bool> {
        Ok(self.archive.is_some() && link.has(&Database::of(instance).mark()).await?)
    }
}
