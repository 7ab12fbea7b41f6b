//! One server is like the other, whichever backend it has: the contract of [`Host`], kept by processes and by
//! containers.

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use crate::support::{Grounds, Plain, eventually, free_ports, id, kill_and_wait, say};
use broker_hosting::{Host, HostError, Limits};

/// Each of these tests is one test of each backend.
macro_rules! contract {
    ($($name:ident,)*) => {
        mod process {
            $(#[tokio::test] async fn $name() { super::$name(crate::support::Plain::new).await; })*
        }
        mod container {
            $(#[tokio::test] async fn $name() { super::$name(crate::support::Plain::in_container).await; })*
        }
    };
}

contract! {
    a_server_that_runs_is_left_alone,
    a_killed_server_comes_back_on_its_port_with_its_data,
    a_server_that_dies_while_it_is_looked_at_comes_back,
    the_next_broker_takes_over_the_server_that_runs,
    a_taken_port_is_skipped,
    a_known_server_whose_port_was_taken_says_so_instead_of_moving,
    a_server_that_does_not_start_says_why,
    a_stopped_server_keeps_its_port_and_data,
    a_restarted_server_is_another_process_on_the_same_port,
    a_removed_server_leaves_nothing_and_removing_it_again_is_fine,
    servers_that_start_at_once_get_different_ports,
    limits_change_while_the_server_runs,
    a_server_tells_what_it_uses,
}

type Make = fn(&'static str) -> Plain;

// SPEC H-1
async fn a_server_that_runs_is_left_alone(plain: Make) {
    let grounds = Grounds::new();
    let host = grounds.open().await;

    let first = host.ensure(&id("a"), &plain("")).await.unwrap();
    let again = host.ensure(&id("a"), &plain("")).await.unwrap();
    let other = host.ensure(&id("b"), &plain("")).await.unwrap();

    assert_eq!(first, again);
    assert_ne!(first.port, other.port);
    assert_eq!(host.servers().unwrap(), [id("a"), id("b")]);
}

// SPEC H-3
async fn a_killed_server_comes_back_on_its_port_with_its_data(plain: Make) {
    let grounds = Grounds::new();
    let host = grounds.open().await;
    let before = host.ensure(&id("a"), &plain("")).await.unwrap();
    assert_eq!(say(before.port, "SET k v").await.unwrap(), "+OK");

    kill_and_wait(&before).await;
    let after = host.ensure(&id("a"), &plain("")).await.unwrap();

    assert_eq!(after.port, before.port);
    assert_ne!(after.pid(), before.pid());
    assert_eq!(say(after.port, "GET k").await.unwrap(), "$1 v");
}

// SPEC H-3
async fn a_server_that_dies_while_it_is_looked_at_comes_back(plain: Make) {
    let grounds = Grounds::new();
    let host = grounds.open().await;
    let before = host.ensure(&id("a"), &plain("")).await.unwrap();
    assert_eq!(say(before.port, "SET k v").await.unwrap(), "+OK");

    drop(host);
    let victim = Some(before.pid().to_string()).into();
    let after = grounds.open().await.ensure(&id("a"), &Plain { victim, ..plain("") }).await.unwrap();

    assert_eq!(after.port, before.port);
    assert_ne!(after.pid(), before.pid());
    assert_eq!(say(after.port, "GET k").await.unwrap(), "$1 v");
}

// SPEC H-2
async fn the_next_broker_takes_over_the_server_that_runs(plain: Make) {
    let grounds = Grounds::new();
    let host = grounds.open().await;
    let before = host.ensure(&id("a"), &plain("")).await.unwrap();

    drop(host);
    let after = grounds.open().await.ensure(&id("a"), &plain("")).await.unwrap();

    assert_eq!(after, before);
}

// SPEC H-1
async fn a_taken_port_is_skipped(plain: Make) {
    let grounds = Grounds::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let first = taken.local_addr().unwrap().port().min(u16::MAX - 9);
    let host = Host::open(grounds.hosting(&format!("{first}-{}", first + 9))).await.unwrap();

    let running = host.ensure(&id("a"), &plain("")).await.unwrap();

    assert!(running.port > first);
}

// SPEC H-3
async fn a_known_server_whose_port_was_taken_says_so_instead_of_moving(plain: Make) {
    let grounds = Grounds::new();
    let host = grounds.open().await;
    let port = host.ensure(&id("a"), &plain("")).await.unwrap().port;
    host.stop(&id("a"), Duration::from_secs(5)).await.unwrap();
    let _taken = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).unwrap();

    let refusal = host.ensure(&id("a"), &plain("")).await.unwrap_err();

    assert_eq!(
        refusal.to_string(),
        format!("port {port} of server \"a\" was taken by another program while it was down: stop that program")
    );
}

async fn a_server_that_does_not_start_says_why(plain: Make) {
    let grounds = Grounds::new();
    let host = grounds.open().await;

    let refusal = host.ensure(&id("a"), &plain("no-such-setting 1")).await.unwrap_err().to_string();

    assert!(refusal.starts_with("server \"a\" ended before it was ready"), "{refusal}");
    assert!(refusal.contains("no-such-setting"), "{refusal}");
    host.ensure(&id("a"), &plain("")).await.expect("it starts once its settings are right");
}

async fn a_stopped_server_keeps_its_port_and_data(plain: Make) {
    let grounds = Grounds::new();
    let host = grounds.open().await;
    let before = host.ensure(&id("a"), &plain("")).await.unwrap();
    say(before.port, "SET k v").await.unwrap();

    host.stop(&id("a"), Duration::from_secs(5)).await.unwrap();
    assert!(!host.is_running(&id("a")).await.unwrap());
    let after = host.ensure(&id("a"), &plain("")).await.unwrap();

    assert!(host.is_running(&id("a")).await.unwrap());
    assert_eq!(after.port, before.port);
    assert_eq!(say(after.port, "GET k").await.unwrap(), "$1 v");
}

async fn a_restarted_server_is_another_process_on_the_same_port(plain: Make) {
    let grounds = Grounds::new();
    let host = grounds.open().await;
    let before = host.ensure(&id("a"), &plain("")).await.unwrap();

    let after = host.restart(&id("a"), &plain("maxmemory 50mb")).await.unwrap();

    assert_eq!(after.port, before.port);
    assert_ne!(after, before);
    assert_eq!(say(after.port, "CONFIG GET maxmemory").await.unwrap(), "*2 $9 maxmemory $8 52428800");
}

// SPEC H-4
async fn a_removed_server_leaves_nothing_and_removing_it_again_is_fine(plain: Make) {
    let grounds = Grounds::new();
    let host = grounds.open().await;
    let limits = Limits { memory: Some(64 << 20), ..Limits::default() };
    let running = host.ensure(&id("a"), &Plain { limits, ..plain("") }).await.unwrap();

    host.remove(&id("a")).await.unwrap();
    host.remove(&id("a")).await.unwrap();
    host.stop(&id("a"), Duration::ZERO).await.unwrap();

    assert!(!host.knows(&id("a")));
    assert_eq!(host.usage(&id("a")).await.unwrap(), None);
    assert!(say(running.port, "PING").await.is_err());
    let left: Vec<_> = std::fs::read_dir(grounds.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"]);
    assert_eq!(grounds.in_the_engine(), Vec::<String>::new());
}

// SPEC H-1
async fn servers_that_start_at_once_get_different_ports(plain: Make) {
    let grounds = Grounds::new();
    let host = Host::open(grounds.hosting(&free_ports(4))).await.unwrap();
    let (ids, program) = (["a", "b", "c"].map(id), plain(""));

    let started = futures::future::join_all(ids.iter().map(|id| host.ensure(id, &program))).await;

    let mut ports: Vec<_> = started.into_iter().map(|running| running.unwrap().port).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 3);
}

// SPEC H-6
async fn limits_change_while_the_server_runs(plain: Make) {
    let grounds = Grounds::new();
    let host = grounds.open().await;
    let with = |memory| Plain { limits: Limits { memory: Some(memory), ..Limits::default() }, ..plain("") };
    let before = host.ensure(&id("a"), &with(256 << 20)).await.unwrap();
    say(before.port, "SET k v").await.unwrap();

    let after = host.update(&id("a"), &with(64 << 20)).await.unwrap();

    assert_eq!(after, before, "it was not started again");
    // What it wants now is more than it may have.
    let fill = "EVAL \"for i=1,400000 do redis.call('set',i,string.rep('x',300)) end\" 0";
    // The answer is lost with the server, or an error.
    let _ = say(after.port, fill).await;
    eventually("the server is killed for its memory", async || {
        !std::path::Path::new(&format!("/proc/{}/exe", before.pid())).exists()
    })
    .await;
}

async fn a_server_tells_what_it_uses(plain: Make) {
    let grounds = Grounds::new();
    let host = grounds.open().await;
    let running = host.ensure(&id("a"), &plain("")).await.unwrap();
    say(running.port, "SET k v").await.unwrap();
    say(running.port, "EVAL \"for i=1,20000000 do end\" 0").await.unwrap();

    let used = host.usage(&id("a")).await.unwrap().expect("it was made");
    host.stop(&id("a"), Duration::from_secs(5)).await.unwrap();
    let down = host.usage(&id("a")).await.unwrap().expect("it was made");

    assert!((1 << 20..1 << 30).contains(&used.memory), "{used:?}");
    assert!(used.processes >= 1 && used.disk > 0 && !used.cpu.is_zero(), "{used:?}");
    assert!(down.memory == 0 && down.disk > 0, "{down:?}");
}

#[tokio::test] // SPEC H-8
async fn a_server_moves_into_a_container_and_back_with_its_data_and_its_port() {
    let grounds = Grounds::new();
    let host = grounds.open().await;
    let process = host.ensure(&id("a"), &Plain::new("")).await.unwrap();
    say(process.port, "SET k v").await.unwrap();

    let contained = host.ensure(&id("a"), &Plain::in_container("")).await.unwrap();
    assert_eq!((contained.port, say(process.port, "GET k").await.unwrap().as_str()), (process.port, "$1 v"));
    let back = host.ensure(&id("a"), &Plain::new("")).await.unwrap();

    assert_eq!((back.port, say(process.port, "GET k").await.unwrap().as_str()), (process.port, "$1 v"));
    assert_eq!(grounds.in_the_engine(), Vec::<String>::new());
}

#[tokio::test]
async fn without_an_engine_containers_are_refused_and_processes_run() {
    let grounds = Grounds::new();
    let mut hosting = grounds.hosting(&free_ports(4));
    hosting.containers.as_mut().unwrap().engine = "unix:///no/such/engine.sock".to_owned();
    let host = Host::open(hosting).await.unwrap();

    let refusal = host.ensure(&id("a"), &Plain::in_container("")).await.unwrap_err();
    host.ensure(&id("b"), &Plain::new("")).await.unwrap();

    assert!(matches!(refusal, HostError::EngineAway { .. }), "{refusal}");
}
