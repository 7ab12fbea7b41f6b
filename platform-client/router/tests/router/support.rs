//! Small units, a small client, and a router between them.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, BodyStream, Either, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    client::conn::http1::SendRequest,
    header::{CONNECTION, HOST, UPGRADE},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use platform_core::{
    Backend, Route, UnitId,
    ports::Routes,
    testing::routes::{OpenRequest, Traffic},
};
use platform_router::{Router, RouterConfig};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
    time::timeout,
};

/// Long enough for anything that is going to happen.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Fails a test that hangs, instead of letting it hang.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.expect("this should not take so long")
}

pub(crate) fn config() -> RouterConfig {
    RouterConfig { threads: 2, ..RouterConfig::new(([127, 0, 0, 1], 0).into()) }
}

/// A router with no routes.
pub(crate) fn router() -> Router {
    Router::bind(config()).expect("the router listens")
}

pub(crate) fn route(app: &str, hosts: &[&str], units: &[&TestUnit]) -> Route {
    Route {
        app: app.parse().expect("a valid app name"),
        hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
        units: units.iter().map(|unit| unit.backend()).collect(),
    }
}

/// Publishes `blog.test`, led to these units.
pub(crate) async fn publish(routes: &dyn Routes, units: &[&TestUnit]) {
    routes.publish(route("blog", &["blog.test"], units)).await.expect("the route is published");
}

/// What tests may know of a unit, and tell it.
#[derive(Debug)]
pub(crate) struct Inside {
    name: String,
    pub(crate) connections: AtomicUsize,
    pub(crate) requests: AtomicUsize,
    /// Requests to `/slow` that were given up by the router.
    pub(crate) cancelled: watch::Sender<usize>,
    /// Lets `/gated` and `/early` go on.
    pub(crate) gate: Semaphore,
}

/// A unit: an HTTP server that does what the path says.
#[derive(Debug)]
pub(crate) struct TestUnit {
    pub(crate) address: SocketAddr,
    pub(crate) inside: Arc<Inside>,
    serving: JoinHandle<()>,
}

impl Drop for TestUnit {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl TestUnit {
    pub(crate) async fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let inside = Arc::new(Inside {
            name: name.to_owned(),
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            cancelled: watch::Sender::new(0),
            gate: Semaphore::new(0),
        });
        let serving = tokio::spawn(serve(listener, Arc::clone(&inside)));
        Self { address, inside, serving }
    }

    /// A unit at an address where nobody listens.
    pub(crate) async fn absent(name: &str) -> Self {
        let unit = Self::start(name).await;
        unit.stop().await;
        unit
    }

    pub(crate) fn backend(&self) -> Backend {
        Backend { id: UnitId(self.inside.name.clone()), address: self.address }
    }

    /// Stops at once, and closes its connections.
    pub(crate) async fn stop(&self) {
        self.serving.abort();
        soon(async {
            while TcpStream::connect(self.address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

async fn serve(listener: TcpListener, inside: Arc<Inside>) {
    let mut open = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        inside.connections.fetch_add(1, SeqCst);
        stream.set_nodelay(true).expect("an option");
        let inside = Arc::clone(&inside);
        open.spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&inside), request));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(hyper_util::rt::TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            // How a connection ends is what the tests look at from the other side.
            let _ended = connection.with_upgrades().await;
        });
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed_unsync()
}

fn frame(text: &'static str) -> Result<Frame<Bytes>, Infallible> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

async fn answer(inside: Arc<Inside>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    inside.requests.fetch_add(1, SeqCst);
    let mut response = Response::new(full(""));
    response.headers_mut().insert("x-unit", inside.name.parse().expect("a header"));
    if request.headers().contains_key(UPGRADE) {
        return Ok(echo_upgrade(request, response));
    }
    *response.body_mut() = match request.uri().path() {
        "/headers" => full(
            request
                .headers()
                .iter()
                .map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap_or("?")))
                .collect::<String>(),
        ),
        "/uri" => full(format!("{} {}", request.method(), request.uri())),
        "/hold" => StreamBody::new(stream::iter([frame("held")]).chain(stream::pending())).boxed_unsync(),
        "/gated" => {
            let rest = stream::once(async move {
                inside.gate.acquire().await.expect("the gate is never closed").forget();
                frame("second")
            });
            StreamBody::new(stream::iter([frame("first ")]).chain(rest)).boxed_unsync()
        }
        "/echo" => {
            let frames = BodyStream::new(request.into_body()).filter_map(async |frame| frame.ok().map(Ok));
            StreamBody::new(frames).boxed_unsync()
        }
        "/early" => {
            *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
            full("too much")
        }
        "/slow" => {
            let _cancelled = OnDrop(inside);
            std::future::pending().await
        }
        "/big" => full(vec![b'x'; 300_000]),
        _ => full(inside.name.clone()),
    };
    Ok(response)
}

