//! A router's control socket: the `Routes` port over HTTP on a unix socket, for a router that runs
//! as a process of its own.

use std::{
    convert::Infallible,
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use percent_encoding::percent_decode_str;
use platform_core::{AppName, Error, Route, UnitId, ports::Routes};
use serde::{Deserialize, Serialize};
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinHandle,
    time::sleep,
};

/// A route in a request's body may have so many bytes.
const BODY_LIMIT: usize = 4 * 1024 * 1024;
const HEAD_WITHIN: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// A control socket that is being served. Dropping it removes the socket.
///
/// `PUT /routes/{app}` publishes, `DELETE /routes/{app}` withdraws, `GET /routes` lists, and
/// `GET /drained/{unit}?within_ms=N` waits (SPEC R-13).
#[derive(Debug)]
#[must_use = "a control socket that is dropped is closed"]
pub struct Control {
    path: PathBuf,
    inode: u64,
    serving: JoinHandle<()>,
}

/// An answer to `GET /drained`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Drained {
    pub(crate) drained: bool,
}

/// Any refusal.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) error: String,
}

impl Control {
    /// Serves `routes` at `path`, in a task of the runtime this is called in. The socket is for this
    /// user alone (mode 0600); one that a dead process left is replaced.
    ///
    /// # Errors
    /// When another process serves the socket, or it cannot be made.
    pub fn serve(routes: Arc<dyn Routes>, path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let (listener, inode) = bind(&path).map_err(|reason| {
            io::Error::new(reason.kind(), format!("cannot make the control socket {}: {reason}", path.display()))
        })?;
        Ok(Self { path, inode, serving: tokio::spawn(serve(listener, routes)) })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.serving.abort();
        let ours = fs::metadata(&self.path).is_ok_and(|socket| socket.ino() == self.inode);
        if ours && let Err(reason) = fs::remove_file(&self.path) {
            tracing::warn!("cannot remove the control socket {}: {reason}", self.path.display());
        }
    }
}

/// Binds in a private folder and moves the socket into place: it is never there with a wrong mode,
/// and a stale one is replaced in one step.
fn bind(path: &Path) -> io::Result<(UnixListener, u64)> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another router serves it: stop that one first"));
    }
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    let private = tempfile::Builder::new().prefix(".r").rand_bytes(4).tempdir_in(folder)?;
    let fresh = private.path().join("s");
    let listener = UnixListener::bind(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
    let inode = fs::metadata(&fresh)?.ino();
    fs::rename(&fresh, path)?;
    Ok((listener, inode))
}

async fn serve(listener: UnixListener, routes: Arc<dyn Routes>) {
    // Connections end with this task.
    let mut open = tokio::task::JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(open.spawn(attend(stream, Arc::clone(&routes)))),
            Err(reason) => {
                tracing::warn!("cannot accept a connection on the control socket: {reason}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
        while open.try_join_next().is_some() {}
    }
}

async fn attend(stream: UnixStream, routes: Arc<dyn Routes>) {
    let service = service_fn(|request| {
        let routes = Arc::clone(&routes);
        async move { Ok::<_, Infallible>(answer(&*routes, request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    if let Err(reason) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!("a connection to the control socket ended: {reason}");
    }
}

type Answer = Response<Full<Bytes>>;

async fn answer(routes: &dyn Routes, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let mut segments = path.trim_start_matches('/').split('/');
    let place = (segments.next().unwrap_or_default(), segments.next(), segments.next());
    let outcome = match (request.method(), place) {
        (&Method::GET, ("routes", None, _)) => routes.published().await.map(|list| json(StatusCode::OK, &list)),
        (&Method::PUT, ("routes", Some(app), None)) => publish(routes, app, request).await,
        (&Method::DELETE, ("routes", Some(app), None)) => withdraw(routes, app).await,
        (&Method::GET, ("drained", Some(unit), None)) => drained(routes, unit, request.uri().query()).await,
        _ => return refuse(StatusCode::NOT_FOUND, "there is nothing here"),
    };
    outcome.unwrap_or_else(|error| refuse(status(&error), &error.to_string()))
}

async fn publish(routes: &dyn Routes, app: &str, request: Request<Incoming>) -> Result<Answer, Error> {
    let body = Limited::new(request.into_body(), BODY_LIMIT).collect().await;
    let body = body.map_err(|reason| Error::invalid(format!("the route cannot be read: {reason}")))?.to_bytes();
    let route: Route = serde_json::from_slice(&body)
        .map_err(|reason| Error::invalid(format!("the body is not a route in JSON: {reason}")))?;
    if route.app.as_str() != app {
        return Err(Error::invalid(format!("the route is of app {}, and the path says {app}", route.app)));
    }
    routes.publish(route).await?;
    Ok(empty())
}

async fn withdraw(routes: &dyn Routes, app: &str) -> Result<Answer, Error> {
    let app: AppName = app.parse()?;
    routes.withdraw(&app).await?;
    Ok(empty())
}

async fn drained(routes: &dyn Routes, unit: &str, query: Option<&str>) -> Result<Answer, Error> {
    let unit = percent_decode_str(unit).decode_utf8().map_err(|_| Error::invalid("the unit is not UTF-8"))?;
    let within = query
        .and_then(|query| query.strip_prefix("within_ms="))
        .and_then(|millis| millis.parse().ok())
        .ok_or_else(|| Error::invalid("say how long to wait: ?within_ms=10000"))?;
    let drained = routes.drained(&UnitId(unit.into_owned()), Duration::from_millis(within)).await?;
    Ok(json(StatusCode::OK, &Drained { drained }))
}

fn status(error: &Error) -> StatusCode {
    match error {
        Error::Invalid(_) | Error::Name(_) => StatusCode::BAD_REQUEST,
        Error::Router(_) => StatusCode::CONFLICT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn refuse(status: StatusCode, sentence: &str) -> Answer {
    json(status, &Refusal { error: sentence.to_owned() })
}

fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    // Our own bodies are plain structs with text keys, which JSON always holds.
    let text = serde_json::to_vec(body).unwrap_or_default();
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn empty() -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}
