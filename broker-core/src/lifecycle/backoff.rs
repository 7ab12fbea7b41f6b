//! When unfinished work is tried again.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::Instant;

use crate::OpaqueId;

/// The longest pause between two tries.
const LONGEST: Duration = Duration::from_secs(60);

/// So many failures are remembered before those are looked for that are over.
const REMEMBERED: usize = 1024;

/// Pauses that double with each failure, for each piece of work.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    failures: Mutex<HashMap<OpaqueId, (u32, Instant)>>,
}

impl Backoff {
    pub(crate) fn new(first: Duration) -> Self {
        Self { first, failures: Mutex::default() }
    }

    pub(crate) fn is_due(&self, id: &OpaqueId) -> bool {
        self.failures().get(id).is_none_or(|(_, next)| *next <= Instant::now())
    }

    pub(crate) fn failed(&self, id: &OpaqueId) {
        self.failed_at(id, Instant::now());
    }

    fn failed_at(&self, id: &OpaqueId, now: Instant) {
        let mut failures = self.failures();
        // What nobody tries any more, such as work that another replica ended, is not remembered for ever.
        if failures.len() >= REMEMBERED {
            failures.retain(|_, (_, next)| *next + 2 * LONGEST > now);
        }
        let (count, next) = failures.entry(id.clone()).or_insert((0, now));
        let pause = self.first.saturating_mul(2_u32.saturating_pow(*count)).min(LONGEST);
        (*count, *next) = (count.saturating_add(1), now + pause);
    }

    pub(crate) fn forget(&self, id: &OpaqueId) {
        self.failures().remove(id);
    }

    fn failures(&self) -> MutexGuard<'_, HashMap<OpaqueId, (u32, Instant)>> {
        self.failures.lock().expect("no thread panics while it counts failures")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_nobody_tries_any_more_is_forgotten() {
        let (backoff, now) = (Backoff::new(Duration::from_secs(1)), Instant::now());
        (0..REMEMBERED).for_each(|_| backoff.failed_at(&OpaqueId::generate(), now));
        let tried = OpaqueId::generate();
        backoff.failed_at(&tried, now + 3 * LONGEST);
        assert_eq!(backoff.failures().len(), 1);
        assert!(!backoff.is_due(&tried));
    }
}
