//! A platform on in-memory ports, with one administrator, a team, a pool, a plan, a platform and a
//! service: what a story needs before it can begin.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;

use platform_core::{
    Adapters, App, AppName, Email, InstanceName, Manifest, Manifesto, NewApp, NewInstance, Origin, Plan, Platform,
    Pool, Progress, Result, ServiceName, Settings, Source, User,
    ports::{Page, Record, RecordKind, Store, StoreError, Write},
    testing::{brokers::FakeBrokers, engine::FakeEngine, routes::MemoryRoutes, store::MemoryStore},
};

pub(crate) struct TestPlatform {
    pub(crate) platform: Arc<Platform>,
    pub(crate) engine: FakeEngine,
    pub(crate) routes: MemoryRoutes,
    pub(crate) brokers: Arc<FakeBrokers>,
    pub(crate) store: Arc<Fragile>,
    pub(crate) user: User,
    settings: Settings,
}

impl TestPlatform {
    pub(crate) async fn new() -> Self {
        let settings = Settings {
            lock_wait: Duration::from_millis(50),
            drain_within: Duration::from_millis(500),
            ready_within: Duration::from_millis(200),
            releases_kept: 3,
            ..Settings::default()
        };
        let store = Arc::new(Fragile::default());
        let test =
            Self::assemble(FakeEngine::new(), MemoryRoutes::new(), Arc::new(FakeBrokers::new()), store, settings);
        let admin = email("admin@example.com");
        test.platform.create_user(admin.clone(), "secret-1".into(), true).await.unwrap();
        test.platform
            .create_plan(&test.user, Plan { name: "small".parse().unwrap(), memory: 0, cpu_milli: 0, default: true })
            .await
            .unwrap();
        test.platform
            .create_pool(&test.user, Pool { name: "main".parse().unwrap(), default: true, public: true, teams: vec![] })
            .await
            .unwrap();
        test.platform.create_team(&test.user, "core".parse().unwrap(), vec![]).await.unwrap();
        test.platform
            .add_platform(&test.user, "python".parse().unwrap(), "FROM python", &Progress::silent())
            .await
            .unwrap();
        test.platform.create_service(&test.user, redis_manifest()).await.unwrap();
        test
    }

    fn assemble(
        engine: FakeEngine,
        routes: MemoryRoutes,
        brokers: Arc<FakeBrokers>,
        store: Arc<Fragile>,
        settings: Settings,
    ) -> Self {
        let adapters = Adapters {
            engine: Arc::new(engine.clone()),
            routes: Arc::new(routes.clone()),
            brokers: Arc::clone(&brokers) as _,
            store: Arc::clone(&store) as _,
        };
        let platform = Platform::new(adapters, settings.clone());
        let user = User { email: email("admin@example.com"), password: "".into(), admin: true, teams: vec![] };
        Self { platform, engine, routes, brokers, store, user, settings }
    }

    /// The same ports under a new process: what was in memory only is gone.
    pub(crate) async fn restart(self) -> Self {
        let next = Self::assemble(self.engine, self.routes, self.brokers, self.store, self.settings);
        next.platform.recover().await.unwrap();
        next
    }

    pub(crate) async fn app(&self, name: &str) -> App {
        self.platform.app(&self.user, &app_name(name)).await.unwrap()
    }

    pub(crate) async fn create_app(&self, name: &str) -> App {
        let new = NewApp { platform: Some("python".parse().unwrap()), ..NewApp::new(app_name(name)) };
        self.platform.create_app(&self.user, new).await.unwrap()
    }

    pub(crate) async fn deploy(&self, name: &str) -> Result<()> {
        self.deploy_source(name, archive()).await
    }

    pub(crate) async fn deploy_source(&self, name: &str, source: Source) -> Result<()> {
        let deploy = self.platform.begin_deploy(&self.user, &app_name(name), source, &Progress::silent()).await?;
        deploy.run().await
    }

    /// `blog`, deployed once, with that many units.
    pub(crate) async fn running_app(&self, units: u32) {
        self.create_app("blog").await;
        self.deploy("blog").await.unwrap();
        if units > 1 {
            let more = platform_core::Units::Add(units - 1);
            self.platform.scale(&self.user, &app_name("blog"), None, more, &Progress::silent()).await.unwrap();
        }
    }

    pub(crate) async fn create_instance(&self, name: &str) {
        self.platform.create_instance(&self.user, new_instance(name)).await.unwrap();
    }

    pub(crate) async fn bind(&self, instance: &str, app: &str) -> Result<()> {
        let how = platform_core::Binding::default();
        self.platform
            .bind_app(&self.user, &redis(), &instance_name(instance), &app_name(app), how, &Progress::silent())
            .await
    }

