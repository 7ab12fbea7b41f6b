//! The heart: what was begun is finished, whatever happens in between.
//!
//! Work runs in tasks that the [`Engine`] owns; a handler only waits for the answer. Every change is:
//! validate, write the intent, call the author under a deadline, write the outcome, answer. What a
//! crash, a lost server or a caller who left interrupts is driven on by `reconcile.rs`: forward where
//! the platform was or may have been told yes, back where it was told no.

mod ask;
mod backoff;
mod bindings;
mod calls;
mod credentials;
mod dashboard;
mod engine;
mod instances;
mod lease;
mod locks;
mod look;
mod parameters;
mod progress;
mod quota;
mod reconcile;
pub(crate) mod records;
mod refresh;
mod reply;
mod rotation;
pub(crate) mod states;
#[cfg(all(test, feature = "testing"))]
mod trouble;
mod written;

pub(crate) use ask::{Ask, Outcome};
pub(crate) use credentials::Credentials;
pub(crate) use dashboard::{ConsumerView, Dashboard};
pub(crate) use engine::{AT_ONCE, Engine, Timing};
pub(crate) use instances::{Change, NewInstance, Wishes};
pub(crate) use look::{BindingView, Condition, Ends, InstanceView};
pub(crate) use parameters::Schemas;
pub(crate) use records::{Operation, OperationKind};
pub(crate) use states::{BindingState, InstanceState};
