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
//! The rules of the wire are in `SPEC.md`; documentation cites them by number, as in (SPEC I-2).

mod binding;
mod broker;
mod env;
mod error;
mod instance;
mod name;
mod plan;
mod seal;
mod secret;
mod status;

pub use binding::{Binding, Consumer};
pub use broker::{Broker, Tenant};
pub use env::{EnvName, EnvVars};
pub use error::{BoxError, BrokerError, Result};
pub use instance::{Instance, Notes, Parameters, Update};
pub use name::{AppName, InstanceName, InvalidName, JobName, OpaqueId, PlanName, ServiceName};
pub use plan::{Catalog, Plan};
pub use seal::{SealError, SealingKey};
pub use secret::Secret;
pub use status::{Health, InfoItem};
