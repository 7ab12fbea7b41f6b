//! From an instance to a stream.

use std::{collections::VecDeque, io, sync::Arc};

use broker_backup::Dump;
use broker_core::{BrokerError, OpaqueId, Result};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use tokio_util::io::StreamReader;

use super::{
    format::{self, put_end, put_functions, put_key},
    mark::restoring,
};
use crate::{
    copy::Walk,
    link::{Link, failure, product},
    tenants::Tenants,
};

/// What is dumped.
pub(super) struct Source {
    pub(super) tenants: Arc<Tenants>,
    pub(super) instance: OpaqueId,
    pub(super) is_shared: bool,
    /// Whether the instance's apps are told a prefix.
    pub(super) has_prefix: bool,
    /// Whether a shared server has to know the instance at the end: one that is removed meanwhile is not whole.
    pub(super) needs_mark: bool,
}

impl Source {
    /// Begins the dump.
    pub(super) async fn open(self) -> Result<Dump> {
        let link = self.tenants.link().await?;
        let server = link.info("server").await.map_err(failure)?;
        let (version, run) = (product(&server).unwrap_or_default(), server.get("run_id").cloned().unwrap_or_default());
        if link.is_half_restored(&self.instance).await.map_err(failure)? {
            return Err(BrokerError::bad_request(
                "a restore of this instance was cut off: restore a backup before making another one",
            ));
        }
        let mut head = format::head(self.has_prefix);
        let databases = if self.is_shared {
            VecDeque::from([0])
        } else {
            if link.has_functions().await.map_err(failure)? {
                let functions = link.functions().await.map_err(failure)?;
                put_functions(&mut head, &functions).map_err(BrokerError::failed)?;
            }
            link.databases_in_use().await.map_err(failure)?.into()
        };
        let writing = Writing { source: self, link, run, head: Some(head), databases, walk: None, keys: 0 };
        let data = stream::try_unfold(Some(writing), async |writing| match writing {
            Some(writing) => writing.next().await.map(Some),
            None => Ok(None),
        });
        Ok(Dump::new(version, format::NAME, StreamReader::new(data.boxed())))
    }

    /// The keys that are the instance's begin with this.
    fn prefix(&self) -> String {
        format!("{}:", self.instance)
    }
}

/// A dump that goes on.
struct Writing {
    source: Source,
    link: Link,
    /// Which run of the server is dumped.
    run: String,
    head: Option<Vec<u8>>,
    /// Those that are still to be walked over.
    databases: VecDeque<u16>,
    walk: Option<(u16, Walk)>,
    keys: u64,
}

impl Writing {
    /// The next bytes, and what is to be done after them; nothing after the end.
    async fn next(mut self) -> io::Result<(Bytes, Option<Self>)> {
        if let Some(head) = self.head.take() {
            return Ok((head.into(), Some(self)));
        }
        loop {
            if let Some((database, walk)) = &mut self.walk {
                if let Some(entries) = walk.next().await.map_err(io::Error::other)? {
                    let (prefix, mark) = (self.source.prefix(), restoring(&self.source.instance));
                    let mut piece = Vec::new();
                    for entry in entries.iter().filter(|entry| entry.name != mark.as_bytes()) {
                        put_key(&mut piece, *database, &prefix, entry)?;
                        self.keys += 1;
                    }
                    return Ok((piece.into(), Some(self)));
                }
                self.walk = None;
            }
            let Some(database) = self.databases.pop_front() else { break };
            let only = if self.source.is_shared { self.source.prefix() } else { String::new() };
            let link = self.link.apart(database).await.map_err(io::Error::other)?;
            self.walk = Some((database, Walk::new(link, &only)));
        }
        self.is_whole().await?;
        let mut end = Vec::new();
        put_end(&mut end, self.keys);
        Ok((end.into(), None))
    }

    /// Whether nothing took the instance's keys away meanwhile but its apps: neither a restore, nor its removal, nor a
    /// start of the server, which may be empty since.
    async fn is_whole(&self) -> io::Result<()> {
        let (link, instance) = (&self.link, &self.source.instance);
        let server = link.info("server").await.map_err(io::Error::other)?;
        if server.get("run_id") != Some(&self.run) {
            return Err(io::Error::other("the server was started anew meanwhile"));
        }
        if link.is_half_restored(instance).await.map_err(io::Error::other)? {
            return Err(io::Error::other("a restore was begun meanwhile"));
        }
        let needs_mark = self.source.is_shared && self.source.needs_mark;
        if needs_mark && !link.has_mark(instance).await.map_err(io::Error::other)? {
            return Err(io::Error::other("the instance is not on its server any more"));
        }
        Ok(())
    }
}
