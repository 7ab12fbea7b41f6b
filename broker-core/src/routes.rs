//! Operations of an author's own, which platforms reach through their proxies (SPEC chapter Y).

use std::{convert::Infallible, fmt, sync::Arc};

use axum::{
    body::Body,
    extract::{FromRequestParts, Request},
    http::{HeaderMap, Method, StatusCode, header, request::Parts},
    routing::MethodRouter,
};
use futures::FutureExt as _;
use tower::ServiceExt as _;

use crate::{Instance, InstanceName, Tenant, lifecycle::Engine};

/// First words of paths below an instance that are the contract's or this framework's.
const OURS_BELOW_INSTANCES: [&str; 11] = [
    "bind",
    "bind-app",
    "bind-job",
    "binds",
    "credentials",
    "info",
    "metrics",
    "operations",
    "retry",
    "rotate",
    "status",
];
/// First words of other paths that are.
const OURS: [&str; 7] = ["dashboard", "healthz", "metrics", "openapi.json", "readyz", "resources", "v2"];

/// Operations of an author's own: backups, exports, statistics, whatever a service has beside instances and bindings.
///
/// Below an instance, a handler gets the [`Tenant`] that the path names and the [`Caller`] by extractors; everything
/// else is axum's. The path's own parameters are all that `Path` has. Requests that change something (all methods but
/// GET, HEAD and OPTIONS) have their turn like an update: they never overlap other operations on the instance, go on
/// when the caller leaves, and are in the operation log (SPEC Y-3). Bodies are read before that, up to
/// [1 MiB unless told otherwise](Self::largest_body).
///
/// A WebSocket is a GET below an instance, or beside, whose handler takes axum's `WebSocketUpgrade` (SPEC Y-5): depend on
/// the same axum with its feature `ws`. What goes on in it is the author's alone: it has no turn, and a removal of the
/// instance does not end it.
///
/// Secrets of the instance, of its bindings and in their variables are masked in a [`BrokerError`](crate::BrokerError)
/// that a handler ends with, and in what a panic of it says, which is a 500 (SPEC S-11): for that, the process's hook for
/// panics is replaced by one that treats all others as before. What a handler answers by itself is its own, and so are
/// the tasks that it spawns, a WebSocket's among them.
///
/// axum is named here and nowhere else in what an author implements; [`axum`](crate::axum) is the version that fits.
///
/// ```
/// use std::sync::Arc;
///
/// use async_trait::async_trait;
/// use broker_core::{
///     Binding, Broker, BrokerError, Caller, Catalog, EnvVars, Instance, Notes, Plan, Result, Routes, Tenant,
///     axum::{extract::{Path, State}, routing::{get, post}},
/// };
///
/// struct Motd;
///
/// async fn words(tenant: Tenant) -> String {
///     format!("{} knows one word\n", tenant.instance.name)
/// }
///
/// async fn learn(State(_): State<Arc<Motd>>, tenant: Tenant, caller: Caller, Path(word): Path<String>) -> Result<String> {
///     if word == "rude" {
///         return Err(BrokerError::bad_request("that is no kind word, choose another one"));
///     }
///     Ok(format!("{} taught {} the word {word}\n", caller.user().unwrap_or("somebody"), tenant.instance.name))
/// }
///
/// #[async_trait]
/// impl Broker for Motd {
///     # fn catalog(&self) -> Catalog { Catalog::new("motd".parse().unwrap()).plan(Plan::new("kind", "kind")) }
///     # async fn provision(&self, _: &Instance) -> Result<Notes> { Ok(Notes::new()) }
///     # async fn bind(&self, _: &Instance, _: &Binding) -> Result<EnvVars> { Ok(EnvVars::default()) }
///     // ...
///     fn routes(self: Arc<Self>) -> Routes {
///         Routes::new()
///             .instance("/words", get(words))
///             .instance("/words/{word}", post(learn).with_state(self))
///             .service("/authenticated-resources/languages", get(async || "en\n"))
///     }
/// }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Routes {
    pub(crate) operations: Vec<Operation>,
    pub(crate) largest_body: usize,
    /// What was said of no operation.
    stray: Option<String>,
}

impl Routes {
    /// No operations.
    pub fn new() -> Self {
        Self { operations: Vec::new(), largest_body: crate::http::LARGEST_BODY, stray: None }
    }

