//! A line for each endpoint.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::Request,
    middleware::from_fn_with_state,
    routing::{get, post, put},
};
use tokio_util::sync::CancellationToken;

use super::{
    auth::{self, Guard},
    bindings, instances,
    limits::{self, Limits, Places},
    operator::{self, Counted, Stopping},
    osb,
    own::{self, Own},
    plans,
    trace::{self, Trace},
};
use crate::{Routes, lifecycle::Engine};

/// What the endpoints need beside the engine.
pub(super) struct Around {
    pub(super) guard: Guard,
    pub(super) limits: Limits,
    /// The longest a request may take.
    pub(super) limit: Duration,
    pub(super) stopping: CancellationToken,
    /// The author's own operations.
    pub(super) own: Routes,
}

/// All endpoints, of both dialects. Whoever has no credentials learns nothing, not even which paths there are.
pub(super) fn router(engine: Arc<Engine>, around: Around) -> Router {
    let metrics = engine.metrics.clone();
    let places = Places::new(around.limits, metrics.clone());
    let own = Own::new(around.own, &engine);
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
        .method_not_allowed_fallback(own::method_not_allowed)
        .fallback(async move |request: Request| own::beyond(own, request).await)
        .layer(from_fn_with_state(places.clone(), limits::admit))
        // Asked by those who find out why there is no place for a request.
        .route("/metrics", get(operator::metrics).layer(Extension(Arc::new(Counted::default()))))
        .with_state(engine.clone())
        .layer(from_fn_with_state(Arc::new(around.guard), auth::require));
    let ready = get(operator::readiness).layer(Extension(Stopping(around.stopping)));
    let open = Router::new().route("/healthz", get(async || "ok")).route("/readyz", ready);
    open.with_state(engine)
        .merge(guarded)
        .layer(from_fn_with_state(places, limits::short))
        .layer(from_fn_with_state(Trace { limit: around.limit, metrics }, trace::follow))
}
