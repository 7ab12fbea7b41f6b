//! How a refusal reads to git, which shows plain text on the user's terminal; the one file that
//! knows statuses.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use platform_core::Error;

/// A request that is not served.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    sentence: String,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        Self { status, sentence: sentence.into() }
    }

    /// No credentials: git asks its user for them and comes again.
    pub(crate) fn anonymous() -> Self {
        let sentence = "a token of the platform is wanted as the password; any user name will do";
        Self::new(StatusCode::UNAUTHORIZED, sentence)
    }

    /// Our own trouble: the cause is for the log.
    pub(crate) fn internal(doing: &str, cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(error = %cause, "failed to {doing}: {cause}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the platform failed to {doing}, try again later"))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if let Error::Store(cause) = &error {
            tracing::error!(error = %cause, "the store failed: {cause}");
        }
        Self::new(status(&error), error.to_string())
    }
}

fn status(error: &Error) -> StatusCode {
    match error {
        Error::Invalid(_) => StatusCode::BAD_REQUEST,
        Error::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
        Error::Forbidden | Error::Refused(_) => StatusCode::FORBIDDEN,
        Error::Name(_) | Error::AppNotFound(_) | Error::NotFound(_) => StatusCode::NOT_FOUND,
        Error::Locked(_) => StatusCode::CONFLICT,
        Error::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        // What is left is about deploys and services, which no request here asks for.
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        let mut response = (self.status, plain, format!("{}\n", self.sentence)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let ask = HeaderValue::from_static(r#"Basic realm="tsuru""#);
            response.headers_mut().insert(header::WWW_AUTHENTICATE, ask);
        }
        response
    }
}
