//! An API over a platform on in-memory ports, and answers that can be asked about.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, BodyDataStream},
    http::{Request, Response, StatusCode, header},
};
use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use platform_api::{ApiInfo, router};
use platform_core::{
    Adapters, Manifest, Manifesto, NewApp, NewInstance, Plan, Platform, Pool, Progress, Secret, Settings, Source, User,
    testing::{brokers::FakeBrokers, engine::FakeEngine, routes::MemoryRoutes, store::MemoryStore},
};
use serde_json::Value;
use tower::ServiceExt as _;

pub(crate) const ADMIN: &str = "admin@example.com";
pub(crate) const BOB: &str = "bob@example.com";

/// Nothing here takes longer, unless something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Plan `small`, pool `main`, team `core`, platform `python`, service `redis`; `admin` and, in no team, `bob`.
pub(crate) struct TestApi {
    pub(crate) platform: Arc<Platform>,
    pub(crate) engine: FakeEngine,
    pub(crate) routes: MemoryRoutes,
    pub(crate) brokers: Arc<FakeBrokers>,
    pub(crate) router: Router,
    pub(crate) token: String,
    pub(crate) user: User,
}

impl TestApi {
    pub(crate) async fn start() -> Self {
        Self::with(ApiInfo::default()).await
    }

    pub(crate) async fn with(info: ApiInfo) -> Self {
        let settings = Settings {
            lock_wait: Duration::from_millis(50),
            drain_within: Duration::from_millis(500),
            domain: "apps.example.com".to_owned(),
            ..Settings::default()
        };
        let (engine, routes, brokers) = (FakeEngine::new(), MemoryRoutes::new(), Arc::new(FakeBrokers::new()));
        let adapters = Adapters {
            engine: Arc::new(engine.clone()),
            routes: Arc::new(routes.clone()),
            brokers: Arc::clone(&brokers) as _,
            store: Arc::new(MemoryStore::new()),
        };
        let platform = Platform::new(adapters, settings);
        platform.create_user(ADMIN.parse().unwrap(), "secret-1".into(), true).await.unwrap();
        platform.create_user(BOB.parse().unwrap(), "secret-2".into(), false).await.unwrap();
        let token = platform.login(&ADMIN.parse().unwrap(), "secret-1".into()).await.unwrap();
        let user = platform.authenticate(&token).await.unwrap();
        prepare(&platform, &user).await;
        let router = router(Arc::clone(&platform), info);
        Self { platform, engine, routes, brokers, router, token: token.expose().to_owned(), user }
    }

    /// The same API as `bob` sees it.
    pub(crate) async fn as_bob(&self) -> String {
        let token: Secret = self.platform.login(&BOB.parse().unwrap(), "secret-2".into()).await.unwrap();
        token.expose().to_owned()
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        Answer::read(self.answer(request).await).await
    }

    /// The answer with its body unread.
    pub(crate) async fn answer(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.expect("the API answers everything")
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> axum::http::request::Builder {
        Request::builder().method(method).uri(path).header(header::AUTHORIZATION, format!("bearer {}", self.token))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request("DELETE", path).body(Body::empty()).unwrap()).await
    }

