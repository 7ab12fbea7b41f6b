//! A thread that serves: its listener, its runtime, its connections to units.

use std::{io, net::TcpListener, pin::pin, rc::Rc, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    runtime::{Builder, LocalOptions},
    sync::watch,
    task::spawn_local,
    time::{sleep, timeout},
};
use tokio_util::task::TaskTracker;

use crate::{RouterConfig, board::Board, forward, headers::Peer, pool::Pool};

/// How often idle connections are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How long to wait when no connection can be accepted, for want of file descriptors mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// What all requests of a thread share.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) config: RouterConfig,
    pub(crate) board: Arc<Board>,
    pub(crate) pool: Rc<Pool>,
    /// Clients' connections, those too that changed their protocol.
    pub(crate) open: TaskTracker,
    /// Told when connections are to end with the request they are at.
    closing: watch::Sender<()>,
}

/// Serves on this thread until told to stop; the value says how long requests may take to end then.
pub(crate) fn run(
    config: RouterConfig,
    board: Arc<Board>,
    listener: TcpListener,
    stop: watch::Receiver<Option<Duration>>,
) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let worker =
            Worker { config, board, pool: Rc::default(), open: TaskTracker::new(), closing: watch::Sender::new(()) };
        Rc::new(worker).serve(listener, stop).await;
        Ok(())
    })
}

impl Worker {
    async fn serve(self: Rc<Self>, listener: tokio::net::TcpListener, mut stop: watch::Receiver<Option<Duration>>) {
        let http = self.http();
        let sweeping = spawn_local(Rc::clone(&self).keep_pool_clean());
        tokio::select! {
            () = self.accept(&listener, &http) => {}
            // An error: the router was dropped.
            _ = stop.wait_for(Option::is_some) => {}
        }
        drop(listener);
        let grace = stop.borrow().unwrap_or_default();
        self.closing.send_replace(());
        self.open.close();
        if timeout(grace, self.open.wait()).await.is_err() {
            tracing::debug!("requests that did not end within {grace:?} are cut off");
        }
        sweeping.abort();
    }

    fn http(&self) -> http1::Builder {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.config.head_within)
            .max_header_size(self.config.head_limit);
        http
    }

    async fn accept(self: &Rc<Self>, listener: &tokio::net::TcpListener, http: &http1::Builder) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => self.attend(stream, Rc::new(Peer::new(peer.ip())), http),
                Err(reason) => {
                    tracing::warn!("cannot accept a connection: {reason}");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves a client's connection in a task of its own.
    fn attend(self: &Rc<Self>, stream: TcpStream, peer: Rc<Peer>, http: &http1::Builder) {
        let worker = Rc::clone(self);
        let service = service_fn(move |request| forward::handle(Rc::clone(&worker), Rc::clone(&peer), request));
        let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
        let mut closing = self.closing.subscribe();
        spawn_local(self.open.track_future(async move {
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                biased;
                ended = &mut connection => ended,
                _ = closing.changed() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(reason) = ended {
                tracing::debug!("a client's connection ended: {reason}");
            }
        }));
    }

    /// Closes idle connections, at once those to units that left.
    async fn keep_pool_clean(self: Rc<Self>) {
        let mut changes = self.board.changes();
        loop {
            let changed = timeout(SWEEP_EVERY, changes.changed()).await.is_ok();
            let current = changed.then(|| self.board.table().keys());
            self.pool.sweep(current.as_ref(), self.config.unit_idle);
        }
    }
}
