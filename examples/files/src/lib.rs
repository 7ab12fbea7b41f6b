//! A broker of files: each instance is a folder or a SQLite database on disk.
//!
//! `broker` is the policy, what plans and parameters mean; `place` is the disk, the only module that touches it;
//! `archive` turns a folder into a database and back.

mod archive;
mod broker;
mod place;

pub use broker::{Config, FilesBroker};
