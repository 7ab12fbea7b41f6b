//! What we accept.

use std::{borrow::Cow, time::Duration};

use axum::{
    extract::{FromRequest, FromRequestParts, RawPathParams, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use futures::StreamExt as _;
use tokio::time::timeout;

use super::respond::Failure;
use crate::{
    BrokerError, InstanceName, InvalidName, JobName, Pool,
    wire::{
        BindApp, BindJob, ChangeInstance, CreateInstance, Fields, Malformed, RemoveInstance, Rotate, UnbindApp,
        UnbindJob,
    },
};

const MIB: usize = 1024 * 1024;
/// The largest body that is read, unless an author takes larger ones (SPEC Y-2).
pub(crate) const LARGEST: usize = MIB;
/// How much more is read and thrown away before a body is refused.
const DISCARDED: usize = 16 * MIB;
/// How long a caller may take to send it, and a second longer for each further MiB that it may have.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// The instance that the path names. A text that is no name names no instance.
pub(super) struct Named(pub(super) InstanceName);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let name = segment(parts, state, "name").await?;
        Ok(Self(InstanceName::made_by_platform(&name).map_err(BrokerError::InvalidName)?))
    }
}

/// The pool that the platform names with a call that its proxy never forwards (SPEC T-20).
pub(super) struct InPool(pub(super) Option<Pool>);

impl<S: Send + Sync> FromRequestParts<S> for InPool {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Ok(Self(Pool::read(&parts.headers)?))
    }
}

/// The instance and the job that the path names.
pub(super) struct NamedJob(pub(super) InstanceName, pub(super) JobName);

impl<S: Send + Sync> FromRequestParts<S> for NamedJob {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Named(instance) = Named::from_request_parts(parts, state).await?;
        let job = segment(parts, state, "job").await?;
        Ok(Self(instance, job.parse().map_err(BrokerError::InvalidName)?))
    }
}

async fn segment<S: Send + Sync>(parts: &mut Parts, state: &S, which: &str) -> Result<String, Failure> {
    let segments = RawPathParams::from_request_parts(parts, state).await.ok();
    let mut segments = segments.iter().flatten();
    let found = segments.find(|(name, _)| *name == which).map(|(_, value)| value.to_owned());
    Ok(found.ok_or_else(|| BrokerError::InvalidName(InvalidName::new("the path is not UTF-8 text")))?)
}

/// A body in either encoding, by its `Content-Type`, whatever the method (SPEC T-2).
pub(super) struct Body<T>(pub(super) T);

/// A body that can be read from its fields.
pub(super) trait Read: Sized {
    fn read(fields: &Fields) -> Result<Self, Malformed>;
}

macro_rules! readable {
    ($($body:ident),*) => {
        $(impl Read for $body {
            fn read(fields: &Fields) -> Result<Self, Malformed> {
                $body::read(fields)
            }
        })*
    };
}

readable!(CreateInstance, ChangeInstance, RemoveInstance, BindApp, UnbindApp, BindJob, UnbindJob, Rotate);

impl<T: Read, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let body = whole_in_time(body, LARGEST).await?;
        let fields = fields(&parts.headers, &body)?;
        Ok(Self(T::read(&fields).map_err(refusal)?))
    }
}

/// A body that can't be taken: a status of HTTP's own and a sentence.
pub(super) type Untaken = (StatusCode, Cow<'static, str>);

/// The whole body of at most so many bytes, or why not.
pub(super) async fn whole_in_time(body: axum::body::Body, largest: usize) -> Result<Vec<u8>, Untaken> {
    let within = READ_WITHIN + Duration::from_secs((largest.saturating_sub(LARGEST) / MIB) as u64);
    let body = timeout(within, whole(body, largest)).await;
    body.unwrap_or(Err((StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time".into())))
}

/// The whole body. Of one that is too large a good part is read all the same: a caller who is cut off
/// while writing does not read the answer.
async fn whole(body: axum::body::Body, largest: usize) -> Result<Vec<u8>, Untaken> {
    let mut chunks = body.into_data_stream();
    let (mut whole, mut length) = (Vec::new(), 0usize);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| (StatusCode::BAD_REQUEST, "the body broke off".into()))?;
        length += chunk.len();
        if length <= largest {
            whole.extend_from_slice(&chunk);
        } else if length - largest > DISCARDED {
            break;
        }
    }
    if length > largest {
        return Err((StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {}", size(largest)).into()));
    }
    Ok(whole)
}

fn size(bytes: usize) -> String {
    if bytes.is_multiple_of(MIB) { format!("{} MiB", bytes / MIB) } else { format!("{bytes} bytes") }
}

/// Parameters of the type, such as a charset, are ignored; a body without a type is a form.
pub(super) fn fields(headers: &HeaderMap, body: &[u8]) -> Result<Fields, Failure> {
    let kind = headers.get(header::CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("?"));
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_empty = body.iter().all(u8::is_ascii_whitespace);
    match kind.as_str() {
        _ if is_empty => Fields::from_form(b"").map_err(refusal),
        "" | "application/x-www-form-urlencoded" => Fields::from_form(body).map_err(refusal),
        "application/json" => Fields::from_json(body).map_err(refusal),
        _ => Err(Failure::Unreadable(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send the body as application/x-www-form-urlencoded or as application/json".into(),
        )),
    }
}

fn refusal(malformed: Malformed) -> Failure {
    BrokerError::bad_request(malformed.to_string()).into()
}
