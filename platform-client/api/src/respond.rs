//! How the API answers: the one place that knows statuses (contract 1.3, 1.4, 1.10).

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use platform_core::{Error, InvalidName};
use serde::Serialize;

/// Why a request is not granted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A use case failed.
    #[error(transparent)]
    Platform(#[from] Error),
    /// The request can't be understood, or asks for what can't be.
    #[error("{0}")]
    BadRequest(String),
    /// The use case's refusal, with a sentence that this endpoint has of its own.
    #[error("{1}")]
    Reworded(Error, &'static str),
    /// No such thing.
    #[error("{0}")]
    NotFound(String),
    /// The caller may not do this, and there is more to say.
    #[error("{0}")]
    Refused(String),
    /// Nothing can be done about it any more.
    #[error("{0}")]
    Gone(String),
    /// It was given up.
    #[error("{0}")]
    Precondition(String),
    /// The body took too long to arrive.
    #[error("the request's body did not arrive in time, send it again")]
    TooSlow,
    /// The body is larger than allowed; the limit in bytes.
    #[error("the request's body is larger than {0} bytes, which is the limit")]
    TooLarge(u64),
    /// The platform does not have this.
    #[error("{0}")]
    NotOffered(String),
    /// The operation ended without an outcome; what it left is repaired in the background.
    #[error("the operation was interrupted, look at `tsuru event list` and try again")]
    Interrupted,
    /// The API's own disk failed; the cause is for our log, never for the caller.
    #[error("the platform cannot keep the upload at the moment, try again later")]
    Disk(#[source] std::io::Error),
}

/// A handler's answer.
pub(crate) type Answer<T = Response> = Result<T, Failure>;

impl Failure {
    pub(crate) fn bad(sentence: impl Into<String>) -> Self {
        Self::BadRequest(sentence.into())
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Platform(error) | Self::Reworded(error, _) => status_of(error),
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Refused(_) => StatusCode::FORBIDDEN,
            Self::Gone(_) => StatusCode::GONE,
            Self::Precondition(_) => StatusCode::PRECONDITION_FAILED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotOffered(_) => StatusCode::NOT_IMPLEMENTED,
            Self::Interrupted | Self::Disk(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<InvalidName> for Failure {
    fn from(refusal: InvalidName) -> Self {
        Self::Platform(refusal.into())
    }
}

/// Contract 1.4. Only bad credentials are 401, or clients ask for a login for ever; a busy lock is 500.
fn status_of(error: &Error) -> StatusCode {
    match error {
        Error::Invalid(_) | Error::Name(_) => StatusCode::BAD_REQUEST,
        Error::AppNotFound(_) | Error::ServiceNotFound(_) | Error::InstanceNotFound(_) | Error::NotFound(_) => {
            StatusCode::NOT_FOUND
        }
        Error::Exists(_) => StatusCode::CONFLICT,
        Error::Precondition(_) => StatusCode::PRECONDITION_FAILED,
        Error::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
        Error::Forbidden | Error::Refused(_) => StatusCode::FORBIDDEN,
        Error::Locked(_)
        | Error::Broker(_)
        | Error::Engine(_)
        | Error::Build(_)
        | Error::NotReady(_)
        | Error::Store(_)
        | Error::Router(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        if let Self::Disk(_) | Self::Platform(Error::Store(_)) = self {
            tracing::error!(error = ?self, "a request failed for a reason that its caller is not told");
        }
        let status = self.status();
        let mut answer = text(status, format!("{self}\n"));
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static(r#"Bearer realm="tsuru" scope="tsuru""#);
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        answer
    }
}

/// Plain text.
pub(crate) fn text(status: StatusCode, body: impl Into<String>) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body.into()).into_response()
}

/// A list; 204 when it is empty. Only for lists whose readers know that (contract 1.10).
pub(crate) fn list<T: Serialize>(items: Vec<T>) -> Response {
    if items.is_empty() { StatusCode::NO_CONTENT.into_response() } else { Json(items).into_response() }
}

/// A path that is not there.
pub(crate) async fn no_such_path() -> Response {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// A path that is there, but not with this method.
pub(crate) async fn no_such_method() -> Response {
    text(StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed\n")
}
