//! The broker's own servers, and servers it is given.

use std::{net::TcpListener, time::Duration};

use broker_core::{Broker as _, Endpoint, Health, Metric, Secret};
use redis_broker::{Config, RedisBroker};

use crate::support::{Client, Given, Grounds, binding, eventually, look_after, tenancy, tenant};

#[tokio::test] // SPEC H-3
async fn a_killed_server_comes_back_with_its_data_and_credentials() {
    let grounds = Grounds::new();
    let broker = grounds.broker().await;
    let (dedicated, one, env) = tenancy(&broker, "cache", "dedicated").await;
    let (shared, two, shared_env) = tenancy(&broker, "other", "shared").await;
    let tenants = [tenant(&dedicated, &[&one]), tenant(&shared, &[&two])];
    let mut app = Client::of(&env).await.unwrap();
    app.say("SET k v").await.unwrap();
    eventually("the data is on disk", async || {
        let info: String = redis::from_redis_value(app.say("INFO persistence").await.unwrap()).unwrap();
        info.contains("aof_pending_bio_fsync:0") && info.contains("aof_rewrite_in_progress:0")
    })
    .await;

    grounds.kill_all().await;
    assert!(matches!(broker.status(&dedicated).await.unwrap(), Health::Down(_)));
    look_after(&broker, &tenants).await;

    assert_eq!(Client::of(&env).await.unwrap().get("k").await.as_deref(), Some("v"));
    Client::of(&shared_env).await.unwrap();
    assert_eq!(broker.status(&dedicated).await.unwrap(), Health::Up);
}

#[tokio::test] // SPEC K-4
async fn what_is_unbound_while_its_server_is_down_stays_unbound() {
    let grounds = Grounds::new();
    let broker = grounds.broker().await;
    let (instance, binding, env) = tenancy(&broker, "cache", "dedicated").await;

    grounds.kill_all().await;
    broker.unbind(&instance, &binding).await.unwrap();
    look_after(&broker, &[tenant(&instance, &[])]).await;

    assert!(Client::of(&env).await.is_err());
    assert_eq!(broker.status(&instance).await.unwrap(), Health::Up);
}

#[tokio::test] // SPEC K-4, K-6, K-22
async fn who_is_let_in_by_a_server_that_another_broker_starts_is_who_was_bound_last() {
    let grounds = Grounds::new();
    for plan in ["dedicated", "shared"] {
        let broker = grounds.broker().await;
        let (instance, early, early_env) = tenancy(&broker, plan, plan).await;
        let (staying, late) = (binding("staying"), binding("late"));
        let env = broker.bind(&instance, &staying).await.unwrap();
        let late_env = broker.bind(&instance, &late).await.unwrap();
        broker.unbind(&instance, &early).await.unwrap();
        grounds.kill_all().await;
        broker.unbind(&instance, &late).await.unwrap();
        drop(broker);

        let broker = grounds.broker().await;
        broker.provision(&instance).await.unwrap();

        Client::of(&env).await.unwrap();
        for gone in [&early_env, &late_env] {
            assert!(Client::of(gone).await.is_err(), "{plan}: an account that was ended is back");
        }
    }
}

#[tokio::test] // SPEC H-2
async fn a_new_broker_takes_over_the_servers_of_the_last_one() {
    let grounds = Grounds::new();
    let broker = grounds.broker().await;
    let (instance, binding, env) = tenancy(&broker, "cache", "dedicated").await;
    let (other, ..) = tenancy(&broker, "other", "shared").await;
    let pids = grounds.pids();
    let mut app = Client::of(&env).await.unwrap();

    drop(broker);
    app.say("SET k v").await.unwrap();
    let broker = grounds.broker().await;
    look_after(&broker, &[tenant(&instance, &[&binding]), tenant(&other, &[])]).await;

    assert_eq!(app.get("k").await.as_deref(), Some("v"), "the connection was never touched");
    assert_eq!(grounds.pids(), pids);
    assert_eq!(broker.bind(&instance, &binding).await.unwrap(), env);
}

#[tokio::test] // SPEC H-1
async fn a_taken_port_is_skipped() {
    let grounds = Grounds::new();
    let mut config = grounds.config();
    let first: u16 = config.ports.to_string().split('-').next().unwrap().parse().unwrap();
    let _taken = TcpListener::bind(("127.0.0.1", first)).unwrap();
    config.ports = format!("{first}-{}", first + 5).parse().unwrap();
    let broker = RedisBroker::start(config).await.unwrap();

    let (instance, _, env) = tenancy(&broker, "cache", "dedicated").await;

    assert_eq!(env.get("REDIS_PORT").unwrap().expose(), (first + 1).to_string());
    assert_eq!(broker.endpoints(&instance), [Endpoint::tcp("127.0.0.1", first + 1)]);
}

