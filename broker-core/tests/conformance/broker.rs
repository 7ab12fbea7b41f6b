//! A small broker that is right, or wrong in what one case asks for.

use std::{
    collections::BTreeMap,
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

pub(crate) const USERNAME: &str = "scripted";
pub(crate) const PASSWORD: &str = "s3cret-of-the-script";
const PLANS: [&str; 2] = ["small", "slow"];
pub(crate) const PREFIX: &str = "/mounted/here";

type Fields = Vec<(String, String)>;
type Reply = (u16, String);

pub(crate) struct ScriptedBroker {
    address: std::net::SocketAddr,
    world: Arc<World>,
    task: tokio::task::JoinHandle<()>,
}

struct World {
    wrong: String,
    inner: Mutex<Inner>,
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
    updates: u32,
    gone: bool,
    odd: bool,
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
    let wrong = |id: &str| world.wrong == id;
    let path = uri.path().strip_prefix(PREFIX).unwrap_or("/nowhere").to_owned();
    if wrong("A11") && headers.get("connection").is_some_and(|value| value == "close") {
        let endless = futures::stream::pending::<Result<Bytes, std::io::Error>>();
        return Response::new(Body::from_stream(endless));
    }
    if wrong("A81") && path.ends_with("/bind-app") {
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let (status, body) = match authorize(&world, &method, &path, &headers) {
        Err(reply) => {
            if wrong("A9") && method == Method::POST {
                drop(serve(&world, &method, &path, &headers, &body));
            }
            reply
        }
        Ok(()) => serve(&world, &method, &path, &headers, &body),
    };
    let mut response = Response::builder().status(status);
    if status == 401 && !wrong("A6") {
        response = response.header("www-authenticate", "Basic realm=\"x\"");
    }
    if wrong("A12") {
        response = response.header("content-encoding", "gzip");
    }
    response.body(Body::from(body)).unwrap()
}

fn authorize(world: &World, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), Reply> {
    let wrong = |id: &str| world.wrong == id;
    let refused = || Err((401, "who are you?".to_owned()));
    if wrong("A1") || (wrong("A15") && path == "/resources/plans") {
        return Err((if wrong("A1") { 403 } else { 404 }, "no".to_owned()));
    }
    let Some(header) = headers.get("authorization").and_then(|value| value.to_str().ok()) else {
        let open = wrong("A2") || (wrong("A8") && path.ends_with("/status"));
        return if open { Ok(()) } else { refused() };
    };
    let (scheme, rest) = header.split_once(' ').unwrap_or((header, ""));
    if scheme == "Bearer" && wrong("A5") {
        return Ok(());
    }
    if !(scheme == "Basic" || (scheme == "basic" && !wrong("A7"))) {
        return refused();
    }
    let pair = base64::engine::general_purpose::STANDARD.decode(rest).unwrap_or_default();
    let pair = String::from_utf8(pair).unwrap_or_default();
    let (user, password) = pair.split_once(':').unwrap_or_default();
    let _ = method;
    if (user == USERNAME || wrong("A4")) && (password == PASSWORD || wrong("A3")) { Ok(()) } else { refused() }
}

fn serve(world: &World, method: &Method, path: &str, headers: &HeaderMap, body: &[u8]) -> Reply {
    let wrong = |id: &str| world.wrong == id;
    let mut inner = world.inner.lock().unwrap();
    let parts: Vec<_> = path.trim_start_matches('/').split('/').collect();
    let kind = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let is_json = kind.starts_with("application/json");
    let fields = fields(world, &kind, body);
    match (method.as_str(), parts.as_slice()) {
        ("GET", ["resources", "plans"]) => plans(world, &mut inner, headers),
        ("POST", ["resources"]) => match fields {
            Err(reply) => reply,
            Ok(fields) => create(world, &mut inner, headers, &fields, is_json),
        },
        (_, ["resources", "plans"]) => (405, String::new()),
        (method, ["resources", name, rest @ ..]) => {
            let fields = match fields {
                Ok(fields) => fields,
                Err(reply) => return reply,
            };
            let known = inner.instances.get(*name).is_some_and(|instance| !instance.gone || wrong("A103"));
            if !known {
                return match (method, rest) {
                    ("PUT", []) if wrong("A48") => (200, String::new()),
                    ("GET", []) if wrong("A57") => (200, "[]".to_owned()),
                    ("GET", []) if wrong("A58") => (410, "gone".to_owned()),
                    ("GET", ["status"]) if wrong("A61") => (200, "up".to_owned()),
                    ("POST", ["bind-app"]) if wrong("A69") => (500, "crash".to_owned()),
                    ("POST", ["bind"]) if wrong("A70") => (201, "{}".to_owned()),
                    ("DELETE", ["bind-app"]) if wrong("A88") => (200, String::new()),
                    ("PUT", ["binds", "jobs", _]) if wrong("A99") => (500, "crash".to_owned()),
                    ("DELETE", []) if wrong("A102") => (500, "crash".to_owned()),
                    _ => (404, "no such instance".to_owned()),
                };
            }
            let asked = &mut inner.statuses_asked;
            *asked += 1;
            let asked = *asked;
            let instance = inner.instances.get_mut(*name).unwrap();
            instances(world, instance, method, name, rest, &fields, is_json, body, asked)
        }
        _ => (404, String::new()),
    }
}

fn plans(world: &World, inner: &mut Inner, headers: &HeaderMap) -> Reply {
    inner.plans_asked += 1;
    let pooled = headers.contains_key("x-tsuru-pool-name");
    let schema = if world.wrong == "A22" { json!({"x": 1}) } else { json!({"type": "object"}) };
    let plan = |name: &str| json!({"name": name, "description": "d", "schemas": {"service_instance": {"create": {"parameters": schema}}}});
    let mut list: Vec<_> = PLANS.iter().map(|name| plan(name)).collect();
    match world.wrong.as_str() {
        "A18" => return (200, "{}".to_owned()),
        "A19" => list.push(json!({"description": "d"})),
        "A20" => list.push(plan("small")),
        "A21" => list.push(plan(&format!("n{}", inner.plans_asked))),
        "A23" if !pooled => return (400, "{\"msg\":\"?\"}".to_owned()),
        "A24" if pooled => return (500, "crash".to_owned()),
        _ => {}
    }
    (200, Value::from(list).to_string())
}

fn fields(world: &World, kind: &str, body: &[u8]) -> Result<Fields, Reply> {
    let wrong = |id: &str| world.wrong == id;
    let text = String::from_utf8_lossy(body).into_owned();
    if kind.starts_with("application/json") {
        let value: Value = match serde_json::from_str(&text) {
            Ok(value) => value,
            Err(_) if wrong("A112") => return Err((201, String::new())),
            Err(_) => return Err((400, "that is no JSON".to_owned())),
        };
        let mut fields = Fields::new();
        flatten("", &value, &mut fields);
        return Ok(fields
            .into_iter()
            .filter(|(key, _)| !(wrong("A42") && key.ends_with(".0")))
            .map(|(key, value)| (if key == "appName" { "app-name".to_owned() } else { key }, value))
            .collect());
    }
    if !kind.is_empty() && !kind.starts_with("application/x-www-form-urlencoded") {
        return Err(if wrong("A114") { (201, String::new()) } else { (415, "a form or JSON, please".to_owned()) });
    }
    if wrong("A113") && kind.contains("charset") {
        return Err((415, "no charsets".to_owned()));
    }
    if text.contains("%zz") {
        return Err(if wrong("A111") { (201, String::new()) } else { (400, "malformed".to_owned()) });
    }
    let decoded = url::form_urlencoded::parse(body).into_owned();
    Ok(decoded.map(|(key, value)| (key.replace("a\\.b", if wrong("A39") { "?" } else { "a.b" }), value)).collect())
}

fn flatten(prefix: &str, value: &Value, fields: &mut Fields) {
    let at = |key: &str| if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| flatten(&at(key), value, fields)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| flatten(&at(&index.to_string()), value, fields));
        }
        Value::String(text) => fields.push((prefix.to_owned(), text.clone())),
        other => fields.push((prefix.to_owned(), other.to_string())),
    }
}

