//! What fuzz targets reach of this side.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, header},
    middleware::{Next, from_fn},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio_util::sync::CancellationToken;

use super::{
    auth::{Entry, Guard},
    extract,
    limits::Limits,
    osb,
    routes::{self, Around},
    trace::RequestId,
};
use crate::{
    Routes, Secret,
    lifecycle::{Engine, Timing},
};

/// All endpoints, to a caller whose credentials are there already: what is asked without them is refused before
/// anything is read.
pub(crate) fn router(engine: Arc<Engine>, username: &str, password: &str) -> Router {
    let mut guard = Guard::default();
    guard.callers.named.accept(username, &Secret::from(password));
    let limit = Timing::default().answer_within;
    let around = Around {
        guard,
        limits: Limits::default(),
        limit,
        id_header: None,
        stopping: CancellationToken::new(),
        own: Routes::new(),
    };
    let pair = STANDARD.encode(format!("{username}:{password}"));
    let header = HeaderValue::from_str(&format!("Basic {pair}")).expect("a header");
    let identify = from_fn(move |mut request: Request<Body>, next: Next| {
        request.headers_mut().insert(header::AUTHORIZATION, header.clone());
        next.run(request)
    });
    routes::router(engine, around).layer(identify)
}

/// Reads all headers that anything here looks at.
pub(crate) fn read_headers(request: Request<()>) {
    let mut guard = Guard::default();
    guard.callers.named.accept("fuzz", &Secret::from("never matches: no header has a line break\n"));
    assert_eq!(guard.entry("/resources", request.headers()), Entry::Closed, "somebody was let in");
    let id = RequestId::of(request.headers(), None).value;
    assert!(id.len() <= 128 && id.as_bytes().iter().all(u8::is_ascii_graphic), "an id that breaks a line of a log");
    let _ = extract::fields(request.headers(), b"a=b");
    osb::read_headers(request);
}
