//! What operators and their monitoring ask.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use quick_cache::sync::Cache;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{extract::Named, respond::Failure};
use crate::{
    BrokerError, InstanceName, Metric, OpaqueId, Tenant,
    lifecycle::{Engine, Operation},
    store::Counts,
};

/// How long a probe may take.
const PROBED_WITHIN: Duration = Duration::from_secs(3);
/// How long instances and bindings stay as they were counted, however often somebody asks.
const COUNTED_FOR: Duration = Duration::from_secs(5);

/// How long those who wait hear the same of what could not be counted.
const FAILED_FOR: Duration = Duration::from_secs(1);
/// Of how many instances what was measured is kept.
const INSTANCES: usize = 1000;

/// What was counted and measured, and when.
#[derive(Debug)]
pub(super) struct Counted {
    records: Kept<Counts>,
    authors: Kept<Vec<Metric>>,
    instances: Cache<OpaqueId, Arc<Kept<Option<Vec<Metric>>>>>,
}

impl Default for Counted {
    fn default() -> Self {
        Self { records: Kept::default(), authors: Kept::default(), instances: Cache::new(INSTANCES) }
    }
}

impl Counted {
    /// What the author measures, or measured a moment ago.
    async fn authors(&self, engine: &Arc<Engine>) -> Result<Vec<Metric>, BrokerError> {
        self.authors.get(async { Ok(engine.author_metrics(PROBED_WITHIN).await) }).await
    }

    /// The same of one instance, as far as the author measures it alone.
    async fn of_instance(&self, engine: &Engine, tenant: &Tenant) -> Result<Option<Vec<Metric>>, BrokerError> {
        let id = &tenant.instance.id;
        let kept = self.instances.get_or_insert_with(id, || Ok::<_, BrokerError>(Arc::default()))?;
        kept.get(engine.instance_metrics(tenant)).await
    }
}

/// None when it could not be had.
#[derive(Debug)]
struct Kept<T>(Mutex<Option<(Instant, Option<T>)>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Kept<T> {
    /// One counts, the others wait for it: also to hear that it can't be done.
    async fn get(&self, count: impl Future<Output = Result<T, BrokerError>>) -> Result<T, BrokerError> {
        let mut last = self.0.lock().await;
        match &*last {
            Some((when, Some(counted))) if when.elapsed() < COUNTED_FOR => return Ok(counted.clone()),
            Some((when, None)) if when.elapsed() < FAILED_FOR => {
                return Err(BrokerError::unavailable("it could not be counted a moment ago"));
            }
            _ => {}
        }
        let counted = count.await;
        *last = Some((Instant::now(), counted.as_ref().ok().cloned()));
        counted
    }
}

/// Whether the server was told to stop.
#[derive(Clone, Debug)]
pub(super) struct Stopping(pub(super) CancellationToken);

/// `GET /resources/{name}/operations`: what was done to instances of that name, the latest first (SPEC L-10).
pub(super) async fn operations(
    State(engine): State<Arc<Engine>>,
    Named(name): Named,
) -> Result<Json<Vec<Operation>>, Failure> {
    Ok(Json(engine.operations(&name).await?))
}

/// `GET /metrics`, in the text format of Prometheus: no name, no user (SPEC T-4).
pub(super) async fn metrics(
    State(engine): State<Arc<Engine>>,
    Extension(counted): Extension<Arc<Counted>>,
) -> Result<Response, Failure> {
    // Records that can't be read are no reason to hide everything else: that is when operators look.
    let counts = match timeout(PROBED_WITHIN, counted.records.get(engine.counts())).await {
        Ok(Ok(counts)) => counts,
        Ok(Err(error)) => {
            warn!(error = &error as &dyn std::error::Error, "instances and bindings cannot be counted");
            Counts::default()
        }
        Err(_) => {
            warn!("instances and bindings cannot be counted: the records do not answer");
            Counts::default()
        }
    };
    let authors = counted.authors(&engine).await?;
    Ok(open_metrics(engine.metrics.text(counts, authors).map_err(BrokerError::failed)?))
}

/// `GET /resources/{name}/metrics`, by the platform's proxy: what the author measures of the instance (SPEC Y-9).
pub(super) async fn instance_metrics(
    State(engine): State<Arc<Engine>>,
    Extension(counted): Extension<Arc<Counted>>,
    Named(name): Named,
) -> Result<Response, Failure> {
    let tenant = engine.tenant(&name).await?;
    let measured = match counted.of_instance(&engine, &tenant).await? {
        Some(measured) => measured,
        None => counted.authors(&engine).await?.into_iter().filter(|metric| is_of(metric, &name)).collect(),
    };
    Ok(open_metrics(engine.metrics.text_of(measured).map_err(BrokerError::failed)?))
}

/// Whether a measurement is of that instance, by its label.
fn is_of(metric: &Metric, instance: &InstanceName) -> bool {
    metric.labels.iter().any(|(name, value)| name == "instance" && value == instance.as_str())
}

fn open_metrics(text: String) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// `GET /readyz`: whether requests can be served: the records can be read, and the broker is not about to stop.
/// Needs no credentials.
pub(super) async fn readiness(
    State(engine): State<Arc<Engine>>,
    Extension(Stopping(stopping)): Extension<Stopping>,
) -> Response {
    if stopping.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the broker is stopping").into_response();
    }
    match timeout(PROBED_WITHIN, engine.can_read()).await {
        Ok(Ok(())) => "ok".into_response(),
        Ok(Err(error)) => {
            warn!(error = &error as &dyn std::error::Error, "not ready: the records cannot be read");
            (StatusCode::SERVICE_UNAVAILABLE, "the records cannot be read").into_response()
        }
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the records do not answer").into_response(),
    }
}
