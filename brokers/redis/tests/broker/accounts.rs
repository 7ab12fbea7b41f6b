//! Bindings: each has credentials of its own, for as long as it lasts.

use std::{sync::Arc, time::Duration};

use broker_core::{Broker as _, Health};

use crate::support::{
    Client, Given, Grounds, admin, binding, eventually, instance, is_product, look_after, tenancy, tenant,
};

const PLANS: [&str; 2] = ["dedicated", "shared"];

#[tokio::test] // SPEC K-1
async fn a_bound_app_finds_a_working_redis_in_its_environment() {
    let grounds = Grounds::new();
    let broker = grounds.broker().await;
    for plan in PLANS {
        let (instance, _, env) = tenancy(&broker, "cache", plan).await;

        let mut app = Client::of(&env).await.unwrap();

        let key =
            env.get("REDIS_PREFIX").map_or_else(|| "visits".to_owned(), |prefix| format!("{}visits", prefix.expose()));
        app.say(&format!("SET {key} 1")).await.unwrap();
        assert_eq!(app.get(&key).await.as_deref(), Some("1"));
        assert_eq!(broker.status(&instance).await.unwrap(), Health::Up);
    }
}

#[tokio::test] // SPEC K-4
async fn an_unbound_apps_credentials_and_connections_end_and_the_others_go_on() {
    let grounds = Grounds::new();
    let broker = grounds.broker().await;
    for plan in PLANS {
        let (instance, leaving, env) = tenancy(&broker, "cache", plan).await;
        let staying = binding("staying");
        let mut stays = Client::of(&broker.bind(&instance, &staying).await.unwrap()).await.unwrap();
        let mut leaves = Client::of(&env).await.unwrap();

        broker.unbind(&instance, &leaving).await.unwrap();

        assert!(leaves.say("PING").await.is_err(), "{plan}: the open connection ended");
        assert!(Client::of(&env).await.is_err(), "{plan}: the credentials ended");
        stays.say("PING").await.unwrap();
    }
}

#[tokio::test] // SPEC L-2
async fn every_step_may_be_repeated() {
    let grounds = Grounds::new();
    let broker = grounds.broker().await;
    for plan in PLANS {
        let (instance, binding, env) = tenancy(&broker, "cache", plan).await;

        broker.provision(&instance).await.unwrap();
        assert_eq!(broker.bind(&instance, &binding).await.unwrap(), env);
        Client::of(&env).await.unwrap();
        for _ in 0..2 {
            broker.unbind(&instance, &binding).await.unwrap();
        }
        for _ in 0..2 {
            broker.deprovision(&instance).await.unwrap();
        }
        broker.unbind(&instance, &binding).await.unwrap();
    }
}

#[tokio::test] // SPEC B-5
async fn binding_again_gives_the_same_credentials() {
    let grounds = Grounds::new();
    let broker = grounds.broker().await;
    for plan in PLANS {
        let (instance, binding, env) = tenancy(&broker, "cache", plan).await;
        broker.unbind(&instance, &binding).await.unwrap();

        assert_eq!(broker.bind(&instance, &binding).await.unwrap(), env);

        Client::of(&env).await.unwrap();
        look_after(&broker, &[tenant(&instance, &[&binding])]).await;
        Client::of(&env).await.unwrap();
    }
}

#[tokio::test] // SPEC K-5
async fn a_removed_instance_leaves_no_server_process_account_or_key() {
    let grounds = Grounds::new();
    let given = Given::start(&["--databases", "1"]).await;
    let broker = grounds.broker_on(&given).await;
    let (dedicated, ..) = tenancy(&broker, "one", "dedicated").await;
    let (shared, binding, env) = tenancy(&broker, "two", "shared").await;
    let (other, _, kept) = tenancy(&broker, "three", "shared").await;
    let mut app = Client::of(&env).await.unwrap();
    for number in 0..3000 {
        app.say(&format!("SET {}:{number} x", shared.id)).await.unwrap();
    }
    Client::of(&kept).await.unwrap().say(&format!("SET {}:k x", other.id)).await.unwrap();
    let pids = grounds.pids();

    broker.deprovision(&dedicated).await.unwrap();
    broker.unbind(&shared, &binding).await.unwrap();
    broker.deprovision(&shared).await.unwrap();

    assert_eq!(grounds.servers(), [""; 0]);
    assert!(pids.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}/exe")).exists()));
    let mut admin = given.admin().await;
    assert_eq!(admin.list("KEYS *").await, [format!("{}:k", other.id)]);
    assert_eq!(admin.list("ACL USERS").await.len(), 3, "the default user, the other tenant's and its mark");
}

#[tokio::test] // SPEC K-6
async fn a_given_server_that_restarted_gets_its_accounts_back() {
    let grounds = Grounds::new();
    let mut given = Given::start(&["--databases", "1"]).await;
    let broker = grounds.broker_on(&given).await;
    let (instance, staying, env) = tenancy(&broker, "cache", "shared").await;
    let gone = binding("gone");
    let gone_env = broker.bind(&instance, &gone).await.unwrap();
    let tenants = [tenant(&instance, &[&staying, &gone])];
    look_after(&broker, &tenants).await;

    given.restart().await;
    assert!(Client::of(&env).await.is_err());
    broker.unbind(&instance, &gone).await.unwrap();
    look_after(&broker, &tenants).await;

    Client::of(&env).await.unwrap();
    assert!(Client::of(&gone_env).await.is_err(), "an older list brings nothing back that was taken away");
}

