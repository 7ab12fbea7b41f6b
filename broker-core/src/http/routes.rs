//! A line for each endpoint.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    http::StatusCode,
    middleware::from_fn_with_state,
    routing::{get, post, put},
};

use super::{auth, bindings, instances, operator, osb, plans, trace};
use crate::lifecycle::Engine;

/// All endpoints, of both dialects. Whoever has no credentials learns nothing, not even which paths there are.
pub(super) fn router(engine: Arc<Engine>, credentials: Arc<auth::Credentials>, limit: Duration) -> Router {
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
        .route("/metrics", get(operator::metrics))
        .merge(osb::router())
        .method_not_allowed_fallback(async || (StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method"))
        .fallback(async || (StatusCode::NOT_FOUND, "there is nothing at this path"))
        .with_state(engine.clone())
        .layer(from_fn_with_state(credentials, auth::require));
    let open = Router::new().route("/healthz", get(async || "ok")).route("/readyz", get(operator::readiness));
    open.with_state(engine).merge(guarded).layer(from_fn_with_state(limit, trace::follow))
}
