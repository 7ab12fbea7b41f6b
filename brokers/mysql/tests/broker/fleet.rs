//! Shared plans on several servers.

use broker_core::{Broker as _, Health, Instance, Metric, Update};
use mysql_broker::{Config, MysqlBroker};

use crate::support::{Client, Grounds, binding, instance, look_after, on_plan, tenant};

const CROWD: &str = "[[plan]]\nname = \"crowd\"\nkind = \"shared\"\nservers = \"servers.toml\"\n";
const OWN: &str = "[[plan]]\nname = \"own\"\nkind = \"dedicated\"\n";

/// A server of the file.
fn entry(id: &str, more: &str) -> String {
    format!("[[server]]\nid = \"{id}\"\n{more}\n")
}

/// A broker with the plans `crowd` and `own`, whose shared servers are its own.
async fn broker_on(grounds: &Grounds, servers: &str) -> MysqlBroker {
    MysqlBroker::start(on(grounds, servers)).await.unwrap()
}

pub(crate) fn on(grounds: &Grounds, servers: &str) -> Config {
    grounds.write("servers.toml", servers);
    grounds.with_plans(&format!("{CROWD}{OWN}"))
}

/// Two servers with room for one instance each.
pub(crate) fn two() -> String {
    entry("a", "capacity = 1") + &entry("b", "capacity = 1")
}

pub(crate) async fn make(broker: &MysqlBroker) -> broker_core::Result<Instance> {
    let mut instance = on_plan("crowd");
    instance.notes = broker.provision(&instance).await?;
    Ok(instance)
}

pub(crate) fn server_of(instance: &Instance) -> &str {
    instance.notes["server"].as_str().unwrap()
}

pub(crate) async fn databases(grounds: &Grounds, server: &str) -> Vec<String> {
    grounds.admin_of(server).await.texts("SHOW DATABASES LIKE 'tb%'").await
}

pub(crate) fn name_of(instance: &Instance) -> String {
    format!("tb{}", instance.id)
}

#[tokio::test] // SPEC M-14
async fn instances_spread_over_servers_until_all_are_full_and_room_that_is_left_is_taken_again() {
    let grounds = Grounds::new();
    let broker = broker_on(&grounds, &two()).await;

    let (one, other) = (make(&broker).await.unwrap(), make(&broker).await.unwrap());
    let refusal = make(&broker).await.unwrap_err().to_string();

    assert_ne!(server_of(&one), server_of(&other));
    assert_eq!(databases(&grounds, server_of(&one)).await, [name_of(&one)]);
    assert_eq!(databases(&grounds, server_of(&other)).await, [name_of(&other)]);
    assert!(refusal.contains("all 2 servers of the plan are full: ask the operator to add one"), "{refusal}");
    broker.deprovision(&one).await.unwrap();
    assert_eq!(server_of(&make(&broker).await.unwrap()), server_of(&one));
}

#[tokio::test] // SPEC M-14
async fn the_server_that_is_used_least_of_what_it_takes_gets_the_next() {
    let grounds = Grounds::new();
    let broker = broker_on(&grounds, &(entry("a", "capacity = 2") + &entry("b", "capacity = 4"))).await;

    let mut placed = Vec::new();
    for _ in 0..6 {
        placed.push(server_of(&make(&broker).await.unwrap()).to_owned());
    }

    assert_eq!(placed, ["a", "b", "b", "a", "b", "b"]);
}

#[tokio::test] // SPEC M-14
async fn servers_are_added_and_drained_while_the_broker_runs_and_tenants_stay_where_they_are() {
    let grounds = Grounds::new();
    let broker = broker_on(&grounds, &two()).await;
    let (first, app) = (make(&broker).await.unwrap(), binding("blog"));
    let env = broker.bind(&first, &app).await.unwrap();
    assert_eq!(server_of(&first), "a");

    grounds.write("servers.toml", &(entry("a", "capacity = 9\ndraining = true") + &entry("b", "capacity = 9")));

    for _ in 0..2 {
        assert_eq!(server_of(&make(&broker).await.unwrap()), "b");
    }
    look_after(&broker, &[tenant(&first, &[&app])]).await;
    assert_eq!(broker.bind(&first, &app).await.unwrap(), env, "it stays on the server that is drained");
    Client::of(&env).await.unwrap();
    let drained = entry("a", "capacity = 9\ndraining = true") + &entry("b", "capacity = 9\ndraining = true");
    grounds.write("servers.toml", &(drained + &entry("c", "capacity = 9")));
    assert_eq!(server_of(&make(&broker).await.unwrap()), "c");
}

