//! What every request passes before its endpoint and on its way back: one layer, since each costs every request
//! something.

use std::{
    convert::Infallible,
    future::{Future, ready},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    extract::{MatchedPath, Request},
    http::{Method, Uri},
    response::{IntoResponse as _, Response},
};
use futures::{
    FutureExt as _,
    future::{BoxFuture, Either},
};
use tokio::time::{Instant, timeout};
use tower::{Layer, Service};
use tracing::{Instrument as _, Span, debug, info};

use super::{
    auth::{self, Guard},
    dashboard,
    limits::{self, Places},
    own::Template,
    respond::Failure,
    trace::{self, RequestId, RequestIdHeader},
};
use crate::{BrokerError, metrics::Metrics};

/// Names each request, lets it in or refuses it, ends it when it takes too long, logs and counts how it ended.
pub(super) struct Front {
    pub(super) guard: Guard,
    pub(super) places: Places,
    pub(super) metrics: Arc<Metrics>,
    /// The longest a request may take.
    pub(super) limit: Duration,
    /// The operator's own header for the names of requests.
    pub(super) id_header: Option<RequestIdHeader>,
    /// Whether instances have dashboards of the framework's, which take a key and no credentials.
    pub(super) dashboards: bool,
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
        let (front, asked) = (self.front.clone(), Asked::by(&request, self.front.id_header.as_ref()));
        let answer = match front.refusal(&request) {
            Some(refusal) => Either::Left(ready(Ok(refusal))),
            None => Either::Right(self.endpoint.call(request)),
        };
        async move { Ok(front.follow(asked, answer).await) }.boxed()
    }
}

/// What is remembered of a request while it is answered. Cheap to make: there is text only where somebody listens.
struct Asked {
    method: Method,
    uri: Uri,
    route: Option<MatchedPath>,
    id: RequestId,
    span: Span,
    begun: Instant,
}

impl Asked {
    fn by(request: &Request, id_header: Option<&RequestIdHeader>) -> Self {
        let id = RequestId::of(request.headers(), id_header);
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            route: request.extensions().get::<MatchedPath>().cloned(),
            span: trace::span(&id.value, request.headers()),
            id,
            begun: Instant::now(),
        }
    }
}

impl Front {
    /// Nobody gets past without credentials, whatever the path (SPEC T-1).
    fn refusal(&self, request: &Request) -> Option<Response> {
        let path = request.uri().path();
        let too_long = self.places.too_long(request.uri());
        too_long.or_else(|| {
            let has_key = self.dashboards && dashboard::is_for_one(request.method(), path);
            let may_pass = is_open(path) || has_key || self.guard.lets_in(path, request.headers());
            (!may_pass).then(auth::refusal)
        })
    }

    async fn follow(&self, asked: Asked, answer: impl Future<Output = Result<Response, Infallible>>) -> Response {
        let _in_flight = self.metrics.in_flight();
        let Asked { method, uri, route, id, span, begun } = asked;
        let answer = timeout(self.limit, self.in_place(&method, uri.path(), answer).instrument(span.clone())).await;
        let mut answer = answer.unwrap_or_else(|_| too_late());
        let (status, took) = (answer.status().as_u16(), begun.elapsed());
        span.in_scope(|| {
            if is_probe(uri.path()) {
                debug!("{method} {} answered {status} in {} ms", uri.path(), took.as_millis());
            } else {
                info!("{method} {} answered {status} in {} ms", uri.path(), took.as_millis());
            }
        });
        answer.headers_mut().insert(id.header, id.value);
        let own = answer.extensions_mut().remove::<Template>();
        let route = own.as_ref().map(|own| &*own.0).or(route.as_ref().map(MatchedPath::as_str)).unwrap_or("none");
        self.metrics.request(route, method.as_str(), status, took);
        answer
    }

    /// The answer, if there is a place for the request. Whoever finds out why there is none needs none.
    async fn in_place(
        &self,
        method: &Method,
        path: &str,
        answer: impl Future<Output = Result<Response, Infallible>>,
    ) -> Response {
        let answer = answer.map(|Ok(answer)| answer);
        if is_probe(path) {
            return answer.await;
        }
        let Some(_place) = self.places.take(method) else { return limits::too_many(path) };
        answer.await
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
