//! What an operator may choose.

use std::{ffi::OsString, io, path::PathBuf, time::Duration};

/// Where repositories are and what a push may do.
#[derive(Clone, Debug)]
pub struct GitConfig {
    /// The platform's data folder; repositories are `git/<app>.git` in it.
    pub data: PathBuf,
    /// Branches that are deployed. The first one is what users are told to push to.
    pub branches: Vec<String>,
    /// The largest pack a push may bring, in bytes.
    pub max_pack: u64,
    /// How long a client may be silent, or not take what it is sent.
    pub idle: Duration,
    /// How many git processes may serve clients at a time.
    pub max_sessions: usize,
    /// How often a silent deploy shows that it is alive.
    pub heartbeat: Duration,
    /// Program and arguments that end in [`hook::run`](crate::hook::run).
    pub hook_command: Vec<OsString>,
}

impl GitConfig {
    /// The defaults: `main` and `master`, packs of 512 MiB, 2 minutes of silence, 64 sessions, a sign
    /// of life every 5 seconds, and this program's own `git-hook` subcommand as the hook.
    ///
    /// # Errors
    /// When the path of the running program can't be found out.
    pub fn new(data: impl Into<PathBuf>) -> io::Result<Self> {
        Ok(Self {
            data: data.into(),
            branches: vec!["main".to_owned(), "master".to_owned()],
            max_pack: 512 << 20,
            idle: Duration::from_secs(120),
            max_sessions: 64,
            heartbeat: Duration::from_secs(5),
            hook_command: vec![std::env::current_exe()?.into(), "git-hook".into()],
        })
    }
}
