//! What is found before the first server runs.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use broker_core::cli::Findings;
use broker_hosting::{Containers, Hosting, RunAs};

use crate::support::{Grounds, free_ports};

async fn doctor(hosting: &Hosting) -> String {
    let mut findings = Findings::default();
    hosting.doctor(&mut findings).await;
    findings.to_string()
}

fn says(said: &str, level: &str, what: &str, part: &str) -> bool {
    said.lines().any(|line| line.starts_with(level) && line[9..].starts_with(what) && line.contains(part))
}

#[tokio::test] // SPEC H-11
async fn a_host_that_is_set_up_well_is_told_so_and_nothing_is_made() {
    let grounds = Grounds::new();
    let hosting = grounds.hosting(&free_ports(20));

    let said = doctor(&hosting).await;

    assert!(says(&said, "", "servers' folder", " free in"), "{said}");
    assert!(says(&said, "", "user", " run as "), "{said}");
    assert!(says(&said, "ok", "ports", "of 21 are free in"), "{said}");
    assert!(says(&said, "ok", "engine", "Docker "), "{said}");
    assert!(said.contains("  limits  ") && !said.contains("error"), "{said}");
    assert!(!grounds.root().exists());
}

#[tokio::test] // SPEC H-11
async fn a_range_without_free_ports_is_an_error_and_one_of_the_systems_a_warning() {
    let grounds = Grounds::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();

    let said = doctor(&grounds.hosting(&format!("{port}-{port}"))).await;

    assert!(says(&said, "error", "ports", "no port is free in"), "{said}");
    assert!(says(&said, "warning", "ports", "to outgoing connections"), "{said}");
    let few = doctor(&grounds.hosting(&free_ports(2))).await;
    assert!(says(&few, "warning", "ports", "of 3 ports are free in"), "{few}");
}

#[tokio::test] // SPEC H-11
async fn an_address_that_is_not_the_machines_is_an_error() {
    let grounds = Grounds::new();
    let hosting = Hosting { addresses: vec!["192.0.2.77".parse().unwrap()], ..grounds.hosting(&free_ports(20)) };

    let said = doctor(&hosting).await;

    assert!(says(&said, "error", "ports", "this machine has no address 192.0.2.77"), "{said}");
}

#[tokio::test] // SPEC H-11
async fn an_engine_that_does_not_answer_is_an_error_where_a_plan_wants_containers() {
    let grounds = Grounds::new();
    let away = Containers { engine: "unix:///no/such/engine.sock".to_owned(), ..Containers::new("doctor") };
    let hosting = Hosting { containers: Some(away), ..grounds.hosting(&free_ports(20)) };

    let said = doctor(&hosting).await;

    assert!(says(&said, "error", "engine", "Docker does not answer at unix:///no/such/engine.sock"), "{said}");
    let without = doctor(&Hosting { containers: None, ..hosting }).await;
    assert!(!without.contains("engine"), "{without}");
}

#[tokio::test] // SPEC H-11
async fn a_folder_that_cannot_be_made_is_an_error() {
    let grounds = Grounds::new();
    fs::write(grounds.root(), "a file").unwrap();
    let hosting = Hosting { root: grounds.root().join("servers"), ..grounds.hosting(&free_ports(20)) };

    let said = doctor(&hosting).await;

    assert!(said.lines().any(|line| line.starts_with("error    servers' folder")), "{said}");
}

#[tokio::test] // SPEC H-11, H-5
async fn a_user_who_cannot_enter_the_folder_is_found_behind_links_too() {
    if !rustix::process::geteuid().is_root() {
        return; // Servers run as the broker does.
    }
    let grounds = Grounds::new();
    let above = grounds.root().parent().unwrap().to_owned();
    let (closed, link) = (above.join("closed"), above.join("link"));
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    symlink(&closed, &link).unwrap();
    let run_as = |run_as| Hosting { root: link.join("servers"), run_as, ..grounds.hosting(&free_ports(20)) };

    let packaged = doctor(&run_as(RunAs::Packaged("redis"))).await;
    let named = doctor(&run_as(RunAs::Named("redis".to_owned()))).await;
    let nobody = doctor(&run_as(RunAs::Named("no-such-user".to_owned()))).await;
    let root = doctor(&run_as(RunAs::Packaged("no-such-user"))).await;

    let closed = closed.canonicalize().unwrap();
    let kept_out = format!("user \"redis\" cannot enter {}", closed.display());
    assert!(says(&packaged, "warning", "user", &format!("run as root: {kept_out}")), "{packaged}");
    assert!(says(&named, "error", "user", &kept_out), "{named}");
    assert!(says(&nobody, "error", "user", "there is no user \"no-such-user\" on this machine"), "{nobody}");
    assert!(says(&root, "warning", "user", "run as root: install the server's package"), "{root}");
}
