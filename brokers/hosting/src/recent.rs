//! What was taken away a short while ago.

use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

/// Longer than any call may go on that was begun before something was taken away.
const REMEMBERED_FOR: Duration = Duration::from_secs(600);

/// A set that forgets: what was put in longer than ten minutes ago may be gone.
///
/// Whoever looks after a server may work from a list that is older than a removal. What is in here was
/// taken away meanwhile, and is not brought back by such a list.
///
/// ```
/// let mut gone = broker_hosting::Recent::default();
/// gone.insert("account");
/// assert!(gone.contains(&"account") && !gone.contains(&"other"));
/// ```
#[derive(Debug)]
pub struct Recent<T> {
    since: HashMap<T, Instant>,
    next_sweep: usize,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { since: HashMap::new(), next_sweep: 64 }
    }
}

impl<T: Eq + Hash> Recent<T> {
    /// Puts something in, from now on.
    pub fn insert(&mut self, what: T) {
        self.since.insert(what, Instant::now());
        if self.since.len() >= self.next_sweep {
            self.since.retain(|_, since| since.elapsed() < REMEMBERED_FOR);
            self.next_sweep = 64.max(2 * self.since.len());
        }
    }

    /// Takes something out: it is there again.
    pub fn remove(&mut self, what: &T) {
        self.since.remove(what);
    }

    /// Whether something was put in lately.
    #[must_use]
    pub fn contains(&self, what: &T) -> bool {
        self.since.contains_key(what)
    }
}
