//! What the benchmarks share: a broker that does nothing, load, and figures.
//!
//! Server and load run in one process on runtimes of their own: the server with a worker for each core, as in
//! production, the load on one thread, with a client that does as little as it can.

#![allow(dead_code, unreachable_pub, reason = "each benchmark uses its part")]

pub mod program;

use std::{
    future::Future,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use broker_core::{Binding, Broker, BrokerServer, Catalog, EnvVars, Instance, Notes, Plan, Result, Secret, State};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime::Runtime,
};

pub const USERNAME: &str = "bench";
pub const PASSWORD: &str = "s3cret";

/// An author who does nothing.
pub struct Nothing;

#[async_trait]
impl Broker for Nothing {
    fn catalog(&self) -> Catalog {
        Catalog::new("bench".parse().expect("a name")).plan(Plan::new("small", "nothing"))
    }

    async fn provision(&self, _: &Instance) -> Result<Notes> {
        Ok(Notes::new())
    }

    async fn bind(&self, _: &Instance, binding: &Binding) -> Result<EnvVars> {
        Ok(EnvVars::default().with("USER", binding.id.as_str()).with("PASSWORD", binding.secret.clone()))
    }
}

/// A runtime as servers have it: a worker for each core.
pub fn server_runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

/// Serves a broker that does nothing, with its records in a folder.
pub fn serve_ours(runtime: &Runtime, folder: &Path) -> SocketAddr {
    runtime.block_on(async {
        let state = State::open(folder).await.expect("the records open");
        let server = BrokerServer::new(Nothing, state).accept(USERNAME, &Secret::from(PASSWORD));
        let server = server.bind(([127, 0, 0, 1], 0).into()).await.expect("a free port");
        let address = server.address();
        tokio::spawn(server.serve_until(std::future::pending()));
        address
    })
}

/// Serves a router as one would by hand.
pub fn serve_router(runtime: &Runtime, router: axum::Router) -> SocketAddr {
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    })
}

/// A request as it goes over the wire.
pub fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let credentials = STANDARD.encode(format!("{USERNAME}:{PASSWORD}"));
    format!(
        "{method} {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Basic {credentials}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// What a load came to.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
}

/// Sends requests over so many connections for so long; `next` makes the how-manieth request of a connection.
pub fn load(
    address: SocketAddr,
    connections: usize,
    lasting: Duration,
    expected: u16,
    next: impl Fn(usize, usize) -> Vec<u8> + 'static,
) -> Figures {
    let begun = Instant::now();
    send_while(address, connections, move |_| begun.elapsed() < lasting, expected, next)
}

/// Sends so many requests over each of so many connections.
pub fn send(
    address: SocketAddr,
    connections: usize,
    of_each: usize,
    expected: u16,
    next: impl Fn(usize, usize) -> Vec<u8> + 'static,
) -> Figures {
    send_while(address, connections, move |number| number < of_each, expected, next)
}

fn send_while(
    address: SocketAddr,
    connections: usize,
    goes_on: impl Fn(usize) -> bool + Copy + 'static,
    expected: u16,
    next: impl Fn(usize, usize) -> Vec<u8> + 'static,
) -> Figures {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = tokio::task::LocalSet::new();
    let next = std::rc::Rc::new(next);
    let begun = Instant::now();
    let all = local.block_on(&runtime, async {
        let clients: Vec<_> = (0..connections)
            .map(|connection| {
                let next = next.clone();
                tokio::task::spawn_local(async move {
                    let mut client = Client::connect(address).await;
                    let mut took = Vec::new();
                    while goes_on(took.len()) {
                        let request = next(connection, took.len());
                        let sent = Instant::now();
                        let status = client.ask(&request).await;
                        took.push(sent.elapsed());
                        assert_eq!(status, expected, "to {}", String::from_utf8_lossy(&request));
                    }
                    took
                })
            })
            .collect();
        let mut all = Vec::new();
        for client in clients {
            all.extend(client.await.expect("a client"));
        }
        all
    });
    figures(all, begun.elapsed())
}

