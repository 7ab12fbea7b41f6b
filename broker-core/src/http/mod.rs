//! HTTP in, typed command out, and the answer back.

mod auth;
mod bindings;
mod connections;
mod credentials;
mod extract;
mod front;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod hashed;
mod instances;
mod limits;
pub(crate) mod openapi;
mod operator;
mod osb;
mod own;
mod plans;
mod reload;
mod respond;
mod routes;
mod server;
mod socket;
mod tls;
mod trace;

pub(crate) use credentials::Credentials;
pub use credentials::CredentialsError;
pub(crate) use extract::LARGEST as LARGEST_BODY;
pub use reload::Reload;
pub use server::{BoundServer, BrokerServer, ServeError};
pub use tls::{Tls, TlsError};
pub use trace::{InvalidRequestIdHeader, RequestIdHeader};
