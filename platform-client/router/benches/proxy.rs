//! What the router costs: requests straight to a unit, and through the router, in turn in one run.
//!
//! `cargo bench -p platform-router` prints a table. Client, unit and router share the machine's
//! cores, so compare lines of one run with each other and not runs on different machines. What holds
//! on a busy machine too is the last column: the time that the router's threads were on a core, for
//! each request.

use std::{
    convert::Infallible,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::{Request, Response, header::HOST, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use platform_core::{Backend, Route, UnitId};
use platform_router::{Router, RouterConfig};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{Builder, LocalOptions},
    task::spawn_local,
};

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);

/// What a round found.
#[derive(Clone, Copy)]
struct Figures {
    per_second: f64,
    p50: Duration,
    p99: Duration,
    cpu: Duration,
}

fn main() {
    let unit = start_unit();
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).expect("a runtime");
    runtime.block_on(async {
        let router = Router::bind(RouterConfig::new(([127, 0, 0, 1], 0).into())).expect("the router listens");
        let route = Route {
            app: "bench".parse().expect("a name"),
            hosts: vec!["bench.test".to_owned()],
            units: vec![Backend { id: UnitId("unit".to_owned()), address: unit }],
        };
        router.routes().publish(route).await.expect("the route is published");
        println!("connections     path  requests/s        p50        p99   ratio  CPU/request");
        for connections in [1, 64, 512] {
            compare(connections, unit, router.local_addr()).await;
        }
        router.shutdown(Duration::from_secs(5)).await;
    });
}

/// Rounds in turn, so that a noisy neighbour disturbs both paths alike; the median of each.
async fn compare(connections: usize, unit: SocketAddr, router: SocketAddr) {
    let (mut direct, mut through) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        direct.push(round(connections, unit).await);
        through.push(round(connections, router).await);
    }
    let (direct, through) = (median(direct), median(through));
    for (path, figures) in [("direct", direct), ("router", through)] {
        let Figures { per_second, p50, p99, cpu } = figures;
        let ratio = per_second / direct.per_second;
        println!(
            "{connections:>11}  {path:>7}  {per_second:>10.0}  {p50:>9.1?}  {p99:>9.1?}  {ratio:>6.2}  {cpu:>11.1?}"
        );
    }
}

fn median(mut rounds: Vec<Figures>) -> Figures {
    rounds.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    rounds[rounds.len() / 2]
}

async fn round(connections: usize, address: SocketAddr) -> Figures {
    let before = router_cpu();
    let end = Instant::now() + ROUND;
    let clients: Vec<_> = (0..connections).map(|_| spawn_local(client(address, end))).collect();
    let mut times = Vec::new();
    for client in clients {
        times.extend(client.await.expect("no client fails"));
    }
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let cpu = (router_cpu() - before) / u32::try_from(times.len()).expect("a small number");
    Figures { per_second: times.len() as f64 / ROUND.as_secs_f64(), p50: at(0.5), p99: at(0.99), cpu }
}

/// How long the router's threads were on a core so far.
fn router_cpu() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux");
    let nanos = threads.flatten().filter_map(|thread| {
        let name = std::fs::read_to_string(thread.path().join("comm")).ok()?;
        let times = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let on_core = times.split(' ').next()?.parse::<u64>().ok()?;
        name.starts_with("router-").then_some(on_core)
    });
    Duration::from_nanos(nanos.sum())
}

/// Asks on one connection, one request after the other; returns how long each took.
async fn client(address: SocketAddr, end: Instant) -> Vec<Duration> {
    let stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("an option");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    let serving = spawn_local(connection);
    let mut times = Vec::new();
    while Instant::now() < end {
        let request =
            Request::builder().uri("/").header(HOST, "bench.test").body(Empty::<Bytes>::new()).expect("a request");
        let asked = Instant::now();
        sender.ready().await.expect("the connection is kept");
        let answer = sender.send_request(request).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        answer.into_body().collect().await.expect("a body");
        times.push(asked.elapsed());
    }
    serving.abort();
    times
}

/// A unit on a thread of its own that answers sixteen bytes.
fn start_unit() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("an option");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let runtime =
            Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).expect("an option");
                let service = service_fn(|_: Request<hyper::body::Incoming>| async {
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"sixteen bytes ok"))))
                });
                let mut http = hyper::server::conn::http1::Builder::new();
                let connection = http.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
                spawn_local(async move {
                    // A round ends by closing its connections.
                    let _ended = connection.await;
                });
            }
        });
    });
    address
}
