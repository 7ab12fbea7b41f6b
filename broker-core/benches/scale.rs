//! `cargo bench -p broker-core --bench scale`: what a broker costs with many records, beside one with few.
//!
//! The example broker `motd` runs as a process, on stores that were filled over HTTP: an instance has three bindings.
//! An operation's cost is measured on as many instances of each store, which are in the cache then, and on any of all
//! instances, which mostly are not.
//!
//! Build it first: `cargo build --release -p motd-broker`. `-- --instances N` fills with fewer, and
//! `-- --keep FOLDER` leaves what was filled there, and takes it up again.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use support::{Client, Figures, argument, block_on, figure, middle, program::Program, request, send, spelled};

/// Instances in a store that is as good as empty.
const FEW: usize = 64;
const BINDINGS: usize = 3;
const ROUNDS: usize = 9;
/// Requests of a round, on all connections together.
const REQUESTS: usize = 1024;

fn main() {
    let many: usize = argument("--instances").map_or(100_000, |text| text.parse().expect("a number"));
    let temporary = tempfile::tempdir().expect("a folder");
    let folder = argument("--keep").map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let stores = [FEW, many / 10, many].map(|instances| Store::filled(&folder, instances));
    let [few, _, full] = &stores;
    start_up(few, full);
    costs(few, full);
    memory(&stores);
}

/// A folder with records.
#[derive(Clone)]
struct Store {
    folder: PathBuf,
    instances: usize,
}

impl Store {
    fn filled(folder: &Path, instances: usize) -> Self {
        // As many for each connection.
        let instances = instances.div_ceil(FEW) * FEW;
        let store = Self { folder: folder.join(format!("{instances}-instances")), instances };
        let is_filled = store.folder.join("filled");
        if is_filled.exists() {
            return store;
        }
        fs::create_dir_all(&store.folder).expect("a folder");
        let begun = Instant::now();
        let program = Program::serve(&store.folder);
        // Each connection has every how-manieth instance; a number of requests, not a time, is what ends it.
        let of_each = instances / FEW;
        send(program.address, FEW, of_each, 201, move |connection, number| create(connection + number * FEW));
        send(program.address, FEW, of_each * BINDINGS, 201, move |connection, number| {
            bind(connection + number / BINDINGS * FEW, &format!("app-{}", number % BINDINGS))
        });
        eprintln!("filled a store with {instances} instances in {:.0} s", begun.elapsed().as_secs_f64());
        fs::write(is_filled, "").expect("a mark");
        store
    }

    /// One of those that are in use: as many in each store, spread over all of it.
    fn in_use(&self, number: usize) -> usize {
        number % FEW * (self.instances / FEW)
    }

    /// Any of its instances; the same number is the same one.
    fn any(&self, number: usize) -> usize {
        // A step that is prime to every size: all of them come before one comes again.
        number.wrapping_mul(7919) % self.instances
    }
}

/// The names of instances are spread over the alphabet, as those that people give are.
fn name(number: usize) -> String {
    format!("i{:08x}", (number as u32).wrapping_mul(2_654_435_761))
}

fn create(number: usize) -> Vec<u8> {
    create_named(&name(number))
}

fn create_named(name: &str) -> Vec<u8> {
    request("POST", "/resources", &format!("name={name}&plan=kind&team=data&user=u%40example.com&eventid=e"))
}

fn bind(instance: usize, app: &str) -> Vec<u8> {
    bind_named("POST", &name(instance), app)
}

fn unbind(instance: usize, app: &str) -> Vec<u8> {
    bind_named("DELETE", &name(instance), app)
}

fn bind_named(method: &str, name: &str, app: &str) -> Vec<u8> {
    let body = format!("app-name={app}&app-host=a.test&user=u%40example.com&eventid=e");
    request(method, &format!("/resources/{name}/bind-app"), &body)
}

fn start_up(few: &Store, full: &Store) {
    let measured = [few, full].map(|store| {
        let starts: Vec<(f64, f64)> = (0..5)
            .map(|round| {
                let begun = Instant::now();
                let program = Program::serve(&store.folder);
                block_on(async {
                    let app = format!("start-{round}-{}", std::process::id());
                    let mut client = Client::connect(program.address).await;
                    assert_eq!(client.ask(&bind(store.any(round), &app)).await, 201);
                    let bound = begun.elapsed().as_secs_f64();
                    assert_eq!(client.ask(&bind_named("DELETE", &name(store.any(round)), &app)).await, 200);
                    (program.ready_after.as_secs_f64(), bound)
                })
            })
            .collect();
        let of = |pick: fn(&(f64, f64)) -> f64| Duration::from_secs_f64(middle(starts.iter().map(pick).collect()));
        (of(|start| start.0), of(|start| start.1))
    });
    let [few, many] = measured;
    for (what, few, many) in [("ready", few.0, many.0), ("first bind", few.1, many.1)] {
        let outcome = format!("{:.2} s", many.as_secs_f64());
        figure(
            &format!("start to {what}, {} instances", full.instances),
            "under 2 s",
            &spelled(many),
            &spelled(few),
            &outcome,
        );
    }
}

