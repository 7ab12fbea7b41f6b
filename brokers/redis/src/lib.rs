//! A service broker that hands out Redis.
//!
//! Two plans. *dedicated*, the default: a `redis-server` process per instance, started through
//! `broker-hosting`, with all commands and a memory limit of its own. *shared*: tenants on one server,
//! kept apart by access rules on a key prefix; that server is given by URL or started by the broker.
//!
//! [`RedisBroker`] is the policy; what is said to a server is in `link`, who may do what there in
//! `account`, and how the broker's own servers are set up in `server`.

mod account;
mod broker;
mod config;
mod link;
mod server;
mod tenants;

pub use broker::RedisBroker;
pub use config::{Config, Size};
