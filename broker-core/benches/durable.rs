//! `cargo bench -p broker-core --bench durable`: creates and binds, durable before they are answered, beside a handler
//! written by hand that commits the same intent and outcome to SQLite.
//!
//! The handler is the fast way to write it by hand: one connection behind a lock, statements prepared once, the
//! write-ahead log, every commit synced, off the runtime's threads. It seals nothing, checks nothing and remembers no
//! more than the two rows' bodies; ours does all that it always does.

mod support;

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path as InPath, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use broker_core::{OpaqueId, Secret};
use rusqlite::{Connection, params};
use support::{Figures, load, median, request, row, server_runtime};

const ROUNDS: usize = 5;
const LASTING: Duration = Duration::from_secs(2);
const INSTANCES: usize = 64;

fn main() {
    eprintln!("creates and binds, each with its intent and its outcome synced to disk; median of {ROUNDS} rounds\n");
    let only = support::argument("--connections").map(|text| text.parse::<usize>().expect("a number"));
    for connections in only.map_or(vec![1, 64], |only| vec![only]) {
        for what in [What::Create, What::Bind] {
            compare(what, connections);
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum What {
    Create,
    Bind,
}

fn compare(what: What, connections: usize) {
    let (mut ours, mut by_hand) = (Vec::new(), Vec::new());
    if let Some(only) = support::argument("--profile") {
        return profile(&only, what, connections);
    }
    for round in 0..ROUNDS {
        // In turns, so that what else the machine does meets both.
        ours.push(measure(what, connections, round, support::serve_ours));
        by_hand
            .push(measure(what, connections, round, |runtime, folder| support::serve_router(runtime, router(folder))));
    }
    let name = format!("{what:?}, {connections} connections").to_lowercase();
    tell(&name, connections, &ours, &by_hand);
}

/// What a comparison came to.
fn tell(name: &str, connections: usize, ours: &[Figures], by_hand: &[Figures]) {
    let p50 = support::ratio(ours, by_hand, |figures| figures.p50.as_secs_f64());
    let p99 = support::ratio(ours, by_hand, |figures| figures.p99.as_secs_f64());
    let rate = support::ratio(ours, by_hand, |figures| figures.per_second);
    let (ours, by_hand) = (median(ours), median(by_hand));
    row(&format!("{name}: broker-core"), &ours);
    row(&format!("{name}: by hand"), &by_hand);
    eprintln!("  {p50:.2} of its p50, {p99:.2} of its p99, {rate:.1} times its throughput\n");
    let (spelled, figure) = (support::spelled, support::figure);
    if connections == 1 {
        let goal = "p50 at most 1.2 times";
        figure(name, goal, &spelled(ours.p50), &spelled(by_hand.p50), &format!("{p50:.2}"));
    } else {
        let rate_of = |figures: &Figures| format!("{:.0}/s, p99 {}", figures.per_second, spelled(figures.p99));
        let outcome = format!("{rate:.1}, p99 {p99:.2}");
        figure(name, "at least 5 times the throughput, lower p99", &rate_of(&ours), &rate_of(&by_hand), &outcome);
    }
}

/// `-- --profile ours` or `-- --profile hand`: one of them alone, under a profiler; `--connections 64` for those alone.
fn profile(only: &str, what: What, connections: usize) {
    let figures = match only {
        "ours" => measure(what, connections, 0, support::serve_ours),
        _ => measure(what, connections, 0, |runtime, folder| support::serve_router(runtime, router(folder))),
    };
    row(&format!("{what:?}, {connections} connections: {only}"), &figures);
}

fn measure(
    what: What,
    connections: usize,
    round: usize,
    serve: impl FnOnce(&tokio::runtime::Runtime, &Path) -> std::net::SocketAddr,
) -> Figures {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = server_runtime();
    let address = serve(&runtime, folder.path());
    support::block_on(async {
        let mut client = support::Client::connect(address).await;
        for number in 0..INSTANCES {
            let body = format!("name=ready-{number}&plan=small&team=data&user=u&eventid=e");
            assert_eq!(client.ask(&request("POST", "/resources", &body)).await, 201);
        }
    });
    let warm_up = Duration::from_millis(300);
    load(address, connections, warm_up, 201, move |connection, number| of(what, "warm", round, connection, number));
    let figures =
        load(address, connections, LASTING, 201, move |connection, number| of(what, "b", round, connection, number));
    runtime.shutdown_background();
    figures
}

fn of(what: What, prefix: &str, round: usize, connection: usize, number: usize) -> Vec<u8> {
    match what {
        What::Create => {
            let name = format!("{prefix}-{round}-{connection}-{number}");
            request("POST", "/resources", &format!("name={name}&plan=small&team=data&user=u%40example.com&eventid=e"))
        }
        What::Bind => {
            let path = format!("/resources/ready-{}/bind-app", connection % INSTANCES);
            let app = format!("{prefix}-{connection}-{number}");
            request("POST", &path, &format!("app-name={app}&app-host=a.test&user=u%40example.com&eventid=e"))
        }
    }
}

#[derive(Clone)]
struct ByHand {
    database: Arc<Mutex<Connection>>,
    credentials: Arc<[u8; 32]>,
}

fn router(folder: &Path) -> Router {
    let connection = Connection::open(folder.join("by-hand.db")).expect("a database");
    connection.pragma_update(None, "journal_mode", "WAL").expect("WAL");
    connection.pragma_update(None, "synchronous", "FULL").expect("synchronous");
    let tables = "CREATE TABLE instance (name TEXT PRIMARY KEY, state TEXT, body TEXT);
        CREATE TABLE binding (instance TEXT, app TEXT, state TEXT, body TEXT, PRIMARY KEY (instance, app));";
    connection.execute_batch(tables).expect("tables");
    let state = ByHand { database: Arc::new(Mutex::new(connection)), credentials: support::digest() };
    Router::new().route("/resources", post(create)).route("/resources/{name}/bind-app", post(bind)).with_state(state)
}

impl ByHand {
    async fn execute(&self, statement: &'static str, values: [String; 4]) {
        let database = self.database.clone();
        let written = tokio::task::spawn_blocking(move || {
            let database = database.lock().expect("the database");
            let [a, b, c, d] = values;
            database.prepare_cached(statement)?.execute(params![a, b, c, d])
        });
        written.await.expect("written").expect("written");
    }
}

fn fields(body: &[u8]) -> HashMap<String, String> {
    url::form_urlencoded::parse(body).into_owned().collect()
}

async fn create(State(state): State<ByHand>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if !support::is_authorized(&headers, &state.credentials) {
        return StatusCode::UNAUTHORIZED;
    }
    let form = fields(&body);
    let body =
        serde_json::json!({ "id": OpaqueId::generate(), "secret": Secret::generate(), "form": form }).to_string();
    let name = form["name"].clone();
    let intent = "INSERT INTO instance (name, state, body) VALUES (?1, ?2, ?3 || ?4)";
    state.execute(intent, [name.clone(), "provisioning".into(), body.clone(), String::new()]).await;
    let outcome = "UPDATE instance SET state = ?2, body = ?3 || ?4 WHERE name = ?1";
    state.execute(outcome, [name, "ready".into(), body, String::new()]).await;
    StatusCode::CREATED
}

async fn bind(
    State(state): State<ByHand>,
    InPath(name): InPath<String>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, Json<HashMap<&'static str, String>>) {
    if !support::is_authorized(&headers, &state.credentials) {
        return (StatusCode::UNAUTHORIZED, Json::default());
    }
    let form = fields(&body);
    let (id, secret) = (OpaqueId::generate(), Secret::generate());
    let body = serde_json::json!({ "id": id, "secret": secret, "form": form }).to_string();
    let app = form["app-name"].clone();
    let intent = "INSERT INTO binding (instance, app, state, body) VALUES (?1, ?2, ?3, ?4)";
    state.execute(intent, [name.clone(), app.clone(), "binding".into(), body.clone()]).await;
    let outcome = "UPDATE binding SET state = ?3, body = ?4 WHERE instance = ?1 AND app = ?2";
    state.execute(outcome, [name, app, "bound".into(), body]).await;
    let env = HashMap::from([("USER", id.to_string()), ("PASSWORD", secret.expose().to_owned())]);
    (StatusCode::CREATED, Json(env))
}
