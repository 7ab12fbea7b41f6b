//! What an operator asks of a broker's records and configuration.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _};

use broker_core::testing::eventually;
use serde_json::{Value, json};

use crate::{
    broker::HAS_NO_DOCTOR,
    place::Place,
    running::{Ended, Running, program, run},
};

// SPEC X-4
pub(crate) async fn check_says_what_works_and_what_does_not_and_changes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");

    let well = run(&["check", "--listen", "127.0.0.1:0"], &data).ok();
    for found in ["none yet, serve makes them in", "fake: small", "from BROKER_PASSWORD"] {
        assert!(well.contains(found), "{well}");
    }

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, list) = (taken.local_addr().unwrap().to_string(), place.path().join("list"));
    fs::write(&list, "guest:planted-guest\n").unwrap();
    fs::set_permissions(&list, fs::Permissions::from_mode(0o644)).unwrap();
    let tls = ["--tls-cert", "none.crt", "--tls-key", "none.key"];
    let wrong = ["check", "--listen", &address, "--credentials-file", list.to_str().unwrap(), "--servers", "0"];
    let ended = run(&[&wrong[..], &tls].concat(), &data);
    let said = ended.out.clone();
    assert_eq!(ended.fails(1), "error: 4 things keep the broker from working, see above\n");

    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error ")).collect();
    for problem in [
        ["listen ", "cannot listen on"],
        ["credentials ", ""],
        ["tls ", "cannot read the certificate in none.crt"],
        ["servers ", "there are"],
    ] {
        let is_told = errors.iter().any(|line| problem.iter().all(|part| line.contains(part)));
        assert!(is_told && errors.len() == 4, "{problem:?} is missing: {said}");
    }
    assert_eq!(said.matches("No such file").count(), 1, "a cause is told twice: {said}");
    assert!(!data.exists() && !said.contains("planted"));
}

// SPEC X-4
pub(crate) async fn check_tells_programs_what_it_found_an_object_a_line() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");

    let ended = run(&["check", "--listen", "127.0.0.1:0", "--servers", "0", "--json"], &data);

    let said = objects(&ended.out);
    assert!(ended.fails(1).starts_with("error: one thing keeps the broker from working"));
    let of = |what: &str| said.iter().find(|one| one["what"] == what).unwrap();
    assert_eq!(of("catalog"), &json!({ "level": "ok", "what": "catalog", "text": "fake: small, large" }));
    let none = json!({ "level": "error", "what": "servers", "text": "there are none, set --servers to at least 1" });
    assert_eq!(of("servers"), &none);
}

// SPEC X-6
pub(crate) async fn doctor_goes_on_where_check_ends_and_warnings_are_no_errors() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let doctor = |servers| run(&["doctor", "--listen", "127.0.0.1:0", "--servers", servers], &data);
    let check = run(&["check", "--listen", "127.0.0.1:0", "--servers", "8"], &data).ok();

    let warned = doctor("8").ok();
    assert_eq!(warned, format!("{check}warning  rooms     they will be full soon, rent more\n"));
    assert!(doctor("1").ok().ends_with("\nok       rooms     enough\n"));
    let ended = doctor("64");
    assert!(ended.out.ends_with("\nerror    rooms     there are not so many, set --servers to less than 64\n"));
    assert_eq!(ended.fails(1), "error: one thing keeps the broker from working, see above\n");
    let json = run(&["doctor", "--listen", "127.0.0.1:0", "--servers", "8", "--json"], &data).ok();
    assert_eq!(objects(&json).last().unwrap()["level"], "warning");
    assert!(!data.exists());
}

// SPEC X-6
pub(crate) async fn a_broker_has_a_doctor_when_its_author_thought_of_one() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let without =
        |arguments: &[&str]| -> Ended { program(arguments, &data).env(HAS_NO_DOCTOR, "yes").output().unwrap().into() };

    assert!(run(&["--help"], &data).ok().contains("doctor"));
    assert!(run(&["completions", "bash"], &data).ok().contains("doctor"));
    assert!(!without(&["--help"]).ok().contains("doctor"));
    assert!(!without(&["completions", "bash"]).ok().contains("doctor"));
    for subcommand in ["doctor", "reconcile"] {
        assert!(run(&["--help"], &data).ok().contains(subcommand));
        let unknown = without(&[subcommand]).fails(2);
        assert!(unknown.contains(&format!("unrecognized subcommand '{subcommand}'")), "{unknown}");
    }
}