fn figures(mut took: Vec<Duration>, lasted: Duration) -> Figures {
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    Figures { per_second: took.len() as f64 / lasted.as_secs_f64(), p50: at(0.5), p99: at(0.99) }
}

/// The middle of several rounds, by throughput for the rate and by itself for each latency.
pub fn median(rounds: &[Figures]) -> Figures {
    let seconds = |of: fn(&Figures) -> Duration| {
        Duration::from_secs_f64(middle(rounds.iter().map(|round| of(round).as_secs_f64()).collect()))
    };
    Figures {
        per_second: middle(rounds.iter().map(|round| round.per_second).collect()),
        p50: seconds(|round| round.p50),
        p99: seconds(|round| round.p99),
    }
}

/// Ours to the baseline, round by round, and the middle of that: what else the machine does meets both halves of a round.
pub fn ratio(ours: &[Figures], theirs: &[Figures], of: impl Fn(&Figures) -> f64) -> f64 {
    middle(ours.iter().zip(theirs).map(|(ours, theirs)| of(ours) / of(theirs)).collect())
}

pub fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A row of the Markdown table that all benchmarks make together: alone on standard output.
pub fn figure(what: &str, goal: &str, ours: &str, baseline: &str, outcome: &str) {
    println!("| {what} | {ours} | {baseline} | {outcome} | {goal} |");
}

/// A span as people read it.
pub fn spelled(span: Duration) -> String {
    let milliseconds = span.as_secs_f64() * 1e3;
    if milliseconds < 10.0 { format!("{milliseconds:.2} ms") } else { format!("{milliseconds:.0} ms") }
}

/// What follows a flag on the command line.
pub fn argument(flag: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != flag).nth(1)
}

/// One line for people.
pub fn row(what: &str, figures: &Figures) {
    let Figures { per_second, p50, p99 } = figures;
    eprintln!(
        "{what:<44} {per_second:>9.0}/s   p50 {:>8.3} ms   p99 {:>8.3} ms",
        p50.as_secs_f64() * 1e3,
        p99.as_secs_f64() * 1e3
    );
}

/// A connection that is kept alive.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        Self { stream, buffer: Vec::with_capacity(4096) }
    }

    /// Sends a request and reads the whole answer; its status.
    pub async fn ask(&mut self, request: &[u8]) -> u16 {
        self.stream.write_all(request).await.expect("sent");
        self.buffer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.buffer).await.expect("an answer");
            assert!(read > 0, "the server closed the connection");
            if let Some(status) = whole(&self.buffer) {
                return status;
            }
        }
    }
}

/// The status of an answer that is all there.
fn whole(answer: &[u8]) -> Option<u16> {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&answer[..head]).ok()?;
    let status = text.get(9..12)?.parse().ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok()).flatten()
    });
    (answer.len() >= head + 4 + length.unwrap_or(0)).then_some(status)
}

/// Whether a request has the right credentials, compared in constant time as ours does.
pub fn is_authorized(headers: &axum::http::HeaderMap, wanted: &[u8; 32]) -> bool {
    use sha2::Digest as _;
    use subtle::ConstantTimeEq as _;
    let header = headers.get("authorization").and_then(|value| value.to_str().ok());
    let given = header.and_then(|header| header.strip_prefix("Basic ")).and_then(|coded| STANDARD.decode(coded).ok());
    given.is_some_and(|given| bool::from(<[u8; 32]>::from(sha2::Sha256::digest(&given)).ct_eq(wanted)))
}

pub fn digest() -> Arc<[u8; 32]> {
    use sha2::Digest as _;
    Arc::new(sha2::Sha256::digest(format!("{USERNAME}:{PASSWORD}")).into())
}

/// Runs something on a runtime of its own.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}