#[tokio::test] // SPEC K-2
async fn an_account_follows_the_rules_of_the_server_as_it_started_last() {
    let grounds = Grounds::new();
    let mut given = Given::start(&["--databases", "1"]).await;
    let broker = grounds.broker_on(&given).await;
    let (instance, _, env) = tenancy(&broker, "cache", "shared").await;
    Client::of(&env).await.unwrap().say("SELECT 0").await.unwrap();

    given.restart_with("1", "16").await;
    let env = broker.bind(&instance, &binding("blog")).await.unwrap();

    let refusal = Client::of(&env).await.unwrap().say("SELECT 0").await.unwrap_err().to_string();
    assert!(refusal.contains("no permissions"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)] // SPEC K-4
async fn an_unbind_while_its_server_starts_ends_the_account() {
    let grounds = Grounds::new();
    let broker = Arc::new(grounds.broker().await);
    let (cache, _, kept) = tenancy(&broker, "cache", "shared").await;
    for after in (0..40).map(|step| Duration::from_micros(250 * step)) {
        let leaving = binding("leaving");
        let env = broker.bind(&cache, &leaving).await.unwrap();
        grounds.kill("shared").await;
        let start = tokio::spawn({
            let (broker, other) = (Arc::clone(&broker), instance("other", "shared"));
            async move { broker.provision(&other).await }
        });

        tokio::time::sleep(after).await;
        broker.unbind(&cache, &leaving).await.unwrap();

        start.await.unwrap().unwrap();
        Client::of(&kept).await.unwrap();
        assert!(Client::of(&env).await.is_err(), "unbound {after:?} after the start began");
    }
}

#[tokio::test] // SPEC K-22, H-8
async fn a_server_that_the_engine_starts_again_lets_in_whom_it_let_in_before() {
    let grounds = Grounds::new();
    let boxed = "[[plan]]\nname = \"boxed\"\nkind = \"dedicated\"\nbackend = \"container\"\n";
    let broker = grounds.broker_of(boxed).await;
    let (cache, leaving, before) = tenancy(&broker, "cache", "boxed").await;
    let after = broker.bind(&cache, &binding("after")).await.unwrap();
    broker.unbind(&cache, &leaving).await.unwrap();
    drop(broker);

    let stopped = admin(&cache, &after).await.say("SHUTDOWN NOSAVE").await;

    assert!(stopped.is_err(), "it answered");
    eventually("the engine starts it again", async || Client::of(&after).await.is_ok()).await;
    let refusal = Client::of(&before).await.err().unwrap().to_string();
    assert!(refusal.contains("WRONGPASS") || refusal.contains("AuthenticationFailed"), "{refusal}");
    let broker = grounds.broker_of(boxed).await;
    broker.deprovision(&cache).await.unwrap();
}

#[tokio::test] // SPEC K-6
async fn an_older_list_does_not_bring_a_removed_instance_back() {
    let grounds = Grounds::new();
    let broker = grounds.broker().await;
    let (instance, binding, _) = tenancy(&broker, "cache", "dedicated").await;
    let older = [tenant(&instance, &[&binding])];

    broker.deprovision(&instance).await.unwrap();
    look_after(&broker, &older).await;

    assert_eq!(grounds.servers(), [""; 0]);
}

#[tokio::test] // SPEC K-21
async fn an_instances_info_says_where_it_is_and_what_it_uses_and_no_secret() {
    let grounds = Grounds::new();
    let broker = grounds.broker().await;
    for plan in PLANS {
        let (instance, binding, env) = tenancy(&broker, "cache", plan).await;

        let _app = Client::of(&env).await.unwrap();
        look_after(&broker, &[tenant(&instance, &[&binding])]).await;

        let items = broker.info(&instance).await.unwrap();

        let port = env.get("REDIS_PORT").unwrap().expose();
        assert_eq!(items[0].value, format!("127.0.0.1:{port}"));
        assert!(items.iter().all(|item| !item.value.contains(binding.secret.expose())));
        let names: Vec<_> = items.iter().map(|item| item.label.as_str()).collect();
        let said = |label: &str| items.iter().find(|item| item.label == label).unwrap().value.as_str();
        assert_eq!(said("Plan"), plan);
        assert!(is_product(said("Version")), "{items:?}");
        if plan == "shared" {
            assert_eq!(names, ["Address", "Plan", "Key prefix", "Connections", "Version"]);
            assert_eq!(said("Connections"), "1");
        } else {
            assert_eq!(names, ["Address", "Plan", "Memory", "Connections", "When full", "Version"]);
            assert!(said("Memory").ends_with(" of 16.0 MiB"), "{items:?}");
            assert!(said("Connections").starts_with("2 of "), "the app's and the broker's: {items:?}");
        }
    }
}

#[tokio::test]
async fn a_dedicated_servers_memory_is_limited() {
    let grounds = Grounds::new();
    let broker = grounds.broker().await;
    let (_, _, env) = tenancy(&broker, "cache", "dedicated").await;
    let mut app = Client::of(&env).await.unwrap();
    let block = "x".repeat(1 << 20);

    let mut refused = None;
    for number in 0..32 {
        refused = refused.or(app.say(&format!("SET k{number} {block}")).await.err());
    }

    assert_eq!(refused.unwrap().code(), Some("OOM"));
}

#[tokio::test] // SPEC Y-7
async fn users_see_which_account_a_binding_has_and_whether_it_only_reads() {
    let grounds = Grounds::new();
    let broker = grounds.broker().await;
    let (instance, app, env) = tenancy(&broker, "cache", "shared").await;
    let mut report = binding("report");
    report.parameters.insert("read-only".to_owned(), true.into());

    let shown = |binding| broker.account(&instance, binding).into_iter().map(|item| item.value).collect::<Vec<_>>();

    assert_eq!(shown(&app), [env.get("REDIS_USERNAME").unwrap().expose(), "reads and writes"]);
    assert_eq!(shown(&report), [report.id.as_str(), "reads"]);
}
