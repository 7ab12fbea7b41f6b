//! The Open Service Broker API, version 2.17, over the same engine and state as the tsuru dialect (SPEC chapter O).

mod bindings;
mod catalog;
mod instances;
mod request;
mod respond;

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::Request,
    middleware::{Next, from_fn},
    response::{IntoResponse as _, Response},
    routing::get,
};

use crate::{Catalog, lifecycle::Engine};
pub(super) use catalog::plan_id;

/// How long a caller who can wait for the rest is kept waiting for a broker that may be quick (SPEC O-3).
const QUICK: Duration = Duration::from_secs(1);
/// The one identity of a request that is given back to the caller.
const REQUEST_IDENTITY: &str = "x-broker-api-request-identity";

/// All endpoints below `/v2`.
pub(super) fn router(catalog: &Catalog) -> Router<Arc<Engine>> {
    let instance = get(instances::fetch).put(instances::provision).patch(instances::update).delete(instances::remove);
    let binding = get(bindings::fetch).put(bindings::bind).delete(bindings::unbind);
    Router::new()
        .route("/v2/catalog", get(catalog::show).layer(Extension(catalog::Offer::of(catalog))))
        .route("/v2/service_instances/{instance}", instance)
        .route("/v2/service_instances/{instance}/last_operation", get(instances::last_operation))
        .route("/v2/service_instances/{instance}/service_bindings/{binding}", binding)
        .route(
            "/v2/service_instances/{instance}/service_bindings/{binding}/last_operation",
            get(bindings::last_operation),
        )
        .layer(from_fn(speak))
}

/// Refuses callers of another major version (SPEC O-1), and gives a request's identity back.
async fn speak(request: Request, next: Next) -> Response {
    let identity = request.headers().get(REQUEST_IDENTITY).filter(|value| value.len() <= 256).cloned();
    let mut answer = match request::version(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    if let Some(identity) = identity {
        answer.headers_mut().insert(REQUEST_IDENTITY, identity);
    }
    answer
}

/// Reads the headers that this dialect looks at.
#[cfg(feature = "fuzzing")]
pub(super) fn read_headers(request: axum::http::Request<()>) {
    use axum::extract::FromRequestParts as _;
    use futures::FutureExt as _;

    let _ = request::version(request.headers());
    let mut parts = request.into_parts().0;
    let caller = request::Caller::from_request_parts(&mut parts, &()).now_or_never().expect("nothing to wait for");
    if let Ok(request::Caller { actor, .. }) = caller {
        assert!(actor.user.len() < 64 * 1024 && actor.event.chars().count() <= 256, "a long name was let in");
    }
}
