//! How we answer: the one place that knows statuses.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;
use std::{borrow::Cow, error::Error as StdError};
use tracing::{error, info, warn};

use super::extract::Untaken;
use crate::BrokerError;

/// A refusal or a failure on its way out: one line of text (SPEC E-1).
#[derive(Debug)]
pub(super) enum Failure {
    /// The broker could not do it.
    Broker(BrokerError),
    /// The request can't even be read: a status of HTTP's own and a sentence.
    Unreadable(StatusCode, Cow<'static, str>),
    /// The platform has to name a pool that has a cluster: it understands this answer (contract 2.4).
    NeedsCluster,
}

impl From<BrokerError> for Failure {
    fn from(error: BrokerError) -> Self {
        Self::Broker(error)
    }
}

impl From<Untaken> for Failure {
    fn from((status, sentence): Untaken) -> Self {
        Self::Unreadable(status, sentence)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Broker(error) => {
                log(&error);
                (status(&error), one_line(&error.to_string())).into_response()
            }
            Self::Unreadable(status, sentence) => (status, sentence).into_response(),
            Self::NeedsCluster => {
                let msg = "this service needs a cluster, name a pool that has one";
                let body = json!({ "msg": msg, "missing_params": ["cluster"] });
                (StatusCode::BAD_REQUEST, Json(body)).into_response()
            }
        }
    }
}

/// The status of each error. `instances::status` has its own, because only five mean anything there.
pub(super) fn status(error: &BrokerError) -> StatusCode {
    match error {
        BrokerError::BadRequest(_) | BrokerError::UnknownPlan { .. } | BrokerError::ChangeRefused(_) => {
            StatusCode::BAD_REQUEST
        }
        BrokerError::NotReady(_) | BrokerError::GoesOn(_) => StatusCode::PRECONDITION_FAILED,
        BrokerError::Conflict(_) | BrokerError::AlreadyExists(_) | BrokerError::Busy { .. } => StatusCode::CONFLICT,
        BrokerError::UnknownInstance(_) | BrokerError::InvalidName(_) | BrokerError::NotBound { .. } => {
            StatusCode::NOT_FOUND
        }
        BrokerError::Unavailable(_) | BrokerError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        BrokerError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Writes down what the caller is not shown.
pub(super) fn log(error: &BrokerError) {
    let status = status(error);
    let (error, causes) = (one_line(&error.to_string()), causes(error));
    match status {
        StatusCode::INTERNAL_SERVER_ERROR => error!("refused: {error}{causes}"),
        StatusCode::SERVICE_UNAVAILABLE => warn!("refused: {error}{causes}"),
        _ => info!("refused: {error}"),
    }
}

/// `: cause: cause of the cause`, or nothing.
fn causes(error: &BrokerError) -> String {
    let mut text = String::new();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(": {}", one_line(&cause.to_string())));
        next = cause.source();
    }
    text
}

/// Users see it in one line, whatever an author put into it.
pub(super) use crate::line::one_line;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test] // SPEC E-1
    async fn a_cause_is_never_shown() {
        let failure = Failure::Broker(BrokerError::failed("password s3cret was refused"));

        let answer = failure.into_response();

        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = axum::body::to_bytes(answer.into_body(), 1000).await.unwrap();
        assert_eq!(body, "the service failed, its operator finds the cause in the broker's log");
    }
}
