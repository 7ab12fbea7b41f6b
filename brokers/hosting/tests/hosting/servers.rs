//! What holds for processes alone; what holds for containers too is in `backends.rs`.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::support::{Grounds, Plain, id, kill_and_wait, say};
use broker_hosting::{Host, HostError, Hosting};

#[tokio::test] // SPEC H-2
async fn a_server_whose_process_was_never_recorded_is_found_and_not_started_twice() {
    let grounds = Grounds::new();
    let host = grounds.open().await;
    let before = host.ensure(&id("a"), &Plain::new("")).await.unwrap();
    drop(host);
    let record = format!("{{\"port\": {}, \"known\": false, \"process\": null}}", before.port);
    fs::write(grounds.root().join("a/server.json"), record).unwrap();

    let after = grounds.open().await.ensure(&id("a"), &Plain::new("")).await.unwrap();

    assert_eq!(after, before);
}

#[tokio::test] // SPEC H-2
async fn what_an_interrupted_preparation_left_running_is_ended_before_a_start() {
    let grounds = Grounds::new();
    fs::create_dir_all(grounds.root().join("a")).unwrap();
    let log = fs::OpenOptions::new().append(true).create(true).open(grounds.root().join("a/log")).unwrap();
    log.lock().unwrap();
    let mut rest = std::process::Command::new("sleep").arg("60").stdout(log).spawn().unwrap();

    grounds.open().await.ensure(&id("a"), &Plain::new("")).await.unwrap();

    assert!(!rest.wait().unwrap().success(), "it was killed");
}

#[tokio::test] // SPEC H-2, H-3
async fn after_the_machine_was_started_anew_a_server_comes_back_and_nobody_else_is_taken_for_it() {
    let grounds = Grounds::new();
    let host = grounds.open().await;
    let before = host.ensure(&id("a"), &Plain::new("")).await.unwrap();
    assert_eq!(say(before.port, "SET k v").await.unwrap(), "+OK");
    drop(host);
    kill_and_wait(&before).await;
    // Identifiers of processes begin anew: what was the server's is another program's now.
    let mut stranger = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let (path, pid) = (grounds.root().join("a/server.json"), |pid: u32| format!("\"pid\": {pid},"));
    let record = fs::read_to_string(&path).unwrap();
    assert!(record.contains(&pid(before.pid())), "{record}");
    fs::write(&path, record.replace(&pid(before.pid()), &pid(stranger.id()))).unwrap();

    let host = grounds.open().await;
    let after = host.ensure(&id("a"), &Plain::new("")).await.unwrap();

    assert_eq!(after.port, before.port);
    assert_ne!(after.pid(), stranger.id());
    assert_eq!(say(after.port, "GET k").await.unwrap(), "$1 v");
    host.remove(&id("a")).await.unwrap();
    assert!(stranger.try_wait().unwrap().is_none(), "the other program runs on");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn a_range_without_a_free_port_says_so() {
    let grounds = Grounds::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let host = Host::open(grounds.hosting(&format!("{port}-{port}"))).await.unwrap();

    let refusal = host.ensure(&id("a"), &Plain::new("")).await.unwrap_err();

    assert!(matches!(refusal, HostError::NoFreePort(_)), "{refusal}");
}

#[tokio::test] // SPEC H-4
async fn a_removed_server_leaves_nothing_and_removing_it_again_is_fine() {
    let grounds = Grounds::new();
    let host = grounds.open().await;
    let running = host.ensure(&id("a"), &Plain::new("")).await.unwrap();

    host.remove(&id("a")).await.unwrap();
    host.remove(&id("a")).await.unwrap();
    host.stop(&id("a"), Duration::ZERO).await.unwrap();

    assert!(!host.knows(&id("a")));
    assert!(!Path::new(&format!("/proc/{}", running.pid())).join("exe").exists());
    let left: Vec<_> = fs::read_dir(grounds.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"]);
}

#[tokio::test] // SPEC H-4
async fn a_removal_that_was_interrupted_is_finished_by_the_next_broker() {
    let grounds = Grounds::new();
    fs::create_dir_all(grounds.root().join(".removed-a/data")).unwrap();

    let _host = grounds.open().await;

    assert!(!grounds.root().join(".removed-a").exists());
}

#[tokio::test]
async fn a_second_broker_on_the_same_folder_is_refused() {
    let grounds = Grounds::new();
    let _host = grounds.open().await;

    let refusal = Host::open(grounds.hosting("20000-20999")).await.unwrap_err();

    assert!(refusal.to_string().starts_with("another broker uses the servers' folder"), "{refusal}");
}

#[tokio::test] // SPEC H-5
async fn servers_started_by_root_run_as_an_ordinary_user_and_see_no_environment() {
    let grounds = Grounds::new();
    let host = grounds.open().await;

    let running = host.ensure(&id("a"), &Plain::new("")).await.unwrap();

    let process = PathBuf::from(format!("/proc/{}", running.pid()));
    let environment = fs::read_to_string(process.join("environ")).unwrap();
    assert!(!environment.contains("CARGO"), "{environment}");
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let packaged = fs::read_to_string("/etc/passwd").unwrap().lines().any(|line| line.starts_with("redis:"));
    if root && packaged {
        assert_ne!(fs::metadata(&process).unwrap().uid(), 0);
        assert_ne!(fs::metadata(grounds.root().join("a/redis.conf")).unwrap().uid(), 0);
    }
    assert_eq!(fs::metadata(grounds.root().join("a/redis.conf")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn an_address_of_another_machine_is_named() {
    let grounds = Grounds::new();
    let hosting = Hosting { addresses: vec!["192.0.2.1".parse().unwrap()], ..grounds.hosting("20000-20999") };
    let host = Host::open(hosting).await.unwrap();

    let refusal = host.ensure(&id("a"), &Plain::new("")).await.unwrap_err();

    assert_eq!(
        refusal.to_string(),
        "this machine has no address 192.0.2.1 for servers to listen on: choose which addresses they bind to"
    );
}
