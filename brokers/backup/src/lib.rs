//! Backups of service instances, in a folder or at an S3-compatible endpoint.
//!
//! A backup is a stream: it is read from a dump, compressed, sealed if there is a key, and written, piece by
//! piece. Its manifest is written last and removed first, so what is listed is whole (SPEC Z-1). Every backup is
//! read against its checksum; [`Backups::verify`] reads one without restoring it.
//!
//! ```
//! use broker_backup::{About, Backups};
//! use tokio::io::AsyncReadExt as _;
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let backups = Backups::in_folder(folder.path())?;
//! let about = About::new("redis", "6f1c", "small").server("redis 7.0").format("rdb");
//! let made = backups.write(&about, &b"all the data"[..]).await?;
//!
//! let mut data = Vec::new();
//! backups.read(&made).await?.read_to_end(&mut data).await?;
//! assert_eq!(data, b"all the data");
//! assert_eq!(backups.list("redis", "6f1c").await?, [made]);
//! # Ok(()) }
//! ```
//!
//! With the feature `broker` a service broker has the rest from here, too: its author says how an instance is dumped
//! and loaded ([`BackedUp`]), and gets the flags ([`BackupConfig`]), backups on demand, by a schedule and before a
//! removal, restores ([`Archive`]), the operations for the platform's users ([`routes`]) and what an operator finds and
//! reads backups with ([`ListBackups`], [`ReadBackup`]).

#[cfg(feature = "broker")]
mod broker;
mod dump;
mod error;
mod manifest;
mod pack;
mod plan;
mod seal;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod unpack;

#[cfg(feature = "broker")]
pub use broker::{Archive, BackedUp, BackupConfig, BackupPlace, Dump, Dumping, ListBackups, ReadBackup, routes};
pub use dump::output_of;
pub use error::BackupError;
pub use manifest::{About, Manifest};
pub use plan::{Retention, Runner, Schedule};
pub use seal::BackupKey;
pub use store::{Backups, S3};
pub use unpack::Restored;
