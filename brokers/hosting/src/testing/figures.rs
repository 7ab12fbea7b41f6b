//! What calls of a broker cost beside the commands that its server needs for them, sent by hand; for benchmarks.

pub mod dedicated;

use std::{
    fs,
    time::{Duration, Instant},
};

use broker_core::{Broker, testing::TestBroker};
use futures::future::join_all;

/// What is measured, in the order of an instance's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// An instance is made.
    Create,
    /// An app is given access.
    Bind,
    /// The access is taken away.
    Unbind,
    /// The instance is removed.
    Delete,
}

const LIFE: [Call; 4] = [Call::Create, Call::Bind, Call::Unbind, Call::Delete];
/// Broker and server by turns, so that whatever else the machine does meets both.
const ROUNDS: usize = 5;
const CONNECTIONS: usize = 32;
/// Instances of a round, at one connection and at many.
const INSTANCES: [usize; 2] = [100, 640];

/// Measures a broker whose default plan is a shared one, and prints rows of a Markdown table: every call at one
/// connection and at many, then what the last of many tenants costs beside the first.
///
/// `by_hand` sends what the server needs for a call about an instance, by a number, over the connection of a number
/// below 32. `things` counts what the server has: accounts, databases.
///
/// # Panics
/// When a call fails, or the server has something left of instances that were removed.
pub async fn beside_its_server(
    broker: impl Broker,
    tenants: usize,
    by_hand: impl AsyncFn(Call, usize, usize),
    things: impl AsyncFn() -> u64,
) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let served = TestBroker::start_with(broker, Some(folder.path()), |server| server).await;
    // Connections are opened, statements prepared, files made.
    let over_http = async |call, _, number| http(&served, call, number).await;
    life(8, CONNECTIONS, &over_http).await;
    let before = things().await;

    println!("| What | Broker | By hand | To it | Goal |");
    println!("| --- | ---: | ---: | ---: | --- |");
    for (connections, instances) in [1, CONNECTIONS].into_iter().zip(INSTANCES) {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let ours = life(instances, connections, &over_http).await;
            rounds.push((ours, life(instances, connections, &by_hand).await));
        }
        for (place, call) in LIFE.into_iter().enumerate() {
            row(call, connections, rounds.iter().map(|(ours, theirs)| (&ours[place], &theirs[place])).collect());
        }
    }
    assert_eq!(things().await, before, "the server has what it had before");

    many(&served, tenants, &by_hand).await;
    soak(tenants, &over_http).await;
    assert_eq!(things().await, before, "the server has what it had before");
    served.stop().await;
}

/// What one kind of call took, in one round.
struct Took {
    each: Vec<Duration>,
    all: Duration,
}

impl Took {
    fn median(&self) -> f64 {
        middle(self.each.iter().map(Duration::as_secs_f64).collect())
    }

    fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
        let calls = self.each.len() as f64;
        calls / self.all.as_secs_f64()
    }
}

/// Whole lives of instances: all are made, then all are bound, and so on.
async fn life(instances: usize, connections: usize, call: &impl AsyncFn(Call, usize, usize)) -> [Took; 4] {
    let mut took = Vec::new();
    for kind in LIFE {
        took.push(all(instances, connections, async |connection, number| call(kind, connection, number).await).await);
    }
    took.try_into().unwrap_or_else(|_| unreachable!("as many as there are calls"))
}

async fn all(calls: usize, connections: usize, call: impl AsyncFn(usize, usize)) -> Took {
    let begun = Instant::now();
    let each = join_all((0..connections).map(async |connection| {
        let mut took = Vec::new();
        for number in (connection..calls).step_by(connections) {
            let begun = Instant::now();
            call(connection, number).await;
            took.push(begun.elapsed());
        }
        took
    }));
    let each = each.await.concat();
    Took { each, all: begun.elapsed() }
}

async fn http(served: &TestBroker, call: Call, number: usize) {
    let name = format!("bench-{number}");
    let (answer, status) = match call {
        Call::Create => {
            (served.form("POST", "/resources", &format!("name={name}&team=t&user=u%40example.com")).await, 201)
        }
        Call::Bind => (served.bind_app(&name, "app").await, 201),
        Call::Unbind => (served.unbind_app(&name, "app").await, 200),
        Call::Delete => (served.remove(&name).await, 200),
    };
    answer.is(status);
}

fn row(call: Call, connections: usize, rounds: Vec<(&Took, &Took)>) {
    let of = |figure: fn(&Took) -> f64| {
        let middle_of = |pick: &dyn Fn(&(&Took, &Took)) -> f64| middle(rounds.iter().map(pick).collect());
        let ratio = middle_of(&|(ours, theirs)| figure(ours) / figure(theirs));
        (middle_of(&|(ours, _)| figure(ours)), middle_of(&|(_, theirs)| figure(theirs)), ratio)
    };
    let what = format!("{call:?}, {connections} connections").to_lowercase();
    if connections == 1 {
        let (ours, theirs, ratio) = of(Took::median);
        println!("| {what} | {} | {} | {ratio:.2} | at most 1.5 times |", milliseconds(ours), milliseconds(theirs));
    } else {
        let (ours, theirs, ratio) = of(Took::rate);
        println!("| {what} | {ours:.0}/s | {theirs:.0}/s | {ratio:.2} | at least 0.8 of it |");
    }
}

/// The last tenants of many beside the first, and beside the same by hand on a server that has as many.
async fn many(served: &TestBroker, tenants: usize, by_hand: &impl AsyncFn(Call, usize, usize)) {
    const SOME: usize = 200;
    let phase = async |call: Call, numbers: std::ops::Range<usize>, connections| {
        let first = numbers.start;
        all(numbers.len(), connections, async |_, number| http(served, call, first + number).await).await
    };
    phase(Call::Create, 0..SOME, 1).await;
    let first = phase(Call::Bind, 0..SOME, 1).await.median();
    phase(Call::Create, SOME..tenants, CONNECTIONS).await;
    phase(Call::Bind, SOME..tenants - SOME, CONNECTIONS).await;
    let last = phase(Call::Bind, tenants - SOME..tenants, 1).await.median();
    let [_, theirs, ..] = life(SOME, 1, by_hand).await.map(|took| took.median());
    for (beside, other) in [("", theirs), (", beside the first", first)] {
        let (ours, ratio) = (milliseconds(last), last / other);
        println!("| bind, with {tenants} tenants{beside} | {ours} | {} | {ratio:.2} | |", milliseconds(other));
    }
    for call in [Call::Unbind, Call::Delete] {
        phase(call, 0..tenants, CONNECTIONS).await;
    }
}

/// Many lives, after each other on a few connections. Memory is that of this process, in which the broker is.
async fn soak(lives: usize, call: &impl AsyncFn(Call, usize, usize)) {
    let some = async |lives: usize| {
        all(lives, 8, async |connection, number| {
            for kind in LIFE {
                call(kind, connection, number).await;
            }
        })
        .await
    };
    some(lives / 5).await;
    let before = resident_mebibytes();
    let took = some(lives).await;
    let after = resident_mebibytes();
    println!(
        "| memory after {lives} more lives | {after:.1} MiB | {before:.1} MiB before | {:.2} | flat |",
        after / before
    );
    eprintln!("{:.0} lives per second", took.rate());
}

fn resident_mebibytes() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("how much memory it has");
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kibibytes / 1024.0
}

fn middle(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.2} ms", seconds * 1000.0)
}
