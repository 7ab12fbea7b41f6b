//! A small broker of tsuru's dialect that is right, or wrong in what one case asks for.

mod binds;
mod fields;
mod instances;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, Response, Uri},
};
use base64::Engine as _;
use broker_core::conformance::Variables;
use serde_json::{Value, json};

use fields::Fields;
use futures::StreamExt as _;

pub(crate) const USERNAME: &str = "scripted";
pub(crate) const PASSWORD: &str = "s3cret-of-the-script";
const PLANS: [&str; 2] = ["small", "slow"];
pub(crate) const PREFIX: &str = "/mounted/here";

type Reply = (u16, String);

fn no(text: &str) -> Reply {
    (400, text.to_owned())
}

fn crash() -> Reply {
    (500, "crash".to_owned())
}

fn ok() -> Reply {
    (200, String::new())
}

pub(crate) struct ScriptedBroker {
    address: std::net::SocketAddr,
    world: Arc<World>,
    task: tokio::task::JoinHandle<()>,
}

/// The broker's mistake, and what it has.
struct World {
    wrong: String,
    inner: Mutex<Inner>,
}

impl World {
    fn wrong(&self, mistake: &str) -> bool {
        self.wrong == mistake
    }

    /// Whether the mistake is that of a case, made in one place.
    fn wrong_in(&self, case: &str, place: &str) -> bool {
        self.wrong.strip_prefix(case).and_then(|rest| rest.strip_prefix(' ')) == Some(place)
    }
}

#[derive(Default)]
struct Inner {
    instances: BTreeMap<String, Instance>,
    burnt: Vec<String>,
    plans_asked: u32,
    statuses_asked: u32,
}

struct Instance {
    ready: Instant,
    shown: BTreeMap<String, String>,
    /// Passwords by consumer.
    bound: BTreeMap<String, String>,
    /// Consumers that were taken away.
    unbound: BTreeSet<String>,
    updates: u32,
    gone: bool,
    odd: bool,
}

