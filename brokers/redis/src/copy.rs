//! Keys on their way from one server to another, or into a backup and back.

use std::{collections::VecDeque, time::Duration};

use broker_core::{BrokerError, Result};
use redis::{RedisError, RedisResult, cmd, pipe};

use crate::link::{Link, failure};

/// How many keys travel together at most.
pub(crate) const TOGETHER: usize = 500;
/// How many bytes of values do, about: they are in memory meanwhile. A larger value travels alone.
pub(crate) const BYTES_TOGETHER: usize = 4 << 20;

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

impl Copied {
    pub(crate) fn add(&mut self, entries: &[Entry]) {
        self.keys += entries.len() as u64;
        self.bytes += bytes_of(entries) as u64;
    }
}

/// A key as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    /// When it ends, in milliseconds since 1970; 0 is never.
    pub(crate) expires: u64,
    /// In the server's own format, as `DUMP` tells it.
    pub(crate) value: Vec<u8>,
}

pub(crate) fn bytes_of(entries: &[Entry]) -> usize {
    entries.iter().map(|entry| entry.value.len()).sum()
}

/// A walk over the keys of a server whose names begin with something, also while others write there: a key that is
/// there from its begin to its end is met at least once, and as it was at one moment.
pub(crate) struct Walk {
    link: Link,
    pattern: String,
    /// None at the end.
    cursor: Option<u64>,
    waiting: VecDeque<Vec<u8>>,
    together: usize,
}

impl Walk {
    pub(crate) fn new(link: Link, only: &str) -> Self {
        // Small at first: nothing is known of the values.
        Self { link, pattern: format!("{only}*"), cursor: Some(0), waiting: VecDeque::new(), together: 16 }
    }

    /// Some keys; none at the end.
    pub(crate) async fn next(&mut self) -> RedisResult<Option<Vec<Entry>>> {
        loop {
            if self.waiting.is_empty() {
                let Some(cursor) = self.cursor else { return Ok(None) };
                let (next, names) = self.link.scan(cursor, &self.pattern).await?;
                self.cursor = (next != 0).then_some(next);
                self.waiting.extend(names);
                continue;
            }
            let names: Vec<_> = self.waiting.iter().take(self.together).cloned().collect();
            let entries = read(&self.link, &names).await?;
            self.waiting.drain(..names.len());
            let average = bytes_of(&entries) / entries.len().max(1);
            self.together = (BYTES_TOGETHER / average.max(1)).clamp(1, TOGETHER);
            if !entries.is_empty() {
                return Ok(Some(entries));
            }
        }
    }
}

/// Reads keys in one transaction, so that value and end of each belong together. What ended meanwhile is gone.
async fn read(from: &Link, names: &[Vec<u8>]) -> RedisResult<Vec<Entry>> {
    let mut ask = pipe();
    ask.atomic();
    for name in names {
        ask.cmd("DUMP").arg(name).cmd("PEXPIRETIME").arg(name);
    }
    let answers: Vec<redis::Value> = from.ask_all(&ask).await?;
    let mut entries = Vec::with_capacity(names.len());
    for (name, pair) in names.iter().zip(answers.chunks(2)) {
        let [value, expires] = pair else { continue };
        let value: Option<Vec<u8>> = redis::from_redis_value_ref(value)?;
        let expires: i64 = redis::from_redis_value_ref(expires)?;
        let Some(value) = value.filter(|_| expires != -2) else { continue };
        // What never ends says -1.
        entries.push(Entry { name: name.clone(), expires: u64::try_from(expires).unwrap_or(0), value });
    }
    Ok(entries)
}

/// Writes keys, in the place of what has their names. One whose end is over is not made.
pub(crate) async fn write(to: &Link, entries: &[Entry]) -> RedisResult<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let mut tell = pipe();
    for Entry { name, expires, value } in entries {
        let mut restore = cmd("RESTORE");
        restore.arg(name).arg(expires).arg(value).arg("REPLACE").arg("ABSTTL");
        tell.add_command(restore).ignore();
    }
    to.ask_all(&tell).await
}

impl Keys {
    fn renamed(&self, key: &[u8]) -> Vec<u8> {
        match &self.prefix {
            Some(prefix) if !key.starts_with(prefix.as_bytes()) => [prefix.as_bytes(), key].concat(),
            _ => key.to_vec(),
        }
    }

    fn only(&self) -> &str {
        self.only.as_deref().unwrap_or_default()
    }

    /// Copies from one server to another, where nobody writes meanwhile; `said` hears how far it is.
    pub(crate) async fn copy(&self, from: &Link, to: &Link, said: impl Fn(Copied)) -> Result<Copied> {
        let (from, to) = (from.apart(0).await.map_err(failure)?, to.apart(0).await.map_err(failure)?);
        let mut copied = Copied::default();
        let mut walk = Walk::new(from, self.only());
        while let Some(mut entries) = walk.next().await.map_err(failure)? {
            copied.add(&entries);
            entries.iter_mut().for_each(|entry| entry.name = self.renamed(&entry.name));
            write(&to, &entries).await.map_err(refused)?;
            said(copied);
        }
        Ok(copied)
    }

    /// Whether every key that is there still has arrived. What the values are, the new server checked by their sums.
    pub(crate) async fn verify(&self, from: &Link, to: &Link) -> Result<()> {
        let mut cursor = 0_u64;
        loop {
            let (next, keys) = from.scan(cursor, &format!("{}*", self.only())).await.map_err(failure)?;
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

/// Whether a server refused a write because it is full, which has a code of its own.
pub(crate) fn is_full(error: &RedisError) -> bool {
    let refused = error.clone().into_server_errors();
    error.code() == Some("OOM") || refused.is_some_and(|refused| refused.iter().any(|(_, why)| why.code() == "OOM"))
}

fn refused(error: RedisError) -> BrokerError {
    if is_full(&error) {
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
