//! The broker's own server, and servers it is given.

use broker_core::{Broker as _, Health, Secret, testing::TestBroker};
use mysql_broker::MysqlBroker;

use crate::support::{Client, Grounds, Shared, instance, look_after, tenancy, tenant};

#[tokio::test] // SPEC H-2 H-3
async fn the_brokers_own_server_outlives_it_and_comes_back_when_it_is_killed() {
    let grounds = Grounds::new();
    let broker = grounds.broker().await;
    let (instance, binding, env) = tenancy(&broker).await;
    let mut app = Client::of(&env).await.unwrap();
    app.run("CREATE TABLE t (a INT)").await.unwrap();
    let pid = grounds.pid("shared");

    drop(broker);
    app.run("INSERT INTO t VALUES (7)").await.unwrap();
    let broker = grounds.broker().await;
    assert_eq!(grounds.pid("shared"), pid, "the running server was taken over");

    grounds.kill("shared").await;
    assert!(matches!(broker.status(&instance).await.unwrap(), Health::Down(_)));
    look_after(&broker, &[tenant(&instance, &[&binding])]).await;

    assert_ne!(grounds.pid("shared"), pid);
    assert_eq!(Client::of(&env).await.unwrap().number("SELECT a FROM t").await, 7);
    assert_eq!(broker.status(&instance).await.unwrap(), Health::Up);
    assert_eq!(broker.bind(&instance, &binding).await.unwrap(), env);
}

#[tokio::test]
async fn a_given_server_that_is_down_is_waited_for() {
    let grounds = Grounds::new();
    let mut config = grounds.config();
    let port = config.ports.to_string().split('-').next().unwrap().to_owned();
    config.shared_url = Some(Secret::from(format!("mysql://broker:pw@127.0.0.1:{port}")));
    let broker = MysqlBroker::start(config).await.unwrap();

    let refusal = broker.provision(&instance("db")).await.unwrap_err().to_string();

    assert_eq!(refusal, "the service is unavailable at the moment, try again later");
    assert!(matches!(broker.status(&instance("db")).await.unwrap(), Health::Down(_)));
}

#[tokio::test]
async fn a_wrong_url_of_the_server_says_what_is_wrong() {
    let shared = Shared::server().await;
    let port = shared.config().shared_url.unwrap().expose().rsplit(':').next().unwrap().to_owned();
    let file = tempfile::NamedTempFile::new().unwrap();
    let cases = [
        (Some("http://127.0.0.1/".to_owned()), "is not like mysql://"),
        (Some(format!("mysql://broker:mistaken@127.0.0.1:{port}")), "refuses the user and password of its URL"),
        (None, "is empty, write a URL there"),
    ];
    for (url, sentence) in cases {
        let mut config = shared.config();
        config.shared_url_file = url.is_none().then(|| file.path().to_owned());
        config.shared_url = url.map(Secret::from);

        let refusal = format!("{:#}", MysqlBroker::start(config).await.err().unwrap());

        assert!(refusal.contains(sentence), "{refusal}");
        assert!(!refusal.contains("mistaken"), "{refusal}");
    }
}

#[tokio::test]
async fn an_administrator_who_may_not_manage_accounts_is_refused() {
    let shared = Shared::server().await;
    let (_, _, env) = tenancy(&shared.broker).await;
    let mut config = shared.config();
    config.shared_url = Some(env.get("DATABASE_URL").unwrap().clone());

    let refusal = format!("{:#}", MysqlBroker::start(config).await.err().unwrap());

    assert!(refusal.contains("may not manage its accounts: give an administrator's"), "{refusal}");
}

#[tokio::test] // SPEC M-17
async fn tls_is_demanded_of_bindings_when_it_is_required() {
    let shared = Shared::server().await;
    let broker = MysqlBroker::start({
        let mut config = shared.config();
        config.require_tls = true;
        config
    })
    .await
    .unwrap();

    let (_, _, env) = tenancy(&broker).await;

    assert!(Client::of(&env).await.is_err(), "the tests' server has no TLS");
    let grounds = Grounds::new();
    let mut config = grounds.config();
    config.require_tls = true;
    let (_, _, env) = tenancy(&MysqlBroker::start(config).await.unwrap()).await;
    assert!(Client::of(&env).await.is_err());
    Client::by_tls(&env, env.get("MYSQL_CA").unwrap().expose()).await.expect("the broker's own have it then");
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let grounds = Grounds::new();
    let mut config = grounds.config();
    config.mariadbd = "no-such-mariadbd".to_owned();

    let refusal = MysqlBroker::start(config).await.err().unwrap().to_string();

    assert_eq!(refusal, "the program no-such-mariadbd is not installed: install its package, or give its path");
    assert!(!grounds.root().exists());
}

#[tokio::test] // SPEC M-12
async fn operators_see_what_the_shared_server_does() {
    let grounds = Grounds::new();
    let broker = TestBroker::start(grounds.broker().await).await;
    broker.form("POST", "/resources", "name=db&team=main").await.is(201);

    let metrics = broker.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();

    for line in [
        "mysql_server_up{server=\"shared\"} 1",
        "mysql_server_databases{server=\"shared\"} 1",
        "mysql_server_connections{server=\"shared\"} ",
        "mysql_server_statements_total{server=\"shared\"} ",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}
