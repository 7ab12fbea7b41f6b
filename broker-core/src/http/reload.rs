//! Files that are read again when they change, or when somebody asks for it.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tracing::{info, warn};

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Has a server read its files again: certificates and credentials (SPEC T-6, T-7).
///
/// A server looks at them every two seconds by itself; this is for a signal's handler.
#[derive(Clone, Debug)]
pub struct Reload(watch::Sender<()>);

impl Default for Reload {
    fn default() -> Self {
        Self(watch::Sender::new(()))
    }
}

impl Reload {
    /// Reads all files again, now.
    pub fn now(&self) {
        self.0.send_replace(());
    }
}

/// A value that is replaced as a whole, and read by whoever needs it next.
#[derive(Debug)]
pub(super) struct Current<T>(Arc<RwLock<Arc<T>>>);

impl<T> Clone for Current<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Current<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(value))))
    }

    pub(super) fn get(&self) -> Arc<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
    }
}

/// Keeps a value up to date with the files it is made of. What can't be read changes nothing but the log: the
/// value that worked is kept.
pub(super) async fn keep_current<T, E: std::fmt::Display>(
    what: &'static str,
    mut files: Watched,
    reload: Reload,
    current: Current<T>,
    read: impl Fn() -> Result<T, E>,
) {
    let mut asked = reload.0.subscribe();
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let is_asked = tokio::select! {
            _ = look.tick() => false,
            asked = asked.changed() => match asked {
                Ok(()) => true,
                Err(_) => return,
            },
        };
        if !files.changed() && !is_asked {
            continue;
        }
        match read() {
            Ok(value) => {
                current.set(value);
                info!("read the {what} again");
            }
            Err(why) => warn!("the {what} stay as they are, since the new ones cannot be used: {why}"),
        }
    }
}

/// Files, and how they were when they were last looked at.
#[derive(Debug)]
pub(super) struct Watched {
    files: Vec<PathBuf>,
    seen: Vec<Mark>,
}

/// What tells one content of a file from the next.
type Mark = Result<(i64, i64, u64, u64), io::ErrorKind>;

impl Watched {
    /// As they are now: before they are read, so that no change after that is missed.
    pub(super) fn new(files: Vec<PathBuf>) -> Self {
        let seen = files.iter().map(mark).collect();
        Self { files, seen }
    }

    fn changed(&mut self) -> bool {
        let now: Vec<Mark> = self.files.iter().map(mark).collect();
        let changed = now != self.seen;
        self.seen = now;
        changed
    }
}

fn mark(file: &PathBuf) -> Mark {
    let read = fs::metadata(file).map(|found| (found.mtime(), found.mtime_nsec(), found.len(), found.ino()));
    read.map_err(|error| error.kind())
}
