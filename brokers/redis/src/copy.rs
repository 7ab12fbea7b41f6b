//! Keys on their way from one server to another, or into a backup and back.

use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant, SystemTime},
};

use broker_core::{BrokerError, Result};
use redis::{RedisError, RedisResult, cmd, pipe};

use crate::{
    changes::{Changed, Changes},
    link::{Link, failure},
};

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

    /// Over keys of these names, those of them that are there.
    fn over(link: Link, names: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let waiting = names.into_iter().collect();
        Self { link, pattern: String::new(), cursor: None, waiting, together: 16 }
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

    fn has_prefix(&self, key: &[u8]) -> bool {
        self.prefix.as_deref().is_some_and(|prefix| key.starts_with(prefix.as_bytes()))
    }

    fn only(&self) -> &str {
        self.only.as_deref().unwrap_or_default()
    }

    /// What the names of all copies begin with.
    fn copies(&self) -> &str {
        self.prefix.as_deref().unwrap_or(self.only())
    }
}

/// How long a round over what changed meanwhile may take to be the last one before writes are refused.
const SHORT: Duration = Duration::from_millis(100);

/// How much the clocks of two servers, and the broker's, may differ.
const CLOCKS_DIFFER_BY: Duration = Duration::from_secs(60);

/// A copy from one server to another, which goes on while apps write: what they change meanwhile is copied again, until
/// little is left for the time in which they can't (SPEC K-11).
pub(crate) struct Copy {
    keys: Keys,
    from: Link,
    to: Link,
    changes: Changes,
    /// How often databases were swapped at the old server, which it does not tell as changes.
    swaps: u64,
    copied: Copied,
}

impl Copy {
    /// Begins to listen for changes.
    pub(crate) async fn begin(keys: Keys, from: &Link, to: &Link) -> Result<Self> {
        let changes = Changes::to(from, keys.only()).await.map_err(failure)?;
        let (from, to) = (from.apart(0).await.map_err(failure)?, to.apart(0).await.map_err(failure)?);
        let swaps = from.swaps().await.map_err(failure)?;
        Ok(Self { keys, from, to, changes, swaps, copied: Copied::default() })
    }

    /// Copies all keys and looks whether they arrived, then again those that change meanwhile, for as long as that makes
    /// the rest smaller. `said` hears how far it is.
    pub(crate) async fn run(&mut self, said: impl Fn(Copied)) -> Result<()> {
        self.copy_all(&said).await?;
        self.follow().await?;
        let missing = self.missing().await?;
        let changed = self.changes.take().await.map_err(failure)?;
        if !changed.all && missing.iter().any(|name| !changed.names.contains(name)) {
            return Err(BrokerError::failed("a key did not arrive on the new server"));
        }
        self.apply(changed).await?;
        let mut last = Duration::MAX;
        loop {
            let begun = Instant::now();
            self.follow().await?;
            said(self.copied);
            let took = begun.elapsed();
            if took < SHORT || took > last / 2 {
                return Ok(());
            }
            last = took;
        }
    }

    /// Copies what changed since, now that nobody writes any more.
    pub(crate) async fn finish(mut self) -> Result<Copied> {
        let mut changed = self.changes.take().await.map_err(failure)?;
        let names: Vec<_> = self.alike(&changed.names).into_iter().collect();
        changed.all |= self.from.swaps().await.map_err(failure)? != self.swaps;
        let all = changed.all;
        self.apply(changed).await?;
        if all && !self.missing().await?.is_empty() {
            return Err(BrokerError::failed("a key did not arrive on the new server"));
        }
        for names in names.chunks(TOGETHER) {
            if !self.missing_of(names).await?.is_empty() {
                return Err(BrokerError::failed("a key that was changed last did not arrive on the new server"));
            }
        }
        Ok(self.copied)
    }

    async fn follow(&mut self) -> Result<()> {
        let changed = self.changes.take().await.map_err(failure)?;
        self.apply(changed).await
    }

    async fn apply(&mut self, changed: Changed) -> Result<()> {
        if changed.all {
            self.to.erase_all(&format!("{}*", self.keys.copies()), b"").await.map_err(failure)?;
            return self.copy_all(&|_| {}).await;
        }
        self.copy_again(changed.names).await
    }

    async fn copy_all(&mut self, said: &impl Fn(Copied)) -> Result<()> {
        self.copied = Copied::default();
        let mut walk = Walk::new(self.from.clone(), self.keys.only());
        while let Some(entries) = walk.next().await.map_err(failure)? {
            self.copied.add(&entries);
            self.write(entries).await?;
            said(self.copied);
        }
        Ok(())
    }