/// What was asked.
struct Asked {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Asked {
    fn text(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn is_json(&self) -> bool {
        self.text("content-type").starts_with("application/json")
    }

    /// Method and path, with `x` for the name of an instance.
    fn place(&self) -> String {
        let mut parts: Vec<_> = self.path.split('/').collect();
        if let Some(name) = parts.get_mut(2).filter(|name| **name != "plans") {
            *name = "x";
        }
        format!("{} {}", self.method, parts.join("/"))
    }
}

impl ScriptedBroker {
    pub(crate) async fn start(wrong: &str) -> Self {
        let world = Arc::new(World { wrong: wrong.to_owned(), inner: Mutex::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(handle).with_state(world.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, world, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}{PREFIX}", self.address)
    }

    pub(crate) fn instances(&self) -> usize {
        self.world.inner.lock().unwrap().instances.values().filter(|instance| !instance.gone).count()
    }

    pub(crate) fn opens(&self, env: &Variables) -> bool {
        let inner = self.world.inner.lock().unwrap();
        let given = env.get("SECRET");
        inner.instances.values().any(|instance| instance.bound.values().any(|secret| Some(secret) == given))
    }
}

impl Drop for ScriptedBroker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn handle(
    State(world): State<Arc<World>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let path = uri.path().strip_prefix(PREFIX).unwrap_or("/nowhere").to_owned();
    let asked = Asked { method, path, headers, body };
    if let Some(response) = no_answer(&world, &asked) {
        return response;
    }
    if world.wrong("A81") && asked.path.ends_with("/bind-app") {
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let (status, body) = match authorize(&world, &asked) {
        Err(reply) => {
            if world.wrong("A9") && asked.method == Method::POST {
                drop(serve(&world, &asked));
            }
            reply
        }
        Ok(()) if redirects(&world, &asked) => (301, String::new()),
        Ok(()) => serve(&world, &asked),
    };
    let mut response = Response::builder().status(status);
    match status {
        401 if world.wrong("A6") => {}
        401 if world.wrong("A6 scheme") => response = response.header("www-authenticate", "Bearer"),
        401 => response = response.header("www-authenticate", "Basic realm=\"x\""),
        _ => {}
    }
    if world.wrong("A12") {
        response = response.header("content-encoding", "gzip");
    }
    response.body(Body::from(body)).unwrap()
}

/// Whether it sends a caller elsewhere that asks without an event, once there is an instance.
fn redirects(world: &World, asked: &Asked) -> bool {
    let has_instance = world.inner.lock().unwrap().statuses_asked > 0;
    world.wrong_in("A10", &asked.place()) && has_instance && !asked.headers.contains_key("x-tsuru-eventid")
}

/// An answer that is none, or can't be read.
fn no_answer(world: &World, asked: &Asked) -> Option<Response<Body>> {
    let closes = asked.text("connection") == "close";
    if world.wrong("A11") && closes {
        let endless = futures::stream::pending::<Result<Bytes, std::io::Error>>();
        return Some(Response::new(Body::from_stream(endless)));
    }
    if world.wrong("A11 cut") && closes {
        let end = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Err(std::io::Error::other("that was all"))
        };
        let begin = futures::stream::iter([Ok(Bytes::from_static(b"["))]);
        return Some(Response::new(Body::from_stream(begin.chain(futures::stream::once(end)))));
    }
    let zips = world.wrong("A12 unmarked") && !asked.text("accept-encoding").is_empty();
    zips.then(|| Response::new(Body::from(vec![0x1f, 0x8b, 8])))
}

fn authorize(world: &World, asked: &Asked) -> Result<(), Reply> {
    let wrong = |id: &str| world.wrong == id;
    let refused = || Err((401, if wrong("A109 401") { "" } else { "who are you?" }.to_owned()));
    if wrong("A1") || (wrong("A15") && asked.path == "/resources/plans") {
        return Err((if wrong("A1") { 403 } else { 404 }, "no".to_owned()));
    }
    if !asked.headers.contains_key("authorization") {
        return if wrong("A2") || world.wrong_in("A8", &asked.place()) { Ok(()) } else { refused() };
    }
    let (scheme, rest) = asked.text("authorization").split_once(' ').unwrap_or_default();
    if scheme == "Bearer" && wrong("A5") {
        return Ok(());
    }
    if !(scheme == "Basic" || (scheme == "basic" && !wrong("A7"))) {
        return refused();
    }
    let pair = base64::engine::general_purpose::STANDARD.decode(rest).unwrap_or_default();
    let pair = String::from_utf8(pair).unwrap_or_default();
    let (user, password) = pair.split_once(':').unwrap_or_default();
    if (user == USERNAME || wrong("A4")) && (password == PASSWORD || wrong("A3")) { Ok(()) } else { refused() }
}

fn serve(world: &World, asked: &Asked) -> Reply {
    let mut inner = world.inner.lock().unwrap();
    let parts: Vec<_> = asked.path.trim_start_matches('/').split('/').collect();
    let fields = fields::read(world, asked);
    match (asked.method.as_str(), parts.as_slice(), fields) {
        ("GET", ["resources", "plans"], _) => plans(world, &mut inner, &asked.headers),
        (_, ["resources", "plans"], _) if world.wrong("A17 plans") => crash(),
        (_, ["resources", "plans"], _) => (405, String::new()),
        (_, ["resources", ..], Err(reply)) => reply,
        ("POST", ["resources"], Ok(fields)) => instances::create(world, &mut inner, asked, &fields),
        (method, ["resources", name, rest @ ..], Ok(fields)) => {
            let known = inner.instances.get(*name).is_some_and(|instance| !instance.gone || world.wrong("A103"));
            if !known {
                return unknown(world, method, rest);
            }
            inner.statuses_asked += 1;
            let nth = inner.statuses_asked;
            let instance = inner.instances.get_mut(*name).unwrap();
            instances::serve(world, instance, asked, name, rest, &fields, nth)
        }
        _ => (404, String::new()),
    }
}

/// What is said of an instance that is not there.
fn unknown(world: &World, method: &str, rest: &[&str]) -> Reply {
    match (method, rest, world.wrong.as_str()) {
        ("PUT", [], "A48") | ("DELETE", ["bind-app"], "A88") => ok(),
        ("GET", [], "A57") => (200, "[]".to_owned()),
        ("GET", [], "A58") => (410, "gone".to_owned()),
        ("GET", ["status"], "A61") => (200, "up".to_owned()),
        ("POST", ["bind"], "A70") => (201, "{}".to_owned()),
        ("POST", ["bind-app"], "A69") | ("PUT", ["binds", "jobs", _], "A99") | ("DELETE", [], "A102") => crash(),
        ("POST", ["bind-app"], "A109 unknown") => (422, String::new()),
        _ => (404, "no such instance".to_owned()),
    }
}

fn plans(world: &World, inner: &mut Inner, headers: &HeaderMap) -> Reply {
    inner.plans_asked += 1;
    let pooled = headers.contains_key("x-tsuru-pool-name");
    let schema = match world.wrong.as_str() {
        "A22" => json!({"x": 1}),
        "A22 text" => json!("type"),
        _ => json!({"type": "object"}),
    };
    let plan = |name: &str| json!({"name": name, "description": "d", "schemas": {"service_instance": {"create": {"parameters": schema}}}});
    let mut list: Vec<_> = PLANS.iter().map(|name| plan(name)).collect();
    match world.wrong.as_str() {
        "A18" => return (200, "{}".to_owned()),
        "A18 texts" => return (200, "[\"small\"]".to_owned()),
        "A19" => list.push(json!({"description": "d"})),
        "A19 empty" => list.push(plan("")),
        "A20" => list.push(plan("small")),
        "A20 description" => list.push(json!({"name": "mute"})),
        "A21" => list.push(plan(&format!("n{}", inner.plans_asked))),
        "A21 status" if inner.plans_asked % 2 == 0 => return (203, Value::from(list).to_string()),
        "A23" if !pooled => return (400, "{\"msg\":\"?\"}".to_owned()),
        "A23 status" if !pooled => return (500, "{\"missing_params\":[\"cluster\"]}".to_owned()),
        "A24" if pooled => return crash(),
        "A25 plans" if !inner.burnt.is_empty() => list.clear(),
        _ => {}
    }
    (200, Value::from(list).to_string())
}
