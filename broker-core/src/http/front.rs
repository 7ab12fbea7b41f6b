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
    auth::{Entry, Guard, Refusal},
    limits::{self, Places},
    own::Template,
    respond::Failure,
    trace::{self, RequestId, RequestIdHeader},
};
use crate::{BrokerError, lifecycle::Engine, metrics::Metrics};

/// Names each request, lets it in or refuses it, ends it when it takes too long, logs and counts how it ended.
pub(super) struct Front {
    pub(super) guard: Guard,
    /// Asks the author about callers.
    pub(super) engine: Arc<Engine>,
    pub(super) places: Places,
    pub(super) metrics: Arc<Metrics>,
    /// The longest a request may take.
    pub(super) limit: Duration,
    /// The operator's own header for the names of requests.
    pub(super) id_header: Option<RequestIdHeader>,
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
        let refused = |refusal| Entering::At(Either::Left(ready(Ok(refusal))));
        let entering = match (front.places.too_long(request.uri()), front.entry(&request)) {
            (Some(refusal), _) => refused(refusal),
            (None, Entry::Open) => Entering::At(Either::Right(self.endpoint.call(request))),
            (None, Entry::Closed) => refused(front.guard.answer(Refusal::Stranger, request.uri().path())),
            (None, Entry::Unsure) => Entering::Unsure(Box::new((request, self.endpoint.clone()))),
        };
        async move { Ok(front.follow(asked, entering).await) }.boxed()
    }
}

/// Where a request is on its way to the endpoint.
enum Entering<A, S> {
    /// It has its answer, or gets it.
    At(A),
    /// It is not known whether it may go on.
    Unsure(Box<(Request, S)>),
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
    fn entry(&self, request: &Request) -> Entry {
        let path = request.uri().path();
        if is_open(path) { Entry::Open } else { self.guard.entry(path, request.headers()) }
    }

    async fn follow<A, S>(&self, asked: Asked, entering: Entering<A, S>) -> Response
    where
        A: Future<Output = Result<Response, Infallible>>,
        S: Service<Request, Response = Response, Error = Infallible>,
    {
        let _in_flight = self.metrics.in_flight();
        let Asked { method, uri, route, id, span, begun } = asked;
        let answer = async {
            match entering {
                Entering::At(answer) => self.in_place(&method, uri.path(), answer).await,
                Entering::Unsure(unsure) => {
                    let (request, endpoint) = *unsure;
                    Box::pin(self.find_out(&span, request, endpoint)).await
                }
            }
        };
        let answer = timeout(self.limit, answer.instrument(span.clone())).await;
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

    /// The answer once it is known whether the caller may have one. Strangers have waited without a place.
    async fn find_out<S>(&self, span: &Span, request: Request, mut endpoint: S) -> Response
    where
        S: Service<Request, Response = Response, Error = Infallible>,
    {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        match self.guard.decide(&self.engine, &method, uri.path(), request.headers()).await {
            Ok(caller) => {
                if let Some(caller) = caller {
                    span.record("caller", caller);
                }
                self.in_place(&method, uri.path(), endpoint.call(request)).await
            }
            Err(refusal) => {
                if refusal == Refusal::Busy {
                    self.metrics.refused("passwords");
                }
                self.guard.answer(refusal, uri.path())
            }
        }
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
