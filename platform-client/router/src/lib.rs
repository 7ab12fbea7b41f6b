//! The route table and the reverse proxy in front of the units.
//!
//! [`Router`] is the proxy: threads of its own, one for each core, each with its own listener, its own
//! single-threaded runtime and its own keep-alive connections to units. They share one thing, an
//! immutable table behind an atomic pointer; a change swaps the pointer, so a request sees the table
//! from before or from after, never one in between. Nothing on a request's path takes a lock that
//! another thread may hold for long, or asks a database.
//!
//! The `Routes` port has two adapters: [`Router::routes`] in the same process, and [`RemoteRoutes`],
//! which speaks to a [`Control`] socket of a router that runs as a process of its own. Both keep
//! `platform_core::testing::routes::contract`.

mod board;
mod body;
mod config;
mod control;
mod exchange;
mod forward;
mod headers;
mod host;
mod listen;
mod load;
mod pick;
mod pool;
mod remote;
mod reply;
mod router;
mod saved;
mod table;
mod worker;

pub use config::RouterConfig;
pub use control::Control;
pub use remote::RemoteRoutes;
pub use router::Router;
