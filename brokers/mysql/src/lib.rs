//! A service broker that hands out MySQL and MariaDB databases.
//!
//! Plans are *shared*, a database per instance on one of a few servers, or *dedicated*, a server per instance. An
//! account per binding on both. Shared servers are given by URL, or started by the broker as the others are, through
//! `broker-hosting`.
//!
//! [`MysqlBroker`] is the policy, `moves` its part for instances that change plans, `backups` that for backups and
//! restores, which `broker-backup` offers to the platform's users, `definers` as whom runs what a restore brings. What plans there are is in
//! `plans`, the servers in `servers`, on which of them an instance is in `fleet`, what is said to one in `link`, the
//! words in `tenant`, how much an instance may take in `quota` and what it uses in `usage`, what `doctor` looks at in
//! `doctor` and `rights`, what is compared with the records in `reconcile`, how the broker's own servers are set up in
//! `server`, and how servers are reached by TLS in `tls`.

mod backups;
mod broker;
mod config;
mod copy;
mod definers;
mod doctor;
mod fleet;
mod link;
mod look;
mod metrics;
mod moves;
mod plans;
mod quota;
mod reconcile;
mod rights;
mod server;
mod servers;
mod tenant;
mod tls;
mod usage;

pub use broker::MysqlBroker;
pub use broker_backup::{BackedUp, BackupConfig};
pub use config::Config;
pub use tls::SharedTrust;
