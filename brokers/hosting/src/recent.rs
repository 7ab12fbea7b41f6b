//! What happened a short while ago.

use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

/// Longer than any call may go on, and than the framework takes to come back to an instance that it looks after.
const REMEMBERED_FOR: Duration = Duration::from_secs(600);

/// A set, or a map, that forgets: what was put in longer than ten minutes ago is not there any more.
///
/// As a set, of what was taken away: whoever looks after a server may work from a list that is older than a removal, and
/// must not bring back what was taken away meanwhile. As a map, of what was looked after: which instances there are, no
/// broker is told but by having each of them looked after, over and over.
///
/// ```
/// let mut gone = broker_hosting::Recent::default();
/// gone.insert("account");
/// assert!(gone.contains(&"account") && !gone.contains(&"other"));
///
/// let mut seen = broker_hosting::Recent::default();
/// seen.put("instance", 1);
/// seen.put("instance", 2);
/// assert_eq!(seen.iter().collect::<Vec<_>>(), [(&"instance", &2)]);
/// ```
#[derive(Debug)]
pub struct Recent<K, V = ()> {
    entries: HashMap<K, (V, Instant)>,
    next_sweep: usize,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), next_sweep: 64 }
    }
}

impl<K: Eq + Hash> Recent<K> {
    /// Puts something in, from now on.
    pub fn insert(&mut self, what: K) {
        self.put(what, ());
    }
}

impl<K: Eq + Hash, V> Recent<K, V> {
    /// Puts something in, from now on, in place of what was there.
    pub fn put(&mut self, what: K, value: V) {
        self.entries.insert(what, (value, Instant::now()));
        if self.entries.len() >= self.next_sweep {
            self.entries.retain(|_, (_, since)| is_recent(*since));
            self.next_sweep = 64.max(2 * self.entries.len());
        }
    }

    /// Takes something out.
    pub fn remove(&mut self, what: &K) {
        self.entries.remove(what);
    }

    /// Whether something was put in lately.
    #[must_use]
    pub fn contains(&self, what: &K) -> bool {
        self.entries.get(what).is_some_and(|(_, since)| is_recent(*since))
    }

    /// What was put in lately, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().filter(|(_, (_, since))| is_recent(*since)).map(|(what, (value, _))| (what, value))
    }
}

fn is_recent(since: Instant) -> bool {
    since.elapsed() < REMEMBERED_FOR
}
