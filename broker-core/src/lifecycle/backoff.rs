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
        let mut failures = self.failures();
        let (count, next) = failures.entry(id.clone()).or_insert((0, Instant::now()));
        let pause = self.first.saturating_mul(2_u32.saturating_pow(*count)).min(LONGEST);
        (*count, *next) = (count.saturating_add(1), Instant::now() + pause);
    }

    pub(crate) fn forget(&self, id: &OpaqueId) {
        self.failures().remove(id);
    }

    fn failures(&self) -> MutexGuard<'_, HashMap<OpaqueId, (u32, Instant)>> {
        self.failures.lock().expect("no thread panics while it counts failures")
    }
}
