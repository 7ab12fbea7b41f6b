//! For tests: a served broker on a free port, a caller for it, and a broker that does what it is told.
//!
//! ```
//! use broker_core::testing::{FakeBroker, TestBroker};
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let broker = TestBroker::start(FakeBroker::new()).await;
//!
//! broker.create("cache").await.is(201);
//! broker.bind_app("cache", "web").await.is(201);
//! broker.bind_app("other", "web").await.is(404).says("instance \"other\" does not exist");
//! # });
//! ```

mod conformance;
mod crash;
mod platform;
#[cfg(feature = "postgres")]
mod postgres;
mod program;

pub use conformance::{Report, Target, Variables, conformance, conformance_in};
pub use crash::{CrashReport, Subject, crash_safety};
pub use platform::{FakePlatform, PlatformError};
#[cfg(feature = "postgres")]
pub use postgres::Postgres;
pub use program::Program;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use async_trait::async_trait;
use reqwest::{Method, header::HeaderMap};
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep},
};

use crate::{
    Binding, Broker, BrokerError, BrokerServer, Catalog, Endpoint, EnvVars, Health, InfoItem, Instance, Notes, Plan,
    Result, Secret, State, Tenant, Update,
};

/// The user name that a [`TestBroker`] accepts.
pub const USERNAME: &str = "fake";
/// The password that a [`TestBroker`] accepts.
pub const PASSWORD: &str = "s3cret";
/// How long tests wait for what happens in the background.
const PATIENCE: Duration = Duration::from_secs(20);

/// Calls an author's method as the framework does that gives it so long: [`time_left`](crate::time_left) tells.
pub async fn call_within<T>(limit: Duration, call: impl Future<Output = T>) -> T {
    crate::deadline::limited(limit, call).await
}

/// A served broker on a free port. It has a runtime of its own, so that it can be killed.
#[derive(Debug)]
pub struct TestBroker {
    address: SocketAddr,
    http: reqwest::Client,
    running: Option<Running>,
}

/// Where a test's broker keeps its records.
enum Records {
    Memory,
    Folder(PathBuf),
    #[cfg(feature = "postgres")]
    Database(Secret, PathBuf),
}

#[derive(Debug)]
struct Running {
    end: oneshot::Sender<End>,
    thread: thread::JoinHandle<()>,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Gracefully,
    AtOnce,
}

impl TestBroker {
    /// Serves a broker whose records are in memory.
    pub async fn start(broker: impl Broker) -> Self {
        Self::start_with(broker, None, |server| server).await
    }

    /// Serves a broker whose records are in a folder, or in memory, with settings of your own. Unless they say
    /// otherwise, a call that fails is not repeated at once, so that a test sees each failure.
    ///
    /// # Panics
    /// When it can't be served.
    pub async fn start_with(
        broker: impl Broker,
        folder: Option<&Path>,
        settings: impl FnOnce(BrokerServer) -> BrokerServer + Send + 'static,
    ) -> Self {
        let records = folder.map_or(Records::Memory, |folder| Records::Folder(folder.to_owned()));
        Self::start_on(broker, records, settings).await
    }

    /// Serves a broker as one of several replicas that share their records in a PostgreSQL database, with settings of
    /// your own.
    ///
    /// # Panics
    /// When it can't be served.
    #[cfg(feature = "postgres")]
    pub async fn start_replica(
        broker: impl Broker,
        database: &Secret,
        key_file: &Path,
        settings: impl FnOnce(BrokerServer) -> BrokerServer + Send + 'static,
    ) -> Self {
        Self::start_on(broker, Records::Database(database.clone(), key_file.to_owned()), settings).await
    }

    async fn start_on(
        broker: impl Broker,
        records: Records,
        settings: impl FnOnce(BrokerServer) -> BrokerServer + Send + 'static,
    ) -> Self {
        let (end, ended) = oneshot::channel();
        let (bound, address) = oneshot::channel();
        let thread = thread::spawn(move || serve(broker, records, settings, bound, ended));
        let address = address.await.expect("the broker is served");
        Self { address, http: http(), running: Some(Running { end, thread }) }
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops it as a signal does: what was begun is finished.
    pub async fn stop(mut self) {
        self.end(End::Gracefully).await;
    }

    /// Stops it as a crash does: every task ends where it waits.
    pub async fn kill(mut self) {
        self.end(End::AtOnce).await;
    }

    async fn end(&mut self, how: End) {
        if let Some(Running { end, thread }) = self.running.take() {
            // It may have ended by itself.
            let _ = end.send(how);
            tokio::task::spawn_blocking(|| thread.join()).await.expect("joined").expect("the server did not panic");
        }
    }

    /// A request with the right credentials, to be completed.
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.anonymous(method, path).basic_auth(USERNAME, Some(PASSWORD))
    }

