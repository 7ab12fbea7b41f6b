//! The server around a broker.

use std::{fmt, future::Future, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use rustls::ServerConfig;

use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    auth::Guard,
    connections::Connections,
    credentials::{Credentials, CredentialsError},
    limits::Limits,
    reload::{Current, Reload, Watched, keep_current},
    routes::{self, Around},
    tls::{Tls, TlsError},
    trace::RequestIdHeader,
};
use crate::{
    Authorizer, Broker, Catalog, Routes, Secret, State,
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
    guard: Guard,
    credentials_file: Option<PathBuf>,
    operator_credentials_file: Option<PathBuf>,
    tls: Option<Tls>,
    limits: Limits,
    id_header: Option<RequestIdHeader>,
    timing: Timing,
    reload: Reload,
}

impl BrokerServer {
    /// A server for `broker` that keeps its records in `state`.
    pub fn new(broker: impl Broker, state: State) -> Self {
        Self {
            broker: Arc::new(broker),
            state,
            guard: Guard::default(),
            credentials_file: None,
            operator_credentials_file: None,
            tls: None,
            limits: Limits::default(),
            id_header: None,
            timing: Timing::default(),
            reload: Reload::default(),
        }
    }

    /// Accepts this user name and password, beside those accepted before: while a password is being
    /// changed, both open.
    pub fn accept(mut self, username: &str, password: &Secret) -> Self {
        self.guard.callers.named.accept(username, password);
        self
    }

    /// Accepts this token as that of an `Authorization: Bearer` header, beside what else is accepted (SPEC T-13). It has
    /// to be long and random: there is no user name that has to be guessed with it.
    ///
    /// ```
    /// # use broker_core::{BrokerServer, Secret};
    /// # fn tokens(server: BrokerServer) -> BrokerServer {
    /// server.accept_token(&Secret::generate())
    /// # }
    /// ```
    pub fn accept_token(mut self, token: &Secret) -> Self {
        self.guard.callers.named.accept_token(token);
        self
    }

