//! What operators and their monitoring ask.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use prometheus_client::{
    encoding::text::encode,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use tokio::time::timeout;
use tracing::warn;

use super::{extract::Named, respond::Failure};
use crate::{
    BrokerError,
    lifecycle::{Engine, Operation},
};

/// How long a probe may take.
const PROBED_WITHIN: Duration = Duration::from_secs(3);

/// `GET /resources/{name}/operations`: what was done to instances of that name, the latest first (SPEC L-10).
pub(super) async fn operations(
    State(engine): State<Arc<Engine>>,
    Named(name): Named,
) -> Result<Json<Vec<Operation>>, Failure> {
    Ok(Json(engine.operations(&name).await?))
}

/// `GET /metrics`, in the text format of Prometheus. Labels are states only: no name, no user (SPEC T-4).
pub(super) async fn metrics(State(engine): State<Arc<Engine>>) -> Result<Response, Failure> {
    let counts = engine.counts().await?;
    let mut registry = Registry::with_prefix("broker");
    for (what, help, states) in [
        ("instances", "Service instances that are remembered, by state", counts.instances),
        ("bindings", "Bindings that are remembered, by state", counts.bindings),
    ] {
        let family = Family::<[(&str, String); 1], Gauge>::default();
        for (state, count) in states {
            family.get_or_create(&[("state", state)]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        registry.register(what, help, family);
    }
    let mut text = String::new();
    encode(&mut text, &registry).map_err(BrokerError::failed)?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// `GET /readyz`: whether requests can be served, that is, whether the records can be read. Needs no credentials.
pub(super) async fn readiness(State(engine): State<Arc<Engine>>) -> Response {
    match timeout(PROBED_WITHIN, engine.can_read()).await {
        Ok(Ok(())) => "ok".into_response(),
        Ok(Err(error)) => {
            warn!(error = &error as &dyn std::error::Error, "not ready: the records cannot be read");
            (StatusCode::SERVICE_UNAVAILABLE, "the records cannot be read").into_response()
        }
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the records do not answer").into_response(),
    }
}
