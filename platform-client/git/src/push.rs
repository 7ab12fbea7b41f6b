//! Pushes on their way: what the hook may ask for, and whose turn it is.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use platform_core::{AppName, Secret};
use tempfile::TempDir;

use crate::Pusher;

/// A push from its first byte until both git and the deploy are done with it.
pub(crate) struct Push {
    pub(crate) app: AppName,
    pub(crate) pusher: Pusher,
    /// What its hook proves itself with, once.
    pub(crate) secret: Secret,
    /// The branch that was deployed.
    pub(crate) deployed: OnceLock<String>,
    used: AtomicBool,
    scratch: TempDir,
    all: Arc<AllPushes>,
}

impl Push {
    /// Where the hook puts the commit's archive.
    pub(crate) fn archive(&self) -> PathBuf {
        self.scratch.path().join("source.tar.gz")
    }

    /// Takes the app's turn until the push is over: from the look at the branch to its move nobody
    /// else may deploy a push (SPEC G-6).
    pub(crate) fn take_turn(&self) -> Result<(), String> {
        let mut turns = self.all.turns.lock().expect("no holder of the turns panics");
        if let Some(other) = turns.get(&self.app) {
            let (who, seconds) = (&other.pusher.email, other.since.elapsed().as_secs());
            return Err(format!(
                "{who} has been deploying a push to {} for {seconds} s: wait for its end, then push again",
                self.app
            ));
        }
        let turn = Turn { secret: self.secret.clone(), pusher: self.pusher.clone(), since: Instant::now() };
        turns.insert(self.app.clone(), turn);
        Ok(())
    }
}

impl Drop for Push {
    fn drop(&mut self) {
        let mut turns = self.all.turns.lock().expect("no holder of the turns panics");
        if turns.get(&self.app).is_some_and(|turn| turn.secret == self.secret) {
            turns.remove(&self.app);
        }
    }
}

struct Turn {
    secret: Secret,
    pusher: Pusher,
    since: Instant,
}

/// Every push on its way.
#[derive(Default)]
pub(crate) struct AllPushes {
    open: Mutex<Vec<Weak<Push>>>,
    turns: Mutex<HashMap<AppName, Turn>>,
}

impl AllPushes {
    pub(crate) fn begin(self: &Arc<Self>, app: AppName, pusher: Pusher, scratch: TempDir) -> Arc<Push> {
        let push = Arc::new(Push {
            app,
            pusher,
            secret: Secret::generate(),
            deployed: OnceLock::new(),
            used: AtomicBool::new(false),
            scratch,
            all: Arc::clone(self),
        });
        let mut open = self.open.lock().expect("no holder of the list panics");
        open.retain(|push| push.strong_count() > 0);
        open.push(Arc::downgrade(&push));
        push
    }

    /// The push that a hook speaks for. A secret counts once.
    pub(crate) fn redeem(&self, secret: &Secret) -> Option<Arc<Push>> {
        // Collected first: a push that is dropped while the list is held would be no trouble, but
        // keep the two locks apart.
        let open: Vec<_> =
            self.open.lock().expect("no holder of the list panics").iter().filter_map(Weak::upgrade).collect();
        open.into_iter().find(|push| push.secret == *secret && !push.used.swap(true, Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(all: &Arc<AllPushes>, app: &str, email: &str) -> Arc<Push> {
        let pusher = Pusher { email: email.parse().unwrap() };
        all.begin(app.parse().unwrap(), pusher, tempfile::tempdir().unwrap())
    }

    #[test] // SPEC G-5
    fn a_secret_counts_once_and_while_its_push_lives() {
        let all = Arc::default();
        let (first, second) = (push(&all, "blog", "a@example.com"), push(&all, "blog", "b@example.com"));
        let secret = second.secret.clone();

        assert_eq!(all.redeem(&first.secret).unwrap().pusher, first.pusher);
        assert!(all.redeem(&first.secret).is_none());
        drop(second);
        assert!(all.redeem(&secret).is_none());
        assert!(all.redeem(&Secret::generate()).is_none());
    }

    #[test] // SPEC G-6
    fn an_app_has_one_push_at_a_time() {
        let all = Arc::default();
        let first = push(&all, "blog", "a@example.com");
        first.take_turn().unwrap();

        let second = push(&all, "blog", "b@example.com");
        let refusal = second.take_turn().unwrap_err();
        assert!(refusal.starts_with("a@example.com has been deploying a push to blog for 0 s"), "{refusal}");
        push(&all, "shop", "b@example.com").take_turn().unwrap();

        drop(first);
        second.take_turn().unwrap();
    }
}