    /// A request without credentials, to be completed.
    ///
    /// # Panics
    /// When `method` is none.
    pub fn anonymous(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        self.http.request(method, format!("{}{path}", self.url()))
    }

    /// Sends a form.
    pub async fn form(&self, method: &str, path: &str, body: &str) -> Answer {
        let request = self.request(method, path).header("content-type", "application/x-www-form-urlencoded");
        Answer::to(request.body(body.to_owned())).await
    }

    /// Sends JSON.
    pub async fn json(&self, method: &str, path: &str, body: &str) -> Answer {
        let request = self.request(method, path).header("content-type", "application/json");
        Answer::to(request.body(body.to_owned())).await
    }

    /// Sends no body.
    pub async fn ask(&self, method: &str, path: &str) -> Answer {
        Answer::to(self.request(method, path)).await
    }

    /// Creates an instance on the plan `small`.
    pub async fn create(&self, name: &str) -> Answer {
        let body =
            format!("name={name}&plan=small&team=data&user=alice%40example.com&eventid=5f0c7c1e8a1b2c3d4e5f6a7b");
        self.form("POST", "/resources", &body).await
    }

    /// Removes an instance.
    pub async fn remove(&self, name: &str) -> Answer {
        self.form("DELETE", &format!("/resources/{name}"), "user=alice%40example.com&eventid=5f0c7c1e8a1b2c3d4e5f6a7b")
            .await
    }

    /// Binds an app.
    pub async fn bind_app(&self, name: &str, app: &str) -> Answer {
        self.form("POST", &format!("/resources/{name}/bind-app"), &format!("app-name={app}&app-host={app}.test")).await
    }

    /// Unbinds an app.
    pub async fn unbind_app(&self, name: &str, app: &str) -> Answer {
        self.form("DELETE", &format!("/resources/{name}/bind-app"), &format!("app-name={app}")).await
    }

    /// Asks for an instance's status.
    pub async fn status(&self, name: &str) -> Answer {
        self.ask("GET", &format!("/resources/{name}/status")).await
    }
}

/// A client that goes straight to the broker.
fn http() -> reqwest::Client {
    // Fails when there is a provider already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
    client.expect("a client without TLS of its own")
}

/// The thread that a broker is served on. Dropping its runtime drops every task, as a crash would.
fn serve(
    broker: impl Broker,
    records: Records,
    settings: impl FnOnce(BrokerServer) -> BrokerServer,
    bound: oneshot::Sender<SocketAddr>,
    ended: oneshot::Receiver<End>,
) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async move {
        let state = match records {
            Records::Folder(folder) => State::open(&folder).await.expect("the records open"),
            Records::Memory => State::in_memory(),
            #[cfg(feature = "postgres")]
            Records::Database(url, key) => State::connect(&url, &key).await.expect("the database is there"),
        };
        let server = BrokerServer::new(broker, state)
            .accept(USERNAME, &Secret::from(PASSWORD))
            .reconcile_every(Duration::from_millis(50))
            .retry(0, Duration::ZERO);
        let server = settings(server).bind(([127, 0, 0, 1], 0).into()).await.expect("a free port");
        bound.send(server.address()).expect("somebody waits for the address");
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = server.serve_until(async { stopped.await.unwrap_or(()) });
        let ending = async {
            match ended.await {
                Ok(End::Gracefully) => {
                    stop.send(()).expect("the server is there to be stopped");
                    std::future::pending().await
                }
                Ok(End::AtOnce) | Err(_) => {}
            }
        };
        tokio::select! {
            outcome = serving => outcome.expect("served"),
            () = ending => {}
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
}

/// What came back.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body's text.
    pub body: String,
}