    pub(crate) async fn unbind(&self, instance: &str, app: &str) -> Result<()> {
        let how = platform_core::Unbinding::default();
        self.platform
            .unbind_app(&self.user, &redis(), &instance_name(instance), &app_name(app), how, &Progress::silent())
            .await
    }

    /// Units of `blog` that get requests.
    pub(crate) fn routed(&self) -> Vec<String> {
        let mut units: Vec<String> = self
            .routes
            .route("blog")
            .into_iter()
            .flat_map(|route| route.units)
            .map(|unit| unit.id.to_string())
            .collect();
        units.sort();
        units
    }

    /// Units of `blog` that exist.
    pub(crate) fn units(&self) -> Vec<String> {
        self.engine.units_of(&app_name("blog")).into_iter().map(|unit| unit.id.to_string()).collect()
    }

    /// Lets the reconciler end what was interrupted.
    pub(crate) async fn settled(&self) {
        let reconciler = tokio::spawn(Arc::clone(&self.platform).reconcile_forever());
        let running = platform_core::EventFilter { running: Some(true), ..Default::default() };
        while !self.platform.events(&self.user, &running).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        self.platform.idle(Duration::from_secs(5)).await;
        reconciler.abort();
    }

    /// Waits until the world is as `wanted`, driven by the reconciler.
    pub(crate) async fn reconciled(&self, wanted: impl Fn(&Self) -> bool) {
        let reconciler = tokio::spawn(Arc::clone(&self.platform).reconcile_forever());
        let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
        while !wanted(self) {
            assert!(
                tokio::time::Instant::now() < deadline,
                "the reconciler did not bring it about: units {:?}, routed {:?}",
                self.units(),
                self.routed()
            );
            tokio::task::yield_now().await;
        }
        self.platform.idle(Duration::from_secs(5)).await;
        reconciler.abort();
    }
}

/// A store in memory that can fail as a crash does: half-way, without an answer.
#[derive(Default)]
pub(crate) struct Fragile {
    records: MemoryStore,
    panics_at: Mutex<Option<(RecordKind, usize)>>,
}

impl Fragile {
    /// The next commit that touches such a record panics and changes nothing.
    pub(crate) fn panic_at(&self, kind: RecordKind) {
        self.panic_after(kind, 0);
    }

    /// The same, after so many such commits that go well.
    pub(crate) fn panic_after(&self, kind: RecordKind, commits: usize) {
        *self.panics_at.lock().unwrap() = Some((kind, commits));
    }
}

#[async_trait]
impl Store for Fragile {
    async fn get(&self, kind: RecordKind, key: &str) -> Result<Option<Record>, StoreError> {
        self.records.get(kind, key).await
    }

    async fn list(&self, kind: RecordKind, page: Page<'_>) -> Result<Vec<Record>, StoreError> {
        self.records.list(kind, page).await
    }

    async fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        let touched = |kind| writes.iter().any(|write| matches!(write, Write::Put { kind: put, .. } if *put == kind));
        let panics = self.panics_at.lock().unwrap().take_if(|(kind, left)| touched(*kind) && next(left)).is_some();
        assert!(!panics, "this commit was told to panic");
        self.records.commit(writes).await
    }
}

/// Whether it is this commit's turn; counts it otherwise.
fn next(left: &mut usize) -> bool {
    let is_next = *left == 0;
    *left = left.saturating_sub(1);
    is_next
}

pub(crate) fn archive() -> Source {
    Source::Archive { path: PathBuf::from("archive.tar.gz"), origin: Origin::AppDeploy, commit: String::new() }
}

pub(crate) fn processes(procfile: &str) -> Manifest {
    Manifest::parse(Some(procfile), None, &[]).unwrap()
}

pub(crate) fn redis() -> ServiceName {
    "redis".parse().unwrap()
}

pub(crate) fn redis_manifest() -> Manifesto {
    Manifesto {
        name: redis(),
        username: String::new(),
        password: "broker-password".into(),
        endpoints: [("production".to_owned(), "http://127.0.0.1:1".to_owned())].into(),
        encoding: None,
        team: Some("core".parse().unwrap()),
    }
}

pub(crate) fn new_instance(name: &str) -> NewInstance {
    NewInstance {
        service: redis(),
        name: instance_name(name),
        plan: String::new(),
        team: Some("core".parse().unwrap()),
        description: String::new(),
        tags: vec![],
        parameters: broker_core::Parameters::new(),
    }
}

pub(crate) fn app_name(name: &str) -> AppName {
    name.parse().unwrap()
}

pub(crate) fn instance_name(name: &str) -> InstanceName {
    name.parse().unwrap()
}

pub(crate) fn email(text: &str) -> Email {
    text.parse().unwrap()
}