fn objects(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

// SPEC, S-8, S-9
pub(crate) async fn records_are_shown_while_the_broker_runs_and_their_key_rotates_when_it_does_not() {
    let place = Place::folder();
    let none = place.run(&["instances"]).fails(1);
    assert!(none.contains("there are no records in"), "{none}");
    let broker = place.serve(&[]).await;
    let table = shown(&place, &broker).await;
    let refused = place.run(&["rotate-key"]).fails(1);
    assert!(refused.contains("is in use by another broker process"), "{refused}");
    let second = place.run(&["serve", "--listen", "127.0.0.1:0"]).fails(1);
    assert!(second.contains("is in use by another broker process"), "{second}");

    broker.stop();

    rotated(&place, &[], &table);
}

// SPEC, S-7, S-8, S-9
pub(crate) async fn records_in_a_database_are_shown_and_their_key_rotates_as_those_in_a_folder() {
    let place = Place::database();
    let well = place.run(&["check", "--listen", "127.0.0.1:0"]).ok();
    assert!(well.contains("none yet in the database, serve makes its tables"), "{well}");
    for subcommand in [&["instances"][..], &["operations", "one"], &["rotate-key"]] {
        let none = place.run(subcommand).fails(1);
        assert!(none.contains("shared.key"), "{none}");
    }
    assert!(!place.data().exists() && !place.key().exists(), "a look made something");
    // The same for whoever asks: a replica is dead when it was silent for so long.
    let lease = ["--lease", "2"];
    let broker = place.serve(&lease).await;
    let table = shown(&place, &broker).await;
    let rotate = [&["rotate-key"][..], &lease].concat();
    let refused = place.run(&rotate).fails(1);
    assert!(refused.contains("a replica said a moment ago that it lives: stop all replicas"), "{refused}");

    broker.stop();

    eventually("the lease is over", async || !place.run(&["check", "--lease", "2"]).ok().contains("a broker runs"))
        .await;
    let before = fs::read(place.key()).unwrap();
    rotated(&place, &lease, &table);
    fs::write(place.key(), before).unwrap();
    for subcommand in [&["instances"][..], &["check"], &["rotate-key"], &["serve", "--listen", "127.0.0.1:0"]] {
        let ended = place.run(subcommand);
        let said = ended.out.clone() + &ended.fails(1);
        assert!(said.contains("cannot use the records in the database"), "{said}");
    }
}

/// Fills the records, has them shown by each subcommand, and returns the table of instances.
async fn shown(place: &Place, broker: &Running) -> String {
    for name in ["one", "two"] {
        let body = format!("{{\"name\":\"{name}\",\"team\":\"data\",\"user\":\"alice@example.com\"}}");
        assert_eq!(broker.platform("POST", "/resources", &body).await.0, 201);
    }
    assert_eq!(broker.platform("POST", "/resources/one/bind-app", "{\"appName\":\"blog\"}").await.0, 201);

    let table = place.run(&["instances"]).ok();
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(table.starts_with("NAME  PLAN") && table.contains("one   small  data  ready"), "{table}");
    assert_eq!(place.run(&["instances", "--state", "failed"]).ok().lines().count(), 1);
    let json = place.run(&["instances", "--json"]).ok();
    let names: Vec<Value> =
        json.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["name"].clone()).collect();
    assert_eq!(names, ["one", "two"]);
    let log = place.run(&["operations", "one"]).ok();
    assert!(log.lines().nth(1).is_some_and(|line| line.contains("bind") && line.contains("blog")), "{log}");
    let last = place.run(&["operations", "one", "--limit", "1", "--json"]).ok();
    assert_eq!(last.lines().count(), 1);
    assert_eq!(serde_json::from_str::<Value>(&last).unwrap()["kind"], "bind");
    let unknown = place.run(&["operations", "three"]).fails(1);
    assert!(unknown.contains("there is no instance \"three\""), "{unknown}");
    let address = broker.url.strip_prefix("http://").unwrap();
    let check = place.run(&["check", "--listen", address]).ok();
    assert!(check.contains("2 instances, 1 bindings") && check.contains("a broker runs on them"), "{check}");
    assert!(check.contains("is taken, a broker runs"), "{check}");
    assert_eq!(place.run(&["count"]).ok(), "2\n");
    table
}

/// Rotates the key, and sees that what was there is there.
fn rotated(place: &Place, flags: &[&str], table: &str) {
    let before = fs::read_to_string(place.key()).unwrap();
    place.run(&[&["rotate-key"], flags].concat()).ok();

    let after = fs::read_to_string(place.key()).unwrap();
    assert!(after != before && after.lines().count() == 1);
    assert_eq!(place.run(&["instances"]).ok(), table);
}

pub(crate) async fn an_author_adds_subcommands_and_checks() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let broker = Running::start(&["--log", "json"], &data).await;
    broker.platform("POST", "/resources", "{\"name\":\"one\"}").await;
    let output = broker.output();
    let first: Value = serde_json::from_str(output.lines().next().unwrap()).unwrap();
    assert!(first["level"].is_string(), "{output}");

    assert_eq!(run(&["count"], &data).ok(), "1\n");
    assert!(run(&["--help"], &data).ok().contains("Count the instances"));
    let document: Value = serde_json::from_str(&run(&["openapi"], &data).ok()).unwrap();
    let served = broker.platform("GET", "/openapi.json", "").await.1;
    assert_eq!(serde_json::from_str::<Value>(&served).unwrap(), document);
    let page = run(&["catalog"], &data).ok();
    assert!(page.starts_with("# fake\n") && page.contains("(default)\n"), "{page}");
}
