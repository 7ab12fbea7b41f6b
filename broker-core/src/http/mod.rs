//! HTTP in, typed command out, and the answer back.

mod auth;
mod plans;
mod respond;
mod routes;
mod server;

pub use server::{BoundServer, BrokerServer, ServeError};
