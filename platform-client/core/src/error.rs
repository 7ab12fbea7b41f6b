//! What may go wrong, in the domain's words. Statuses are decided in the API's `respond.rs`.

use broker_core::{AppName, InstanceName, InvalidName, ServiceName};

/// A result whose error is an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the platform could not do what it was asked. The text is shown to the user as it is.
///
/// It is exhaustive: whoever adds a variant decides in the API's `respond.rs` what its status is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request can't be: the sentence says what is wrong and what to do.
    #[error("{0}")]
    Invalid(String),
    /// A text that is not the name it was meant to be.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// No such app.
    #[error("App {0} not found.")]
    AppNotFound(AppName),
    /// No such service.
    #[error("Service not found.")]
    ServiceNotFound(ServiceName),
    /// No such instance.
    #[error("service instance not found")]
    InstanceNotFound(InstanceName),
    /// No such thing of another kind.
    #[error("{0}")]
    NotFound(String),
    /// It is there already.
    #[error("{0}")]
    Exists(String),
    /// The thing is not in a state that allows this.
    #[error("{0}")]
    Precondition(String),
    /// Credentials are missing, unknown or expired.
    #[error("{0}")]
    Unauthenticated(String),
    /// The user may not do this.
    #[error("You don't have permission to do this action")]
    Forbidden,
    /// The user may not do this, and there is more to say.
    #[error("{0}")]
    Refused(String),
    /// Another operation holds the lock.
    #[error("event locked: {0}")]
    Locked(String),
    /// A broker refused or could not be reached; the text is what the contract prescribes.
    #[error("{0}")]
    Broker(String),
    /// The engine refused, failed, or could not be reached.
    #[error("{0}")]
    Engine(String),
    /// The build failed; its output was shown.
    #[error("{0}")]
    Build(String),
    /// New units did not become ready.
    #[error("{0}")]
    NotReady(String),
    /// The platform's own records can't be read or written; the cause is in the log.
    #[error("the platform cannot reach its records at the moment, try again later")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The router does not follow.
    #[error("{0}")]
    Router(String),
}

impl Error {
    /// A refusal of the request: one sentence that says what is wrong and what to do.
    #[must_use]
    pub fn invalid(sentence: impl Into<String>) -> Self {
        Self::Invalid(sentence.into())
    }
}