    /// How many bytes a body may have (1 MiB unless told otherwise), in all of these operations (SPEC Y-2). It is in
    /// memory as a whole before the handler begins, once for each request that is under way. The
    /// time that it may take to arrive grows with it: 30 s, and a second for each MiB beyond the first.
    ///
    /// ```
    /// # use broker_core::{Routes, axum::{body::Bytes, routing::put}};
    /// async fn learn(book: Bytes) -> String {
    ///     format!("{} words\n", book.split(u8::is_ascii_whitespace).count())
    /// }
    ///
    /// let routes = Routes::new().largest_body(16 * 1024 * 1024).instance("/book", put(learn));
    /// ```
    pub fn largest_body(mut self, bytes: usize) -> Self {
        self.largest_body = bytes;
        self
    }

    /// Adds an operation on an instance: `path` follows `/resources/{name}`, and begins with a word that is not one of
    /// the framework's own (SPEC Y-1).
    pub fn instance(mut self, path: &str, methods: MethodRouter) -> Self {
        self.operations.push(Operation::new(Place::Instance, path, methods));
        self
    }

    /// Adds an operation on the whole service: `/authenticated-resources/...`, which every user of the platform can
    /// reach, or another path, which the service's owners can. A GET has no trustworthy user at all, so it has to be
    /// safe for everybody.
    pub fn service(mut self, path: &str, methods: MethodRouter) -> Self {
        self.operations.push(Operation::new(Place::Service, path, methods));
        self
    }

    /// Says in a line what a method does at the path that was added last, for the document at `/openapi.json`, which
    /// has all operations, also those without (SPEC Y-6).
    ///
    /// ```
    /// # use broker_core::{Routes, axum::{http::Method, routing::get}};
    /// let routes = Routes::new()
    ///     .instance("/words", get(async || "kind\n").post(async || "learnt\n"))
    ///     .summary(Method::GET, "The words it knows")
    ///     .summary(Method::POST, "Teach it another word");
    /// ```
    pub fn summary(mut self, method: Method, line: &str) -> Self {
        match self.operations.last_mut() {
            Some(operation) => operation.summaries.push((method, line.to_owned())),
            None => self.stray = Some(line.to_owned()),
        }
        self
    }

    /// What keeps these paths from being served, in a sentence for the author.
    pub(crate) fn refusal(&self) -> Option<String> {
        let at = |place| self.operations.iter().filter(move |operation| operation.place == place);
        let below = refusal_of(at(Place::Instance), &OURS_BELOW_INSTANCES, "below an instance ");
        let paths = below.or_else(|| refusal_of(at(Place::Service), &OURS, ""));
        let summaries = paths.or_else(|| self.operations.iter().find_map(Operation::refusal));
        summaries.or_else(|| Some(format!("the summary \"{}\" comes before any path", self.stray.as_ref()?)))
    }
}

impl Default for Routes {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<_> = self.operations.iter().map(|operation| (operation.place, &operation.path)).collect();
        f.debug_struct("Routes").field("operations", &paths).field("largest_body", &self.largest_body).finish()
    }
}

/// Where an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Below an instance.
    Instance,
    /// Beside them.
    Service,
}

/// What can be asked at a path.
#[derive(Clone)]
pub(crate) struct Operation {
    pub(crate) place: Place,
    pub(crate) path: String,
    pub(crate) handlers: MethodRouter,
    summaries: Vec<(Method, String)>,
}

impl Operation {
    fn new(place: Place, path: &str, handlers: MethodRouter) -> Self {
        Self { place, path: path.to_owned(), handlers, summaries: Vec::new() }
    }

    /// What its author says of a method.
    pub(crate) fn summary(&self, method: &Method) -> Option<&str> {
        self.summaries.iter().find(|(of, _)| of == method).map(|(_, line)| line.as_str())
    }

