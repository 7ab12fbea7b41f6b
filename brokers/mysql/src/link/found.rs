//! A server as it is found, to be compared with the records: questions only.

use std::collections::{BTreeMap, BTreeSet};

use broker_core::{OpaqueId, Secret};

use super::{Fault, Link};
use crate::tenant::{Access, Account, Database, Dialect, Limits, PRIVILEGE_COLUMNS};

/// What a server has that is named like ours.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// By instance: whether it has its database, or only the mark of a restore.
    pub(crate) databases: BTreeMap<OpaqueId, bool>,
    pub(crate) marked: BTreeSet<OpaqueId>,
    /// By binding.
    pub(crate) accounts: BTreeMap<OpaqueId, FoundAccount>,
}

/// An account as the server has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FoundAccount {
    pub(crate) is_locked: bool,
    /// Whether it may do something everywhere.
    pub(crate) has_global_rights: bool,
    connections: u64,
    /// In milliseconds; none where the server has no such limit.
    statement_time: Option<u64>,
    needs_tls: bool,
    /// By the name of the database, a letter for each of [`PRIVILEGE_COLUMNS`].
    pub(crate) rights: BTreeMap<String, String>,
}

impl Link {
    /// All that is there of instances.
    pub(crate) async fn found(&self) -> Result<Found, Fault> {
        let mut found = Found::default();
        for name in self.databases().await? {
            let Some((instance, is_mark)) = Database::read(&name) else { continue };
            if is_mark {
                found.marked.insert(instance.clone());
            }
            *found.databases.entry(instance).or_default() |= !is_mark;
        }
        let accounts = match self.dialect().await? {
            Dialect::MariaDb => self.accounts_of_mariadb().await?,
            Dialect::MySql => self.accounts_of_mysql().await?,
        };
        for (name, account) in accounts {
            found.accounts.extend(Account::read(&name).map(|read| (read.id(), account)));
        }
        let select = format!(
            "SELECT User, Db, CONCAT({}) FROM mysql.db WHERE Host = '%' AND User LIKE 'ub%'",
            PRIVILEGE_COLUMNS.join(", ")
        );
        let rights: Vec<(String, String, String)> = self.all(&select, ()).await?;
        for (name, database, letters) in rights {
            let account = Account::read(&name).and_then(|account| found.accounts.get_mut(&account.id()));
            account.into_iter().for_each(|account| drop(account.rights.insert(database.clone(), letters.clone())));
        }
        Ok(found)
    }

    /// Whether an account has another password than it should; none where the server does not let that be seen.
    pub(crate) async fn has_other_password(&self, account: &Account, secret: &Secret) -> Result<Option<bool>, Fault> {
        if self.dialect().await? == Dialect::MySql {
            return Ok(None);
        }
        const ASK: &str = "SELECT JSON_VALUE(Priv, '$.authentication_string') \
            <> CONCAT('*', UPPER(SHA1(UNHEX(SHA1(?))))) FROM mysql.global_priv \
            WHERE Host = '%' AND User = ? AND JSON_VALUE(Priv, '$.plugin') = 'mysql_native_password'";
        self.first(ASK, (secret.expose(), account.as_str())).await
    }

    /// Makes an account be as it should and takes away all else that it may do. For a moment it may do nothing.
    pub(crate) async fn allow_only(
        &self,
        account: &Account,
        database: &Database,
        secret: &Secret,
        terms: (Access, Limits),
    ) -> Result<(), Fault> {
        self.run(&[account.revoke()]).await?;
        self.allow(account, database, secret, terms).await
    }

    async fn accounts_of_mariadb(&self) -> Result<Vec<(String, FoundAccount)>, Fault> {
        type Row = (String, String, String, String, String, String);
        let value = |name: &str, usual: &str| format!("COALESCE(JSON_VALUE(Priv, '$.{name}'), '{usual}')");
        let select = format!(
            "SELECT User, {}, {}, {}, {}, {} FROM mysql.global_priv WHERE Host = '%' AND User LIKE 'ub%'",
            value("account_locked", "0"),
            value("access", "0"),
            value("max_user_connections", "0"),
            value("max_statement_time", "0"),
            value("ssl_type", "0"),
        );
        let rows: Vec<Row> = self.all(&select, ()).await?;
        let account = |(name, locked, access, connections, time, tls): Row| {
            let account = FoundAccount {
                is_locked: matches!(locked.as_str(), "1" | "true"),
                has_global_rights: access != "0",
                connections: connections.parse().unwrap_or_default(),
                statement_time: Some(milliseconds(&time)),
                needs_tls: tls != "0",
                rights: BTreeMap::new(),
            };
            (name, account)
        };
        Ok(rows.into_iter().map(account).collect())
    }

    async fn accounts_of_mysql(&self) -> Result<Vec<(String, FoundAccount)>, Fault> {
        type Row = (String, String, String, u64, String);
        let select = format!(
            "SELECT User, CAST(account_locked AS CHAR), CONCAT({}), CAST(max_user_connections AS UNSIGNED), \
             CAST(ssl_type AS CHAR) FROM mysql.user WHERE Host = '%' AND User LIKE 'ub%'",
            PRIVILEGE_COLUMNS.join(", ")
        );
        let rows: Vec<Row> = self.all(&select, ()).await?;
        let account = |(name, locked, access, connections, tls): Row| {
            let account = FoundAccount {
                is_locked: locked == "Y",
                has_global_rights: access.contains('Y'),
                connections,
                statement_time: None,
                needs_tls: !tls.is_empty(),
                rights: BTreeMap::new(),
            };
            (name, account)
        };
        Ok(rows.into_iter().map(account).collect())
    }
}

impl FoundAccount {
    /// How the account differs from what it should be, in a few words.
    pub(crate) fn other_than(&self, database: &Database, accesses: &[Access], limits: Limits) -> Option<&'static str> {
        let reaches_more = self.has_global_rights || self.rights.keys().any(|name| name != database.as_str());
        let time = self.statement_time.is_some_and(|time| time != u64::from(limits.statement_time) * 1000);
        if reaches_more {
            Some("it reaches more than its database")
        } else if !accesses.iter().any(|access| self.rights.get(database.as_str()) == Some(&access.letters())) {
            Some("it has other rights")
        } else if self.connections != u64::from(limits.connections) || time || self.needs_tls != limits.tls {
            Some("it has other limits")
        } else {
            None
        }
    }
}

/// Seconds with a fraction, as the server writes them.
fn milliseconds(seconds: &str) -> u64 {
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    let fraction: String = fraction.chars().chain("000".chars()).take(3).collect();
    whole.parse::<u64>().unwrap_or_default() * 1000 + fraction.parse::<u64>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_read_however_the_server_writes_them() {
        for (text, read) in [("60", 60_000), ("60.0", 60_000), ("0.5", 500), ("1.0625", 1062), ("", 0)] {
            assert_eq!(milliseconds(text), read, "{text}");
        }
    }
}
