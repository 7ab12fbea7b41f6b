//! The author's own operations: everything that is at no path of ours (SPEC chapter Y).

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Request, State},
    http::{StatusCode, Uri, uri::PathAndQuery},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::MethodRouter,
};
use tower::ServiceExt as _;
use tracing::info;

use super::{extract::whole_in_time, respond::Failure};
use crate::{
    Actor, BrokerError, Caller, InstanceName, Neighbours, Routes, Tenant,
    author::{discreet_here, discreetly, secrets_of},
    lifecycle::{Ask, Engine},
    routes::{Operation, Place, changes_something},
};

/// The template of the path that answered, for measurements.
#[derive(Clone, Debug)]
pub(super) struct Template(pub(super) Arc<str>);

/// The author's own operations, ready to be served.
#[derive(Clone, Debug)]
pub(super) struct Own {
    instance: Router,
    service: Router,
}

impl Own {
    pub(super) fn new(routes: Routes, engine: &Arc<Engine>) -> Arc<Self> {
        let largest = LargestBody(routes.largest_body);
        let (below, beside): (Vec<_>, Vec<_>) =
            routes.operations.into_iter().partition(|operation| operation.place == Place::Instance);
        let on_instance = |Operation { path, handlers, .. }: Operation| {
            let handlers = handlers.route_layer(from_fn_with_state((engine.clone(), largest), on_instance));
            (format!("/resources/{{name}}{path}"), path, handlers)
        };
        let on_service = |Operation { path, handlers, .. }: Operation| {
            let handlers = handlers.route_layer(from_fn_with_state((engine.clone(), largest), on_service));
            (path.clone(), path, handlers)
        };
        Arc::new(Self {
            instance: router(below.into_iter().map(on_instance)),
            service: router(beside.into_iter().map(on_service)),
        })
    }
}

/// Template, path and methods of each.
fn router(routes: impl Iterator<Item = (String, String, MethodRouter)>) -> Router {
    let router = routes.fold(Router::new(), |router, (template, path, methods)| {
        let template = Template(template.into());
        let methods = methods.layer(axum::middleware::map_response(move |mut answer: Response| {
            answer.extensions_mut().insert(template.clone());
            std::future::ready(answer)
        }));
        router.route(&path, methods)
    });
    // axum has a limit to bodies of its own, beside the one that they were read with.
    let router = router.layer(DefaultBodyLimit::disable());
    router.method_not_allowed_fallback(method_not_allowed).fallback(nothing_there)
}

pub(super) async fn method_not_allowed() -> impl IntoResponse {
    (StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
}

pub(super) async fn nothing_there() -> impl IntoResponse {
    (StatusCode::NOT_FOUND, "there is nothing at this path")
}

/// The instance that a path names, on its way to the handler.
#[derive(Clone, Debug)]
struct Below(InstanceName);

/// What none of our paths took.
pub(super) async fn beyond(own: Arc<Own>, mut request: Request) -> Response {
    let Some((name, path)) = below_instance(request.uri()) else {
        return call(own.service.clone(), request).await;
    };
    // Of a text that is no name there is no instance; that is said only where there is such an operation.
    if let Ok(name) = InstanceName::made_by_platform(&name) {
        request.extensions_mut().insert(Below(name));
    }
    *request.uri_mut() = path;
    call(own.instance.clone(), request).await
}

async fn call(router: Router, request: Request) -> Response {
    router.oneshot(request).await.unwrap_or_else(|never| match never {})
}

/// Name and the rest of `/resources/{name}/...`. Names have no character that is escaped in a path.
fn below_instance(uri: &Uri) -> Option<(String, Uri)> {
    let (name, rest) = uri.path().strip_prefix("/resources/")?.split_once('/')?;
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = PathAndQuery::try_from(format!("/{rest}{query}")).ok()?;
    Some((name.to_owned(), Uri::from(path)))
}

/// How many bytes a body may have.
#[derive(Clone, Copy, Debug)]
struct LargestBody(usize);

/// What each operation is done with.
type Around = State<(Arc<Engine>, LargestBody)>;

/// A request below an instance: a question is asked at once, a change has its turn (SPEC Y-3).
async fn on_instance(State((engine, largest)): Around, request: Request, next: Next) -> Result<Response, Failure> {
    let (mut request, caller) = prepared(request, largest).await?;
    let Some(Below(name)) = request.extensions_mut().remove() else {
        return Err(BrokerError::InvalidName(crate::InvalidName::new("the path names no instance")).into());
    };
    if !changes_something(request.method()) {
        let tenant = engine.tenant(&name).await?;
        return Ok(engine.ask_author(answer_of(&engine, next, request, tenant)).await?);
    }
    let what: String = format!("{} {}", request.method(), request.uri().path()).chars().take(256).collect();
    let actor = Actor::new(caller.user().unwrap_or_default(), caller.event().unwrap_or_default());
    info!(instance.name = %name, user = actor.user, event = actor.event, "asked for `{what}` on instance `{name}`");
    let asked = engine.clone();
    let answer = engine.run_call(name, what, Ask { actor, ..Ask::default() }, async move |tenant| {
        let answer = answer_of(&asked, next, request, tenant).await;
        let status = answer.status();
        let failure = (status.is_client_error() || status.is_server_error()).then(|| format!("answered {status}"));
        (answer, failure)
    });
    Ok(answer.await?)
}

/// What the author's handler answers, who knows the tenant's secrets.
async fn answer_of(engine: &Arc<Engine>, next: Next, mut request: Request, tenant: Tenant) -> Response {
    let secrets = secrets_of(&tenant).into_iter().cloned().collect();
    request.extensions_mut().insert(Neighbours::of(&tenant, engine));
    request.extensions_mut().insert(tenant);
    discreetly(secrets, next.run(request)).await
}

/// A request about the whole service: a change goes on when the caller leaves.
async fn on_service(State((engine, largest)): Around, request: Request, next: Next) -> Result<Response, Failure> {
    let (request, caller) = prepared(request, largest).await?;
    if !changes_something(request.method()) {
        return Ok(engine.ask_author(discreetly(Vec::new(), next.run(request))).await?);
    }
    let what = format!("{} {}", request.method(), request.uri().path());
    info!(user = caller.user(), event = caller.event(), "asked for `{what}`");
    Ok(engine.run_service_call(discreetly(Vec::new(), next.run(request))).await?)
}

/// The request with its whole body, so that nobody waits for a slow caller, and without what is not to be trusted.
async fn prepared(request: Request, LargestBody(largest): LargestBody) -> Result<(Request, Caller), Failure> {
    let (mut parts, body) = request.into_parts();
    let body = whole_in_time(body, largest).await?;
    let caller = Caller::take(&parts.method, &mut parts.headers);
    parts.extensions.insert(caller.clone());
    Ok((Request::from_parts(parts, Body::from(body)), caller))
}

/// A handler of the author's may end with an error of the framework's: it is told as everywhere (SPEC E-1, E-2, S-11).
impl IntoResponse for BrokerError {
    fn into_response(self) -> Response {
        Failure::Broker(discreet_here(self)).into_response()
    }
}