    /// The methods that have handlers, but for a HEAD that is answered as a GET; none of a handler for any method.
    pub(crate) fn methods(&self) -> Option<Vec<Method>> {
        // axum tells them in the refusal of another one, and nowhere else. The author's own way to refuse is not tried.
        let refusing = self.handlers.clone().fallback(async || StatusCode::METHOD_NOT_ALLOWED);
        let other = Method::from_bytes(b"NONE-OF-THEM").ok()?;
        let request = Request::builder().method(other).body(Body::empty()).ok()?;
        let refusal = refusing.oneshot(request).now_or_never()?.unwrap_or_else(|never| match never {});
        let allowed = refusal.headers().get(header::ALLOW)?.to_str().ok()?;
        let methods: Vec<Method> = allowed.split(',').filter_map(|method| method.trim().parse().ok()).collect();
        let is_question = methods.contains(&Method::GET);
        Some(methods.into_iter().filter(|method| *method != Method::HEAD || !is_question).collect())
    }

    fn refusal(&self) -> Option<String> {
        let methods = self.methods()?;
        let (method, _) = self.summaries.iter().find(|(method, _)| !methods.contains(method))?;
        Some(format!("path \"{}\" has a summary of {method}, which nothing answers there", self.path))
    }
}

fn refusal_of<'a>(mut operations: impl Iterator<Item = &'a Operation>, ours: &[&str], place: &str) -> Option<String> {
    let mut known = matchit::Router::new();
    operations.find_map(|Operation { path, .. }| {
        let mut words = path.split('/');
        let (before, first) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if !before.is_empty() || first.is_empty() || first.contains(['{', '}', ':', '*']) {
            return Some(format!("{place}path \"{path}\" does not begin with \"/\" and a plain word"));
        }
        if ours.contains(&first) {
            return Some(format!(
                "{place}paths that begin with \"/{first}\" are the framework's, choose another one for \"{path}\""
            ));
        }
        if words.any(|word| word.starts_with([':', '*'])) {
            return Some(format!("{place}path \"{path}\" has a parameter that is not written as {{name}}"));
        }
        let clash = known.insert(path.clone(), ()).err()?;
        Some(format!("{place}path \"{path}\" cannot be told from another one, or can't be read: {clash}"))
    })
}

/// Who sent a request to an operation of the author's own, as far as that can be trusted.
///
/// The platform vouches for a user on requests that change something. With a GET or HEAD it passes on whatever
/// headers its user sent, so that nobody is named there: what a GET shows must not depend on who asks (SPEC Y-4).
/// The headers themselves are taken out of the request, and so are the service's own credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    user: Option<String>,
    event: Option<String>,
}

impl Caller {
    /// The platform's user who asks; none where the platform vouches for nobody.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The platform's event, under which its users find the call; none where the platform vouches for none.
    #[must_use]
    pub fn event(&self) -> Option<&str> {
        self.event.as_deref()
    }

    /// Reads and takes out what the platform set, or could have set.
    pub(crate) fn take(method: &Method, headers: &mut HeaderMap) -> Self {
        let is_vouched_for = changes_something(method) && *method != Method::OPTIONS;
        let (user, event) = (one(headers, USER), one(headers, EVENT));
        for claimed in [USER, EVENT].into_iter().chain(crate::pool::HEADERS).chain(["authorization"]) {
            headers.remove(claimed);
        }
        if is_vouched_for { Self { user, event } } else { Self::default() }
    }
}

const USER: &str = "x-tsuru-user";
const EVENT: &str = "x-tsuru-eventid";

/// Of a header that came once; the platform never sends these twice.
fn one(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let text = value.to_str().ok().filter(|text| !text.is_empty() && text.len() <= 256)?;
    Some(text.to_owned())
}

