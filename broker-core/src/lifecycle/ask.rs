//! How an operation is asked for, and what comes of it.

use std::time::Duration;

use crate::{Actor, OpaqueId, Parameters, Pool, Whereabouts};

/// How an operation is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    /// Who asks.
    pub(crate) actor: Actor,
    /// How long the caller waits before it is answered that the work goes on; as long as the server allows
    /// unless told otherwise.
    pub(crate) wait: Option<Duration>,
    /// Whether the caller knows what to do with the answer that the work goes on. To one who does not, it is an
    /// error.
    pub(crate) accepts_incomplete: bool,
    /// Whether a repeat of what is there already is a success, as Open Service Broker has it. For tsuru, the name
    /// of an instance that it knows of is taken.
    pub(crate) repeats: bool,
    /// The pool that the platform names, where nobody else can name one.
    pub(crate) pool: Option<Pool>,
    /// What the platform says of where the instance is; empty where it says nothing.
    pub(crate) context: Parameters,
    /// Where the consumer is whom a bind is for.
    pub(crate) whereabouts: Whereabouts,
}

/// What came of an operation, other than an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome<T> {
    /// It is done.
    Done(T),
    /// It was done before, in the same way.
    Already(T),
    /// It goes on, under this operation's identifier.
    GoesOn(OpaqueId),
}
