//! A line in the log for each request, under the id it came with, and a limit to its time.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tokio::time::{Instant, timeout};
use tracing::{Instrument as _, debug, info, info_span};

use super::{
    limits::{self, Places},
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
    let id = id_of(&request);
    // Cheap to clone, and made into text only when somebody listens.
    let uri = request.uri().clone();
    let span = info_span!("request", id = id.to_str().unwrap_or_default());
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
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    metrics.request(route, method.as_str(), answer.status().as_u16(), begun.elapsed());
    answer
}

/// The caller's id if it is short and plain, else a new one.
fn id_of(request: &Request) -> HeaderValue {
    let plain = |id: &&HeaderValue| id.len() <= 128 && id.as_bytes().iter().all(u8::is_ascii_graphic) && !id.is_empty();
    let given = request.headers().get(REQUEST_ID).filter(plain);
    given.cloned().unwrap_or_else(|| {
        // From the thread's own generator: asking the system for each request takes longer than most of the rest.
        let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string();
        HeaderValue::from_str(&id).unwrap_or_else(|_| HeaderValue::from_static("none"))
    })
}
