//! How much the server takes on at once (SPEC T-5).

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json,
    http::{HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use serde_json::json;

use crate::metrics::Metrics;

/// The longest path with its query, in bytes.
const TARGET: usize = 8 * 1024;
/// A request that was refused because there are too many may come again after so many seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// What a server takes on at once; whatever is more is refused or waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections; further ones wait until one of them ends.
    pub(super) connections: usize,
    /// Requests that change something, and as many questions beside them.
    pub(super) requests: usize,
    /// Until a request's head is complete, and so until an idle connection is closed.
    pub(super) head_within: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 4096, requests: 1024, head_within: Duration::from_secs(60) }
    }
}

/// Places for requests. Those that change something may take minutes, so they have places of their own, and
/// never keep out a question.
pub(super) struct Places {
    changes: AtomicUsize,
    questions: AtomicUsize,
    /// So many of each.
    of_each: usize,
    metrics: Arc<Metrics>,
}

/// A place that is taken until this is dropped.
pub(super) struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Places {
    pub(super) fn new(limits: Limits, metrics: Arc<Metrics>) -> Self {
        Self { changes: AtomicUsize::new(0), questions: AtomicUsize::new(0), of_each: limits.requests.max(1), metrics }
    }

    /// A place for a request, when there is one.
    pub(super) fn take(&self, method: &Method) -> Option<Place<'_>> {
        let is_question = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        let (limit, taken) = if is_question { ("questions", &self.questions) } else { ("changes", &self.changes) };
        let before = taken.fetch_add(1, Ordering::Relaxed);
        // Given back at once when there was none.
        let place = Place(taken);
        if before >= self.of_each {
            self.metrics.refused(limit);
            return None;
        }
        Some(place)
    }

    /// The refusal of what no caller of ours ever asks, before anybody looks at it.
    pub(super) fn too_long(&self, uri: &Uri) -> Option<Response> {
        if uri.path_and_query().is_none_or(|target| target.as_str().len() <= TARGET) {
            return None;
        }
        self.metrics.refused("target");
        Some((StatusCode::URI_TOO_LONG, "the path and its query are longer than 8 KiB").into_response())
    }
}

/// The refusal of a request that there is no place for.
pub(super) fn too_many(path: &str) -> Response {
    try_again(path, "the broker has more requests than it takes at once, try again in a moment")
}

/// The refusal, in the dialect of the path, of what may be possible in a moment.
pub(super) fn try_again(path: &str, sentence: &'static str) -> Response {
    let (status, wait) = (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, RETRY_AFTER)]);
    if path.starts_with("/v2/") {
        return (status, wait, Json(json!({ "description": sentence }))).into_response();
    }
    (status, wait, sentence).into_response()
}
