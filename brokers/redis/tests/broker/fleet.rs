//! A shared plan on several servers.

use broker_core::{Broker as _, Instance};
use redis_broker::RedisBroker;

use crate::support::{Client, Given, Grounds, binding, instance, look_after, tenancy, tenant};

const PLAN: &str = "[[plan]]\nname = \"crowd\"\nkind = \"shared\"\nservers = \"fleet.toml\"\n";

/// A server of the file.
fn entry(id: &str, given: &Given, more: &str) -> String {
    format!("[[server]]\nid = \"{id}\"\nurl = \"{}\"\n{more}\n", given.url("default", "admin").expose())
}

/// The broker, on two given servers with room for one instance each.
async fn two(grounds: &Grounds) -> (RedisBroker, [Given; 2]) {
    let servers = [Given::start(&["--databases", "1"]).await, Given::start(&["--databases", "1"]).await];
    grounds.write("fleet.toml", &fleet(&servers, ["capacity = 1", "capacity = 1"]));
    (grounds.broker_of(PLAN).await, servers)
}

fn fleet(servers: &[Given; 2], more: [&str; 2]) -> String {
    entry("a", &servers[0], more[0]) + &entry("b", &servers[1], more[1])
}

async fn make(broker: &RedisBroker) -> broker_core::Result<Instance> {
    let mut instance = instance("cache", "crowd");
    instance.notes = broker.provision(&instance).await?;
    Ok(instance)
}

fn server_of(instance: &Instance) -> &str {
    instance.notes["server"].as_str().unwrap()
}

#[tokio::test] // SPEC K-10
async fn instances_spread_over_servers_until_all_are_full_and_room_that_is_left_is_taken_again() {
    let grounds = Grounds::new();
    let (broker, _servers) = two(&grounds).await;

    let (one, other) = (make(&broker).await.unwrap(), make(&broker).await.unwrap());
    let refusal = make(&broker).await.unwrap_err().to_string();

    assert_ne!(server_of(&one), server_of(&other));
    assert!(refusal.contains("all 2 servers of the plan are full: ask the operator to add one"), "{refusal}");
    broker.deprovision(&one).await.unwrap();
    assert_eq!(server_of(&make(&broker).await.unwrap()), server_of(&one));
}

#[tokio::test] // SPEC K-10
async fn servers_are_added_and_drained_while_the_broker_runs_and_tenants_stay_where_they_are() {
    let grounds = Grounds::new();
    let (broker, servers) = two(&grounds).await;
    let (first, held, env) = tenancy(&broker, "first", "crowd").await;
    let (drained, open) = match server_of(&first) {
        "a" => (["capacity = 9\ndraining = true", "capacity = 9"], "b"),
        _ => (["capacity = 9", "capacity = 9\ndraining = true"], "a"),
    };

    grounds.write("fleet.toml", &fleet(&servers, drained));

    for _ in 0..3 {
        assert_eq!(server_of(&make(&broker).await.unwrap()), open);
    }
    look_after(&broker, &[tenant(&first, &[&held])]).await;
    Client::of(&env).await.unwrap();
    assert_eq!(broker.bind(&first, &held).await.unwrap(), env, "it stays on the server that is drained");
    let third = Given::start(&["--databases", "1"]).await;
    let all = fleet(&servers, ["capacity = 9\ndraining = true"; 2]) + &entry("c", &third, "capacity = 9");
    grounds.write("fleet.toml", &all);
    assert_eq!(server_of(&make(&broker).await.unwrap()), "c");
}

#[tokio::test] // SPEC K-10, L-2
async fn a_create_that_is_repeated_finds_the_server_it_had_even_when_that_is_full() {
    let grounds = Grounds::new();
    let (broker, _servers) = two(&grounds).await;
    let half_made = instance("cache", "crowd");
    let first = broker.provision(&half_made).await.unwrap();
    make(&broker).await.unwrap();

    assert_eq!(broker.provision(&half_made).await.unwrap(), first);

    broker.deprovision(&half_made).await.unwrap();
    let mut again = half_made.clone();
    again.notes = first;
    assert_eq!(server_of(&make(&broker).await.unwrap()), server_of(&again), "its room was given up");
}

#[tokio::test] // SPEC K-10, K-6
async fn a_server_that_restarted_is_as_full_as_before() {
    let grounds = Grounds::new();
    let (broker, mut servers) = two(&grounds).await;
    let (one, other) = (make(&broker).await.unwrap(), make(&broker).await.unwrap());

    for server in &mut servers {
        server.restart().await;
    }
    make(&broker).await.unwrap_err();

    look_after(&broker, &[tenant(&one, &[]), tenant(&other, &[])]).await;
    for server in &servers {
        assert_eq!(server.admin().await.list("ACL USERS").await.len(), 2, "the default user and the mark");
    }
}

#[tokio::test] // SPEC K-10
async fn a_server_that_does_not_answer_is_passed_over_and_the_others_take_tenants() {
    let grounds = Grounds::new();
    let (broker, mut servers) = two(&grounds).await;
    servers[0].stop();

    assert_eq!(server_of(&make(&broker).await.unwrap()), "b");

    let refusal = make(&broker).await.unwrap_err().to_string();
    assert_eq!(refusal, "the service is unavailable at the moment, try again later", "the other one may have room");
}

#[tokio::test] // SPEC K-2
async fn tenants_of_one_server_have_no_account_on_another() {
    let grounds = Grounds::new();
    let (broker, _servers) = two(&grounds).await;
    let (one, ..) = tenancy(&broker, "one", "crowd").await;
    let (other, _, env) = tenancy(&broker, "two", "crowd").await;

    let there = broker.bind(&one, &binding("blog")).await.unwrap();

    let port = env.get("REDIS_PORT").unwrap().expose();
    let login = there.get("REDIS_URL").unwrap().expose().replace(there.get("REDIS_PORT").unwrap().expose(), port);
    assert_ne!(server_of(&one), server_of(&other));
    assert!(Client::login(&login).await.is_err());
}