struct OnDrop(Arc<Inside>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.cancelled.send_modify(|count| *count += 1);
    }
}

fn echo_upgrade(mut request: Request<Incoming>, mut response: Response<Body>) -> Response<Body> {
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut io = TokioIo::new(upgraded.await.expect("the connection changes its protocol"));
        let mut bytes = [0; 1024];
        while let Ok(count @ 1..) = io.read(&mut bytes).await {
            if io.write_all(&bytes[..count]).await.is_err() {
                break;
            }
        }
    });
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONNECTION, "upgrade".parse().expect("a header"));
    let protocol = request.headers()[UPGRADE].clone();
    response.headers_mut().insert(UPGRADE, protocol);
    response
}

pub(crate) type ClientBody = Either<Empty<Bytes>, UnsyncBoxBody<Bytes, Infallible>>;

/// A client's keep-alive connection.
pub(crate) struct Client {
    sender: SendRequest<ClientBody>,
    serving: JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    /// Checks that the router answered itself, with this code.
    #[track_caller]
    pub(crate) fn is_routers(&self, status: u16, code: &str) -> &Self {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.headers["x-router-error"], code, "{self:?}");
        assert!(!self.body.is_empty() && self.headers.contains_key("x-request-id"), "{self:?}");
        self
    }

    /// Checks that a unit answered.
    #[track_caller]
    pub(crate) fn is_from(&self, unit: &str) -> &Self {
        assert_eq!((self.status.as_u16(), self.body.as_str()), (200, unit), "{self:?}");
        self
    }
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the router accepts");
        stream.set_nodelay(true).expect("an option");
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a connection");
        let serving = tokio::spawn(async move {
            // How it ends shows in the requests made on it.
            let _ended = connection.with_upgrades().await;
        });
        Self { sender, serving }
    }

    /// Sends a request; the answer's body is still to be read.
    pub(crate) async fn send(&mut self, request: Request<ClientBody>) -> hyper::Result<Response<Incoming>> {
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }

    pub(crate) async fn ask(&mut self, request: Request<ClientBody>) -> Answer {
        let response = soon(self.send(request)).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let body = soon(body.collect()).await.expect("a body").to_bytes();
        Answer { status: parts.status, headers: parts.headers, body: String::from_utf8(body.to_vec()).expect("a text") }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.ask(get(path)).await
    }
}

/// A request to `blog.test` without a body.
pub(crate) fn request(method: Method, path: &str) -> Request<ClientBody> {
    let body = Either::Left(Empty::new());
    Request::builder().method(method).uri(path).header(HOST, "blog.test").body(body).expect("a request")
}

pub(crate) fn get(path: &str) -> Request<ClientBody> {
    request(Method::GET, path)
}

/// A `POST` whose body is whatever is sent through the channel.
pub(crate) fn upload(path: &str) -> (futures::channel::mpsc::UnboundedSender<&'static str>, Request<ClientBody>) {
    let (sender, receiver) = futures::channel::mpsc::unbounded();
    let mut request = request(Method::POST, path);
    *request.body_mut() = Either::Right(StreamBody::new(receiver.map(frame)).boxed_unsync());
    (sender, request)
}

/// Sends raw text and reads until the connection ends or `until` has been read.
pub(crate) async fn raw(stream: &mut TcpStream, text: &str, until: &str) -> String {
    stream.write_all(text.as_bytes()).await.expect("the router takes it");
    let mut seen = Vec::new();
    soon(async {
        let mut bytes = [0; 4096];
        while !String::from_utf8_lossy(&seen).contains(until) {
            match stream.read(&mut bytes).await.expect("the router answers") {
                0 => break,
                count => seen.extend_from_slice(&bytes[..count]),
            }
        }
    })
    .await;
    String::from_utf8(seen).expect("a text")
}

/// Real requests for the port's contract.
pub(crate) struct RealTraffic {
    pub(crate) router: SocketAddr,
    units: std::sync::Mutex<Vec<TestUnit>>,
}

impl RealTraffic {
    pub(crate) fn through(router: SocketAddr) -> Self {
        Self { router, units: std::sync::Mutex::default() }
    }
}

#[async_trait]
impl Traffic for RealTraffic {
    async fn unit(&self, id: &str) -> Backend {
        let unit = TestUnit::start(id).await;
        let backend = unit.backend();
        self.units.lock().expect("a lock").push(unit);
        backend
    }

    async fn request(&self, host: &str) -> Option<OpenRequest> {
        let mut client = Client::connect(self.router).await;
        let mut request = get("/hold");
        request.headers_mut().insert(HOST, host.parse().expect("a host"));
        let response = soon(client.send(request)).await.expect("an answer");
        let unit = UnitId(response.headers().get("x-unit")?.to_str().expect("a name").to_owned());
        Some(OpenRequest::new(unit, (client, response)))
    }
}
