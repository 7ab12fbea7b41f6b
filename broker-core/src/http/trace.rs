//! A line in the log for each request, under the id it came with, and a limit to its time.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tokio::time::{Instant, timeout};
use tracing::{Instrument as _, debug, info, info_span};

use super::{
    limits::{self, Places},
    own::Template,
    respond::Failure,
};
use crate::{BrokerError, metrics::Metrics};

/// The header that platforms are usually configured to send (contract 2.2).
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What every request is followed with.
#[derive(Clone)]
pub(super) struct Trace {
    /// The longest a request may take.
    pub(super) limit: Duration,
    pub(super) metrics: Arc<Metrics>,
    pub(super) places: Arc<Places>,
}

/// Names the request, logs and counts how it ended, and ends it when it takes too long.
pub(super) async fn follow(State(trace): State<Trace>, request: Request, next: Next) -> Response {
    let Trace { limit, metrics, places } = trace;
    let _in_flight = metrics.in_flight();
    let (method, route) = (request.method().clone(), request.extensions().get::<MatchedPath>().cloned());
    let id = id_of(request.headers());
    // Cheap to clone, and made into text only when somebody listens.
    let uri = request.uri().clone();
    let trace = trace_of(request.headers());
    let span = info_span!("request", id = id.to_str().unwrap_or_default(), trace);
    let is_probe = matches!(request.uri().path(), "/healthz" | "/readyz" | "/metrics");
    let begun = Instant::now();
    let answer = async {
        let answer = match limits::too_long(&places, request.uri()) {
            Some(refusal) => Ok(refusal),
            None => timeout(limit, next.run(request)).await,
        };
        let answer = answer.unwrap_or_else(|_| {
            Failure::from(BrokerError::unavailable("the request was not answered in time")).into_response()
        });
        let (status, took) = (answer.status().as_u16(), begun.elapsed().as_millis());
        if is_probe {
            debug!("{method} {} answered {status} in {took} ms", uri.path());
        } else {
            info!("{method} {} answered {status} in {took} ms", uri.path());
        }
        answer
    };
    let mut answer = answer.instrument(span).await;
    answer.headers_mut().insert(REQUEST_ID, id);
    let own = answer.extensions_mut().remove::<Template>();
    let route = own.as_ref().map(|own| &*own.0).or(route.as_ref().map(MatchedPath::as_str)).unwrap_or("none");
    metrics.request(route, method.as_str(), answer.status().as_u16(), begun.elapsed());
    answer
}

/// The trace that the request is part of, as `traceparent` of W3C Trace Context names it.
fn trace_of(headers: &HeaderMap) -> Option<String> {
    let mut parts = headers.get("traceparent")?.to_str().ok()?.split('-');
    let (version, trace, parent) = (parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_whole = is_hex(version, 2) && version != "ff" && is_hex(trace, 32) && is_hex(parent, 16);
    (is_whole && trace.bytes().any(|byte| byte != b'0')).then(|| trace.to_owned())
}

/// The caller's id if it is short and plain, else a new one.
pub(super) fn id_of(headers: &HeaderMap) -> HeaderValue {
    let plain = |id: &&HeaderValue| id.len() <= 128 && id.as_bytes().iter().all(u8::is_ascii_graphic) && !id.is_empty();
    let given = headers.get(REQUEST_ID).filter(plain);
    given.cloned().unwrap_or_else(|| {
        // From the thread's own generator: asking the system for each request takes longer than most of the rest.
        let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string();
        HeaderValue::from_str(&id).unwrap_or_else(|_| HeaderValue::from_static("none"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // SPEC T-3
    fn only_a_whole_traceparent_names_a_trace() {
        let of = |value: &'static str| {
            trace_of(&HeaderMap::from_iter([(HeaderName::from_static("traceparent"), HeaderValue::from_static(value))]))
        };
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(of("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").as_deref(), Some(trace));
        for broken in
            ["", "00", "00-4bf9-00f067aa0ba902b7-01", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"]
        {
            assert_eq!(of(broken), None, "{broken}");
        }
    }
}
