//! HTTP in, typed command out, and the answer back.

mod auth;
mod bindings;
mod extract;
mod instances;
mod operator;
mod osb;
mod plans;
mod respond;
mod routes;
mod server;
mod trace;

pub use server::{BoundServer, BrokerServer, ServeError};
