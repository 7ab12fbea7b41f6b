//! Backups of one instance that are restored into another.

use std::{collections::BTreeMap, process::Command};

use broker_core::testing::TestBroker;
use redis_broker::RedisBroker;
use serde_json::Value;

use crate::{
    backups::{fill, is_filled},
    removals::keeping_last,
    support::{Client, Grounds},
};

async fn login(env: &BTreeMap<String, String>) -> (Client, String) {
    let prefix = env.get("REDIS_PREFIX").cloned().unwrap_or_default();
    (Client::login(&env["REDIS_URL"]).await.unwrap(), prefix)
}

/// What `list-backups` says of the instances of this name, which needs no key.
fn listed(grounds: &Grounds, name: &str) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redis-broker"));
    command.arg("list-backups").arg("--backups").arg(grounds.data().join("backups")).arg(name);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test] // SPEC Z-10, Z-11
async fn a_backup_is_restored_into_another_instance_of_the_same_team_also_when_its_own_is_gone() {
    let grounds = Grounds::new();
    let broker = TestBroker::start(RedisBroker::start(keeping_last(&grounds)).await.unwrap()).await;
    let create = async |name: &str, plan: &str, team: &str| {
        broker.form("POST", "/resources", &format!("name={name}&plan={plan}&team={team}")).await.is(201);
    };
    let restore = async |into: &str, id: &str, from: &str| {
        broker.ask("POST", &format!("/resources/{into}/backups/{id}/restore{from}")).await
    };
    let refused = "the instance has no such backup";
    create("small", "shared", "main").await;
    create("large", "dedicated", "main").await;
    create("theirs", "shared", "other").await;

    for plan in ["shared", "dedicated"] {
        create("cache", plan, "main").await;
        let of_cache = broker.bind_app("cache", "blog").await.is(201).env();
        let (mut app, prefix) = login(&of_cache).await;
        fill(&mut app, &prefix).await;
        let made = broker.ask("POST", "/resources/cache/backups").await.is(201).value();
        let id = made["id"].as_str().unwrap();
        for (into, id, from) in [
            ("theirs", id, "?from=cache"),
            ("theirs", id, ""),
            ("small", id, ""),
            ("small", id, "?from=theirs"),
            ("small", "..%2Fx", "?from=cache"),
        ] {
            restore(into, id, from).await.is(400).says(refused);
        }
        for into in ["small", "large"] {
            let env = broker.bind_app(into, "shop").await.is(201).env();
            let (mut app, prefix) = login(&env).await;
            app.say(&format!("SET {prefix}old x")).await.unwrap();
            restore(into, id, "?from=cache").await.is(200);
            let (mut app, prefix) = login(&env).await;
            is_filled(&mut app, &prefix).await;
            assert_eq!(app.get(&format!("{prefix}old")).await, None, "from {plan} into {into}");
        }
        let (mut app, prefix) = login(&of_cache).await;
        is_filled(&mut app, &prefix).await;
        app.say(&format!("SET {prefix}late x")).await.unwrap();

        // Of one that is gone, its last backup says whose it was, not the next one of its name.
        broker.remove("cache").await.is(200);
        create("cache", plan, "other").await;
        let last = listed(&grounds, "cache").pop().unwrap();
        assert_eq!((&last["last"], &last["team"], &last["plan"]), (&true.into(), &"main".into(), &plan.into()));
        let last = last["id"].as_str().unwrap();
        for (into, from) in [("theirs", "?from=cache"), ("cache", ""), ("small", "?from=large"), ("small", "")] {
            restore(into, last, from).await.is(400).says(refused);
        }
        assert_eq!(broker.ask("GET", "/resources/theirs/backups").await.is(200).body, "[]", "nothing was begun");
        for into in ["small", "large"] {
            restore(into, last, "?from=cache").await.is(200);
            let (mut app, prefix) = login(&broker.bind_app(into, "shop").await.is(201).env()).await;
            is_filled(&mut app, &prefix).await;
            assert_eq!(app.get(&format!("{prefix}late")).await.as_deref(), Some("x"), "from {plan} into {into}");
        }
        broker.remove("cache").await.is(200);
    }
}