#[tokio::test] // SPEC M-14, L-2
async fn a_create_that_nobody_wrote_down_is_found_on_its_server_and_can_be_removed() {
    let grounds = Grounds::new();
    let broker = broker_on(&grounds, &two()).await;
    make(&broker).await.unwrap();
    let half_made = on_plan("crowd");
    // The broker dies when the database is there, and before that is written down.
    let notes = broker.provision(&half_made).await.unwrap();
    drop(broker);
    let broker = broker_on(&grounds, &two()).await;

    assert_eq!(broker.provision(&half_made).await.unwrap(), notes, "however full its server is");
    assert_eq!(notes["server"], "b");

    broker.deprovision(&half_made).await.unwrap();
    broker.deprovision(&half_made).await.unwrap();
    assert!(databases(&grounds, "b").await.is_empty());
    assert_eq!(databases(&grounds, "a").await.len(), 1, "nothing of another instance is touched");
}

#[tokio::test] // SPEC M-14, M-12
async fn a_server_that_is_down_fails_its_own_instances_and_no_others() {
    // A server that somebody else runs: nothing starts it again.
    let elsewhere = Grounds::new();
    drop(elsewhere.broker().await);
    let grounds = Grounds::new();
    let given = format!("url = \"{}\"\ncapacity = 2", elsewhere.url_of("shared"));
    let broker = broker_on(&grounds, &(entry("a", &given) + &entry("b", "capacity = 2"))).await;
    let (there, here) = (make(&broker).await.unwrap(), make(&broker).await.unwrap());
    assert_eq!((server_of(&there), server_of(&here)), ("a", "b"));

    elsewhere.kill("shared").await;

    assert!(matches!(broker.status(&there).await.unwrap(), Health::Down(_)));
    broker.bind(&there, &binding("blog")).await.unwrap_err();
    broker.deprovision(&there).await.unwrap_err();
    assert_eq!(broker.status(&here).await.unwrap(), Health::Up);
    Client::of(&broker.bind(&here, &binding("blog")).await.unwrap()).await.unwrap();
    let metrics = broker.metrics().await.unwrap();
    for (server, is_up) in [("a", 0.0), ("b", 1.0)] {
        let up = Metric::gauge("server_up", "Whether a server answers", is_up).label("server", server);
        assert!(metrics.contains(&up), "{metrics:?}");
    }
    let next = make(&broker).await.unwrap();
    assert_eq!(server_of(&next), "b", "it is passed over");
    let refusal = make(&broker).await.unwrap_err().to_string();
    assert_eq!(refusal, "the service is unavailable at the moment, try again later", "the other one may have room");
    for instance in [&here, &next] {
        broker.deprovision(instance).await.unwrap();
    }
    assert!(databases(&grounds, "b").await.is_empty());
}

#[tokio::test] // SPEC M-14
async fn instances_from_before_there_was_a_file_are_on_its_first_server() {
    let grounds = Grounds::new();
    let broker = MysqlBroker::start(grounds.config()).await.unwrap();
    let (mut oldest, mut old, app) = (instance("oldest"), instance("old"), binding("blog"));
    oldest.notes = broker.provision(&oldest).await.unwrap();
    oldest.notes.remove("server");
    old.notes = broker.provision(&old).await.unwrap();
    let env = broker.bind(&oldest, &app).await.unwrap();
    drop(broker);
    let given = format!("url = \"{}\"\ncapacity = 9", grounds.url_of("shared"));
    grounds.write("servers.toml", &(entry("first", &given) + &entry("b", "capacity = 9")));
    let config = grounds.with_plans(&CROWD.replace("crowd", "shared"));

    let broker = MysqlBroker::start(config).await.unwrap();

    assert_eq!(broker.bind(&oldest, &app).await.unwrap(), env);
    assert_eq!(broker.status(&old).await.unwrap(), Health::Up);
    let notes = broker.update(&old, &Update::of(&old)).await.unwrap();
    assert_eq!(notes["server"], "first");
    for instance in [&oldest, &old] {
        broker.deprovision(instance).await.unwrap();
    }
    assert!(databases(&grounds, "shared").await.is_empty());
}

