//! One at a time: operations on an instance exclude each other, binds of different consumers don't
//! (SPEC L-4).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{
    sync::{Notify, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, futures::Notified},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{BrokerError, Consumer, InstanceName, Result};

/// What is locked: an instance, or one consumer's binding to it.
pub(crate) type Key = (InstanceName, Option<Consumer>);

/// Locks by key, made when they are wanted and forgotten when nobody wants them.
#[derive(Clone, Debug)]
pub(crate) struct Locks {
    wait: Duration,
    table: Arc<Table>,
}

#[derive(Debug, Default)]
struct Table {
    entries: Mutex<HashMap<Key, Arc<Entry>>>,
}

#[derive(Debug)]
struct Entry {
    lock: Arc<RwLock<()>>,
    /// What its holder does, how to make it stop, and how to tell it that somebody has to wait.
    holder: Mutex<(&'static str, CancellationToken, Arc<Notify>)>,
}

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    key: Key,
    table: Arc<Table>,
    interrupt: CancellationToken,
    wanted: Arc<Notify>,
    guard: Option<Guard>,
}

#[derive(Debug)]
enum Guard {
    Shared { _guard: OwnedRwLockReadGuard<()> },
    Exclusive { _guard: OwnedRwLockWriteGuard<()> },
}

/// Whether others may hold the lock too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Shared,
    Exclusive,
}

impl Locks {
    /// Locks for which a second caller waits this long.
    pub(crate) fn new(wait: Duration) -> Self {
        Self { wait, table: Arc::default() }
    }

    /// Takes a lock, waiting a little for those who have it.
    ///
    /// # Errors
    /// [`BrokerError::Busy`] when they don't let go.
    pub(crate) async fn take(&self, key: Key, mode: Mode, operation: &'static str) -> Result<Held> {
        if let Some(held) = self.try_take(&key, mode, operation) {
            return Ok(held);
        }
        let entry = self.table.entry(&key);
        // Kept for a holder who does not listen yet.
        entry.holder().2.notify_one();
        match timeout(self.wait, entry.guard(mode)).await {
            Ok(guard) => Ok(self.table.hold(key, &entry, guard, operation)),
            Err(_) => {
                let running = entry.holder().0.to_owned();
                drop(entry);
                Table::tidy(&mut self.table.entries(), &key);
                Err(BrokerError::Busy { instance: key.0, operation: running })
            }
        }
    }

    /// Takes a lock that is free now.
    pub(crate) fn try_take(&self, key: &Key, mode: Mode, operation: &'static str) -> Option<Held> {
        let entry = self.table.entry(key);
        let Some(guard) = entry.try_guard(mode) else {
            drop(entry);
            Table::tidy(&mut self.table.entries(), key);
            return None;
        };
        Some(self.table.hold(key.clone(), &entry, guard, operation))
    }

    /// Asks everyone who works on an instance to stop: it is to be removed.
    pub(crate) fn interrupt(&self, name: &InstanceName) {
        let entries = self.table.entries();
        let theirs = entries.iter().filter(|((instance, _), _)| instance == name);
        theirs.for_each(|(_, entry)| entry.holder().1.cancel());
    }
}

impl Table {
    fn entries(&self) -> MutexGuard<'_, HashMap<Key, Arc<Entry>>> {
        self.entries.lock().expect("no thread panics while it holds the table of locks")
    }

    fn entry(&self, key: &Key) -> Arc<Entry> {
        let fresh = || {
            let holder = Mutex::new(("another operation", CancellationToken::new(), Arc::default()));
            Arc::new(Entry { lock: Arc::default(), holder })
        };
        self.entries().entry(key.clone()).or_insert_with(fresh).clone()
    }

    /// Forgets a lock that nobody has. Whoever looked at it last does so: a holder that lets go meanwhile cannot.
    fn tidy(entries: &mut HashMap<Key, Arc<Entry>>, key: &Key) {
        // One count is the table's own: nobody else holds the entry or waits for it.
        if entries.get(key).is_some_and(|entry| Arc::strong_count(entry) == 1 && entry.lock.try_write().is_ok()) {
            entries.remove(key);
        }
    }

    fn hold(self: &Arc<Self>, key: Key, entry: &Entry, guard: Guard, operation: &'static str) -> Held {
        let mut holder = entry.holder();
        holder.0 = operation;
        if matches!(guard, Guard::Exclusive { .. }) {
            holder.1 = CancellationToken::new();
        }
        let (interrupt, wanted) = (holder.1.clone(), holder.2.clone());
        Held { key, table: self.clone(), interrupt, wanted, guard: Some(guard) }
    }
}

