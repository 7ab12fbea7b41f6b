//! The server around a broker.

use std::{fmt, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{auth::Credentials, routes};
use crate::{
    Broker, Catalog, Secret, State,
    lifecycle::{Engine, Schemas, Timing},
};

/// How much longer than an answer a request may take: the reading of its body, and waiting for a turn.
const SLACK: Duration = Duration::from_secs(45);

/// A broker, ready to be put on an address.
///
/// ```
/// use async_trait::async_trait;
/// use broker_core::{Binding, Broker, BrokerServer, Catalog, EnvVars, Instance, Notes, Plan, Result, Secret, State};
///
/// struct Motd;
///
/// #[async_trait]
/// impl Broker for Motd {
///     fn catalog(&self) -> Catalog {
///         Catalog::new("motd".parse().unwrap()).plan(Plan::new("kind", "one kind word a day"))
///     }
///     async fn provision(&self, _: &Instance) -> Result<Notes> {
///         Ok(Notes::new())
///     }
///     async fn bind(&self, _: &Instance, _: &Binding) -> Result<EnvVars> {
///         Ok(EnvVars::from([("MOTD", "be kind")]))
///     }
/// }
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let server = BrokerServer::new(Motd, State::in_memory())
///     .accept("motd", &Secret::from("s3cret"))
///     .bind("127.0.0.1:0".parse()?)
///     .await?;
/// println!("serving on http://{}", server.address());
/// server.serve_until(async { /* until a signal comes */ }).await?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a server that is never bound serves nobody"]
pub struct BrokerServer {
    broker: Arc<dyn Broker>,
    state: State,
    credentials: Credentials,
    timing: Timing,
}

impl BrokerServer {
    /// A server for `broker` that keeps its records in `state`.
    pub fn new(broker: impl Broker, state: State) -> Self {
        Self { broker: Arc::new(broker), state, credentials: Credentials::default(), timing: Timing::default() }
    }

    /// Accepts this user name and password, beside those accepted before: while a password is being
    /// changed, both open.
    pub fn accept(mut self, username: &str, password: &Secret) -> Self {
        self.credentials.accept(username, password);
        self
    }

    /// How long a caller waits before it is answered that the work goes on (240 s unless told
    /// otherwise; the platform gives up after 300 s).
    pub fn answer_within(mut self, duration: Duration) -> Self {
        self.timing.answer_within = duration;
        self
    }

    /// How long one call of the author's may take (280 s unless told otherwise).
    pub fn call_timeout(mut self, duration: Duration) -> Self {
        self.timing.call_timeout = duration;
        self
    }

    /// How long a second caller waits for its turn before it is told what runs (5 s unless told
    /// otherwise; SPEC L-4).
    pub fn turn_within(mut self, duration: Duration) -> Self {
        self.timing.turn_within = duration;
        self
    }

    /// How long a stopping server waits for what it has begun (30 s unless told otherwise); what is
    /// not finished by then is taken up at the next start.
    pub fn finish_within(mut self, duration: Duration) -> Self {
        self.timing.finish_within = duration;
        self
    }

    /// How often unfinished work is looked for and the author's
    /// [`reconcile`](crate::Broker::reconcile) is called (every 5 s unless told otherwise).
    pub fn reconcile_every(mut self, pause: Duration) -> Self {
        self.timing.reconcile_every = pause;
        self
    }

    /// How long an unbound consumer's identifier and secret are remembered, so that a bind soon
    /// after gives the same credentials (15 minutes unless told otherwise; SPEC B-5).
    pub fn remember_unbound_for(mut self, grace: Duration) -> Self {
        self.timing.grace = grace;
        self
    }

    /// How long replaced credentials keep working after a rotation (1 hour unless told otherwise; SPEC B-8).
    pub fn rotation_grace(mut self, grace: Duration) -> Self {
        self.timing.rotation_grace = grace;
        self
    }

    /// How often a call of the author's that failed because its server is unavailable is repeated at once (twice
    /// unless told otherwise), and the pause before the first repeat (200 ms; each further one is twice as long;
    /// SPEC L-9).
    pub fn retry(mut self, times: u32, first_pause: Duration) -> Self {
        (self.timing.retries, self.timing.retry_after) = (times, first_pause);
        self
    }

    /// How long a create or update that was accepted is tried before it has failed (1 hour unless told otherwise).
    pub fn give_up_after(mut self, duration: Duration) -> Self {
        self.timing.give_up_after = duration;
        self
    }

    /// How long a replica that is silent is taken to live, before others take up its work (15 s unless told
    /// otherwise; SPEC L-8).
    pub fn lease(mut self, duration: Duration) -> Self {
        self.timing.lease = duration;
        self
    }

    /// Listens on an address; port 0 is any free one.
    ///
    /// # Errors
    /// When the address is taken or not allowed, or no credentials are accepted.
    pub async fn bind(self, address: SocketAddr) -> Result<BoundServer, ServeError> {
        let listener = TcpListener::bind(address).await.map_err(|cause| ServeError::listen(address, cause))?;
        self.on(listener)
    }

    /// Serves on a listener that is there already.
    ///
    /// # Errors
    /// When the listener has no address, no credentials are accepted, or a plan's schema can't be used.
    pub fn on(self, listener: TcpListener) -> Result<BoundServer, ServeError> {
        if self.credentials.is_empty() {
            return Err(ServeError::NoCredentials);
        }
        let address = listener.local_addr().map_err(ServeError::Serve)?;
        let catalog = self.broker.catalog();
        let schemas = Schemas::of(&catalog).map_err(ServeError::Catalog)?;
        Ok(BoundServer { server: self, catalog, schemas, listener, address })
    }
}

impl fmt::Debug for BrokerServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerServer").field("timing", &self.timing).finish_non_exhaustive()
    }
}

