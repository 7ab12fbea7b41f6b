//! A line for each endpoint.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::Request,
    routing::{get, post, put},
};
use tokio_util::sync::CancellationToken;

use super::{
    auth::Guard,
    bindings, dashboard,
    front::{Front, InFront},
    instances,
    limits::{Limits, Places},
    openapi,
    operator::{self, Counted, Stopping},
    osb,
    own::{self, Own},
    plans::{self, PlanList},
    trace::RequestIdHeader,
};
use crate::{Routes, lifecycle::Engine};

/// What the endpoints need beside the engine.
pub(super) struct Around {
    pub(super) guard: Guard,
    pub(super) limits: Limits,
    /// The longest a request may take.
    pub(super) limit: Duration,
    /// The operator's own header for the names of requests.
    pub(super) id_header: Option<RequestIdHeader>,
    pub(super) stopping: CancellationToken,
    /// The author's own operations.
    pub(super) own: Routes,
    /// Whether instances have dashboards of the framework's.
    pub(super) dashboards: bool,
}

/// All endpoints, of both dialects. Whoever has no credentials learns nothing, not even which paths there are.
pub(super) fn router(engine: Arc<Engine>, around: Around) -> Router {
    let metrics = engine.metrics.clone();
    let places = Places::new(around.limits, metrics.clone());
    let Around { guard, limit, id_header, dashboards, .. } = around;
    let front = Front { guard, engine: engine.clone(), places, metrics, limit, id_header, dashboards };
    let document = Arc::new(openapi::document(engine.catalog(), &around.own));
    let own = Own::new(around.own, &engine);
    let plans = PlanList::of(engine.catalog());
    let counted = Arc::new(Counted::default());
    let ready = get(operator::readiness).layer(Extension(Stopping(around.stopping)));
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/readyz", ready)
        .route("/resources/plans", get(plans::list).layer(Extension(plans)))
        .route("/resources", post(instances::create))
        .route("/resources/{name}", get(instances::info).put(instances::update).delete(instances::remove))
        .route("/resources/{name}/status", get(instances::status))
        .route("/resources/{name}/bind-app", post(bindings::bind_app).delete(bindings::unbind_app))
        .route("/resources/{name}/bind", post(bindings::bind_fallback).delete(bindings::unbind_unit))
        .route("/resources/{name}/binds/jobs/{job}", put(bindings::bind_job).delete(bindings::unbind_job))
        .route("/resources/{name}/rotate", post(bindings::rotate))
        .route("/resources/{name}/credentials", get(bindings::credentials))
        .route("/resources/{name}/retry", post(instances::retry))
        .route("/resources/{name}/operations", get(operator::operations))
        .route("/resources/{name}/metrics", get(operator::instance_metrics).layer(Extension(Arc::clone(&counted))))
        .route("/openapi.json", get(openapi::show).layer(Extension(document)))
        .route("/dashboard/{name}", get(dashboard::show).layer(Extension(dashboard::Readers::default())))
        .merge(osb::router(engine.catalog()))
        .method_not_allowed_fallback(own::method_not_allowed)
        .fallback(async move |request: Request| own::beyond(own, request).await)
        .route("/metrics", get(operator::metrics).layer(Extension(counted)))
        .with_state(engine)
        .layer(InFront(Arc::new(front)))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use axum::{body::Body, http::Request};
    use tower::ServiceExt as _;

    use super::*;
    use crate::{
        Broker as _, Secret, State,
        lifecycle::{Schemas, Timing},
        testing::FakeBroker,
    };

    fn served() -> Router {
        let broker = FakeBroker::new();
        let catalog = broker.catalog();
        let schemas = Schemas::of(&catalog).unwrap();
        let store = State::in_memory().store.clone();
        let engine = Engine::new(Arc::new(broker), catalog, schemas, store, Timing::default(), None);
        let mut guard = Guard::default();
        guard.callers.named.accept("fake", &Secret::from("s3cret"));
        let (limits, limit) = (Limits::default(), Duration::from_secs(10));
        let stopping = CancellationToken::new();
        router(engine, Around { guard, limits, limit, id_header: None, stopping, own: Routes::new(), dashboards: true })
    }

    /// Which methods a path takes, as its refusal of one that no path takes has them.
    async fn methods(router: &Router, path: &str) -> BTreeSet<String> {
        let path = path.replace(['{', '}'], "x");
        let request = Request::builder().method("REPORT").uri(path).header("authorization", "Basic ZmFrZTpzM2NyZXQ=");
        let request = request.header("x-broker-api-version", "2.17").body(Body::empty()).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        let allowed = answer.headers().get("allow").map(|value| value.to_str().unwrap().to_lowercase());
        let allowed = allowed.unwrap_or_default();
        // Whoever answers GET answers HEAD.
        allowed.split(',').filter(|method| !method.is_empty() && *method != "head").map(str::to_owned).collect()
    }

    #[tokio::test] // SPEC T-8
    async fn the_document_has_every_route_and_no_other() {
        let router = served();
        // The router's own list of its paths: it tells them nowhere else.
        let printed = format!("{router:?}");
        let is_fallback = |path: &str| path == "/" || path.contains("__private__axum_fallback");
        let paths = printed.split('"').filter(|text| text.starts_with('/') && !is_fallback(text));
        let paths: BTreeSet<&str> = paths.collect();
        let mut routes = BTreeMap::new();
        for path in paths {
            routes.insert(path.to_owned(), methods(&router, path).await);
        }

        let document = openapi::document(&FakeBroker::new().catalog(), &Routes::new());

        let described = document["paths"].as_object().unwrap().iter();
        let described: BTreeMap<String, BTreeSet<String>> = described
            .map(|(path, calls)| (path.clone(), calls.as_object().unwrap().keys().cloned().collect()))
            .collect();
        assert_eq!(routes, described);
    }
}
