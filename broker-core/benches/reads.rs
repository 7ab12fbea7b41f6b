//! `cargo bench -p broker-core --bench reads`: `status`, `info` and `plans` beside a handler of axum's that answers a
//! constant to whoever has the same credentials.
//!
//! Both serve all the while, and are asked in turns. Nothing listens to the log, as nothing listens to that handler's.

mod support;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use support::{Figures, load, median, request};

const ROUNDS: usize = 7;
const LASTING: Duration = Duration::from_secs(1);
/// Paths, the status of their answers, and the bodies of the constant ones, which are as ours are.
const READS: [(&str, &str, u16, &str); 3] = [
    ("status", "/resources/ready/status", 204, ""),
    ("info", "/resources/ready", 200, "[]"),
    ("plans", "/resources/plans", 200, r#"[{"name":"small","description":"nothing"}]"#),
];

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = support::server_runtime();
    let ours = support::serve_ours(&runtime, folder.path());
    let bare = support::serve_router(&runtime, router());
    support::block_on(async {
        let mut client = support::Client::connect(ours).await;
        let create = request("POST", "/resources", "name=ready&plan=small&team=data&user=u&eventid=e");
        assert_eq!(client.ask(&create).await, 201);
    });
    if let Some(only) = support::argument("--profile") {
        return profile(&only, ours, bare);
    }
    eprintln!("reads, beside a handler that answers a constant; median of {ROUNDS} rounds\n");
    for connections in [1, 64] {
        for (what, path, status, _) in READS {
            compare(&format!("{what}, {connections} connections"), connections, path, status, ours, bare);
        }
    }
    runtime.shutdown_background();
}

fn compare(name: &str, connections: usize, path: &'static str, status: u16, ours: SocketAddr, bare: SocketAddr) {
    let (mut of_ours, mut of_bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        of_ours.push(ask(ours, connections, LASTING, path, status));
        of_bare.push(ask(bare, connections, LASTING, path, status));
    }
    let share = support::ratio(&of_ours, &of_bare, |figures| figures.per_second);
    let (of_ours, of_bare) = (median(&of_ours), median(&of_bare));
    support::row(&format!("{name}: broker-core"), &of_ours);
    support::row(&format!("{name}: constant"), &of_bare);
    eprintln!("  {share:.2} of its throughput\n");
    let rate = |figures: &Figures| format!("{:.0}/s", figures.per_second);
    support::figure(name, "at least 0.8 of its throughput", &rate(&of_ours), &rate(&of_bare), &format!("{share:.2}"));
}

fn ask(address: SocketAddr, connections: usize, lasting: Duration, path: &str, status: u16) -> Figures {
    let asked = request("GET", path, "");
    load(address, connections, lasting, status, move |_, _| asked.clone())
}

/// `-- --profile ours` or `-- --profile bare`, with `--requests N`: one of them alone, a known number of times on one
/// connection, under a profiler.
fn profile(only: &str, ours: SocketAddr, bare: SocketAddr) {
    let address = if only == "ours" { ours } else { bare };
    let requests: usize = support::argument("--requests").map_or(20_000, |text| text.parse().expect("a number"));
    support::block_on(async {
        let mut client = support::Client::connect(address).await;
        for number in 0..requests {
            let (_, path, status, _) = READS[number % READS.len()];
            assert_eq!(client.ask(&request("GET", path, "")).await, status);
        }
    });
}

type Wanted = Arc<[u8; 32]>;

fn router() -> Router {
    let [_, (_, _, _, info), (_, plans, _, offered)] = READS;
    Router::new()
        .route("/resources/{name}/status", get(nothing))
        .route(
            "/resources/{name}",
            get(async |wanted: State<Wanted>, headers: HeaderMap| json(&wanted, &headers, info)),
        )
        .route(plans, get(async |wanted: State<Wanted>, headers: HeaderMap| json(&wanted, &headers, offered)))
        .with_state(support::digest())
}

async fn nothing(State(wanted): State<Wanted>, headers: HeaderMap) -> StatusCode {
    if support::is_authorized(&headers, &wanted) { StatusCode::NO_CONTENT } else { StatusCode::UNAUTHORIZED }
}

fn json(wanted: &Wanted, headers: &HeaderMap, body: &'static str) -> Response {
    if !support::is_authorized(headers, wanted) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