/// What is measured: all on one store, then all on the other, round by round.
fn costs(few: &Store, full: &Store) {
    let programs = [few, full].map(|store| (store, Program::serve(&store.folder)));
    for connections in [1, 64] {
        let mut rounds: [Vec<BTreeMap<&str, Figures>>; 2] = Default::default();
        for round in 0..ROUNDS {
            for (number, (store, program)) in programs.iter().enumerate() {
                rounds[number].push(operations(store, program.address, connections, round));
            }
        }
        let [with_few, with_many] = rounds;
        for what in with_few[0].keys().copied() {
            let of =
                |rounds: &[BTreeMap<&str, Figures>]| rounds.iter().map(|round| round[what].clone()).collect::<Vec<_>>();
            let (with_few, with_many) = (of(&with_few), of(&with_many));
            let cost = support::ratio(&with_many, &with_few, |figures| 1.0 / figures.per_second);
            let rate = |rounds: &[Figures]| format!("{:.0}/s", support::median(rounds).per_second);
            let what = format!("{what}, {connections} connections, {} instances", full.instances);
            figure(&what, "cost at most 1.2 times", &rate(&with_many), &rate(&with_few), &format!("{cost:.2}"));
        }
    }
}

/// Each operation as often. What is made is taken away again, so that no store grows.
fn operations(store: &Store, address: SocketAddr, connections: usize, round: usize) -> BTreeMap<&'static str, Figures> {
    let of_each = REQUESTS / connections;
    let in_use = |connection: usize, number: usize| store.in_use(number * connections + connection);
    let any = |connection: usize, number: usize| store.any(round * REQUESTS + number * connections + connection);
    let run = |expected: u16, next: &dyn Fn(usize, usize) -> Vec<u8>| {
        // Made before the clock runs, as they are needed in an order that nobody knows.
        let all: Vec<Vec<Vec<u8>>> =
            (0..connections).map(|connection| (0..of_each).map(|number| next(connection, number)).collect()).collect();
        send(address, connections, of_each, expected, move |connection, number| all[connection][number].clone())
    };
    let new = |connection: usize, number: usize| format!("new-{connection}-{number}");
    let read = |suffix: &'static str| {
        move |instance: usize| request("GET", &format!("/resources/{}{suffix}", name(instance)), "")
    };
    let (status, info) = (read("/status"), read(""));
    let measured = [
        ("status", run(204, &|connection, number| status(in_use(connection, number)))),
        ("info", run(200, &|connection, number| info(in_use(connection, number)))),
        ("status of any of all", run(204, &|connection, number| status(any(connection, number)))),
        ("info of any of all", run(200, &|connection, number| info(any(connection, number)))),
        ("create", run(201, &|connection, number| create_named(&new(connection, number)))),
        ("bind", run(201, &|connection, number| bind(in_use(connection, number), &new(connection, number)))),
        ("unbind", run(200, &|connection, number| unbind(in_use(connection, number), &new(connection, number)))),
        ("bind to any of all", run(201, &|connection, number| bind(any(connection, number), &new(connection, number)))),
        (
            "unbind of any of all",
            run(200, &|connection, number| unbind(any(connection, number), &new(connection, number))),
        ),
    ];
    run(200, &|connection, number| request("DELETE", &format!("/resources/{}", new(connection, number)), ""));
    measured.into_iter().collect()
}

/// Resident memory of a broker that has just started, and of one that all its instances were asked about.
fn memory(stores: &[Store]) {
    let measured: Vec<[u64; 2]> = stores
        .iter()
        .map(|store| {
            let program = Program::serve(&store.folder);
            let idle = program.memory();
            let store = store.clone();
            send(program.address, 64, 10_000 / 64, 204, move |connection, number| {
                request("GET", &format!("/resources/{}/status", name(store.any(number * 64 + connection))), "")
            });
            [idle, program.memory()]
        })
        .collect();
    let few = measured[0];
    for (store, [idle, used]) in stores.iter().zip(&measured).skip(1) {
        for (when, now, before) in [("after its start", *idle, few[0]), ("after 10,000 reads", *used, few[1])] {
            let what = format!("memory {when}, {} instances", store.instances);
            let mebibytes = |kibibytes: u64| format!("{:.1} MiB", kibibytes as f64 / 1024.0);
            let outcome = format!("{:.2}", now as f64 / before as f64);
            figure(&what, "does not grow with them", &mebibytes(now), &mebibytes(before), &outcome);
        }
    }
}