fn field<'f>(fields: &'f Fields, key: &str) -> Option<&'f str> {
    fields.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

fn create(world: &World, inner: &mut Inner, headers: &HeaderMap, fields: &Fields, is_json: bool) -> Reply {
    let wrong = |id: &str| world.wrong == id;
    let no = |text: &str| (400, text.to_owned());
    let name = match field(fields, "name") {
        None => return if wrong("A30") { (500, "crash".to_owned()) } else { no("no name") },
        Some("") => return if wrong("A31") { (500, "crash".to_owned()) } else { no("empty name") },
        Some("plans") if !wrong("A25") => return no("that name is taken"),
        Some(name) => name.to_owned(),
    };
    let plan = field(fields, "plan").unwrap_or("small").to_owned();
    let has = |key: &str| fields.iter().any(|(name, _)| name == key);
    let user = headers.get("x-tsuru-user");
    let crash = wrong("A26")
        || (wrong("A13") && user.is_none())
        || (wrong("A14") && user.is_some_and(|user| user.is_empty()))
        || (wrong("A33") && !has("plan"))
        || (wrong("A34") && has("description"))
        || (wrong("A35") && has("no-such-field"))
        || (wrong("A36") && has("parameters."))
        || (wrong("A37") && has("parameters.unknown.deep.0"))
        || (wrong("A41") && is_json)
        || (wrong("A43") && name.contains('_'))
        || (wrong("A44") && name.len() > 100)
        || (wrong("A46") && inner.burnt.contains(&name));
    if crash {
        return (500, "crash".to_owned());
    }
    if !PLANS.contains(&plan.as_str()) && !wrong("A32") {
        inner.burnt.push(name);
        return match world.wrong.as_str() {
            "A109" => no(""),
            "A110" => no(&format!("login with {PASSWORD} failed")),
            _ => no("no such plan"),
        };
    }
    let known = inner.instances.get_mut(&name);
    if let Some(known) = known.filter(|known| !known.gone || wrong("A104")) {
        known.odd = wrong("A29");
        return if wrong("A28") || wrong("A45") { (201, String::new()) } else { (409, "it exists".to_owned()) };
    }
    let mut shown = BTreeMap::from([("plan".to_owned(), plan.clone())]);
    for (key, value) in fields.iter().filter_map(|(key, value)| Some((key.strip_prefix("parameters.")?, value))) {
        let (key, separator) = match key.strip_suffix(".0").or_else(|| key.strip_suffix(".1")) {
            Some(key) => (key, ","),
            None => (key, ""),
        };
        let value = if value == "1e+06" && !wrong("A38") { "1000000" } else { value };
        if wrong("A40") && separator == "," && !is_json {
            continue;
        }
        shown.entry(key.to_owned()).or_default().push_str(&format!("{value}{separator}"));
    }
    shown.remove("");
    let slow = Duration::from_secs(if plan == "slow" { 2 } else { 0 });
    let ready = Instant::now() + if wrong("A62") { Duration::from_secs(60) } else { slow };
    inner
        .instances
        .insert(name, Instance { ready, shown, bound: BTreeMap::new(), updates: 0, gone: false, odd: false });
    (if wrong("A27") { 200 } else { 201 }, String::new())
}

