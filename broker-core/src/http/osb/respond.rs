//! How we answer platforms of this dialect.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::super::respond;
use crate::{
    BrokerError, Consumer, InstanceName, OpaqueId,
    lifecycle::{Engine, Operation, OperationKind},
};

/// A refusal or a failure on its way out: a code that platforms know, if there is one, and a sentence.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: Option<&'static str>,
    sentence: String,
    /// Whether what it is about can be used no more.
    unusable: bool,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        Self { status, code: None, sentence: sentence.into(), unusable: false }
    }

    pub(super) fn bad_request(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, sentence)
    }

    /// 422 with one of the specification's codes.
    pub(super) fn coded(code: &'static str, sentence: impl Into<String>) -> Self {
        Self { code: Some(code), ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, sentence) }
    }

    /// A removal that failed goes on by itself, so that nothing is left to be used.
    pub(super) fn leaves_unusable(self) -> Self {
        Self { unusable: self.status.is_server_error(), ..self }
    }

    /// For a removal, what is not there is gone.
    pub(super) fn gone_if_unknown(self) -> Self {
        if self.status == StatusCode::NOT_FOUND { Self { status: StatusCode::GONE, ..self } } else { self }
    }
}

impl From<BrokerError> for Refusal {
    fn from(error: BrokerError) -> Self {
        respond::log(&error);
        let sentence = respond::one_line(&error.to_string());
        match error {
            BrokerError::Busy { .. } | BrokerError::NotReady(_) => Self::coded("ConcurrencyError", sentence),
            BrokerError::GoesOn(_) => Self::coded("AsyncRequired", sentence),
            BrokerError::ChangeRefused(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, sentence),
            _ => Self::new(respond::status(&error), sentence),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut body = json!({ "description": self.sentence });
        if let Some(code) = self.code {
            body["error"] = code.into();
        }
        if self.unusable {
            body["instance_usable"] = false.into();
        }
        (self.status, Json(body)).into_response()
    }
}

/// Work that goes on, and how to ask for it.
pub(super) fn accepted(operation: &OpaqueId) -> Response {
    (StatusCode::ACCEPTED, Json(json!({ "operation": operation }))).into_response()
}

pub(super) fn done(status: StatusCode, body: Value) -> Response {
    (status, Json(body)).into_response()
}

/// How an operation ended that is not the last one, for as long as that is remembered (SPEC O-7). `missing` says what
/// is not there any more: a removal from there has succeeded, and whoever asks for it hears that.
pub(super) async fn earlier(
    engine: &Engine,
    (name, consumer): (&InstanceName, Option<&Consumer>),
    id: &str,
    missing: Option<BrokerError>,
) -> Result<Response, Refusal> {
    let known = if id.is_empty() { None } else { engine.operation(name, consumer, id).await? };
    let is_removal = |it: &Operation| matches!(it.kind, OperationKind::Remove | OperationKind::Unbind);
    match (known, missing) {
        (Some(operation), None) => Ok(state_of(&operation, json!({}))),
        (Some(operation), Some(_)) if !is_removal(&operation) => Ok(state_of(&operation, json!({}))),
        (_, Some(missing)) => Err(Refusal::from(missing).gone_if_unknown()),
        (None, None) => Err(Refusal::bad_request("operation is none that was begun here")),
    }
}

/// How an operation stands; `more` is what only instances have.
pub(super) fn state_of(operation: &Operation, more: Value) -> Response {
    let kind = operation.kind.as_str();
    let (state, description) = match (&operation.ended, &operation.failure) {
        (None, _) => {
            let running = || format!("{} is running", operation.described());
            ("in progress", operation.progress.clone().unwrap_or_else(running))
        }
        (Some(_), None) => ("succeeded", format!("the {kind} is done")),
        (Some(_), Some(failure)) => ("failed", failure.clone()),
    };
    let mut body = json!({ "state": state, "description": description });
    if state == "failed"
        && let (Value::Object(body), Value::Object(more)) = (&mut body, more)
    {
        body.extend(more);
    }
    let mut answer = Json(body).into_response();
    if operation.ended.is_none() {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}