    pub(crate) fn form(&self, method: &str, path: &str, form: &str) -> Request<Body> {
        let request = self.request(method, path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        request.body(Body::from(form.to_owned())).unwrap()
    }

    pub(crate) async fn post(&self, path: &str, form: &str) -> Answer {
        self.send(self.form("POST", path, form)).await
    }

    pub(crate) async fn put(&self, path: &str, form: &str) -> Answer {
        self.send(self.form("PUT", path, form)).await
    }

    pub(crate) async fn json(&self, method: &str, path: &str, body: Value) -> Answer {
        let request = self.request(method, path).header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    /// A multipart form; a part with a file name is a file.
    pub(crate) fn multipart(&self, method: &str, path: &str, parts: &[(&str, Option<&str>, &str)]) -> Request<Body> {
        let mut body = String::new();
        for (name, file, content) in parts {
            let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
            body += &format!("--b1\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{content}\r\n");
        }
        body += "--b1--\r\n";
        let request = self.request(method, path).header(header::CONTENT_TYPE, "multipart/form-data; boundary=b1");
        request.body(Body::from(body)).unwrap()
    }

    /// App `blog` on platform `python`, not deployed.
    pub(crate) async fn create_app(&self) {
        let new = NewApp {
            platform: Some("python".parse().unwrap()),
            team: Some("core".parse().unwrap()),
            ..NewApp::new("blog".parse().unwrap())
        };
        self.platform.create_app(&self.user, new).await.unwrap();
    }

    /// App `blog`, deployed, with one unit of `web`.
    pub(crate) async fn running_app(&self) {
        self.create_app().await;
        self.deploy().await;
    }

    pub(crate) async fn deploy(&self) {
        let source = Source::Image("registry/blog".to_owned());
        let app = "blog".parse().unwrap();
        let deploy = self.platform.begin_deploy(&self.user, &app, source, &Progress::silent()).await.unwrap();
        deploy.run().await.unwrap();
    }

    /// From now on deploys give these processes.
    pub(crate) fn builds_give(&self, procfile: &str) {
        self.engine.builds_give(Manifest::parse(Some(procfile), None, &[]).unwrap());
    }

    /// Instance `cache` of `redis`.
    pub(crate) async fn create_instance(&self) {
        let new = NewInstance {
            service: "redis".parse().unwrap(),
            name: "cache".parse().unwrap(),
            plan: "small".to_owned(),
            team: Some("core".parse().unwrap()),
            description: String::new(),
            tags: vec![],
            parameters: broker_core::Parameters::new(),
        };
        self.platform.create_instance(&self.user, new).await.unwrap();
    }

    /// Units of `blog` that exist.
    pub(crate) fn units(&self) -> usize {
        self.engine.units_of(&"blog".parse().unwrap()).len()
    }

    /// What an event of that kind said, once it ended.
    pub(crate) async fn event_error(&self, kind: &str) -> Option<String> {
        let events = self.get(&format!("/1.1/events?kindname={kind}")).await;
        if events.status == StatusCode::NO_CONTENT {
            return None;
        }
        let event = events.value()[0].clone();
        (event["Running"] == false).then(|| event["Error"].as_str().unwrap().to_owned())
    }
}

async fn prepare(platform: &Arc<Platform>, user: &User) {
    let plan = Plan { name: "small".parse().unwrap(), memory: 268_435_456, cpu_milli: 100, default: true };
    platform.create_plan(user, plan).await.unwrap();
    let pool = Pool { name: "main".parse().unwrap(), default: true, public: true, teams: vec![] };
    platform.create_pool(user, pool).await.unwrap();
    platform.create_team(user, "core".parse().unwrap(), vec![]).await.unwrap();
    let silent = Progress::silent();
    platform.add_platform(user, "python".parse().unwrap(), "FROM python", &silent).await.unwrap();
    let manifest = Manifesto {
        name: "redis".parse().unwrap(),
        username: String::new(),
        password: "broker-password".into(),
        endpoints: [("production".to_owned(), "http://127.0.0.1:1".to_owned())].into(),
        encoding: None,
        team: Some("core".parse().unwrap()),
    };
    platform.create_service(user, manifest).await.unwrap();
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: header::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) async fn read(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let body = tokio::time::timeout(PATIENCE * 10, body.collect()).await.expect("an answer that ends").unwrap();
        let body = String::from_utf8(body.to_bytes().to_vec()).expect("text");
        Self { status: parts.status, headers: parts.headers, body }
    }

    #[track_caller]
    pub(crate) fn is(&self, status: u16) -> &Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self
    }

    /// A refusal: plain text of this sentence and a line break (contract 1.4).
    #[track_caller]
    pub(crate) fn says(&self, sentence: &str) -> &Self {
        assert_eq!(self.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(self.body, format!("{sentence}\n"));
        self
    }

    #[track_caller]
    pub(crate) fn has(&self, text: &str) -> &Self {
        assert!(self.body.contains(text), "{} does not have {text}", self.body);
        self
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn value(&self) -> Value {
        assert!(self.status.is_success(), "{} {}", self.status, self.body);
        serde_json::from_str(&self.body).unwrap_or_else(|reason| panic!("{reason}: {}", self.body))
    }

    /// The messages of a JSON stream.
    #[track_caller]
    pub(crate) fn messages(&self) -> Vec<Value> {
        assert_eq!(self.header("content-type"), "application/x-json-stream");
        let lines = self.body.lines().filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_str(line).unwrap_or_else(|reason| panic!("{reason}: {line}"))).collect()
    }

    /// A JSON stream's texts, one after the other.
    #[track_caller]
    pub(crate) fn told(&self) -> String {
        self.messages().iter().map(|message| message["Message"].as_str().unwrap()).collect()
    }
}

/// A body that is read while it comes.
pub(crate) struct Reading {
    body: BodyDataStream,
    patience: Duration,
    pub(crate) text: String,
}

impl Reading {
    pub(crate) fn of(response: Response<Body>) -> Self {
        Self { body: response.into_body().into_data_stream(), patience: PATIENCE, text: String::new() }
    }

    /// Waits for minutes: where time is made to pass, they cost nothing.
    pub(crate) fn patient(&mut self) -> &mut Self {
        self.patience = PATIENCE * 20;
        self
    }

    /// Reads on until this was read.
    pub(crate) async fn until(&mut self, wanted: &str) {
        while !self.text.contains(wanted) {
            let next = tokio::time::timeout(self.patience, self.body.next()).await;
            let next = next.unwrap_or_else(|_| panic!("{wanted:?} did not come: {:?}", self.text));
            let chunk = next.unwrap_or_else(|| panic!("it ended before {wanted:?}: {:?}", self.text)).unwrap();
            self.text += std::str::from_utf8(&chunk).unwrap();
        }
    }

    pub(crate) async fn rest(mut self) -> String {
        while let Some(chunk) = tokio::time::timeout(self.patience, self.body.next()).await.expect("it ends") {
            self.text += std::str::from_utf8(&chunk.unwrap()).unwrap();
        }
        self.text
    }
}

/// Waits until it is so.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(tokio::time::Instant::now() < deadline, "it never came to be: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
