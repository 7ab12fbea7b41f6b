//! A service broker that hands out MySQL and MariaDB databases.
//!
//! One plan, *shared*: a database per instance and an account per binding, on one server. The server is
//! given by URL, or started by the broker through `broker-hosting`.
//!
//! [`MysqlBroker`] is the policy; what is said to the server is in `link`, the words in `tenant`, and how
//! the broker's own server is set up in `server`.

mod broker;
mod config;
mod link;
mod server;
mod tenant;

pub use broker::MysqlBroker;
pub use config::Config;