impl Answer {
    /// The answer to a request.
    ///
    /// # Panics
    /// When none comes.
    pub async fn to(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, body: response.text().await.expect("a whole answer") }
    }

    /// Insists on a status.
    ///
    /// # Panics
    /// When it is another one.
    #[track_caller]
    pub fn is(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "the answer was: {}", self.body);
        self
    }

    /// Insists on a body.
    ///
    /// # Panics
    /// When it is another one.
    #[track_caller]
    pub fn says(&self, body: &str) -> &Self {
        assert_eq!(self.body, body);
        self
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is something else.
    #[must_use]
    #[track_caller]
    pub fn value(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// A bind's variables.
    ///
    /// # Panics
    /// When the body is something else.
    #[must_use]
    #[track_caller]
    pub fn env(&self) -> BTreeMap<String, String> {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// Waits until something is so.
///
/// # Panics
/// When it takes longer than 20 s.
pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// A broker of the service `fake` with plans `small` and `large`, and the server behind it, in
/// memory. A change of plan moves an instance to another address. Clones share one server, so that a broker that is started again finds what it had made.
#[derive(Clone, Debug, Default)]
pub struct FakeBroker(Arc<World>);

#[derive(Debug, Default)]
struct World {
    inner: Mutex<Inner>,
    released: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    instances: BTreeMap<String, String>,
    accounts: BTreeMap<String, String>,
    calls: Vec<String>,
    misdeeds: BTreeMap<&'static str, VecDeque<Misdeed>>,
    down: bool,
}

/// What a [`FakeBroker`] does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misdeed {
    /// Refuses with a sentence about the request.
    Refuse,
    /// Acts, then says that its server is unavailable.
    LoseServer,
    /// Acts, then fails for good.
    Fail,
    /// Acts, then panics.
    Panic,
    /// Acts, then waits until it is [released](FakeBroker::release).
    Hang,
}

impl FakeBroker {
    /// A broker that does everything right.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next such call (`provision`, `bind`, `unbind`, `update`, `deprovision`, `reconcile`) goes wrong like
    /// this. Several are used up one by one.
    pub fn next(&self, call: &'static str, misdeed: Misdeed) {
        self.inner().misdeeds.entry(call).or_default().push_back(misdeed);
    }

    /// Nothing goes wrong from now on, unless told so again.
    pub fn forgive(&self) {
        self.inner().misdeeds.clear();
    }

    /// Lets all calls go on that hang.
    pub fn release(&self) {
        self.0.released.notify_waiters();
    }

    /// Whether the server behind it is away: every call fails without effect.
    pub fn set_down(&self, down: bool) {
        self.inner().down = down;
    }

    /// The server loses its accounts, as in a restart.
    pub fn lose_accounts(&self) {
        self.inner().accounts.clear();
    }

    /// How many instances the server has.
    #[must_use]
    pub fn instances(&self) -> usize {
        self.inner().instances.len()
    }

    /// The plan that the server's only instance is on.
    #[must_use]
    pub fn plan(&self) -> Option<String> {
        self.inner().instances.values().next().cloned()
    }

    /// The accounts that the server has: passwords by account name.
    #[must_use]
    pub fn accounts(&self) -> BTreeMap<String, String> {
        self.inner().accounts.clone()
    }

    /// Whether a bind's variables open the server.
    #[must_use]
    pub fn opens(&self, env: &BTreeMap<String, String>) -> bool {
        let known = self.inner().accounts.get(&env["FAKE_USER"]).cloned();
        known.as_ref() == Some(&env["FAKE_PASSWORD"])
    }

    /// All calls so far: what was asked.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.inner().calls.clone()
    }

    /// How often a call was made.
    #[must_use]
    pub fn count(&self, call: &str) -> usize {
        self.inner().calls.iter().filter(|made| *made == call).count()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn act(&self, call: &'static str, act: impl FnOnce(&mut Inner) + Send) -> Result<()> {
        // Listens before the call is seen, so that no release is missed.
        let mut released = pin!(self.0.released.notified());
        released.as_mut().enable();
        let misdeed = {
            let mut inner = self.inner();
            inner.calls.push(call.to_owned());
            if inner.down {
                return Err(BrokerError::unavailable("connection refused by fake.test with password s3cret"));
            }
            let misdeed = inner.misdeeds.get_mut(call).and_then(VecDeque::pop_front);
            if misdeed == Some(Misdeed::Refuse) {
                return Err(BrokerError::bad_request(format!("this {call} is refused")));
            }
            act(&mut inner);
            misdeed
        };
        match misdeed {
            None | Some(Misdeed::Refuse) => Ok(()),
            Some(Misdeed::LoseServer) => Err(BrokerError::unavailable("the connection broke")),
            Some(Misdeed::Fail) => Err(BrokerError::failed("the disk is full, password s3cret")),
            Some(Misdeed::Panic) => panic!("the author's mistake"),
            Some(Misdeed::Hang) => {
                released.await;
                Ok(())
            }
        }
    }
}

#[async_trait]
impl Broker for FakeBroker {
    fn catalog(&self) -> Catalog {
        let properties =
            serde_json::json!({ "eviction": { "type": "string" }, "memory": { "type": "integer", "minimum": 1 } });
        let schema = serde_json::json!({ "type": "object", "properties": properties });
        Catalog::new("fake".parse().expect("a service name"))
            .plan(Plan::new("small", "256 MB, shared"))
            .plan(Plan::new("large", "4 GB, dedicated").schema(schema))
    }

    async fn provision(&self, instance: &Instance) -> Result<Notes> {
        let (id, plan) = (instance.id.to_string(), instance.plan.to_string());
        self.act("provision", |server| drop(server.instances.insert(id, plan))).await?;
        Ok(Notes::from_iter([("address".to_owned(), "fake.test:1".into())]))
    }

    async fn bind(&self, instance: &Instance, binding: &Binding) -> Result<EnvVars> {
        assert!(instance.notes.contains_key("address"), "the framework forgot the notes");
        let (account, password) = (binding.id.to_string(), binding.secret.expose().to_owned());
        self.act("bind", |server| drop(server.accounts.insert(account, password))).await?;
        let env = EnvVars::from([("FAKE_USER", binding.id.as_str()), ("FAKE_PASSWORD", binding.secret.expose())]);
        let address = instance.notes["address"].as_str().unwrap_or_default();
        Ok(env.with("FAKE_INSTANCE", instance.id.as_str()).with("FAKE_ADDRESS", address))
    }

    async fn unbind(&self, _: &Instance, binding: &Binding) -> Result<()> {
        let account = binding.id.to_string();
        self.act("unbind", |server| drop(server.accounts.remove(&account))).await
    }

    async fn update(&self, instance: &Instance, to: &Update) -> Result<Notes> {
        let (id, plan) = (instance.id.to_string(), to.plan.to_string());
        self.act("update", |server| drop(server.instances.insert(id, plan))).await?;
        let mut notes = instance.notes.clone();
        if to.plan != instance.plan {
            notes.insert("address".to_owned(), format!("{}.fake.test:1", to.plan).into());
        }
        Ok(notes)
    }

    async fn deprovision(&self, instance: &Instance) -> Result<()> {
        let id = instance.id.to_string();
        self.act("deprovision", |server| drop(server.instances.remove(&id))).await
    }

    async fn status(&self, _: &Instance) -> Result<Health> {
        let down = self.inner().down;
        Ok(if down { Health::Down("the server does not answer".to_owned()) } else { Health::Up })
    }

    async fn info(&self, instance: &Instance) -> Result<Vec<InfoItem>> {
        Ok(vec![InfoItem::new("Address", "fake.test:1"), InfoItem::new("Plan", instance.plan.as_str())])
    }

    fn endpoints(&self, instance: &Instance) -> Vec<Endpoint> {
        let address = instance.notes.get("address").and_then(|address| address.as_str()?.rsplit_once(':'));
        address.and_then(|(host, port)| Some(Endpoint::tcp(host, port.parse().ok()?))).into_iter().collect()
    }

    fn account(&self, _: &Instance, binding: &Binding) -> Vec<InfoItem> {
        vec![InfoItem::new("User", binding.id.as_str())]
    }

    async fn reconcile(&self, tenant: &Tenant) -> Result<()> {
        self.act("reconcile", |_| {}).await?;
        let mut inner = self.inner();
        for binding in &tenant.bindings {
            inner.accounts.insert(binding.id.to_string(), binding.secret.expose().to_owned());
        }
        Ok(())
    }
}