    /// Accepts what a file lists too, a line each: `user:password`, `user:hash` with a hash of bcrypt or argon2 (SPEC
    /// T-12), `Bearer token` or `Bearer sha256:digest` (SPEC T-13); empty lines and those that begin with `#` are left
    /// out. It must be closed to other users of the machine, and is read again when it changes (SPEC T-6).
    ///
    /// ```text
    /// redis:s3cret
    /// redis:$2y$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK
    /// Bearer 5tYqKqVdKcRl0EzS3mVvJ9nPq4wXa1Zf
    /// ```
    pub fn credentials_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.credentials_file = Some(file.into());
        self
    }

    /// Accepts this user name and password for `/metrics` and `/openapi.json` only (SPEC T-6).
    pub fn accept_operator(mut self, username: &str, password: &Secret) -> Self {
        self.guard.operators.named.accept(username, password);
        self
    }

    /// Accepts this token for `/metrics` and `/openapi.json` only (SPEC T-6), as [`accept_token`](Self::accept_token)
    /// does for all.
    pub fn accept_operator_token(mut self, token: &Secret) -> Self {
        self.guard.operators.named.accept_token(token);
        self
    }

    /// Accepts what a file lists for `/metrics` and `/openapi.json` only: a file like that of
    /// [`credentials_file`](Self::credentials_file), read again in the same way (SPEC T-6).
    pub fn operator_credentials_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.operator_credentials_file = Some(file.into());
        self
    }

    /// Asks the author who may call, before all lists; the last one named is asked (SPEC T-14). With one, a server starts
    /// that accepts nobody else.
    ///
    /// ```
    /// # use broker_core::{Access, Attempt, Authorizer, BrokerServer, Result};
    /// /// Lets nobody change anything at this address, whatever the lists say.
    /// struct ReadOnly;
    ///
    /// #[async_trait::async_trait]
    /// impl Authorizer for ReadOnly {
    ///     async fn authorize(&self, attempt: &Attempt) -> Result<Access> {
    ///         Ok(if attempt.method() == "GET" { Access::NotMine } else { Access::Refused })
    ///     }
    /// }
    ///
    /// # fn settings(server: BrokerServer) -> BrokerServer {
    /// server.authorize(ReadOnly)
    /// # }
    /// ```
    pub fn authorize(mut self, authorizer: impl Authorizer) -> Self {
        self.guard.authorizer = Some(Arc::new(authorizer));
        self
    }

    /// Lets everybody see `/metrics`, without credentials.
    pub fn open_metrics(mut self) -> Self {
        self.guard.open_metrics = true;
        self
    }

    /// Encrypts connections; clients that don't are not served (SPEC T-7).
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// How many connections there may be (4096 unless told otherwise; SPEC T-5). Further ones wait in the system's
    /// queue until one of them ends.
    pub fn max_connections(mut self, number: usize) -> Self {
        self.limits.connections = number;
        self
    }

    /// How many requests that change something may be under way at once, and how many that ask (1024 each unless told
    /// otherwise; SPEC T-5). Further ones are answered 503 with `Retry-After`, but for the probes and `/metrics`.
    pub fn max_requests(mut self, number: usize) -> Self {
        self.limits.requests = number;
        self
    }

    /// How long a request's head may take to arrive, and so how long a connection may be idle (60 s unless told
    /// otherwise; SPEC T-5).
    pub fn head_within(mut self, duration: Duration) -> Self {
        self.limits.head_within = duration;
        self
    }

    /// A header that names requests, beside the usual `X-Request-Id`, `X-Correlation-ID`, `X-CorrelationID`,
    /// `X-ForRequest-ID` and `X-Vcap-Request-Id`, and before them (SPEC T-3): the one that the platform is configured
    /// to send. Requests that come without a name get one in it.
    ///
    /// ```
    /// # use broker_core::BrokerServer;
    /// # fn named(server: BrokerServer) -> Result<BrokerServer, broker_core::InvalidRequestIdHeader> {
    /// Ok(server.request_id_header("X-Trace-Me".parse()?))
    /// # }
    /// ```
    pub fn request_id_header(mut self, header: RequestIdHeader) -> Self {
        self.id_header = Some(header);
        self
    }

    /// What has the server read its files again: for the handler of a signal.
    #[must_use]
    pub fn reload(&self) -> Reload {
        self.reload.clone()
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

    /// How long one bind or unbind of the author's may take (as long as [any call](Self::call_timeout) unless told
    /// otherwise; SPEC L-5): where making an instance is slow and an account is quick, a server that hangs is noticed
    /// sooner.
    ///
    /// ```
    /// # use {broker_core::BrokerServer, std::time::Duration};
    /// # fn settings(server: BrokerServer) -> BrokerServer {
    /// server
    ///     .call_timeout(Duration::from_secs(600))
    ///     .bind_timeout(Duration::from_secs(20))
    ///     .look_timeout(Duration::from_secs(2))
    /// # }
    /// ```
    pub fn bind_timeout(mut self, duration: Duration) -> Self {
        self.timing.bind_timeout = Some(duration);
        self
    }

    /// How long the author's answer to a question for status or info may take (10 s unless told otherwise; SPEC L-5).
    pub fn look_timeout(mut self, duration: Duration) -> Self {
        self.timing.look_timeout = duration;
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

    /// How long replaced credentials keep working after a rotation, where their
    /// [plan](crate::Plan::rotation_grace) does not say it (1 hour unless told otherwise; SPEC B-8).
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
    /// When the address is taken or not allowed, no credentials are accepted, or a file can't be used.
    pub async fn bind(self, address: SocketAddr) -> Result<BoundServer, ServeError> {
        let listener = TcpListener::bind(address).await.map_err(|cause| ServeError::listen(address, cause))?;
        self.on(listener)
    }

    /// Serves on a listener that is there already.
    ///
    /// # Errors
    /// When the listener has no address, no credentials are accepted, a file can't be used, or a plan's
    /// schema can't.
    pub fn on(mut self, listener: TcpListener) -> Result<BoundServer, ServeError> {
        let mut files = Vec::new();
        if let Some(file) = &self.credentials_file {
            let watched = Watched::new(vec![file.clone()]);
            let current = Current::new(Credentials::read(file)?);
            self.guard.callers.listed = Some(current.clone());
            files.push(File::Credentials(file.clone(), watched, current));
        }
        if let Some(file) = &self.operator_credentials_file {
            let watched = Watched::new(vec![file.clone()]);
            let current = Current::new(Credentials::read(file)?);
            self.guard.operators.listed = Some(current.clone());
            files.push(File::Credentials(file.clone(), watched, current));
        }
        if !self.guard.lets_anybody_in() {
            return Err(ServeError::NoCredentials);
        }
        let mut encrypted = None;
        if let Some(tls) = &self.tls {
            let watched = Watched::new(tls.files());
            let current = Current::new(tls.read()?);
            encrypted = Some(current.clone());
            files.push(File::Tls(tls.clone(), watched, current));
        }
        let address = listener.local_addr().map_err(ServeError::Serve)?;
        let catalog = self.broker.catalog();
        if let Some(refusal) = catalog.refusal() {
            return Err(ServeError::Catalog(refusal));
        }
        let schemas = Schemas::of(&catalog).map_err(ServeError::Catalog)?;
        let own = self.broker.clone().routes();
        if let Some(refusal) = own.refusal() {
            return Err(ServeError::Routes(refusal));
        }
        Ok(BoundServer { server: self, catalog, schemas, own, listener, address, encrypted, files })
    }
}

impl fmt::Debug for BrokerServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerServer").field("timing", &self.timing).finish_non_exhaustive()
    }
}

