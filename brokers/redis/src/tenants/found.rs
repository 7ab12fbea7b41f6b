//! A server as it is found, to be compared with the records: nothing is started or changed.

use std::collections::{BTreeMap, BTreeSet};

use broker_core::{BrokerError, OpaqueId, Result};

use super::{Server, Tenants, setup_of};
use crate::{
    account::{Account, Described, Dialect},
    commands::Commands,
    link::{Accounts, Link, failure},
};

/// What a server that runs has.
pub(crate) struct Found {
    link: Link,
    dialect: Dialect,
    commands: Commands,
    pub(crate) accounts: Accounts,
    /// The accounts that a server of the broker's own starts with.
    kept: Option<Vec<Account>>,
}

/// What a shared server has of one instance.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    pub(crate) users: Vec<OpaqueId>,
    pub(crate) is_marked: bool,
    pub(crate) has_keys: bool,
}

impl Tenants {
    /// None when the server is the broker's own and down.
    pub(crate) async fn found(&self) -> Result<Option<Found>> {
        if self.if_up().await?.is_none() {
            return Ok(None);
        }
        // It runs, so this starts nothing; one that ends at this very moment is none.
        let (link, dialect, kept) = match &self.server {
            Server::Own { host, id, setup, .. } => {
                let Some(place) = host.find(id).map_err(BrokerError::unavailable)? else { return Ok(None) };
                let setup = setup_of(setup);
                let kept = setup.roster.accounts(&place).await.map_err(BrokerError::unavailable)?;
                (self.own_link(&place)?, setup.dialect(), Some(kept))
            }
            Server::Given { link, .. } => (link.clone(), link.about().await.map_err(failure)?.dialect, None),
        };
        let accounts = link.accounts().await.map_err(failure)?;
        let commands = link.commands().await.map_err(failure)?;
        Ok(Some(Found { link, dialect, commands, accounts, kept }))
    }
}

impl Found {
    /// All accounts of bindings, also those that the server gets at its next start.
    pub(crate) fn users(&self) -> BTreeSet<&OpaqueId> {
        let kept = self.kept.iter().flatten().map(|account| &account.user);
        self.accounts.users.iter().chain(kept).collect()
    }

    /// Whether a restore of an instance goes on, or was cut off.
    pub(crate) async fn is_half_restored(&self, instance: &OpaqueId) -> Result<bool> {
        self.link.is_half_restored(instance).await.map_err(failure)
    }

    /// What is wrong with accounts that should be there, each in a few words.
    pub(crate) async fn wrong<'a>(&self, wanted: &'a [Account]) -> Result<Vec<(&'a Account, Wrong)>> {
        let users: Vec<OpaqueId> = wanted.iter().map(|account| account.user.clone()).collect();
        let described = self.link.described(&users).await.map_err(failure)?;
        let wrong = |account: &Account, found: Option<Described>| match found {
            None => Some(Wrong::Missing),
            Some(found) => account.other_than(&found, self.dialect, &self.commands).map(Wrong::Differs).or_else(|| {
                let is_kept = self.kept.as_ref().is_none_or(|kept| kept.contains(account));
                (!is_kept).then_some(Wrong::Differs("it is lost at the server's next start"))
            }),
        };
        Ok(wanted
            .iter()
            .zip(described)
            .filter_map(|(account, found)| Some((account, wrong(account, found)?)))
            .collect())
    }

    /// What there is of instances on a server that they share, by what only this broker makes: marks, accounts that
    /// reach one prefix, keys with such a prefix. Looks at the names of all keys.
    pub(crate) async fn traces(&self, known: impl Fn(&OpaqueId) -> bool) -> Result<BTreeMap<OpaqueId, Traces>> {
        let mut traces = BTreeMap::<OpaqueId, Traces>::new();
        for instance in &self.accounts.marked {
            traces.entry(instance.clone()).or_default().is_marked = true;
        }
        let strangers: Vec<OpaqueId> = self.accounts.users.iter().filter(|user| !known(user)).cloned().collect();
        let described = self.link.described(&strangers).await.map_err(failure)?;
        let kept = self.kept.iter().flatten().filter(|account| !known(&account.user));
        let kept = kept.filter_map(|account| Some((account.user.clone(), account.prefix()?.clone())));
        let live = strangers.into_iter().zip(described);
        let live = live.filter_map(|(user, found)| Some((user, found?.prefix()?)));
        for (user, instance) in live.chain(kept) {
            let users = &mut traces.entry(instance).or_default().users;
            if !users.contains(&user) {
                users.push(user);
            }
        }
        let mut cursor = 0;
        loop {
            let (next, keys) = self.link.scan(cursor, &format!("{}:*", "?".repeat(PREFIX))).await.map_err(failure)?;
            let prefix = |key: &Vec<u8>| std::str::from_utf8(key.get(..PREFIX)?).ok()?.parse::<OpaqueId>().ok();
            for instance in keys.iter().filter_map(prefix) {
                traces.entry(instance).or_default().has_keys = true;
            }
            cursor = next;
            if cursor == 0 {
                return Ok(traces);
            }
        }
    }
}

/// The length of an identifier.
const PREFIX: usize = 24;

/// What is wrong with an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    Missing,
    /// In a few words.
    Differs(&'static str),
}
