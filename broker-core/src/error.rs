//! What may go wrong, in the domain's words. Statuses are decided in one place: `http/respond.rs`.

use std::error::Error as StdError;

use crate::{Consumer, InstanceName, InvalidName, PlanName};

/// A failure's cause, for the log.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// A result whose error is a [`BrokerError`].
pub type Result<T, E = BrokerError> = std::result::Result<T, E>;

/// Why a broker could not do what it was asked.
///
/// Authors return the first five; the framework itself makes the others. The text of a variant is
/// shown to the platform's user as it is, so it holds no secret and no stack trace (SPEC E-1);
/// `source` is for the log only.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The caller asks for something that can't be: the sentence says what, and what to do (SPEC E-5).
    #[error("{0}")]
    BadRequest(String),
    /// It will work later, without the caller doing anything.
    #[error("{0}")]
    NotReady(String),
    /// It contradicts what is already there.
    #[error("{0}")]
    Conflict(String),
    /// The server behind the broker can't be reached or is overloaded: trying again may help. The framework does so,
    /// a few times before the caller hears of it, and for as long as it takes where the caller was told yes (SPEC L-9).
    #[error("the service is unavailable at the moment, try again later")]
    Unavailable(#[source] BoxError),
    /// Something broke that trying again won't mend.
    #[error("the service failed, its operator finds the cause in the broker's log")]
    Failed(#[source] BoxError),

    /// No such instance.
    #[error("instance \"{0}\" does not exist")]
    UnknownInstance(InstanceName),
    /// No such instance, and it can't have one: the text in the path is no name.
    #[error(transparent)]
    InvalidName(#[from] InvalidName),
    /// The instance is there already.
    #[error("instance \"{0}\" already exists")]
    AlreadyExists(InstanceName),
    /// The consumer is not bound to the instance.
    #[error("{consumer} is not bound to instance \"{instance}\"")]
    NotBound {
        /// The instance asked about.
        instance: InstanceName,
        /// Who is not bound to it.
        consumer: Consumer,
    },
    /// The catalog has no such plan.
    #[error("plan \"{asked}\" does not exist, choose one of: {offered}")]
    UnknownPlan {
        /// The plan asked for.
        asked: PlanName,
        /// The plans there are, joined by commas.
        offered: String,
    },
    /// The instance can't become what an update asks for: its plan is fixed, the wanted one is full, or the author
    /// refused it by [`BadRequest`](Self::BadRequest).
    #[error("{0}")]
    ChangeRefused(String),
    /// It takes longer than its caller waits, and goes on; the caller can't be told of its end.
    #[error("{0}")]
    GoesOn(String),
    /// Another operation on the instance is running.
    #[error("instance \"{instance}\" is busy: {operation} is running, try again when it has ended")]
    Busy {
        /// The instance asked about.
        instance: InstanceName,
        /// What runs, such as `create` or `bind`.
        operation: String,
    },
    /// The broker's own records can't be read or written.
    #[error("the broker cannot reach its records at the moment, try again later")]
    Store(#[source] BoxError),
}

impl BrokerError {
    /// A refusal of the caller's request: one sentence that says what is wrong and what to do.
    #[must_use]
    pub fn bad_request(sentence: impl Into<String>) -> Self {
        Self::BadRequest(sentence.into())
    }

    /// A failure of the server behind the broker that may pass.
    #[must_use]
    pub fn unavailable(cause: impl Into<BoxError>) -> Self {
        Self::Unavailable(cause.into())
    }

    /// A failure that trying again won't mend.
    #[must_use]
    pub fn failed(cause: impl Into<BoxError>) -> Self {
        Self::Failed(cause.into())
    }
}