#[expect(clippy::too_many_arguments, reason = "all that a request has")]
fn instances(
    world: &World,
    instance: &mut Instance,
    method: &str,
    name: &str,
    rest: &[&str],
    fields: &Fields,
    is_json: bool,
    body: &[u8],
    asked: u32,
) -> Reply {
    let wrong = |id: &str| world.wrong == id;
    let ok = || (200, String::new());
    let crash = || (500, "crash".to_owned());
    let ready = Instant::now() >= instance.ready;
    let has = |key: &str| fields.iter().any(|(field, _)| field == key);
    match (method, rest) {
        ("GET", []) => info(world, instance),
        ("GET", ["status"]) if wrong("A59") => (503, String::new()),
        ("GET", ["status"]) if wrong("A63") && asked % 4 == 3 => (200, "busy".to_owned()),
        ("GET", ["status"]) if instance.odd => (204, String::new()),
        ("GET", ["status"]) if !ready => (202, String::new()),
        ("GET", ["status"]) => (200, if wrong("A60") { "up\n" } else { "up" }.to_owned()),
        ("PUT", []) => {
            let plan = field(fields, "plan").unwrap_or_default();
            instance.updates += 1;
            let tags = fields.iter().filter(|(key, _)| key == "tags").count();
            if wrong("A47")
                || (wrong("A49") && plan.is_empty())
                || (wrong("A51") && instance.updates > 1)
                || (wrong("A52") && is_json)
                || (wrong("A53") && tags == 3)
            {
                return crash();
            }
            if !plan.is_empty() && !PLANS.contains(&plan) && !wrong("A50") {
                return (400, "no such plan".to_owned());
            }
            ok()
        }
        ("DELETE", []) => {
            if wrong("A101")
                || (wrong("A105") && !instance.bound.is_empty())
                || (wrong("A106") && is_json)
                || (wrong("A108") && body.is_empty())
            {
                return crash();
            }
            instance.gone = !wrong("A107") || ready;
            if instance.gone {
                instance.bound.clear();
            }
            ok()
        }
        ("POST", ["bind-app"]) => bind(world, instance, name, "app", fields, is_json, ready),
        ("POST", ["bind"]) if wrong("A10") => (301, String::new()),
        ("POST", ["bind"]) if has("unit-host") => {
            if wrong("A83") {
                crash()
            } else {
                ok()
            }
        }
        ("POST", ["bind"]) if wrong("A85") => crash(),
        ("POST", ["bind"]) => bind(world, instance, name, "app", fields, is_json, ready),
        ("DELETE", ["bind"]) => {
            if wrong("A84") {
                crash()
            } else {
                ok()
            }
        }
        ("DELETE", ["bind-app"]) => unbind(world, instance, fields, is_json),
        ("PUT", ["binds", "jobs", _]) if wrong("A95") || (wrong("A100") && is_json) => crash(),
        ("PUT", ["binds", "jobs", job]) => {
            let fields = vec![("app-name".to_owned(), (*job).to_owned())];
            bind(world, instance, name, "job", &fields, is_json, ready)
        }
        ("DELETE", ["binds", "jobs", job]) => {
            if wrong("A97") {
                instance.bound.remove(&format!("app {job}"));
            }
            match instance.bound.remove(&format!("job {job}")) {
                Some(_) => ok(),
                None if wrong("A98") => crash(),
                None => (404, "not bound".to_owned()),
            }
        }
        (_, [] | ["bind-app"]) => {
            if wrong("A17") {
                crash()
            } else {
                (405, String::new())
            }
        }
        _ => {
            if wrong("A16") {
                ok()
            } else {
                (404, String::new())
            }
        }
    }
}

