//! Plans from a file, and servers of an instance's own.

use broker_core::{Broker as _, Health, Update};
use mysql_broker::MysqlBroker;

use crate::support::{Client, Grounds, binding, look_after, on_plan, tenant};

const PLANS: &str = r#"
    [[plan]]
    name = "own"
    kind = "dedicated"
    memory = "256mb"
    buffer-pool = "16mb"
    server-connections = 20

    [[plan]]
    name = "own-larger"
    kind = "dedicated"
    buffer-pool = "32mb"
    server-connections = 40
    connections = 7
"#;

#[tokio::test] // SPEC M-8
async fn a_dedicated_instance_has_a_server_of_its_own_that_comes_back_with_its_data() {
    let grounds = Grounds::new();
    let broker = MysqlBroker::start(grounds.with_plans(PLANS)).await.unwrap();
    let (mut instance, binding) = (on_plan("own"), binding("blog"));
    instance.parameters.insert("sql-mode".to_owned(), "ANSI_QUOTES".into());
    instance.parameters.insert("character-set".to_owned(), "latin1".into());
    instance.notes = broker.provision(&instance).await.unwrap();
    let env = broker.bind(&instance, &binding).await.unwrap();
    let mut app = Client::of(&env).await.unwrap();
    app.run("CREATE TABLE t (a INT)").await.unwrap();
    app.run("INSERT INTO t VALUES (7)").await.unwrap();
    assert_eq!(grounds.servers(), [instance.id.to_string()], "no shared server is started without a shared plan");
    assert_eq!(app.texts("SELECT @@GLOBAL.sql_mode").await, ["ANSI_QUOTES"]);
    assert_eq!(app.texts("SELECT @@character_set_database").await, ["latin1"]);
    assert_eq!(app.number("SELECT @@max_connections").await, 20);

    grounds.kill(instance.id.as_str()).await;
    assert!(matches!(broker.status(&instance).await.unwrap(), Health::Down(_)));
    look_after(&broker, &[tenant(&instance, &[&binding])]).await;

    assert_eq!(Client::of(&env).await.unwrap().number("SELECT a FROM t").await, 7);
    assert_eq!(broker.status(&instance).await.unwrap(), Health::Up);
    broker.unbind(&instance, &binding).await.unwrap();
    assert!(Client::of(&env).await.is_err());
    for _ in 0..2 {
        broker.deprovision(&instance).await.unwrap();
        broker.unbind(&instance, &binding).await.unwrap();
    }
    assert!(grounds.servers().is_empty());
}

#[tokio::test] // SPEC M-8
async fn a_larger_dedicated_plan_and_other_modes_come_into_force_on_the_same_data() {
    let grounds = Grounds::new();
    let broker = MysqlBroker::start(grounds.with_plans(PLANS)).await.unwrap();
    let (mut instance, binding) = (on_plan("own"), binding("blog"));
    instance.notes = broker.provision(&instance).await.unwrap();
    let env = broker.bind(&instance, &binding).await.unwrap();
    Client::of(&env).await.unwrap().run("CREATE TABLE t AS SELECT 7 AS a").await.unwrap();

    let mut to = Update::of(&instance);
    to.plan = "own-larger".parse().unwrap();
    to.parameters.insert("sql-mode".to_owned(), "ANSI_QUOTES,STRICT_ALL_TABLES".into());
    for _ in 0..2 {
        instance.notes = broker.update(&instance, &to).await.unwrap();
    }
    let mut app = Client::of(&env).await.unwrap();
    assert_eq!(app.number("SELECT a FROM t").await, 7);
    assert_eq!(app.number("SELECT @@max_connections").await, 40);
    assert_eq!(app.texts("SELECT @@GLOBAL.sql_mode").await, ["ANSI_QUOTES,STRICT_ALL_TABLES"]);
    assert_eq!(app.number("SELECT @@innodb_buffer_pool_size DIV 1048576").await, 32);
    let before = app.id();
    broker.update(&instance, &to).await.unwrap();
    assert_eq!(app.number("SELECT CONNECTION_ID()").await, u64::from(before), "what fits is not started again");
}

#[tokio::test] // SPEC M-8
async fn plans_that_cannot_be_used_keep_the_broker_from_starting() {
    let grounds = Grounds::new();
    let config = grounds.with_plans("[[plan]]\nname = \"a\"\nkind = \"shared\"\nmemory = \"1gb\"\n");

    let refusal = MysqlBroker::start(config).await.err().unwrap().to_string();

    assert!(refusal.contains("plans.toml, line 1: `memory` is for servers of an instance's own"), "{refusal}");
    assert!(!grounds.root().exists());
}
