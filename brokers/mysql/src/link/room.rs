//! How much databases take on disk, how many connections there are, and whether their accounts may let them grow.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use mysql_async::prelude::Queryable as _;
use tokio::time::timeout;

use super::{Fault, Link, within};
use crate::tenant::{Account, Database, Dialect};

/// How long one table may take to give back what its rows left.
const SHRINK_WITHIN: Duration = Duration::from_secs(200);

/// Databases by what an account of theirs may do; they are in several of these while that changes.
#[derive(Debug, Default)]
pub(crate) struct Writable {
    /// It lets them grow.
    pub(crate) growing: HashSet<String>,
    /// It may only make them smaller.
    pub(crate) bounded: HashSet<String>,
    /// It writes, and is kept from that.
    pub(crate) fenced: HashSet<String>,
}

impl Link {
    /// The size of a database in its files, in bytes. The server's own statistics lag behind.
    pub(crate) async fn size(&self, database: &Database) -> Result<u64, Fault> {
        let select = format!(
            "SELECT CAST(COALESCE(SUM(FILE_SIZE), 0) AS UNSIGNED) FROM information_schema.{} WHERE NAME LIKE ?",
            self.files().await?
        );
        let size: Option<u64> = self.first(&select, (format!("{}/%", database.as_str()),)).await?;
        Ok(size.unwrap_or_default())
    }

    /// The sizes of all instances' databases.
    pub(crate) async fn sizes(&self) -> Result<HashMap<String, u64>, Fault> {
        let select = format!(
            "SELECT SUBSTRING_INDEX(NAME, '/', 1) AS name, CAST(SUM(FILE_SIZE) AS UNSIGNED) \
             FROM information_schema.{} WHERE NAME LIKE 'tb%' GROUP BY 1",
            self.files().await?
        );
        let sizes: Vec<(String, u64)> = self.all(&select, ()).await?;
        Ok(sizes.into_iter().collect())
    }

    /// How many connections accounts have; those without any are left out.
    pub(crate) async fn connections(&self) -> Result<HashMap<String, u64>, Fault> {
        let select = "SELECT USER, COUNT(*) FROM information_schema.PROCESSLIST WHERE USER LIKE 'ub%' GROUP BY USER";
        let counts: Vec<(String, u64)> = self.all(select, ()).await?;
        Ok(counts.into_iter().collect())
    }

    /// How many connections all accounts of a database have.
    pub(crate) async fn connections_of(&self, database: &Database) -> Result<u64, Fault> {
        let select = "SELECT COUNT(*) FROM information_schema.PROCESSLIST \
            WHERE USER IN (SELECT User FROM mysql.db WHERE Host = '%' AND Db = ?)";
        Ok(self.first(select, (database.as_str(),)).await?.unwrap_or_default())
    }

    /// The table of the server's that has the sizes of files.
    async fn files(&self) -> Result<&'static str, Fault> {
        Ok(match self.dialect().await? {
            Dialect::MariaDb => "INNODB_SYS_TABLESPACES",
            Dialect::MySql => "INNODB_TABLESPACES",
        })
    }

    /// What accounts may do with the databases of instances, of those that may or might change something.
    pub(crate) async fn writable(&self) -> Result<Writable, Fault> {
        let select = "SELECT DISTINCT Db, Insert_priv = 'Y', Delete_priv = 'Y' FROM mysql.db \
            WHERE User LIKE 'ub%' AND (Delete_priv = 'Y' OR References_priv = 'Y')";
        let found: Vec<(String, bool, bool)> = self.all(select, ()).await?;
        let mut writable = Writable::default();
        for (name, grows, shrinks) in found {
            match (grows, shrinks) {
                (true, true) => writable.growing.insert(name),
                (false, true) => writable.bounded.insert(name),
                (_, false) => writable.fenced.insert(name),
            };
        }
        Ok(writable)
    }

    /// Whether an account of a database may only make it smaller.
    pub(crate) async fn is_bounded(&self, database: &Database) -> Result<bool, Fault> {
        Ok(!self.writers(database, false).await?.is_empty())
    }

    /// Keeps a database from growing: its accounts may read and remove. Their connections end, as those would not
    /// notice.
    pub(crate) async fn bound(&self, database: &Database) -> Result<(), Fault> {
        for account in self.writers(database, true).await? {
            self.run(&[account.bound(database)]).await?;
            self.disconnect(&account).await?;
        }
        Ok(())
    }

    /// Lets a database grow again; false if it could.
    pub(crate) async fn unbound(&self, database: &Database) -> Result<bool, Fault> {
        let accounts = self.writers(database, false).await?;
        for account in &accounts {
            self.run(&[account.unbound(database)]).await?;
            self.disconnect(account).await?;
        }
        Ok(!accounts.is_empty())
    }

    /// The accounts that remove rows of a database, and write some or can't.
    async fn writers(&self, database: &Database, grows: bool) -> Result<Vec<Account>, Fault> {
        let inserts = if grows { 'Y' } else { 'N' };
        self.accounts_with(database, &format!("Delete_priv = 'Y' AND Insert_priv = '{inserts}'")).await
    }

    /// The tables of a database that take more room than their rows, and how much more in bytes.
    pub(crate) async fn slack(&self, database: &Database) -> Result<Vec<(String, u64)>, Fault> {
        const ASK: &str = "SELECT TABLE_NAME, DATA_FREE FROM information_schema.TABLES \
            WHERE TABLE_SCHEMA = ? AND ENGINE = 'InnoDB' AND DATA_FREE > 0";
        let dialect = self.dialect().await?;
        within(async {
            let mut connection = self.connection().await?;
            if dialect == Dialect::MySql {
                // Or it tells how things were a day ago.
                connection.query_drop("SET SESSION information_schema_stats_expiry = 0").await?;
            }
            Ok(connection.exec(ASK, (database.as_str(),)).await?)
        })
        .await
    }

    /// Gives back the room that a table takes beyond its rows. It is read and written meanwhile. False when somebody
    /// does it already.
    pub(crate) async fn shrink(&self, database: &Database, table: &str) -> Result<bool, Fault> {
        let work = async {
            let mut connection = self.connection().await?;
            // However this ends, the lock ends with it.
            connection.reset_connection(true);
            let lock = format!("shrink {}", database.as_str());
            let is_ours: Option<bool> = connection.exec_first("SELECT GET_LOCK(?, 0)", (&lock,)).await?;
            if is_ours != Some(true) {
                return Ok(false);
            }
            let optimize = format!("OPTIMIZE NO_WRITE_TO_BINLOG TABLE {}", database.table(table));
            let done = connection.query_drop(optimize).await;
            connection.exec_drop("SELECT RELEASE_LOCK(?)", (&lock,)).await?;
            done?;
            Ok(true)
        };
        timeout(SHRINK_WITHIN, work).await.unwrap_or(Err(Fault::Silent(SHRINK_WITHIN)))
    }
}