/// What is read again when it changes.
#[derive(Debug)]
enum File {
    Credentials(PathBuf, Watched, Current<Credentials>),
    Tls(Tls, Watched, Current<Arc<ServerConfig>>),
}

impl File {
    async fn keep_current(self, reload: Reload) {
        match self {
            Self::Credentials(file, watched, current) => {
                keep_current("credentials", watched, reload, current, || Credentials::read(&file)).await;
            }
            Self::Tls(tls, watched, current) => {
                keep_current("certificate and its key", watched, reload, current, || tls.read()).await;
            }
        }
    }
}

/// A server that has its address and waits to be told to serve.
#[must_use = "a bound server serves nobody before `serve_until`"]
pub struct BoundServer {
    server: BrokerServer,
    catalog: Catalog,
    schemas: Schemas,
    own: Routes,
    listener: TcpListener,
    address: SocketAddr,
    encrypted: Option<Current<Arc<ServerConfig>>>,
    files: Vec<File>,
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
    /// limited time: requests get their answers, and connections are closed after them (SPEC L-6).
    ///
    /// # Errors
    /// When the system takes the socket away.
    pub async fn serve_until(self, stop: impl Future<Output = ()> + Send) -> Result<(), ServeError> {
        let BrokerServer { broker, state, guard, limits, id_header, timing, reload, .. } = self.server;
        let engine = Engine::new(broker, self.catalog, self.schemas, state.store.clone(), timing);
        let (stopping, killed) = (CancellationToken::new(), CancellationToken::new());
        let limit = timing.answer_within + SLACK;
        let around = Around { guard, limits, limit, id_header, stopping: stopping.clone(), own: self.own };
        let router = routes::router(engine.clone(), around);
        let scheme = if self.encrypted.is_some() { "https" } else { "http" };
        let connections = Connections {
            router,
            tls: self.encrypted,
            limits,
            metrics: engine.metrics.clone(),
            stopping: stopping.clone(),
            killed: killed.clone(),
        };
        // Whatever way this ends, nothing of it goes on.
        let _ends = (stopping.clone().drop_guard(), killed.clone().drop_guard());

        engine.start();
        let mut files = JoinSet::new();
        for file in self.files {
            files.spawn(file.keep_current(reload.clone()));
        }
        let mut served = tokio::spawn(connections.serve(self.listener));
        info!("listening on {scheme}://{}", self.address);
        stop.await;
        info!("stopping: finishing what was begun");
        let stopped_at = Instant::now();
        stopping.cancel();
        let outcome = match timeout(timing.finish_within, &mut served).await {
            Ok(ended) => ended.map_err(|panic| ServeError::Serve(io::Error::other(panic))),
            Err(_) => {
                warn!("some requests were not answered in time, their connections are closed");
                killed.cancel();
                Ok(())
            }
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
    /// An operation of the author's own is at a path that it can't have; the sentence says which and why.
    #[error("the broker's own operations are wrong: {0}")]
    Routes(String),
    /// Nobody could call it.
    #[error("the server accepts no credentials, name at least one user and password, a token, or a check of your own")]
    NoCredentials,
    /// The file of credentials can't be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The certificate or its key can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The socket failed while serving.
    #[error("serving failed: {0}")]
    Serve(io::Error),
}

impl ServeError {
    fn listen(address: SocketAddr, cause: io::Error) -> Self {
        Self::Listen { address, cause }
    }
}
