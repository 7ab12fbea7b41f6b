//! `git push` over HTTP, in front of git itself.
//!
//! The protocol is git's own: requests go to `git receive-pack` and `git upload-pack`, their bodies
//! unbuffered both ways. What is ours is who may come in, and the `pre-receive` hook: it hands the
//! commit to this process over a unix socket and waits for the deploy, so that a failed build
//! rejects the push and leaves the branch where it was (SPEC G-1). Nothing here knows how to deploy.

mod answer;
mod config;
mod credentials;
mod git;
mod gunzip;
pub mod hook;
mod http;
mod push;
mod pushes;
mod repositories;
mod server;
mod session;

pub use config::GitConfig;
pub use pushes::{Pusher, Pushes};
pub use server::{GitServer, StartError};
