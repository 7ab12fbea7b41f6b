//! The router in this process.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use platform_core::ports::Routes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{sync::watch, task::spawn_blocking};

use crate::{
    RouterConfig,
    board::{Board, LocalRoutes},
    listen, worker,
};

/// A reverse proxy that serves from the moment it is bound, on threads of its own. It can be used
/// inside any runtime. Dropping it cuts off what is in flight; [`shutdown`](Self::shutdown) does not.
#[derive(Debug)]
#[must_use = "a router that is dropped serves nobody"]
pub struct Router {
    address: SocketAddr,
    board: Arc<Board>,
    stop: watch::Sender<Option<Duration>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Router {
    /// Listens, and serves the last saved table if there is one (SPEC R-12).
    ///
    /// # Errors
    /// When the address is taken or cannot be had, the saved table cannot be read, or no thread can
    /// be started. The error is a sentence for the operator.
    pub fn bind(config: RouterConfig) -> io::Result<Self> {
        allow_many_connections();
        let (address, listeners) = listen::listen(config.listen, config.thread_count())?;
        let board = Arc::new(Board::open(config.state_file.clone())?);
        let stop = watch::Sender::new(None);
        let router = Self { address, board, stop, threads: Mutex::default() };
        for (number, listener) in listeners.into_iter().enumerate() {
            let (config, board, stop) = (config.clone(), Arc::clone(&router.board), router.stop.subscribe());
            let thread = thread::Builder::new()
                .name(format!("router-{number}"))
                .spawn(move || serve(number, config, board, listener, stop))?;
            router.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        tracing::info!(%address, "the router listens on {address}");
        Ok(router)
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The `Routes` port of this router.
    #[must_use]
    pub fn routes(&self) -> Arc<dyn Routes> {
        Arc::new(LocalRoutes(Arc::clone(&self.board)))
    }

    /// Accepts nothing new from now on, and returns once what is in flight has ended; what has not
    /// after `grace` is cut off. A second call returns once the first is done.
    pub async fn shutdown(&self, grace: Duration) {
        self.stop.send_replace(Some(grace));
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let ended = spawn_blocking(|| threads.into_iter().map(JoinHandle::join).collect::<Vec<_>>()).await;
        if ended.unwrap_or_default().iter().any(Result::is_err) {
            tracing::error!("a thread of the router panicked");
        }
    }
}

/// Each request takes two file descriptors, and the usual limit of 1024 is soon reached: raises this
/// process's limit as far as it may.
fn allow_many_connections() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(reason) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("the limit of open files stays at {:?}: {reason}", limit.current);
    }
}

fn serve(
    number: usize,
    config: RouterConfig,
    board: Arc<Board>,
    listener: TcpListener,
    stop: watch::Receiver<Option<Duration>>,
) {
    if let Err(reason) = worker::run(config, board, listener, stop) {
        tracing::error!("thread {number} of the router cannot serve: {reason}");
    }
}