#[tokio::test]
async fn a_given_server_that_is_down_is_waited_for() {
    let grounds = Grounds::new();
    let mut given = Given::start(&["--databases", "1"]).await;
    let mut config = grounds.config();
    config.shared_url = Some(given.url("default", "admin"));
    given.stop();
    let broker = RedisBroker::start(config).await.unwrap();
    let instance = crate::support::instance("cache", "shared");

    let refusal = broker.provision(&instance).await.unwrap_err().to_string();
    assert_eq!(refusal, "the service is unavailable at the moment, try again later");
    assert!(matches!(broker.status(&instance).await.unwrap(), Health::Down(_)));
    given.restart().await;

    tokio::time::timeout(Duration::from_secs(5), broker.provision(&instance)).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_wrong_url_of_the_shared_server_says_what_is_wrong() {
    let given = Given::start(&[]).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let cases = [
        (Some("http://127.0.0.1/".to_owned()), "is not like redis://"),
        (Some(format!("redis://default:wrong@127.0.0.1:{}", given.port)), "refuses the user and password"),
        (Some(format!("redis://127.0.0.1:{}", given.port)), "refuses the user and password"),
        (None, "is empty, write a URL there"),
    ];
    for (url, sentence) in cases {
        let grounds = Grounds::new();
        let mut config = grounds.config();
        config.shared_url_file = url.is_none().then(|| file.path().to_owned());
        config.shared_url = url.map(Secret::from);

        let refusal = format!("{:#}", RedisBroker::start(config).await.err().unwrap());

        assert!(refusal.contains(sentence), "{refusal}");
        assert!(!refusal.contains("wrong"), "{refusal}");
    }
}

#[tokio::test]
async fn an_administrator_who_may_not_manage_accounts_is_refused() {
    let given = Given::start(&[]).await;
    given.admin().await.say("ACL SETUSER weak on >weak ~* &* +@all -acl").await.unwrap();
    let grounds = Grounds::new();
    let mut config = grounds.config();
    config.shared_url = Some(given.url("weak", "weak"));

    let refusal = RedisBroker::start(config).await.err().unwrap().to_string();

    assert!(refusal.contains("may not manage its accounts: give an administrator's"), "{refusal}");
}

#[tokio::test]
async fn without_the_program_only_a_given_server_is_offered() {
    let grounds = Grounds::new();
    let mut config = grounds.config();
    config.redis_server = "no-such-redis".to_owned();
    let refusal = RedisBroker::start(config.clone()).await.err().unwrap().to_string();
    assert_eq!(refusal, "the program no-such-redis is not installed: install its package, or give its path");

    let given = Given::start(&["--databases", "1"]).await;
    config.shared_url = Some(given.url("default", "admin"));
    let catalog = RedisBroker::start(config).await.unwrap().catalog();

    assert_eq!(catalog.plans().iter().map(|plan| plan.name.as_str()).collect::<Vec<_>>(), ["shared"]);
}

#[tokio::test] // SPEC K-12
async fn each_server_says_what_it_uses_and_one_that_is_down_that_it_is() {
    let grounds = Grounds::new();
    let broker = grounds.broker().await;
    let (dedicated, ..) = tenancy(&broker, "cache", "dedicated").await;
    tenancy(&broker, "other", "shared").await;
    let shown = async || {
        let mut shown: Vec<_> = broker.metrics().await.unwrap().iter().map(|metric| format!("{metric:?}")).collect();
        shown.retain(|metric| !metric.contains("_bytes") && !metric.contains("commands"));
        shown
    };
    let about = |shown: &[String], name: &str, server: &str| {
        let found = shown.iter().find(|metric| metric.contains(&format!("\"{name}\"")) && metric.contains(server));
        found.cloned().unwrap_or_default()
    };

    let running = shown().await;
    grounds.kill_all().await;
    let down = shown().await;

    for server in [dedicated.id.as_str(), "\"shared\""] {
        assert!(about(&running, "server_up", server).contains("value: 1.0"), "{running:?}");
        assert!(about(&running, "server_connections", server).contains("value: 1.0"), "{running:?}");
        assert!(about(&down, "server_up", server).contains("value: 0.0"), "{down:?}");
        assert_eq!(about(&down, "server_connections", server), "");
    }
}

/// The figure of an instance, if there is one.
fn figure(metrics: &[Metric], name: &str, instance: &str) -> Option<f64> {
    let (name, instance) = (format!("name: \"{name}\""), format!("(\"instance\", \"{instance}\")"));
    let mut shown = metrics.iter().map(|metric| format!("{metric:?}"));
    let found = shown.find(|metric| metric.contains(&name) && metric.contains(&instance))?;
    found.split("value: ").nth(1)?.split(',').next()?.parse().ok()
}

#[tokio::test] // SPEC K-21
async fn a_dedicated_instance_says_what_it_uses_of_what_it_may() {
    let grounds = Grounds::new();
    let broker = grounds.broker().await;
    let (instance, binding, env) = tenancy(&broker, "cache", "dedicated").await;
    let _app = Client::of(&env).await.unwrap();
    look_after(&broker, &[tenant(&instance, &[&binding])]).await;

    let metrics = broker.metrics().await.unwrap();

    assert!(figure(&metrics, "instance_memory_bytes", "cache").unwrap() > 100_000.0);
    assert_eq!(figure(&metrics, "instance_memory_limit_bytes", "cache"), Some(f64::from(16 << 20)));
    assert_eq!(figure(&metrics, "instance_connections", "cache"), Some(2.0), "the app's and the broker's");
    assert!(figure(&metrics, "instance_connections_limit", "cache").unwrap() > 1000.0);
    let to_owner = broker.instance_metrics(&tenant(&instance, &[&binding])).await.unwrap().unwrap();
    assert!(figure(&to_owner, "instance_memory_bytes", "cache").unwrap() > 100_000.0);
    assert!(figure(&to_owner, "instance_commands", "cache").unwrap() > 1.0);
    assert_eq!(to_owner.len(), 5, "{to_owner:?}");
}

#[tokio::test] // SPEC K-21
async fn a_shared_servers_connections_are_counted_by_instance_in_one_question() {
    let (grounds, given) = (Grounds::new(), Given::start(&["--databases", "1"]).await);
    let config = Config { shared_url: Some(given.url("default", "admin")), ..grounds.config() };
    let broker = RedisBroker::start(config).await.unwrap();
    let (cache, first, env) = tenancy(&broker, "cache", "shared").await;
    let second = binding("second");
    let more = broker.bind(&cache, &second).await.unwrap();
    let (other, theirs, _) = tenancy(&broker, "other", "shared").await;
    let _apps = [Client::of(&env).await.unwrap(), Client::of(&env).await.unwrap(), Client::of(&more).await.unwrap()];
    let connections = async || {
        let metrics = broker.metrics().await.unwrap();
        ["cache", "other"].map(|instance| figure(&metrics, "instance_connections", instance))
    };

    look_after(&broker, &[tenant(&cache, &[&first, &second]), tenant(&other, &[&theirs])]).await;

    assert_eq!(connections().await, [Some(3.0), Some(0.0)]);
    let asked: String = redis::from_redis_value(given.admin().await.say("INFO commandstats").await.unwrap()).unwrap();
    assert!(asked.contains("cmdstat_client|list:calls=1,"), "{asked}");
    let to_owner = broker.instance_metrics(&tenant(&cache, &[&first, &second])).await.unwrap().unwrap();
    assert_eq!(figure(&to_owner, "instance_connections", "cache"), Some(3.0));
    assert_eq!(to_owner.len(), 1, "{to_owner:?}");
    broker.unbind(&cache, &first).await.unwrap();
    broker.deprovision(&other).await.unwrap();
    assert_eq!(connections().await, [Some(1.0), None]);
}

#[tokio::test] // SPEC K-21, K-13
async fn an_account_that_may_not_list_connections_is_enough_for_all_else() {
    let (grounds, given) = (Grounds::new(), Given::start(&["--databases", "1"]).await);
    given.admin().await.say("ACL SETUSER silent on >silent ~* &* +@all -client|list").await.unwrap();
    let config = Config { shared_url: Some(given.url("silent", "silent")), ..grounds.config() };
    let broker = RedisBroker::start(config).await.unwrap();
    let (instance, binding, _) = tenancy(&broker, "cache", "shared").await;
    look_after(&broker, &[tenant(&instance, &[&binding])]).await;

    let (metrics, items) = (broker.metrics().await.unwrap(), broker.info(&instance).await.unwrap());

    assert_eq!(figure(&metrics, "instance_connections", "cache"), None);
    assert!(items.iter().all(|item| item.label != "Connections") && items.iter().any(|item| item.label == "Version"));
}
