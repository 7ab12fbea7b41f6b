//! A service broker that hands out Redis.
//!
//! Plans are of two kinds, and come from a file or are two that need none. *dedicated*: a `redis-server` per
//! instance, a process or a container, started through `broker-hosting`, with all commands and limits of its
//! own. *shared*: tenants on one of several servers, kept apart by access rules on a key prefix; those servers
//! are given by URL or started by the broker.
//!
//! [`RedisBroker`] is the policy and `plans` what it offers; what is said to a server is in `link`, who may do
//! what there in `account` and `commands`, what is looked at beforehand in `check` and `doctor`, what is compared
//! with the records in `reconcile`, how instances change their kind of plan in `moves`, how they are backed up in
//! `backups`, on which shared server an instance is in `fleet`, how the broker's own servers are set up in `settings`
//! and `server`, whom they let in after a start in `roster`, and how they are reached by TLS in `tls`.

mod account;
mod backups;
mod broker;
mod changes;
mod check;
mod commands;
mod config;
mod copy;
mod doctor;
mod fleet;
mod link;
mod metrics;
mod moves;
mod plans;
mod reconcile;
mod roster;
mod server;
mod settings;
mod tenants;
mod tls;

pub use backups::ReadBackup;
pub use broker::RedisBroker;
pub use broker_backup::{BackedUp, BackupConfig};
pub use broker_hosting::Size;
pub use config::Config;
pub use tls::SharedTrust;