#[tokio::test] // SPEC M-14
async fn a_server_that_was_taken_out_of_the_file_is_missed_by_its_name() {
    let grounds = Grounds::new();
    let broker = broker_on(&grounds, &two()).await;
    make(&broker).await.unwrap();
    let second = make(&broker).await.unwrap();

    grounds.write("servers.toml", &entry("a", "capacity = 9"));

    for refused in [broker.status(&second).await.map(drop), broker.deprovision(&second).await] {
        let refusal = format!("{:?}", refused.unwrap_err());
        let sentence = "is not among its plan's servers any more: put it back, as draining";
        assert!(refusal.contains(sentence), "{refusal}");
    }
    grounds.write("servers.toml", &two());
    assert_eq!(broker.status(&second).await.unwrap(), Health::Up);
}

async fn move_to(broker: &MysqlBroker, instance: &mut Instance, plan: &str) -> broker_core::Result<()> {
    let mut to = Update::of(instance);
    to.plan = plan.parse().unwrap();
    instance.notes = broker.update(instance, &to).await?;
    instance.plan = to.plan;
    Ok(())
}

#[tokio::test] // SPEC M-9, M-14
async fn an_instance_moves_from_a_second_server_to_one_of_its_own_and_back() {
    let grounds = Grounds::new();
    let broker = broker_on(&grounds, &two()).await;
    let neighbour = make(&broker).await.unwrap();
    let (mut moving, app) = (make(&broker).await.unwrap(), binding("blog"));
    assert_eq!(server_of(&moving), "b");
    let before = broker.bind(&moving, &app).await.unwrap();
    Client::of(&before).await.unwrap().run("CREATE TABLE t AS SELECT 7 AS a").await.unwrap();

    move_to(&broker, &mut moving, "own").await.unwrap();
    assert_eq!(databases(&grounds, "b").await, [name_of(&moving)], "kept until the new place is written down");
    look_after(&broker, &[tenant(&moving, &[&app])]).await;

    assert!(databases(&grounds, "b").await.is_empty(), "the old place is removed");
    let env = broker.bind(&moving, &app).await.unwrap();
    assert_eq!(Client::of(&env).await.unwrap().number("SELECT a FROM t").await, 7);
    // The room it had is taken, and there is other room by now.
    assert_eq!(server_of(&make(&broker).await.unwrap()), "b");
    let refusal = move_to(&broker, &mut moving.clone(), "crowd").await.unwrap_err().to_string();
    assert!(refusal.contains("all 2 servers of the plan are full"), "{refusal}");
    broker.deprovision(&neighbour).await.unwrap();

    move_to(&broker, &mut moving, "crowd").await.unwrap();
    look_after(&broker, &[tenant(&moving, &[&app])]).await;

    assert_eq!(server_of(&moving), "a");
    let after = broker.bind(&moving, &app).await.unwrap();
    assert_eq!(Client::of(&after).await.unwrap().number("SELECT a FROM t").await, 7);
    assert_eq!(after.get("MYSQL_PASSWORD"), before.get("MYSQL_PASSWORD"));
    assert_eq!(grounds.servers(), ["a", "b"], "its own server is removed");
}

#[tokio::test] // SPEC M-9, M-14
async fn an_instance_that_is_removed_while_it_moves_leaves_neither_place() {
    for to_own in [true, false] {
        let grounds = Grounds::new();
        let broker = broker_on(&grounds, &two()).await;
        let mut moving = make(&broker).await.unwrap();
        if !to_own {
            move_to(&broker, &mut moving, "own").await.unwrap();
            look_after(&broker, &[tenant(&moving, &[])]).await;
        }
        // The broker dies when the move is done, and before that is written down.
        move_to(&broker, &mut moving.clone(), if to_own { "own" } else { "crowd" }).await.unwrap();
        drop(broker);
        let broker = broker_on(&grounds, &two()).await;

        broker.deprovision(&moving).await.unwrap();

        assert!(databases(&grounds, "a").await.is_empty());
        assert!(grounds.servers().iter().all(|server| ["a", "b"].contains(&server.as_str())));
    }
}
