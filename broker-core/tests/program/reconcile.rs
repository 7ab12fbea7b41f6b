//! What an operator finds out about records and servers, and has repaired.

use std::fs;

use broker_core::{OpaqueId, testing::eventually};
use serde_json::{Value, json};

use crate::{place::Place, running::Ended, server::Server};

// SPEC, S-2
pub(crate) async fn records_in_a_folder_are_compared_and_repaired_when_no_broker_runs() {
    compared(&Place::folder(), "nothing is repaired while a broker runs").await;
}

// SPEC, S-7
pub(crate) async fn records_in_a_database_are_compared_and_repaired_when_no_replica_runs() {
    compared(&Place::database(), "a replica said a moment ago that it lives").await;
}

async fn compared(place: &Place, refusal: &str) {
    let folder = place.path().join("server");
    let folder = folder.to_str().unwrap();
    // A database's replicas and whoever asks say the same.
    let settings = ["--server-folder", folder, "--lease", "2"];
    let run = |flags: &[&str]| -> Ended { place.run(&[&["reconcile"], &settings[..], flags].concat()) };
    let never = run(&[]);
    assert_eq!((never.status, fs::exists(folder).unwrap()), (1, false), "{never:?}");
    let broker = place.serve(&[&settings[..], &["--reconcile-every", "3600"]].concat()).await;
    for name in ["one", "two"] {
        let body = format!("{{\"name\":\"{name}\",\"team\":\"data\"}}");
        assert_eq!(broker.platform("POST", "/resources", &body).await.0, 201);
    }
    let server = Server::at(folder.as_ref()).unwrap();
    let well = run(&[]);
    assert_eq!((well.status, well.errors.as_str()), (0, "nothing differs\n"));
    assert_eq!(well.out, "ok        server                    2 files that should be there\n");

    let (lost, orphan) = (server.names().remove(0), OpaqueId::generate());
    server.forget(&lost).unwrap();
    fs::write(format!("{folder}/instances/{orphan}"), "small").unwrap();
    let found = run(&["--json"]);
    let lines: Vec<Value> = found.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["kind"], "missing");
    let wanted = json!({ "kind": "orphan", "what": "server", "id": orphan, "text": "a file", "outcome": "found" });
    assert_eq!(lines[1], wanted);
    let said = found.fails(3);
    assert!(said.starts_with("one thing to repair: stop the broker and say `--repair`; one orphan found:"), "{said}");
    let refused = run(&["--repair", "--remove-orphans"]).fails(1);
    assert!(refused.contains(refusal), "{refused}");
    assert!(!server.names().contains(&lost) && server.names().contains(&orphan));

    broker.stop();
    if place.is_database() {
        eventually("the lease is over", async || !place.run(&["check", "--lease", "2"]).ok().contains("a broker runs"))
            .await;
    }

    let repaired = run(&["--repair"]);
    assert!(repaired.out.starts_with("repaired  server "), "{}", repaired.out);
    let said = repaired.fails(3);
    assert!(said.starts_with("one thing repaired, one orphan left: "), "{said}");
    let other = OpaqueId::generate();
    let unknown = run(&["--repair", &format!("--remove-orphans={other}")]).fails(1);
    assert!(unknown.contains(&format!("it is gone or the records know it: {other}")), "{unknown}");
    let removed = run(&["--repair", &format!("--remove-orphans={orphan}")]);
    assert!(removed.out.starts_with("removed   server "), "{}", removed.out);
    assert_eq!(removed.errors, "one thing repaired, nothing differs\n");
    assert_eq!((run(&["--repair"]).status, server.names().len()), (0, 2));
    // Records that know nobody would have everything removed.
    let empty = place.path().join("empty");
    let empty = empty.to_str().unwrap();
    let running = place.serve_elsewhere("empty").await;
    running.stop();
    let refused =
        crate::running::run(&[&["reconcile", "--repair", "--remove-orphans"], &settings[..]].concat(), empty.as_ref());
    assert!(refused.fails(1).contains("the records have no instance"));
    assert_eq!(server.names().len(), 2);
}

// SPEC X-9
pub(crate) async fn what_removes_data_is_said_each_time_and_in_no_file() {
    let place = Place::folder();
    let file = place.path().join("broker.toml");

    for order in ["repair = true", "remove-orphans = \"all\"", "remove_orphans = true"] {
        fs::write(&file, order).unwrap();
        let refused = place.run(&["--config", file.to_str().unwrap(), "reconcile"]).fails(2);
        assert!(refused.contains("there is no setting"), "{order}: {refused}");
    }
    assert!(place.run(&["reconcile", "--remove-orphans"]).fails(2).contains("--repair"));
}