/// A server that has its address and waits to be told to serve.
#[must_use = "a bound server serves nobody before `serve_until`"]
pub struct BoundServer {
    server: BrokerServer,
    catalog: Catalog,
    schemas: Schemas,
    listener: TcpListener,
    address: SocketAddr,
}

impl fmt::Debug for BoundServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundServer").field("address", &self.address).finish_non_exhaustive()
    }
}

impl BoundServer {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` completes, then accepts nothing new and finishes what was begun, for a
    /// limited time.
    ///
    /// # Errors
    /// When the system takes the socket away.
    pub async fn serve_until(self, stop: impl Future<Output = ()> + Send) -> Result<(), ServeError> {
        let BrokerServer { broker, state, credentials, timing } = self.server;
        let engine = Engine::new(broker, self.catalog, self.schemas, state.store.clone(), timing);
        let router = routes::router(engine.clone(), Arc::new(credentials), timing.answer_within + SLACK);

        engine.start();
        let stopping = CancellationToken::new();
        let served = axum::serve(self.listener, router).with_graceful_shutdown(stopping.clone().cancelled_owned());
        let served = tokio::spawn(served.into_future());
        info!("listening on http://{}", self.address);
        stop.await;
        info!("stopping: finishing what was begun");
        let stopped_at = Instant::now();
        stopping.cancel();
        let outcome = match timeout(timing.finish_within, served).await {
            Ok(Ok(outcome)) => outcome.map_err(ServeError::Serve),
            Ok(Err(panic)) => Err(ServeError::Serve(io::Error::other(panic))),
            Err(_) => Ok(()),
        };
        let left = timing.finish_within.saturating_sub(stopped_at.elapsed());
        if !engine.stop(left).await {
            warn!("some work did not end in time, it is taken up at the next start");
        }
        outcome
    }
}

/// Why a broker can't be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// No address to listen on.
    #[error("cannot listen on {address}: {cause}; stop what uses it or choose another address")]
    Listen {
        /// The address wanted.
        address: SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
    /// A plan's schema can't be used; the sentence says which and why.
    #[error("the catalog is wrong: {0}")]
    Catalog(String),
    /// Nobody could call it.
    #[error("the server accepts no credentials, name at least one user and password")]
    NoCredentials,
    /// The socket failed while serving.
    #[error("serving failed: {0}")]
    Serve(#[source] io::Error),
}

impl ServeError {
    fn listen(address: SocketAddr, cause: io::Error) -> Self {
        Self::Listen { address, cause }
    }
}
