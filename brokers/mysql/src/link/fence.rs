//! Keeping a database as it is while it is copied: it is read and not written (SPEC M-9).

use std::time::Duration;

use broker_core::BrokerError;
use tokio::time::{Instant, sleep};

use super::{Fault, Link, WITHIN};
use crate::tenant::{Account, Database};

impl Link {
    /// Lets the accounts of a database read and no more, and returns them when nobody writes any more: connections that
    /// knew other rights have ended.
    pub(crate) async fn fence(&self, database: &Database) -> Result<Vec<Account>, Fault> {
        let accounts = self.accounts_of(database).await?;
        // Those that an earlier fence met may have connections from before it still.
        let writers = self.accounts_with(database, "References_priv = 'Y'").await?;
        for account in &writers {
            self.run(&[account.fence(database)]).await?;
        }
        let last: Option<u64> = self.first("SELECT MAX(ID) FROM information_schema.PROCESSLIST", ()).await?;
        let (deadline, mut pause) = (Instant::now() + WITHIN, Duration::from_millis(5));
        loop {
            // One that was ended is there for as long as it commits, or undoes what it did.
            let open = self.writing(database, last.unwrap_or_default()).await?;
            if open.is_empty() {
                return Ok(accounts);
            }
            if Instant::now() > deadline {
                return Err(BrokerError::unavailable("connections that write did not end").into());
            }
            self.end(&open).await?;
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }

    /// Lets those write again that a fence keeps from it.
    pub(super) async fn unfence(&self, database: &Database) -> Result<(), Fault> {
        for account in self.accounts_with(database, "References_priv = 'Y' AND Delete_priv = 'N'").await? {
            self.run(&[account.unfence(database)]).await?;
            // Connections that are open would not notice.
            self.disconnect(&account).await?;
        }
        Ok(())
    }

    /// The connections of accounts that write, or did, of those up to this one: later ones have the rights of a fence.
    async fn writing(&self, database: &Database, last: u64) -> Result<Vec<u64>, Fault> {
        let select = "SELECT ID FROM information_schema.PROCESSLIST WHERE ID <= ? AND USER IN \
            (SELECT User FROM mysql.db WHERE Host = '%' AND Db = ? AND References_priv = 'Y')";
        self.all(select, (last, database.as_str())).await
    }
}
