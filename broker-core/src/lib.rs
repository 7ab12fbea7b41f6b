//! A framework for service brokers: programs that give applications the services they need.
//!
//! An author implements [`Broker`], one trait, and gets the whole contract: routes, authentication,
//! decoding, validation, durable state, repeats that are safe, slow work in the background and
//! recovery after a crash. Two promises make that possible:
//!
//! * **The framework remembers.** Identifiers and secrets are made and written down before the
//!   author is called, and what the author returns is written down after. Authors keep no database.
//! * **The framework repeats.** Each call may come again with the same identifiers and secrets, so
//!   an author writes "make it so" and gets crash recovery from that alone.
//!
//! The module [`tutorial`] goes from `cargo new` to a broker that passes `broker-check`.
//!
//! The rules of the wire are in `SPEC.md`; documentation cites them by number, as in (SPEC I-2).

mod actor;
#[cfg(feature = "server")]
mod author;
#[cfg(feature = "server")]
mod author_metrics;
#[cfg(feature = "server")]
mod authorizer;
mod binding;
mod broker;
#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "server")]
mod dashboard;
#[cfg(feature = "server")]
mod deadline;
mod endpoint;
mod env;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "server")]
mod http;
#[cfg(feature = "server")]
mod inspect;
mod instance;
#[cfg(feature = "server")]
mod lifecycle;
#[cfg(any(feature = "client", feature = "server"))]
mod line;
mod measure;
#[cfg(feature = "server")]
mod metrics;
mod name;
mod plan;
mod pool;
#[cfg(feature = "server")]
mod routes;
#[cfg(feature = "server")]
mod schema;
mod seal;
mod secret;
#[cfg(feature = "server")]
mod state;
mod status;
#[cfg(feature = "server")]
mod store;
#[cfg(feature = "testing")]
pub mod testing;
#[doc = include_str!("../TUTORIAL.md")]
pub mod tutorial {}
mod whereabouts;
#[cfg(any(feature = "client", feature = "server"))]
#[cfg_attr(
    not(all(feature = "client", feature = "server")),
    allow(dead_code, unreachable_pub, unused_imports, reason = "each side of the protocol uses its half")
)]
mod wire;

pub use actor::Actor;
#[cfg(feature = "server")]
pub use authorizer::{Access, Attempt, Authorizer, Credential};
/// The version of axum that [`Routes`] takes handlers of.
#[cfg(feature = "server")]
pub use axum;
pub use binding::{Binding, Consumer};
pub use broker::{Broker, Tenant};
#[cfg(feature = "server")]
pub use dashboard::{InvalidPublicUrl, PublicUrl};
#[cfg(feature = "server")]
pub use deadline::{in_time, time_left};
pub use endpoint::Endpoint;
pub use env::{EnvName, EnvVars};
pub use error::{BoxError, BrokerError, Result};
#[cfg(feature = "server")]
pub(crate) use http::Credentials;
#[cfg(feature = "server")]
pub use http::{
    BoundServer, BrokerServer, CredentialsError, InvalidRequestIdHeader, Reload, RequestIdHeader, ServeError, Tls,
    TlsError,
};
#[cfg(feature = "server")]
pub use inspect::{InspectError, Inspection, InstanceView, OperationView};
pub use instance::{Instance, Notes, Parameters, Update};
pub use measure::Metric;
#[doc(hidden)]
pub use name::NameText;
pub use name::{AppName, BindingId, InstanceName, InvalidName, JobName, OpaqueId, PlanName, ServiceName};
pub use plan::{Catalog, Maintenance, Plan};
pub use pool::{Cluster, Pool};
#[cfg(feature = "server")]
pub use routes::{Caller, Neighbours, Routes};
pub use seal::{SealError, SealingKey};
pub use secret::Secret;
#[cfg(feature = "server")]
pub use state::{State, StateError};
pub use status::{Health, InfoItem};
pub use whereabouts::Whereabouts;
