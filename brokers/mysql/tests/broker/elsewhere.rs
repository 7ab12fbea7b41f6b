//! Backups of one instance that are restored into another.

use std::{collections::BTreeMap, process::Command};

use broker_core::testing::TestBroker;
use mysql_broker::MysqlBroker;
use serde_json::Value;

use crate::{
    removals::{folder, keeping_last},
    support::{Client, Grounds},
};

async fn login(env: &BTreeMap<String, String>) -> Client {
    Client::login(&env["DATABASE_URL"]).await.unwrap()
}

/// What `list-backups` says of the instances of this name, which needs no key.
fn listed(grounds: &Grounds, name: &str) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mysql-broker"));
    let output = command.arg("list-backups").arg("--backups").arg(folder(grounds)).arg(name).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test] // SPEC Z-10, Z-11
async fn a_backup_is_restored_into_another_instance_of_the_same_team_also_when_its_own_is_gone() {
    let grounds = Grounds::new();
    let broker = TestBroker::start(MysqlBroker::start(keeping_last(&grounds)).await.unwrap()).await;
    for (name, plan, team) in [
        ("first", "shared", "main"),
        ("second", "shared", "main"),
        ("own", "dedicated", "main"),
        ("theirs", "shared", "other"),
    ] {
        broker.form("POST", "/resources", &format!("name={name}&plan={plan}&team={team}")).await.is(201);
    }
    let of_first = broker.bind_app("first", "blog").await.is(201).env();
    let mut app = login(&of_first).await;
    for statement in [
        "CREATE TABLE t AS SELECT 'héllo' AS a",
        "CREATE VIEW v AS SELECT a FROM t",
        "CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.a = CONCAT(NEW.a, '!')",
        "CREATE PROCEDURE p() INSERT INTO t VALUES ('new')",
    ] {
        app.run(statement).await.unwrap();
    }
    let id = broker.ask("POST", "/resources/first/backups").await.is(201).value()["id"].as_str().unwrap().to_owned();
    let restore = async |into: &str, id: &str, from: &str| {
        broker.ask("POST", &format!("/resources/{into}/backups/{id}/restore{from}")).await
    };
    let refused = "the instance has no such backup";

    for (into, id, from) in [
        ("theirs", id.as_str(), "?from=first"),
        ("theirs", &id, ""),
        ("second", &id, ""),
        ("second", &id, "?from=theirs"),
        ("second", &id, "?from=none"),
        ("second", "no-such", "?from=first"),
        ("second", "..%2Fx", "?from=first"),
    ] {
        restore(into, id, from).await.is(400).says(refused);
    }
    assert_eq!(broker.ask("GET", "/resources/theirs/backups").await.is(200).body, "[]", "nothing was begun");
    for into in ["second", "own"] {
        let env = broker.bind_app(into, "shop").await.is(201).env();
        login(&env).await.run("CREATE TABLE old (n INT)").await.unwrap();
        let answer = restore(into, &id, "?from=first").await.is(200).value();

        let mut app = login(&env).await;
        app.run("CALL p()").await.unwrap();
        assert_eq!(app.texts("SELECT a FROM v").await, ["héllo", "new!"], "{into}");
        assert_eq!(app.texts("SHOW TABLES").await, ["t", "v"], "{into}: what was there is gone");
        let before = answer["before"]["id"].as_str().unwrap();
        restore(into, before, "").await.is(200);
        assert_eq!(login(&env).await.texts("SHOW TABLES").await, ["old"], "{into}: and back again");
    }
    assert_eq!(login(&of_first).await.texts("SELECT a FROM v").await, ["héllo"], "its own instance is as it was");

    // Of one that is gone, its last backup says whose it was, not the next one of its name.
    broker.unbind_app("first", "blog").await.is(200);
    broker.remove("first").await.is(200);
    broker.form("POST", "/resources", "name=first&plan=shared&team=other").await.is(201);
    let last = listed(&grounds, "first").pop().unwrap();
    assert_eq!((&last["last"], &last["team"]), (&true.into(), &"main".into()));
    let last = last["id"].as_str().unwrap();
    for (into, from) in
        [("theirs", "?from=first"), ("first", ""), ("first", "?from=first"), ("second", "?from=own"), ("second", "")]
    {
        restore(into, last, from).await.is(400).says(refused);
    }
    let env = broker.bind_app("second", "shop").await.is(201).env();
    for id in [last, &id] {
        restore("second", id, "?from=first").await.is(200);
        assert_eq!(login(&env).await.texts("SELECT a FROM v").await, ["héllo"]);
    }

    // Nothing runs as the other instance's account, and nothing is left of what took its place.
    let mut admin = grounds.admin().await;
    let own = format!("ub{}@%", env["MYSQL_DATABASE_NAME"].strip_prefix("tb").unwrap());
    assert_eq!(
        admin.texts("SELECT DISTINCT DEFINER FROM information_schema.ROUTINES WHERE DEFINER LIKE 'ub%'").await,
        [own]
    );
    for name in ["first", "second", "own", "theirs"] {
        broker.remove(name).await.is(200);
    }
    assert!(admin.texts("SELECT User FROM mysql.user WHERE User LIKE 'ub%'").await.is_empty());
    assert!(admin.texts("SHOW DATABASES LIKE 'tb%'").await.is_empty());
}