/// Whether a request of this method has its turn.
pub(crate) fn changes_something(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// The other instances of the service, for an operation that has to do with two: only in a handler below an instance.
///
/// A platform vouches for the instance that the path names, and for no other that its user writes somewhere. So another
/// one is given to a handler only when the same team owns both (SPEC Y-8).
///
/// ```
/// use broker_core::{BrokerError, Neighbours, Result, Tenant, axum::extract::Path};
///
/// // POST /resources/{name}/copy/{from}
/// async fn copy(tenant: Tenant, neighbours: Neighbours, Path(from): Path<String>) -> Result<String> {
///     let from = neighbours.find(&from).await?.ok_or_else(|| BrokerError::bad_request("there is no such instance"))?;
///     Ok(format!("copied {} into {}\n", from.name, tenant.instance.name))
/// }
/// ```
#[derive(Clone)]
pub struct Neighbours {
    engine: Arc<Engine>,
    team: String,
}

impl Neighbours {
    pub(crate) fn of(tenant: &Tenant, engine: &Arc<Engine>) -> Self {
        Self { engine: Arc::clone(engine), team: tenant.instance.team.clone() }
    }

    /// The instance of this name, whatever its state; none when there is none, or another team owns it. Where the platform
    /// names no team, nobody has neighbours.
    ///
    /// # Errors
    /// When the records can't be read.
    pub async fn find(&self, name: &str) -> crate::Result<Option<Instance>> {
        match InstanceName::made_by_platform(name) {
            Ok(name) => self.engine.neighbour(&name, &self.team).await,
            Err(_) => Ok(None),
        }
    }
}

impl fmt::Debug for Neighbours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Neighbours").field("team", &self.team).finish_non_exhaustive()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

/// The instance that the path names, with its bindings; only in a handler below an instance.
impl<S: Send + Sync> FromRequestParts<S> for Tenant {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        below_instance(parts)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Neighbours {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        below_instance(parts)
    }
}

/// What a request below an instance has with it.
fn below_instance<T: Clone + Send + Sync + 'static>(parts: &Parts) -> Result<T, (StatusCode, &'static str)> {
    let mistake = "this path is not below an instance, the broker's author finds that in Routes::service";
    parts.extensions.get().cloned().ok_or((StatusCode::INTERNAL_SERVER_ERROR, mistake))
}

#[cfg(test)]
mod tests {
    use axum::routing::{any, get};

    use super::*;

    fn refused(routes: Routes) -> String {
        routes.refusal().expect("a refusal")
    }

    #[test] // SPEC Y-1
    fn paths_that_cannot_be_served_are_refused_in_a_sentence() {
        let at = |path: &str| Routes::new().instance(path, get(async || ""));
        for path in ["/status", "/bind-app", "/binds/jobs/x", "/rotate", "/operations/{id}"] {
            assert!(refused(at(path)).contains("the framework's"), "{path}");
        }
        for path in ["", "/", "backup", "/{anything}", "/{*rest}", "//x"] {
            assert!(refused(at(path)).contains("plain word"), "{path}");
        }
        assert!(refused(at("/a/:b")).contains("{name}"));
        assert!(refused(at("/a/{b")).contains("/a/{b"));
        assert!(refused(at("/a/{b}").instance("/a/{c}", get(async || ""))).contains("/a/{c}"));
        for path in ["/resources/x", "/v2/x", "/metrics", "/dashboard/x"] {
            assert!(refused(Routes::new().service(path, get(async || ""))).contains("the framework's"), "{path}");
        }
        let fine =
            at("/a/{b}").instance("/a/b", get(async || "")).service("/authenticated-resources/x/{y}", get(async || ""));
        assert_eq!(fine.refusal(), None);
    }

    #[test] // SPEC Y-6
    fn a_summary_of_what_nothing_answers_is_refused_in_a_sentence() {
        let at = |handlers| Routes::new().instance("/a", handlers);
        assert_eq!(at(get(async || "").post(async || "")).summary(Method::POST, "x").refusal(), None);
        assert_eq!(at(any(async || "")).summary(Method::PATCH, "x").refusal(), None);
        let refusing = get(async || "").fallback(async || -> &'static str { panic!("it is not asked") });
        assert!(refused(at(refusing).summary(Method::PUT, "x")).contains("PUT"));
        assert!(refused(Routes::new().summary(Method::GET, "alone")).contains("alone"));
    }

    #[test] // SPEC Y-4
    fn a_user_is_named_only_where_the_platform_vouches_for_one() {
        let sent = || {
            let names = ["x-tsuru-user", "x-tsuru-eventid", "authorization", "x-tsuru-pool-name", "accept"];
            let header = |name: &'static str| (name.parse().unwrap(), axum::http::HeaderValue::from_static("alice"));
            names.map(header).into_iter().collect::<HeaderMap>()
        };
        for (method, user) in
            [(Method::POST, Some("alice")), (Method::GET, None), (Method::HEAD, None), (Method::OPTIONS, None)]
        {
            let mut headers = sent();
            assert_eq!(Caller::take(&method, &mut headers).user(), user, "{method}");
            assert_eq!(headers.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["accept"]);
        }
        let mut twice = sent();
        twice.append("x-tsuru-user", axum::http::HeaderValue::from_static("mallory"));
        assert_eq!(Caller::take(&Method::POST, &mut twice).user(), None);
    }
}