impl Entry {
    fn holder(&self) -> MutexGuard<'_, (&'static str, CancellationToken, Arc<Notify>)> {
        self.holder.lock().expect("no thread panics while it holds a lock's description")
    }

    fn try_guard(&self, mode: Mode) -> Option<Guard> {
        let lock = self.lock.clone();
        match mode {
            Mode::Shared => lock.try_read_owned().ok().map(|guard| Guard::Shared { _guard: guard }),
            Mode::Exclusive => lock.try_write_owned().ok().map(|guard| Guard::Exclusive { _guard: guard }),
        }
    }

    async fn guard(&self, mode: Mode) -> Guard {
        let lock = self.lock.clone();
        match mode {
            Mode::Shared => Guard::Shared { _guard: lock.read_owned().await },
            Mode::Exclusive => Guard::Exclusive { _guard: lock.write_owned().await },
        }
    }
}

impl Held {
    /// The instance that is locked.
    pub(crate) fn instance(&self) -> &InstanceName {
        &self.key.0
    }

    /// Completes when somebody has to wait for this lock.
    pub(crate) fn wanted(&self) -> Notified<'_> {
        self.wanted.notified()
    }

    /// Whether the instance is to be removed.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupt.is_cancelled()
    }

    /// Completes when the instance is to be removed and the holder should stop.
    pub(crate) async fn interrupted(&self) {
        self.interrupt.cancelled().await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut entries = self.table.entries();
        self.guard = None;
        Table::tidy(&mut entries, &self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> Key {
        ("cache".parse().unwrap(), None)
    }

    #[tokio::test] // SPEC L-4
    async fn a_second_caller_learns_what_runs() {
        let locks = Locks::new(Duration::from_millis(10));
        let _held = locks.take(cache(), Mode::Exclusive, "an update").await.unwrap();

        let refusal = locks.take(cache(), Mode::Shared, "a bind").await.unwrap_err();

        assert_eq!(
            refusal.to_string(),
            "instance \"cache\" is busy: an update is running, try again when it has ended"
        );
    }

    #[tokio::test]
    async fn locks_that_nobody_wants_are_forgotten() {
        let locks = Locks::new(Duration::from_secs(5));
        let one = locks.take(cache(), Mode::Shared, "a bind").await.unwrap();
        let other = locks.take(cache(), Mode::Shared, "a bind").await.unwrap();
        drop(one);
        assert!(locks.try_take(&cache(), Mode::Exclusive, "an update").is_none());
        drop(other);
        assert!(locks.table.entries().is_empty());
    }

    #[tokio::test]
    async fn a_lock_is_handed_on_to_who_waits() {
        let locks = Locks::new(Duration::from_secs(5));
        let held = locks.take(cache(), Mode::Exclusive, "an update").await.unwrap();
        let waiting = locks.take(cache(), Mode::Exclusive, "a removal");
        let letting_go = async {
            held.wanted().await;
            drop(held);
        };
        let (next, ()) = tokio::join!(waiting, letting_go);
        assert!(next.is_ok());
    }

    #[tokio::test] // A107
    async fn whoever_holds_a_lock_can_be_asked_to_stop_but_the_next_holder_is_not() {
        let locks = Locks::new(Duration::from_secs(5));
        let held = locks.take(cache(), Mode::Exclusive, "a create").await.unwrap();
        locks.interrupt(&cache().0);
        held.interrupted().await;
        drop(held);
        let next = locks.take(cache(), Mode::Exclusive, "a removal").await.unwrap();
        assert!(!next.interrupt.is_cancelled());
    }
}
