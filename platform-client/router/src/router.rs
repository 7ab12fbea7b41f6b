//! The router in this process.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use platform_core::ports::Routes;
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
    threads: Mutex<Vec<JoinHandle<io::Result<()>>>>,
}

impl Router {
    /// Listens, and serves the last saved table if there is one (SPEC R-12).
    ///
    /// # Errors
    /// When the address is taken or cannot be had, the saved table cannot be read, or no thread can
    /// be started. The error is a sentence for the operator.
    pub fn bind(config: RouterConfig) -> io::Result<Self> {
        let (address, listeners) = listen::listen(config.listen, config.thread_count())?;
        let board = Arc::new(Board::open(config.state_file.clone())?);
        let stop = watch::Sender::new(None);
        let router = Self { address, board, stop, threads: Mutex::default() };
        for (number, listener) in listeners.into_iter().enumerate() {
            let (config, board, stop) = (config.clone(), Arc::clone(&router.board), router.stop.subscribe());
            let thread = thread::Builder::new()
                .name(format!("router-{number}"))
                .spawn(move || worker::run(config, board, listener, stop))?;
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
        for thread in ended.unwrap_or_default() {
            match thread {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => tracing::error!("a thread of the router failed: {reason}"),
                Err(_) => tracing::error!("a thread of the router panicked"),
            }
        }
    }
}