fn info(world: &World, instance: &Instance) -> Reply {
    let mut items: Vec<_> =
        instance.shown.iter().map(|(label, value)| json!({"label": label, "value": value})).collect();
    match world.wrong.as_str() {
        "A54" => items.push(json!({"label": "n", "value": 1})),
        "A55" => items.push(json!({"label": "n"})),
        "A56" => items.push(json!({"label": "plan", "value": "again"})),
        _ => {}
    }
    (200, Value::from(items).to_string())
}

fn bind(
    world: &World,
    instance: &mut Instance,
    name: &str,
    kind: &str,
    fields: &Fields,
    is_json: bool,
    ready: bool,
) -> Reply {
    let wrong = |id: &str| world.wrong == id;
    let crash = || (500, "crash".to_owned());
    if !ready && !wrong("A71") {
        return (412, "not ready".to_owned());
    }
    let Some(app) = field(fields, "app-name") else {
        instance.odd = true;
        return if wrong("A77") { crash() } else { (400, "no app".to_owned()) };
    };
    let hosts = fields.iter().filter(|(key, _)| key == "app-hosts").count();
    let has = |key: &str| fields.iter().any(|(field, _)| field == key);
    if (wrong("A75") && hosts == 0)
        || (wrong("A76") && hosts == 3)
        || (wrong("A78") && is_json)
        || (wrong("A79") && has("parameters.unknown"))
        || (wrong("A80") && instance.odd)
        || (wrong("A82") && instance.bound.len() == 2)
    {
        return crash();
    }
    let key = format!("{kind} {app}");
    let again = instance.bound.contains_key(&key);
    if wrong("A89") && instance.updates > 0 {
        return (409, "it was bound once".to_owned());
    }
    if again && wrong("A73") {
        instance.bound.insert(key.clone(), "another".to_owned());
    }
    let secret = instance.bound.entry(key).or_insert_with(|| format!("{name} {kind} {app}")).clone();
    let other = again && (wrong("A72") || (wrong("A96") && kind == "job"));
    match world.wrong.as_str() {
        "A64" => return (201, "[]".to_owned()),
        "A65" => return (201, json!({"SECRET": secret, "PORT_NUMBER": 1}).to_string()),
        "A66" => return (201, json!({"SECRET": secret, "TSURU_X": "1"}).to_string()),
        "A67" => return (204, String::new()),
        "A68" => return (202, json!({"SECRET": secret}).to_string()),
        "A94" if kind == "job" => return (201, "[1]".to_owned()),
        _ => {}
    }
    (201, json!({if other { "OTHER" } else { "SECRET" }: secret}).to_string())
}

fn unbind(world: &World, instance: &mut Instance, fields: &Fields, is_json: bool) -> Reply {
    let wrong = |id: &str| world.wrong == id;
    let crash = || (500, "crash".to_owned());
    let Some(app) = field(fields, "app-name") else {
        return if wrong("A90") { crash() } else { (400, "no app".to_owned()) };
    };
    let hostless = !fields.iter().any(|(key, _)| key == "app-hosts");
    if wrong("A86") || (wrong("A91") && hostless) || (wrong("A92") && is_json) {
        return crash();
    }
    instance.updates += u32::from(wrong("A89"));
    let key = format!("app {app}");
    let known = if wrong("A93") { instance.bound.get(&key).cloned() } else { instance.bound.remove(&key) };
    if wrong("A74") {
        instance.bound.clear();
    }
    match known {
        Some(_) => (200, String::new()),
        None if wrong("A87") => crash(),
        None => (404, "not bound".to_owned()),
    }
}
