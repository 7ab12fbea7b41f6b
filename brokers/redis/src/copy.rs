//! Keys on their way from one server to another.

use std::time::Duration;

use broker_core::{BrokerError, Result};
use redis::{RedisError, cmd, pipe};

use crate::link::{Link, failure};

/// How many keys travel together: their values are in memory meanwhile.
const TOGETHER: usize = 100;

/// What is copied, and what becomes of the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keys {
    /// Those whose names begin with this, or all.
    pub(crate) only: Option<String>,
    /// A beginning that every name has afterwards: names that have it keep theirs.
    pub(crate) prefix: Option<String>,
}

/// A copy that was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Copied {
    pub(crate) keys: u64,
    /// Of values as they travel.
    pub(crate) bytes: u64,
}

/// One batch of a copy: the key's new name, its remaining time in milliseconds (0 is no end), its value.
type Batch = Vec<(Vec<u8>, u64, Vec<u8>)>;

impl Keys {
    fn pattern(&self) -> String {
        format!("{}*", self.only.as_deref().unwrap_or_default())
    }

    fn renamed(&self, key: &[u8]) -> Vec<u8> {
        match &self.prefix {
            Some(prefix) if !key.starts_with(prefix.as_bytes()) => [prefix.as_bytes(), key].concat(),
            _ => key.to_vec(),
        }
    }

    /// Copies from one server to another, where nobody writes meanwhile; `said` hears how far it is.
    pub(crate) async fn copy(&self, from: &Link, to: &Link, said: impl Fn(Copied)) -> Result<Copied> {
        let mut copied = Copied::default();
        let mut cursor = 0_u64;
        loop {
            let (next, keys) = from.scan(cursor, &self.pattern()).await.map_err(failure)?;
            for keys in keys.chunks(TOGETHER) {
                let batch = self.read(from, keys).await.map_err(failure)?;
                copied.keys += batch.len() as u64;
                copied.bytes += batch.iter().map(|(_, _, value)| value.len() as u64).sum::<u64>();
                write(to, &batch).await.map_err(no_room)?;
                said(copied);
            }
            cursor = next;
            if cursor == 0 {
                return Ok(copied);
            }
        }
    }

    async fn read(&self, from: &Link, keys: &[Vec<u8>]) -> redis::RedisResult<Batch> {
        let mut ask = pipe();
        for key in keys {
            ask.cmd("DUMP").arg(key).cmd("PTTL").arg(key);
        }
        let answers: Vec<redis::Value> = from.ask_all(&ask).await?;
        let mut batch = Batch::new();
        for (key, pair) in keys.iter().zip(answers.chunks(2)) {
            let [value, left] = pair else { continue };
            let value: Option<Vec<u8>> = redis::from_redis_value_ref(value)?;
            let left: i64 = redis::from_redis_value_ref(left)?;
            // What ended meanwhile is gone; what never ends says -1.
            let Some(value) = value.filter(|_| left != -2) else { continue };
            let left = if left < 0 { 0 } else { u64::try_from(left).unwrap_or(0).max(1) };
            batch.push((self.renamed(key), left, value));
        }
        Ok(batch)
    }

    /// Whether every key that is there still has arrived. What the values are, the new server checked by their sums.
    pub(crate) async fn verify(&self, from: &Link, to: &Link) -> Result<()> {
        let mut cursor = 0_u64;
        loop {
            let (next, keys) = from.scan(cursor, &self.pattern()).await.map_err(failure)?;
            for keys in keys.chunks(TOGETHER) {
                let there = exist(to, keys.iter().map(|key| self.renamed(key))).await?;
                let missing: Vec<_> = keys.iter().zip(there).filter(|(_, there)| !there).map(|(key, _)| key).collect();
                let lost = !missing.is_empty() && exist(from, missing.into_iter().cloned()).await?.contains(&true);
                if lost {
                    return Err(BrokerError::failed("a key did not arrive on the new server"));
                }
            }
            cursor = next;
            if cursor == 0 {
                return Ok(());
            }
        }
    }
}

async fn exist(link: &Link, keys: impl Iterator<Item = Vec<u8>>) -> Result<Vec<bool>> {
    let mut ask = pipe();
    keys.for_each(|key| {
        ask.cmd("EXISTS").arg(key);
    });
    link.ask_all(&ask).await.map_err(failure)
}

async fn write(to: &Link, batch: &Batch) -> redis::RedisResult<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let mut tell = pipe();
    for (key, left, value) in batch {
        tell.add_command(cmd("RESTORE").arg(key).arg(left).arg(value).arg("REPLACE").to_owned()).ignore();
    }
    to.ask_all(&tell).await
}

/// A server that is full refuses a write by a code of its own.
fn no_room(error: RedisError) -> BrokerError {
    let refused = error.clone().into_server_errors();
    if refused.is_some_and(|refused| refused.iter().any(|(_, why)| why.code() == "OOM")) {
        return BrokerError::bad_request(
            "the data does not fit the new plan, all stays as it was: remove data first, or choose a larger plan",
        );
    }
    failure(error)
}

/// A time as it is reported.
pub(crate) fn in_words(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_the_prefix_once() {
        let keys = Keys { only: None, prefix: Some("abc:".to_owned()) };
        assert_eq!(keys.renamed(b"k"), b"abc:k");
        assert_eq!(keys.renamed(b"abc:k"), b"abc:k");
        assert_eq!(Keys { prefix: None, ..keys }.renamed(b"k"), b"k");
    }
}
