//! What every request passes before its endpoint and on its way back: one layer, since each costs every request
//! something.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    extract::{MatchedPath, Request},
    response::{IntoResponse as _, Response},
};
use futures::{FutureExt as _, future::BoxFuture};
use tokio::time::{Instant, timeout};
use tower::{Layer, Service, ServiceExt as _};
use tracing::{Instrument as _, debug, info};

use super::{
    auth::{self, Guard},
    limits::{self, Places},
    own::Template,
    respond::Failure,
    trace,
};
use crate::{BrokerError, metrics::Metrics};

/// Names each request, lets it in or refuses it, ends it when it takes too long, logs and counts how it ended.
pub(super) struct Front {
    pub(super) guard: Guard,
    pub(super) places: Places,
    pub(super) metrics: Arc<Metrics>,
    /// The longest a request may take.
    pub(super) limit: Duration,
}

/// The front as a layer of a router.
#[derive(Clone)]
pub(super) struct InFront(pub(super) Arc<Front>);

/// An endpoint behind the front.
#[derive(Clone)]
pub(super) struct Behind<S> {
    front: Arc<Front>,
    endpoint: S,
}

impl<S> Layer<S> for InFront {
    type Service = Behind<S>;

    fn layer(&self, endpoint: S) -> Behind<S> {
        Behind { front: self.0.clone(), endpoint }
    }
}

impl<S> Service<Request> for Behind<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Self { front, endpoint } = self.clone();
        async move { Ok(front.follow(request, endpoint).await) }.boxed()
    }
}

impl Front {
    async fn follow<S>(&self, request: Request, endpoint: S) -> Response
    where
        S: Service<Request, Response = Response, Error = Infallible>,
    {
        let _in_flight = self.metrics.in_flight();
        let (method, route) = (request.method().clone(), request.extensions().get::<MatchedPath>().cloned());
        let id = trace::id_of(request.headers());
        // Cheap to clone, and made into text only when somebody listens.
        let uri = request.uri().clone();
        let span = trace::span(&id, request.headers());
        let begun = Instant::now();
        let answer = timeout(self.limit, self.pass(request, endpoint).instrument(span.clone())).await;
        let mut answer = answer.unwrap_or_else(|_| too_late());
        let (status, took) = (answer.status().as_u16(), begun.elapsed());
        span.in_scope(|| {
            if is_probe(uri.path()) {
                debug!("{method} {} answered {status} in {} ms", uri.path(), took.as_millis());
            } else {
                info!("{method} {} answered {status} in {} ms", uri.path(), took.as_millis());
            }
        });
        answer.headers_mut().insert(trace::REQUEST_ID, id);
        let own = answer.extensions_mut().remove::<Template>();
        let route = own.as_ref().map(|own| &*own.0).or(route.as_ref().map(MatchedPath::as_str)).unwrap_or("none");
        self.metrics.request(route, method.as_str(), status, took);
        answer
    }

    /// Lets nobody past without credentials, whatever the path (SPEC T-1), and then as many as there are places for.
    async fn pass<S>(&self, request: Request, endpoint: S) -> Response
    where
        S: Service<Request, Response = Response, Error = Infallible>,
    {
        let path = request.uri().path();
        if let Some(refusal) = self.places.too_long(request.uri()) {
            return refusal;
        }
        if !is_open(path) && !self.guard.lets_in(path, request.headers()) {
            return auth::refusal();
        }
        // Whoever finds out why there is no place for a request needs none.
        let place = if is_probe(path) { None } else { Some(self.places.take(request.method())) };
        if matches!(place, Some(None)) {
            return limits::too_many(path);
        }
        endpoint.oneshot(request).await.unwrap_or_else(|never| match never {})
    }
}

/// Whether anybody may ask, without credentials.
fn is_open(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}

/// What machines ask again and again.
fn is_probe(path: &str) -> bool {
    is_open(path) || path == "/metrics"
}

fn too_late() -> Response {
    Failure::from(BrokerError::unavailable("the request was not answered in time")).into_response()
}
