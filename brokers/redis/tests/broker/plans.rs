//! Plans of the operator's own, and what owners may choose.

use broker_core::{Broker as _, Instance, Update};
use redis_broker::{Config, RedisBroker};
use serde_json::json;

use crate::support::{Client, Grounds, admin, eventually, instance, look_after, tenancy, tenant, update};

const PLANS: &str = r#"
[[plan]]
name = "small"
kind = "dedicated"
maxmemory = "8mb"

[[plan]]
name = "large"
kind = "dedicated"
description = "Room for sessions"
maxmemory = "32mb"
maxmemory-policy = "allkeys-lru"
connections = 100
at-most = 3

[[plan]]
name = "crowd"
kind = "shared"
maxmemory = "16mb"
"#;

fn to(instance: &Instance, plan: &str, parameters: serde_json::Value) -> Update {
    let mut to = Update::of(instance);
    to.plan = plan.parse().unwrap();
    to.parameters = serde_json::from_value(parameters).unwrap();
    to
}

/// A figure of an owner's server.
async fn figure(app: &mut Client, name: &str) -> String {
    let text: String = redis::from_redis_value(app.say("INFO everything").await.unwrap()).unwrap();
    text.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))).unwrap().trim().to_owned()
}

#[tokio::test] // SPEC K-7
async fn the_catalog_has_the_plans_of_the_file_in_its_order() {
    let grounds = Grounds::new();
    let broker = grounds.broker_of(PLANS).await;

    let catalog = broker.catalog();

    let names: Vec<_> = catalog.plans().iter().map(|plan| plan.name.as_str()).collect();
    assert_eq!(names, ["small", "large", "crowd"]);
    assert_eq!(catalog.plans()[1].description, "Room for sessions");
    assert!(catalog.plans()[2].schema.is_none() && catalog.plans()[2].bind_schema.is_some());
    for plan in names {
        let (_, _, env) = tenancy(&broker, "cache", plan).await;
        Client::of(&env).await.unwrap();
    }
}

#[tokio::test] // SPEC K-7
async fn a_plan_that_cannot_be_keeps_the_broker_from_starting() {
    let grounds = Grounds::new();
    let plans = grounds.write("plans.toml", "[[plan]]\nname = \"a\"\nkind = \"dedicated\"\nmaxmemory = 3\n");

    let refusal = RedisBroker::start(Config { plans: Some(plans), ..grounds.config() }).await.err().unwrap();

    assert!(refusal.to_string().contains("plans.toml, line 4: "), "{refusal}");
}

#[tokio::test] // SPEC K-8
async fn an_owner_chooses_what_happens_when_memory_is_full() {
    let grounds = Grounds::new();
    let broker = grounds.broker_of(PLANS).await;
    let (instance, _, env) = tenancy(&broker, "cache", "small").await;
    let mut app = Client::of(&env).await.unwrap();
    assert_eq!(figure(&mut app, "maxmemory_policy").await, "noeviction");

    let wish = to(&instance, "small", json!({ "maxmemory-policy": "allkeys-lfu" }));
    let instance = update(&broker, &instance, &wish).await.unwrap();

    assert_eq!(figure(&mut app, "maxmemory_policy").await, "allkeys-lfu", "without a restart");
    grounds.kill_all().await;
    look_after(&broker, &[tenant(&instance, &[])]).await;
    let items = broker.info(&instance).await.unwrap();
    assert!(items.iter().any(|item| item.value == "allkeys-lfu"), "and after one: {items:?}");
}

#[tokio::test] // SPEC K-8
async fn an_instance_that_keeps_nothing_is_empty_after_its_servers_end_whatever_it_kept_before() {
    let grounds = Grounds::new();
    let broker = grounds.broker_of(PLANS).await;
    let (first, binding, env) = tenancy(&broker, "cache", "small").await;
    let mut app = Client::of(&env).await.unwrap();
    app.say("SET old v").await.unwrap();

    let instance = update(&broker, &first, &to(&first, "small", json!({ "persistence": "none" }))).await.unwrap();
    app.say("SET new v").await.unwrap();
    grounds.kill_all().await;
    let kept = update(&broker, &instance, &to(&instance, "small", json!({ "persistence": "always" }))).await.unwrap();
    look_after(&broker, &[tenant(&kept, &[&binding])]).await;

    let mut app = Client::of(&env).await.unwrap();
    assert_eq!((app.get("old").await, app.get("new").await), (None, None));
    app.say("SET kept v").await.unwrap();
    grounds.kill_all().await;
    look_after(&broker, &[tenant(&kept, &[&binding])]).await;
    assert_eq!(Client::of(&env).await.unwrap().get("kept").await.as_deref(), Some("v"));
}

