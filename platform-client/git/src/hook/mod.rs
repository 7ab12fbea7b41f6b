//! git's `pre-receive` hook, from both ends of a unix socket.
//!
//! git runs [`run`] once a push's objects are there, in quarantine, and before any branch moves. It
//! makes the commit's archive, asks the daemon to deploy it, shows what the daemon says, and ends
//! with the daemon's verdict. The daemon's end runs the deploy as a task of its own: the hook may
//! die, the deploy goes on (SPEC G-4).

mod client;
mod push;
mod serve;
mod wire;

pub use client::run;
pub(crate) use serve::{Socket, is_served};

/// The socket's name in the repositories' folder.
pub(crate) const SOCKET: &str = ".hook.sock";

pub(crate) const ENV_APP: &str = "TSURU_GIT_APP";
pub(crate) const ENV_ARCHIVE: &str = "TSURU_GIT_ARCHIVE";
pub(crate) const ENV_BRANCHES: &str = "TSURU_GIT_BRANCHES";
pub(crate) const ENV_SECRET: &str = "TSURU_GIT_SECRET";
pub(crate) const ENV_SOCKET: &str = "TSURU_GIT_SOCKET";
