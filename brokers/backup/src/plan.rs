//! When backups are made, and how long they are kept.

use std::{
    collections::HashSet,
    future::Future,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::Manifest;

/// How often an instance is backed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The time between two backups.
    pub every: Duration,
    /// Instances are spread over this time, each at a moment of its own that stays the same.
    pub jitter: Duration,
}

impl Schedule {
    /// When an instance is due; `last` is when its newest backup was begun, or the instance was made.
    #[must_use]
    pub fn next(&self, instance: &str, last: DateTime<Utc>) -> DateTime<Utc> {
        let mut hasher = DefaultHasher::new();
        instance.hash(&mut hasher);
        let jitter = hasher.finish() % (self.jitter.as_secs() + 1);
        last + self.every + Duration::from_secs(jitter)
    }

    /// Whether an instance is due.
    #[must_use]
    pub fn is_due(&self, instance: &str, last: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        self.next(instance, last) <= now
    }
}

/// How long backups are kept. The newest one stays whatever the rules say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// So many of the newest.
    pub keep: Option<usize>,
    /// So many days.
    pub days: Option<u32>,
}

impl Retention {
    /// Those of an instance's backups that either rule gives up.
    #[must_use]
    pub fn expired(&self, backups: &[Manifest], now: DateTime<Utc>) -> Vec<Manifest> {
        let mut newest_first: Vec<_> = backups.iter().collect();
        newest_first.sort_by(|a, b| (b.begun, &b.id).cmp(&(a.begun, &a.id)));
        let is_expired = |(at, backup): &(usize, &Manifest)| {
            let too_many = self.keep.is_some_and(|keep| *at >= keep);
            let too_old = self.days.is_some_and(|days| now - backup.begun > chrono::Duration::days(days.into()));
            *at > 0 && (too_many || too_old)
        };
        newest_first.into_iter().enumerate().filter(is_expired).map(|(_, backup)| backup.clone()).collect()
    }
}

/// Runs what is due: so many at once, and never two of one instance. Several replicas of a broker have to agree on
/// who runs what, as by a lease on the instance.
#[derive(Clone, Debug)]
pub struct Runner {
    free: Arc<Semaphore>,
    running: Arc<Mutex<HashSet<String>>>,
}

impl Runner {
    /// One that runs `parallel` jobs at once, at least one.
    #[must_use]
    pub fn new(parallel: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(parallel.max(1))), running: Arc::default() }
    }

    /// Runs a job for an instance when its turn comes. None at once when one for this instance waits or runs.
    pub async fn run<T>(&self, instance: &str, job: impl Future<Output = T>) -> Option<T> {
        let is_first = self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(instance.to_owned());
        let _turn = is_first.then(|| Turn { running: &self.running, instance })?;
        let _free = self.free.acquire().await.ok()?;
        Some(job.await)
    }
}

/// Given back also when the job is dropped.
struct Turn<'a> {
    running: &'a Mutex<HashSet<String>>,
    instance: &'a str,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(self.instance);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;
    use crate::About;

    fn backup(id: &str, days_ago: i64, now: DateTime<Utc>) -> Manifest {
        let begun = now - chrono::Duration::days(days_ago);
        let (id, sha256, about) = (id.to_owned(), String::new(), About::new("redis", "i", "small"));
        Manifest { id, about, begun, ended: begun, size: 0, stored: 0, sha256, key: None }
    }

    fn ids(backups: &[Manifest]) -> Vec<&str> {
        backups.iter().map(|backup| backup.id.as_str()).collect()
    }

    #[test] // SPEC Z-4
    fn either_rule_gives_up_a_backup_and_none_the_newest() {
        let now = Utc::now();
        let all = [backup("a", 9, now), backup("b", 8, now), backup("c", 2, now), backup("d", 1, now)];
        let expired = |keep, days| Retention { keep, days }.expired(&all, now);

        assert_eq!(ids(&expired(Some(3), None)), ["a"]);
        assert_eq!(ids(&expired(None, Some(7))), ["b", "a"]);
        assert_eq!(ids(&expired(Some(0), Some(0))), ["c", "b", "a"]);
        assert_eq!(ids(&expired(None, None)), Vec::<&str>::new());
    }

    #[test] // SPEC Z-5
    fn instances_are_due_after_their_time_each_at_its_own_moment() {
        let hour = Duration::from_secs(3600);
        let schedule = Schedule { every: 6 * hour, jitter: hour };
        let last = Utc::now();

        assert!(!schedule.is_due("i", last, last + 6 * hour - Duration::from_secs(1)));
        assert!(schedule.is_due("i", last, last + 7 * hour));
        assert_eq!(schedule.next("i", last), schedule.next("i", last));
        assert_ne!(schedule.next("i", last), schedule.next("j", last));
    }

    #[tokio::test] // SPEC Z-5
    async fn two_of_one_instance_never_run_at_once_and_others_wait_for_room() {
        let runner = Runner::new(2);
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let job = async || {
            most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            now.fetch_sub(1, SeqCst);
        };
        let names = ["a", "b", "c", "d", "a"];

        let ran = futures::future::join_all(names.map(|name| runner.run(name, job()))).await;

        assert_eq!(ran, [Some(()), Some(()), Some(()), Some(()), None]);
        assert_eq!(most.load(SeqCst), 2);
        assert_eq!(runner.run("a", async { 7 }).await, Some(7));
        drop(runner.run("a", std::future::pending::<()>()));
        assert_eq!(runner.run("a", async { 8 }).await, Some(8));
    }
}
