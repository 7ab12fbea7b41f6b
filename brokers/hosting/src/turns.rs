//! One after the other, for each of many.

use std::{
    hash::{DefaultHasher, Hash, Hasher as _},
    marker::PhantomData,
};

use tokio::sync::{Mutex, MutexGuard};

/// How many may have a turn at the same time, at most.
const LOCKS: usize = 64;

/// Locks for each of many: whoever works on one keeps others from it, and hardly from another. Some share a lock, however
/// many there are, so nobody should wait for a second turn while it has one, nor have one for long.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let turns = broker_hosting::Turns::default();
/// let turn = turns.of(&"instance").await;
/// drop(turn);
/// turns.of(&"instance").await;
/// # }
/// ```
#[derive(Debug)]
pub struct Turns<K> {
    locks: Vec<Mutex<()>>,
    of: PhantomData<fn(K)>,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self { locks: (0..LOCKS).map(|_| Mutex::default()).collect(), of: PhantomData }
    }
}

impl<K: Hash> Turns<K> {
    /// Waits for a turn, which lasts as long as what is returned.
    pub async fn of(&self, one: &K) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        one.hash(&mut hasher);
        #[expect(clippy::cast_possible_truncation, reason = "any of its bits will do")]
        let place = hasher.finish() as usize % LOCKS;
        self.locks[place].lock().await
    }
}
