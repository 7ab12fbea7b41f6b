//! Connections: how they are taken, spoken to and ended.

use std::{
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::Router;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;
use tracing::{debug, warn};

use super::{limits::Limits, reload::Current, socket::Socket};
use crate::metrics::Metrics;

/// The bytes of a request's whole head (SPEC T-5). Its headers are 100 at most without our asking: asking, even for the
/// same number, costs each request an allocation.
const HEAD: usize = 32 * 1024;
/// How long a client may take to agree on encryption.
const AGREE_WITHIN: Duration = Duration::from_secs(10);
/// How long a stopping server waits for the first request on a connection that was just made.
const FIRST_WITHIN: Duration = Duration::from_millis(500);
/// How long an answer may lie here because the client does not read it.
#[cfg(target_os = "linux")]
const READ_WITHIN: Duration = Duration::from_secs(30);
/// A pause when the system has no more sockets to give.
const NO_SOCKETS: Duration = Duration::from_millis(100);

/// Takes connections and answers what comes on them.
#[derive(Clone)]
pub(super) struct Connections {
    pub(super) router: Router,
    pub(super) tls: Option<Current<Arc<ServerConfig>>>,
    pub(super) limits: Limits,
    pub(super) metrics: Arc<Metrics>,
    /// No more connections, and no more requests on those that are there.
    pub(super) stopping: CancellationToken,
    /// What is not answered yet never will be.
    pub(super) killed: CancellationToken,
}

impl Connections {
    /// Takes connections until it is told to stop, then ends when the last of them has its answer.
    pub(super) async fn serve(self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(self.limits.connections.clamp(1, Semaphore::MAX_PERMITS)));
        let tasks = TaskTracker::new();
        while let Some(Ok(place)) = self.stopping.run_until_cancelled(places.clone().acquire_owned()).await {
            let Some(stream) = self.stopping.run_until_cancelled(accept(&listener)).await else { break };
            let (this, open) = (self.clone(), self.metrics.connection());
            tasks.spawn(async move {
                let _held = (place, open);
                let (killed, stopping) = (this.killed.clone(), this.stopping.clone());
                let (socket, remote) = Socket::new(stream);
                killed.run_until_cancelled(this.take(socket)).await;
                // One that was upgraded lives on in its author's hands, and keeps its place, until the server stops.
                stopping.run_until_cancelled(remote.gone()).await;
                remote.end();
                killed.run_until_cancelled(remote.gone()).await;
            });
        }
        drop(listener);
        tasks.close();
        tasks.wait().await;
    }

    async fn take(self, socket: Socket) {
        // Answers are small: none waits for the next.
        if let Err(error) = socket.stream().set_nodelay(true) {
            debug!("a connection sends as it likes: {error}");
        }
        // A client that asks and never reads would keep its place for ever.
        #[cfg(target_os = "linux")]
        if let Err(error) = socket2::SockRef::from(socket.stream()).set_tcp_user_timeout(Some(READ_WITHIN)) {
            debug!("a connection waits for its client as long as it likes: {error}");
        }
        let Some(tls) = &self.tls else { return self.speak(socket).await };
        let acceptor = TlsAcceptor::from(Arc::clone(&*tls.get()));
        match timeout(AGREE_WITHIN, acceptor.accept(socket)).await {
            Ok(Ok(stream)) => self.speak(stream).await,
            Ok(Err(error)) => debug!("a client and we did not agree on encryption: {error}"),
            Err(_) => debug!("a client did not agree on encryption in time"),
        }
    }

    async fn speak(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let begun = AtomicBool::new(false);
        let service = service_fn(|request: hyper::Request<Incoming>| {
            begun.store(true, Ordering::Relaxed);
            self.router.clone().oneshot(request.map(axum::body::Body::new))
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(self.limits.head_within);
        http.max_buf_size(HEAD);
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stopping.cancelled() => {
                connection.as_mut().graceful_shutdown();
                let no_request = async {
                    sleep(FIRST_WITHIN).await;
                    if begun.load(Ordering::Relaxed) {
                        std::future::pending().await
                    }
                };
                tokio::select! {
                    ended = connection => ended,
                    () = no_request => Ok(()),
                }
            }
        };
        if let Err(error) = ended {
            debug!("a connection ended early: {error}");
        }
    }
}

/// The next connection. What goes wrong with one of them is not the server's end.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if is_of_one_connection(&error) => debug!("a connection was lost at once: {error}"),
            Err(error) => {
                warn!("no connection can be taken for now: {error}");
                sleep(NO_SOCKETS).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
