//! A small broker of the Open Service Broker API that is right, or wrong in what one case asks for.

mod bindings;
mod catalog;
mod instances;
mod state;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, Response, Uri},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use broker_core::conformance::Variables;
use serde_json::{Value, json};

use crate::tsuru::{PASSWORD, USERNAME};
use state::Inner;

pub(crate) struct OsbBroker {
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

/// What was asked.
struct Asked {
    method: Method,
    /// Its steps, decoded.
    path: Vec<String>,
    query: BTreeMap<String, String>,
    headers: HeaderMap,
    body: Bytes,
}

impl Asked {
    fn text(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn query(&self, name: &str) -> &str {
        self.asks(name).unwrap_or_default()
    }

    fn asks(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// Method and last step of the path's shape.
    fn place(&self) -> String {
        let shape: &[_] = &["v2", "instance", "x", "binding", "x"];
        let last = self.path.last().map_or("", String::as_str);
        let what = match last {
            "catalog" => "catalog".to_owned(),
            "last_operation" => format!("{}/last_operation", shape[self.path.len().saturating_sub(3).min(4)]),
            _ => shape[self.path.len().saturating_sub(2).min(4)].to_owned(),
        };
        format!("{} {what}", self.method)
    }
}

/// A status and a body; `Null` is none at all.
type Reply = (u16, Value);

fn no(status: u16, description: &str) -> Reply {
    (status, json!({ "description": description }))
}

/// A list where an object is asked for.
fn listed(status: u16) -> Reply {
    (status, json!([]))
}

fn coded(error: &str) -> Reply {
    (422, json!({ "error": error, "description": "not now" }))
}

fn crash() -> Reply {
    no(500, "crash")
}

impl OsbBroker {
    pub(crate) async fn start(wrong: &str) -> Self {
        let world = Arc::new(World { wrong: wrong.to_owned(), inner: Mutex::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(handle).with_state(world.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, world, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn instances(&self) -> usize {
        self.world.inner.lock().unwrap().instances.len()
    }

    pub(crate) fn opens(&self, env: &Variables) -> bool {
        env.get("PASSWORD").is_some_and(|given| self.world.inner.lock().unwrap().opens(given))
    }
}

impl Drop for OsbBroker {
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
    let raw = uri.path().trim_start_matches('/').split('/');
    let verbatim = world.wrong("O44") || world.wrong("O130");
    let path = raw.map(|step| if verbatim { step.to_owned() } else { decoded(step) }).collect();
    let query = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let asked = Asked { method, path, query, headers, body };
    let mut reply = match guard(&world, &asked) {
        Some(refusal) => {
            if (refusal.0 == 401 && world.wrong("O20")) || (refusal.0 == 412 && world.wrong("O25")) {
                drop(serve(&world, &asked));
            }
            refusal
        }
        None => serve(&world, &asked),
    };
    if reply.0 >= 400 && reply.0 != 401 {
        spoil(&world, &mut reply);
    }
    answer(&world, &asked, &reply)
}

fn decoded(step: &str) -> String {
    let pairs = url::form_urlencoded::parse(format!("x={step}").as_bytes()).into_owned().next();
    pairs.map(|(_, value)| value).unwrap_or_default()
}

/// What is wrong with refusals themselves.
fn spoil(world: &World, reply: &mut Reply) {
    match world.wrong.as_str() {
        "O30 crash" if reply.0 == 400 => reply.0 = 500,
        "O180" => reply.1 = json!({ "message": "no" }),
        "O180 empty" => reply.1["description"] = "".into(),
        "O180 list" => reply.1 = json!([]),
        "O181" => reply.1["error"] = "not a word".into(),
        "O181 empty" => reply.1["error"] = "".into(),
        "O181 number" => reply.1["error"] = 7.into(),
        "O182 bind" => {
            let inner = world.inner.lock().unwrap();
            let mut bound = inner.instances.values().flat_map(|instance| instance.bindings.values());
            if let Some(binding) = bound.next() {
                reply.1["description"] = format!("{} is taken", binding.password).into();
            }
        }
        "O182" => reply.1["description"] = format!("login with {PASSWORD} failed").into(),
        "O183" if reply.0 == 409 => reply.0 = 500,
        _ => {}
    }
}

fn answer(world: &World, asked: &Asked, reply: &Reply) -> Response<Body> {
    let (status, body) = reply;
    let mut response = Response::builder().status(*status);
    let refused = *status >= 400;
    let silent = if refused { "O30" } else { "O29" };
    if let Some(identity) = asked.headers.get("x-broker-api-request-identity").filter(|_| !world.wrong(silent)) {
        response = response.header("x-broker-api-request-identity", identity);
    }
    let is_text = (world.wrong("O184") && refused) || (world.wrong("O14") && !refused);
    response = response.header("content-type", if is_text { "text/plain" } else { "application/json" });
    if asked.path.last().is_some_and(|step| step == "catalog") {
        response = response.header("etag", catalog::TAG);
    }
    if body["state"] == "in progress" {
        response = response.header("retry-after", if world.wrong("O110") { "soon" } else { "1" });
    }
    response.body(if body.is_null() { Body::empty() } else { Body::from(body.to_string()) }).unwrap()
}

/// Who is not let in.
fn guard(world: &World, asked: &Asked) -> Option<Reply> {
    let pair = asked.text("authorization").and_then(|header| header.strip_prefix("Basic "));
    let pair = pair.and_then(|coded| String::from_utf8(STANDARD.decode(coded).ok()?).ok()).unwrap_or_default();
    let (user, password) = pair.split_once(':').unwrap_or_default();
    let place = asked.place();
    let open = (world.wrong_in("O17", &place) && pair.is_empty())
        || (world.wrong_in("O18", &place) && password == PASSWORD)
        || (world.wrong_in("O19", &place) && user == USERNAME)
        || (world.wrong("O20 open") && pair.is_empty());
    if !open && (user, password) != (USERNAME, PASSWORD) {
        return Some(no(401, "who are you?"));
    }
    let old = || Some(no(412, "this is 2.17"));
    match asked.text("x-broker-api-version") {
        None if world.wrong_in("O21", &place) => {}
        Some("2.99") if world.wrong("O23") => return old(),
        Some("2.13") if world.wrong("O24") => return Some(crash()),
        Some(version) if version.starts_with("2.") => {}
        Some("1.0") if world.wrong_in("O22", &place) || world.wrong("O25 open") => {}
        Some("3.0") if world.wrong("O22 newer") => {}
        _ => return old(),
    }
    let (platform, value) = asked.text("x-broker-api-originating-identity")?.split_once(' ').unwrap_or_default();
    let known = STANDARD.decode(value).is_ok_and(|json| serde_json::from_slice::<Value>(&json).is_ok());
    let refused = (world.wrong("O26") && known) || (world.wrong("O27") && platform == "conf-platform");
    let malformed = match (value, STANDARD.decode(value)) {
        ("", _) => "O28",
        (_, Err(_)) => "O28 base64",
        (_, Ok(_)) => "O28 json",
    };
    match known {
        false if world.wrong(malformed) => Some(crash()),
        false => Some(no(400, "who is that?")),
        true => refused.then(|| no(400, "who is that?")),
    }
}

fn serve(world: &World, asked: &Asked) -> Reply {
    let mut inner = world.inner.lock().unwrap();
    inner.settle(world);
    let path: Vec<_> = asked.path.iter().map(String::as_str).collect();
    match (asked.method.as_str(), path.as_slice()) {
        ("GET", ["v2", "catalog"]) => catalog::show(world, &mut inner, asked),
        ("POST", ["v2", "catalog"]) if world.wrong("O186") => (200, json!({})),
        (_, ["v2", "catalog"]) => no(405, "GET it"),
        (_, ["v2", "service_instances", id]) => instances::serve(world, &mut inner, asked, id),
        ("GET", ["v2", "service_instances", id, "last_operation"]) => {
            instances::last_operation(world, &mut inner, asked, id)
        }
        (_, ["v2", "service_instances", of, "service_bindings", id]) => {
            bindings::serve(world, &mut inner, asked, of, id)
        }
        ("GET", ["v2", "service_instances", of, "service_bindings", id, "last_operation"]) => {
            bindings::last_operation(world, &mut inner, asked, of, id)
        }
        _ if world.wrong("O185") => (200, json!({})),
        _ => no(404, "no such path"),
    }
}
