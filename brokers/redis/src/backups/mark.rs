//! What is said to a server that a restore goes on at.
//!
//! The mark of a restore is a key among the data, outside of what tenants of a shared server reach: it is as durable as
//! the data that it is about.

use std::time::Duration;

use broker_core::OpaqueId;
use redis::{RedisResult, cmd};
use tokio::time::{Instant, sleep};

use crate::{copy::is_full, link::Link};

/// How long the memory of removed keys is waited for.
const FREED_WITHIN: Duration = Duration::from_secs(30);

/// The key that says that a restore of the instance goes on, or was cut off.
pub(super) fn restoring(instance: &OpaqueId) -> String {
    format!("broker:{instance}:restore")
}

/// The format's version in what `DUMP` or `FUNCTION DUMP` says: it stands before a checksum of eight bytes.
pub(super) fn version_in(payload: &[u8]) -> u16 {
    match payload {
        [.., low, high, _, _, _, _, _, _, _, _] => u16::from_le_bytes([*low, *high]),
        _ => 0,
    }
}

/// Whether a server that writes one version of the format reads another: older ones, and of those from 12 to 79, which are
/// Redis's alone, only Redis does.
pub(super) fn reads(server: u16, version: u16) -> bool {
    version <= server && !(server >= 80 && (12..80).contains(&version))
}

impl Link {
    /// Whether a restore of an instance goes on, or was cut off.
    pub(crate) async fn is_half_restored(&self, instance: &OpaqueId) -> RedisResult<bool> {
        self.ask(cmd("EXISTS").arg(restoring(instance))).await
    }

    /// Marks an instance whose keys, those of a pattern, are about to be replaced. On a server that is full one of
    /// them becomes the mark, since they go anyway.
    pub(super) async fn begin_restore(&self, instance: &OpaqueId, pattern: &str) -> RedisResult<()> {
        let mark = restoring(instance);
        match self.ask(cmd("SET").arg(&mark).arg("a restore goes on")).await {
            Err(full) if is_full(&full) => match self.any(pattern).await? {
                Some(key) if key == mark.as_bytes() => Ok(()),
                Some(key) => self.ask(cmd("RENAME").arg(key).arg(mark)).await,
                None => Err(full),
            },
            told => told,
        }
    }

    /// Takes the mark away.
    pub(crate) async fn end_restore(&self, instance: &OpaqueId) -> RedisResult<()> {
        let _: u64 = self.ask(cmd("UNLINK").arg(restoring(instance))).await?;
        Ok(())
    }

    /// Libraries of functions, as the server writes them.
    pub(super) async fn functions(&self) -> RedisResult<Vec<u8>> {
        self.ask(cmd("FUNCTION").arg("DUMP")).await
    }

    /// Puts libraries in the place of all there are, or nothing.
    pub(super) async fn set_functions(&self, payload: Option<&[u8]>) -> RedisResult<()> {
        match payload {
            Some(payload) => self.ask(cmd("FUNCTION").arg("RESTORE").arg(payload).arg("FLUSH")).await,
            None => self.ask(cmd("FUNCTION").arg("FLUSH")).await,
        }
    }

    /// Removes all keys of one of the server's databases.
    pub(super) async fn flush_database(&self) -> RedisResult<()> {
        self.ask(cmd("FLUSHDB").arg("ASYNC")).await
    }

    /// Waits until the memory of removed keys can be used again, or for half a minute.
    pub(super) async fn freed(&self) -> RedisResult<()> {
        let deadline = Instant::now() + FREED_WITHIN;
        loop {
            let memory = self.info("memory").await?;
            if memory.get("lazyfree_pending_objects").is_none_or(|pending| pending == "0") || Instant::now() > deadline
            {
                return Ok(());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // SPEC K-15
    fn servers_read_what_is_older_and_of_their_kind() {
        let [redis_7, valkey_8, redis_8, valkey_9] = [10, 11, 12, 80];

        assert!([redis_7, valkey_8, redis_8].iter().all(|older| reads(redis_8, *older)));
        assert!([redis_7, valkey_8, valkey_9].iter().all(|older| reads(valkey_9, *older)));
        assert!(!reads(valkey_9, redis_8) && !reads(redis_8, valkey_9) && !reads(redis_7, valkey_8));
    }
}
