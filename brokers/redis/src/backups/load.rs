//! From a backup to an instance.

use std::{collections::HashMap, io};

use broker_backup::Restored;
use broker_core::{BrokerError, Instance, Result};
use redis::RedisError;

use super::{
    format::{Names, Reader, Record},
    mark::version_in,
};
use crate::{
    Size,
    copy::{self, BYTES_TOGETHER, Copied, Entry, TOGETHER, is_full},
    link::{Link, failure},
};

/// What a backup holds, as far as it decides where it can be restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// Of the format that values are in, the newest.
    pub(super) version: u16,
    pub(super) has_functions: bool,
    pub(super) has_more_databases: bool,
}

impl Contents {
    /// Reads a backup to its end.
    pub(super) async fn of(data: Restored) -> io::Result<Self> {
        let (mut contents, mut reader) = (Self::default(), Reader::open(data).await?);
        while let Some(record) = reader.next().await? {
            let payload = match record {
                Record::Functions(payload) => {
                    contents.has_functions = true;
                    payload
                }
                Record::Key { database, entry, .. } => {
                    contents.has_more_databases |= database != 0;
                    entry.value
                }
            };
            contents.version = contents.version.max(version_in(&payload));
        }
        Ok(contents)
    }

    /// What of it a shared plan does not have, in words.
    pub(super) fn beyond_shared(&self) -> Option<&'static str> {
        match self {
            Self { has_more_databases: true, .. } => Some("data in databases other than 0"),
            Self { has_functions: true, .. } => Some("functions"),
            _ => None,
        }
    }
}

/// Writes all that a backup holds to a server, where there is nothing and nobody writes.
pub(super) struct Load<'a> {
    instance: &'a Instance,
    link: &'a Link,
    names: Names,
    links: HashMap<u16, Link>,
    waiting: Vec<Entry>,
    /// The database that the waiting keys are for.
    database: u16,
    loaded: Copied,
}

impl<'a> Load<'a> {
    /// `prefix` is what the instance's apps are told, if they are told one; on a shared server all names have it.
    pub(super) async fn run(
        instance: &'a Instance,
        link: &'a Link,
        prefix: Option<String>,
        is_shared: bool,
        data: Restored,
    ) -> Result<Copied> {
        let mut reader = Reader::open(data).await.map_err(BrokerError::failed)?;
        let is_for_all = is_shared || !reader.has_prefix();
        let names = Names { prefix: prefix.unwrap_or_default(), is_for_all };
        let (links, waiting) = (HashMap::new(), Vec::new());
        let mut load = Self { instance, link, names, links, waiting, database: 0, loaded: Copied::default() };
        while let Some(record) = reader.next().await.map_err(BrokerError::failed)? {
            match record {
                Record::Functions(payload) => link.set_functions(Some(&payload)).await.map_err(refused)?,
                Record::Key { database, had_prefix, entry } => load.add(database, had_prefix, entry).await?,
            }
        }
        load.write().await?;
        Ok(load.loaded)
    }

    async fn add(&mut self, database: u16, had_prefix: bool, entry: Entry) -> Result<()> {
        let is_enough = self.waiting.len() >= TOGETHER
            || copy::bytes_of(&self.waiting) + entry.value.len() > BYTES_TOGETHER
            || database != self.database;
        if is_enough {
            self.write().await?;
        }
        self.database = database;
        let name = self.names.renamed(entry.name, had_prefix);
        self.waiting.push(Entry { name, ..entry });
        Ok(())
    }

    async fn write(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let link = match self.links.get(&self.database) {
            Some(link) => link.clone(),
            None => {
                let link = self.link.apart(self.database).await.map_err(failure)?;
                self.links.insert(self.database, link.clone());
                link
            }
        };
        copy::write(&link, &self.waiting).await.map_err(refused)?;
        self.loaded.add(&self.waiting);
        self.waiting.clear();
        self.instance.progress(format!("restored {} keys, {}", self.loaded.keys, Size(self.loaded.bytes)));
        Ok(())
    }
}

pub(super) fn refused(error: RedisError) -> BrokerError {
    if is_full(&error) {
        return BrokerError::bad_request(
            "the backup does not fit the instance's plan: choose a larger plan, or restore another backup",
        );
    }
    failure(error)
}