    /// Makes keys be there as they are, or not, as they are not.
    async fn copy_again(&self, names: HashSet<Vec<u8>>) -> Result<()> {
        let mut names: Vec<_> = self.alike(&names).into_iter().collect();
        let copies: Vec<_> = names.iter().map(|name| self.keys.renamed(name)).collect();
        for copies in copies.chunks(TOGETHER) {
            let _: u64 = self.to.ask(cmd("UNLINK").arg(copies)).await.map_err(failure)?;
        }
        // Of two that get one name, that with the prefix stays.
        names.sort_by_key(|name| self.keys.has_prefix(name));
        let mut walk = Walk::over(self.from.clone(), names);
        while let Some(entries) = walk.next().await.map_err(failure)? {
            self.write(entries).await?;
        }
        Ok(())
    }

    /// These names, and the others that get the same ones on the new server.
    fn alike(&self, names: &HashSet<Vec<u8>>) -> HashSet<Vec<u8>> {
        let Some(prefix) = &self.keys.prefix else { return names.clone() };
        let other = |name: &Vec<u8>| match name.strip_prefix(prefix.as_bytes()) {
            Some(rest) => rest.to_vec(),
            None => self.keys.renamed(name),
        };
        names.iter().map(other).chain(names.iter().cloned()).collect()
    }

    async fn write(&self, mut entries: Vec<Entry>) -> Result<()> {
        entries.iter_mut().for_each(|entry| entry.name = self.keys.renamed(&entry.name));
        write(&self.to, &entries).await.map_err(refused)
    }

    /// The keys that have not arrived and are there still. What the values of others are, the new server checked by
    /// their sums.
    async fn missing(&self) -> Result<Vec<Vec<u8>>> {
        let (mut cursor, mut missing) = (0_u64, Vec::new());
        loop {
            let pattern = format!("{}*", self.keys.only());
            let (next, names) = self.from.scan(cursor, &pattern).await.map_err(failure)?;
            for names in names.chunks(TOGETHER) {
                missing.extend(self.missing_of(names).await?);
            }
            cursor = next;
            if cursor == 0 {
                return Ok(missing);
            }
        }
    }

    async fn missing_of(&self, names: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
        let there = exist(&self.to, names.iter().map(|name| self.keys.renamed(name))).await?;
        let absent: Vec<_> =
            names.iter().zip(there).filter(|(_, there)| !there).map(|(name, _)| name.clone()).collect();
        if absent.is_empty() {
            return Ok(absent);
        }
        let ends = ends(&self.from, &absent).await?;
        Ok(absent.into_iter().zip(ends).filter(|(_, end)| end.is_later()).map(|(name, _)| name).collect())
    }
}

async fn exist(link: &Link, keys: impl Iterator<Item = Vec<u8>>) -> Result<Vec<bool>> {
    let mut ask = pipe();
    keys.for_each(|key| {
        ask.cmd("EXISTS").arg(key);
    });
    link.ask_all(&ask).await.map_err(failure)
}

/// When a key ends, as its server tells it: in milliseconds since 1970, -1 for never, -2 where there is none.
#[derive(Clone, Copy, Debug)]
struct End(i64);

impl End {
    /// Whether the key is there for longer than the clocks of machines may differ: one that ends before that may have
    /// ended on one of two servers alone.
    fn is_later(self) -> bool {
        let soon = SystemTime::now() + CLOCKS_DIFFER_BY;
        let soon = soon.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis());
        self.0 == -1 || i128::from(self.0) > i128::try_from(soon).unwrap_or(i128::MAX)
    }
}

async fn ends(link: &Link, keys: &[Vec<u8>]) -> Result<Vec<End>> {
    let mut ask = pipe();
    keys.iter().for_each(|key| {
        ask.cmd("PEXPIRETIME").arg(key);
    });
    let ends: Vec<i64> = link.ask_all(&ask).await.map_err(failure)?;
    Ok(ends.into_iter().map(End).collect())
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
    format!("{:.2} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // SPEC K-11
    fn a_key_that_ends_at_any_moment_is_not_missed() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
        let now = i64::try_from(now).unwrap();
        assert!(End(-1).is_later() && End(now + 120_000).is_later());
        assert!(!End(-2).is_later() && !End(now - 5).is_later() && !End(now + 30_000).is_later());
    }

    #[test]
    fn names_get_the_prefix_once() {
        let keys = Keys { only: None, prefix: Some("abc:".to_owned()) };
        assert_eq!(keys.renamed(b"k"), b"abc:k");
        assert_eq!(keys.renamed(b"abc:k"), b"abc:k");
        assert_eq!(Keys { prefix: None, ..keys }.renamed(b"k"), b"k");
    }
}