#[tokio::test] // SPEC K-8
async fn a_larger_plan_comes_into_force_while_the_server_runs_and_a_smaller_one_only_when_the_data_fits() {
    let grounds = Grounds::new();
    let broker = grounds.broker_of(PLANS).await;
    let (small, _, env) = tenancy(&broker, "cache", "small").await;
    let mut app = Client::of(&env).await.unwrap();

    let large = update(&broker, &small, &to(&small, "large", json!({}))).await.unwrap();

    assert_eq!(figure(&mut app, "maxmemory").await, (32 << 20).to_string(), "on the same connection");
    assert_eq!(figure(&mut app, "maxclients").await, "100");
    let block = "x".repeat(1 << 20);
    for number in 0..12 {
        app.say(&format!("SET k{number} {block}")).await.unwrap();
    }
    let back = to(&large, "small", json!({}));
    let refusal = broker.update(&large, &back).await.unwrap_err().to_string();
    assert!(refusal.contains("and the plan has 8.0 MiB: remove data first"), "{refusal}");
    assert_eq!(figure(&mut app, "maxmemory").await, (32 << 20).to_string(), "it stayed as it was");
    app.say("FLUSHALL").await.unwrap();
    update(&broker, &large, &back).await.unwrap();
    assert_eq!(figure(&mut app, "maxmemory").await, (8 << 20).to_string());
    assert_eq!(figure(&mut app, "maxmemory_policy").await, "noeviction");
}

#[tokio::test] // SPEC K-8
async fn a_changed_file_comes_into_force_with_the_next_broker_while_servers_run() {
    let grounds = Grounds::new();
    let broker = grounds.broker_of(PLANS).await;
    let (instance, binding, env) = tenancy(&broker, "cache", "small").await;
    let mut app = Client::of(&env).await.unwrap();
    drop(broker);

    let broker = grounds.broker_of(&PLANS.replace("8mb", "24mb")).await;
    look_after(&broker, &[tenant(&instance, &[&binding])]).await;

    assert_eq!(figure(&mut app, "maxmemory").await, (24 << 20).to_string());
}

#[tokio::test] // SPEC K-8, K-23, H-8
async fn an_instance_moves_into_a_container_and_back_with_its_data_and_its_address() {
    let grounds = Grounds::new();
    let boxed = "[[plan]]\nname = \"boxed\"\nkind = \"dedicated\"\nbackend = \"container\"\n\
                 maxmemory = \"8mb\"\nmemory = \"64mb\"\nprocesses = 50\n";
    let broker = grounds.broker_of(&format!("{PLANS}{boxed}")).await;
    let (small, binding, env) = tenancy(&broker, "cache", "small").await;
    Client::of(&env).await.unwrap().say("SET k v").await.unwrap();

    let moved = update(&broker, &small, &to(&small, "boxed", json!({}))).await;
    if let Err(refusal) = &moved {
        // The tests run against a newer server than the image's.
        let refusal = refusal.to_string();
        assert!(refusal.contains("are version 7.0 and do not read") && !refusal.contains("is 7.0:"), "{refusal}");
        assert_eq!(Client::of(&env).await.unwrap().get("k").await.as_deref(), Some("v"), "it stayed as it was");
        return;
    }
    let contained = moved.unwrap();
    look_after(&broker, &[tenant(&contained, &[&binding])]).await;

    let inside = Client::of(&env).await.unwrap().get("k").await;
    let back = update(&broker, &contained, &to(&contained, "small", json!({}))).await;
    let outside = Client::of(&env).await.unwrap().get("k").await;
    broker.deprovision(&back.unwrap()).await.unwrap();
    assert_eq!((inside.as_deref(), outside.as_deref()), (Some("v"), Some("v")));
    assert_eq!(grounds.servers(), [""; 0]);
}

#[tokio::test] // SPEC K-8, H-8
async fn what_an_owner_chose_holds_when_the_engine_starts_the_server_again() {
    let grounds = Grounds::new();
    let boxed = "[[plan]]\nname = \"boxed\"\nkind = \"dedicated\"\nbackend = \"container\"\npersistence = \"none\"\n";
    let broker = grounds.broker_of(boxed).await;
    let (cache, _, env) = tenancy(&broker, "cache", "boxed").await;
    let wish = to(&cache, "boxed", json!({ "persistence": "always" }));
    let cache = update(&broker, &cache, &wish).await.unwrap();
    Client::of(&env).await.unwrap().say("SET k v").await.unwrap();

    assert!(admin(&cache, &env).await.say("SHUTDOWN NOSAVE").await.is_err(), "it answered");

    eventually("the engine starts it again", async || Client::of(&env).await.is_ok()).await;
    assert_eq!(Client::of(&env).await.unwrap().get("k").await.as_deref(), Some("v"));
    broker.deprovision(&cache).await.unwrap();
}

#[tokio::test] // SPEC K-7
async fn an_instance_of_a_plan_that_is_not_offered_any_more_says_so() {
    let grounds = Grounds::new();
    let broker = grounds.broker_of(PLANS).await;

    let refusal = broker.provision(&instance("cache", "dedicated")).await.unwrap_err().to_string();

    assert_eq!(refusal, "the plan \"dedicated\" is not offered any more");
}

#[tokio::test] // SPEC I-20
async fn a_plan_that_no_way_leads_from_is_fixed() {
    let grounds = Grounds::new();
    let crowds = "[[plan]]\nname = \"a\"\nkind = \"shared\"\n[[plan]]\nname = \"b\"\nkind = \"shared\"\n";

    let fixed = |broker: RedisBroker| broker.catalog().plans().iter().map(|plan| plan.fixed).collect::<Vec<_>>();

    assert_eq!(fixed(grounds.broker_of(crowds).await), [true, true]);
    assert_eq!(fixed(grounds.broker_of(PLANS).await), [false, false, false]);
}
