//! A line for each endpoint.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    http::StatusCode,
    middleware::from_fn_with_state,
    routing::{get, post, put},
};
use tokio_util::sync::CancellationToken;

use super::{
    auth::{self, Entrance, Guard},
    bindings, instances,
    limits::{Limits, Places},
    operator::{self, Counted, Stopping},
    osb, plans,
    trace::{self, Trace},
};
use crate::lifecycle::Engine;

/// What the endpoints need beside the engine.
pub(super) struct Around {
    pub(super) guard: Guard,
    pub(super) limits: Limits,
    /// The longest a request may take.
    pub(super) limit: Duration,
    pub(super) stopping: CancellationToken,
}

/// All endpoints, of both dialects. Whoever has no credentials learns nothing, not even which paths there are.
pub(super) fn router(engine: Arc<Engine>, around: Around) -> Router {
    let metrics = engine.metrics.clone();
    let places = Places::new(around.limits, metrics.clone());
    let guarded = Router::new()
        .route("/resources/plans", get(plans::list))
        .route("/resources", post(instances::create))
        .route("/resources/{name}", get(instances::info).put(instances::update).delete(instances::remove))
        .route("/resources/{name}/status", get(instances::status))
        .route("/resources/{name}/bind-app", post(bindings::bind_app).delete(bindings::unbind_app))
        .route("/resources/{name}/bind", post(bindings::bind_fallback).delete(bindings::unbind_unit))
        .route("/resources/{name}/binds/jobs/{job}", put(bindings::bind_job).delete(bindings::unbind_job))
        .route("/resources/{name}/rotate", post(bindings::rotate))
        .route("/resources/{name}/retry", post(instances::retry))
        .route("/resources/{name}/operations", get(operator::operations))
        .merge(osb::router())
        .method_not_allowed_fallback(async || (StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method"))
        .fallback(async || (StatusCode::NOT_FOUND, "there is nothing at this path"))
        .route("/metrics", get(operator::metrics).layer(Extension(Arc::new(Counted::default()))))
        .with_state(engine.clone())
        .layer(from_fn_with_state(Entrance { guard: Arc::new(around.guard), places: places.clone() }, auth::require));
    let ready = get(operator::readiness).layer(Extension(Stopping(around.stopping)));
    let open = Router::new().route("/healthz", get(async || "ok")).route("/readyz", ready);
    open.with_state(engine)
        .merge(guarded)
        .layer(from_fn_with_state(Trace { limit: around.limit, metrics, places }, trace::follow))
}
