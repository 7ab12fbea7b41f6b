//! Backups and restores over HTTP, while apps write.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use broker_core::{Broker as _, Health, testing::TestBroker};
use mysql_broker::{BackedUp as _, BackupConfig, Config, MysqlBroker};
use tokio::sync::Notify;

use crate::support::{Client, Grounds, eventually, look_after, tenancy, tenant};

fn keeping_backups(grounds: &Grounds) -> Config {
    let backups = BackupConfig {
        backups: Some(grounds.data().join("backups")),
        backup_key: Some(grounds.data().join("backup-key")),
        ..grounds.config().backups
    };
    std::fs::create_dir_all(grounds.data()).unwrap();
    Config { backups, ..grounds.config() }
}

async fn login(env: &BTreeMap<String, String>) -> mysql_async::Result<Client> {
    Client::login(&env["DATABASE_URL"]).await
}

/// An app that writes to two tables in one transaction, again and again, whatever happens to its connections.
async fn write_on(env: BTreeMap<String, String>, wrote: Arc<Notify>) {
    loop {
        if let Ok(mut app) = login(&env).await {
            while app.run("BEGIN").await.is_ok()
                && app.run("INSERT INTO a VALUES (1)").await.is_ok()
                && app.run("INSERT INTO b VALUES (1)").await.is_ok()
                && app.run("COMMIT").await.is_ok()
            {
                wrote.notify_one();
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test] // SPEC M-10, M-11
async fn a_restore_brings_back_the_data_of_a_moment_while_an_app_writes() {
    let grounds = Grounds::new();
    let broker = TestBroker::start(MysqlBroker::start(keeping_backups(&grounds)).await.unwrap()).await;
    broker.form("POST", "/resources", "name=db&team=main").await.is(201);
    let env = broker.bind_app("db", "blog").await.is(201).env();
    let mut app = login(&env).await.unwrap();
    for table in ["a", "b"] {
        app.run(&format!("CREATE TABLE {table} (n INT)")).await.unwrap();
    }
    let wrote = Arc::new(Notify::new());
    let writer = tokio::spawn(write_on(env.clone(), Arc::clone(&wrote)));
    wrote.notified().await;

    let backup = broker.ask("POST", "/resources/db/backups").await.is(201).value();
    let id = backup["id"].as_str().unwrap();
    let at_backup = app.number("SELECT COUNT(*) FROM a").await;
    for _ in 0..2 {
        wrote.notified().await;
    }
    let restored = broker.ask("POST", &format!("/resources/db/backups/{id}/restore")).await.is(200).value();
    wrote.notified().await;
    writer.abort();
    assert!(writer.await.unwrap_err().is_cancelled());

    assert!(app.run("SELECT 1").await.is_err(), "connections ended with the data they were about");
    let mut app = login(&env).await.unwrap();
    eventually("the writer's last transaction ends", async || {
        app.number("SELECT (SELECT COUNT(*) FROM a) = (SELECT COUNT(*) FROM b)").await == 1
    })
    .await;
    assert_eq!(broker.ask("GET", "/resources/db/backups").await.is(200).value().as_array().unwrap().len(), 2);
    app.run("INSERT INTO a VALUES (2)").await.unwrap();

    // What was there before the restore is not lost either.
    let before = restored["before"]["id"].as_str().unwrap();
    broker.ask("POST", &format!("/resources/db/backups/{before}/restore")).await.is(200);
    let mut app = login(&env).await.unwrap();
    assert!(app.number("SELECT COUNT(*) FROM a").await >= at_backup);
    assert_eq!(app.number("SELECT COUNT(*) FROM a").await, app.number("SELECT COUNT(*) FROM b").await);
    assert_eq!(app.number("SELECT COUNT(*) FROM a WHERE n = 2").await, 0);

    broker.ask("POST", "/resources/db/backups/no-such/restore").await.is(400);
    broker.ask("POST", "/resources/db/backups/..%2Fx/restore").await.is(400).says("the instance has no such backup");
    login(&env).await.unwrap();
}

#[tokio::test] // SPEC M-10, M-11
async fn a_view_that_refers_to_what_is_gone_keeps_nobody_from_backing_up_and_restoring() {
    let grounds = Grounds::new();
    let broker = TestBroker::start(MysqlBroker::start(keeping_backups(&grounds)).await.unwrap()).await;
    broker.form("POST", "/resources", "name=db&team=main").await.is(201);
    let env = broker.bind_app("db", "blog").await.is(201).env();
    let mut app = login(&env).await.unwrap();
    for statement in
        ["CREATE TABLE t AS SELECT 7 AS a", "CREATE TABLE kept AS SELECT 8 AS a", "CREATE VIEW v AS SELECT * FROM t"]
    {
        app.run(statement).await.unwrap();
    }
    let whole = broker.ask("POST", "/resources/db/backups").await.is(201).value();
    app.run("DROP TABLE t").await.unwrap();

    let broken = broker.ask("POST", "/resources/db/backups").await.is(201).value();

    let restore = async |backup: &serde_json::Value| {
        let id = backup["id"].as_str().unwrap();
        broker.ask("POST", &format!("/resources/db/backups/{id}/restore")).await.is(200);
        login(&env).await.unwrap()
    };
    assert_eq!(restore(&whole).await.number("SELECT a FROM v").await, 7);
    let mut app = restore(&broken).await;
    assert_eq!(app.number("SELECT a FROM kept").await, 8);
    assert_eq!(app.texts("SHOW TABLES").await, ["kept"]);
}

#[tokio::test] // SPEC M-11
async fn a_restore_that_was_cut_off_keeps_the_instance_closed_until_one_ends_well() {
    let grounds = Grounds::new();
    let broker = MysqlBroker::start(keeping_backups(&grounds)).await.unwrap();
    let (instance, binding, env) = tenancy(&broker).await;
    Client::of(&env).await.unwrap().run("CREATE TABLE t AS SELECT 7 AS a").await.unwrap();
    let id = broker.back_up(&instance).await.unwrap().id;
    drop(broker);
    let broken = Config { mariadb: "false".to_owned(), ..keeping_backups(&grounds) };
    let broker = MysqlBroker::start(broken).await.unwrap();

    broker.restore_backup(&tenant(&instance, &[&binding]), &id).await.unwrap_err();
    look_after(&broker, &[tenant(&instance, &[&binding])]).await;

    assert!(Client::of(&env).await.is_err(), "nobody uses half of the data");
    assert!(matches!(broker.status(&instance).await.unwrap(), Health::Down(why) if why.contains("restore")));
    broker.bind(&instance, &binding).await.unwrap_err();
    drop(broker);
    let broker = MysqlBroker::start(keeping_backups(&grounds)).await.unwrap();
    broker.restore_backup(&tenant(&instance, &[&binding]), &id).await.unwrap();
    assert_eq!(Client::of(&env).await.unwrap().number("SELECT a FROM t").await, 7);
    assert_eq!(broker.status(&instance).await.unwrap(), Health::Up);
    let mut admin = grounds.admin().await;
    assert_eq!(admin.texts("SHOW DATABASES LIKE 'tb%'").await, [format!("tb{}", instance.id)]);
}

#[tokio::test] // SPEC M-10
async fn instances_are_backed_up_by_the_schedule_and_the_newest_are_kept() {
    let grounds = Grounds::new();
    let mut config = keeping_backups(&grounds);
    (config.backups.backup_every, config.backups.backups_kept) = (Some(24), 2);
    let broker = MysqlBroker::start(config).await.unwrap();
    let (instance, binding, _) = tenancy(&broker).await;
    let tenants = [tenant(&instance, &[&binding])];
    let count = async || broker.list_backups(&instance).await.unwrap().len();

    look_after(&broker, &tenants).await;
    eventually("the first backup is there", async || count().await == 1).await;
    look_after(&broker, &tenants).await;
    for _ in 0..2 {
        broker.back_up(&instance).await.unwrap();
    }

    assert_eq!(count().await, 2);
}

#[tokio::test] // SPEC M-9
async fn an_update_over_http_moves_an_instance_and_says_how_long_it_was_closed() {
    let grounds = Grounds::new();
    let broker = TestBroker::start(grounds.broker().await).await;
    broker.form("POST", "/resources", "name=db&team=main").await.is(201);
    let env = broker.bind_app("db", "blog").await.is(201).env();
    login(&env).await.unwrap().run("CREATE TABLE t AS SELECT 7 AS a").await.unwrap();

    broker.form("PUT", "/resources/db", "plan=dedicated&team=main").await.is(200);

    broker.unbind_app("db", "blog").await.is(200);
    let moved = broker.bind_app("db", "blog").await.is(201).env();
    assert_eq!((&moved["MYSQL_USER"], &moved["MYSQL_PASSWORD"]), (&env["MYSQL_USER"], &env["MYSQL_PASSWORD"]));
    assert_ne!(moved["MYSQL_PORT"], env["MYSQL_PORT"]);
    assert_eq!(login(&moved).await.unwrap().number("SELECT a FROM t").await, 7);
    let log = broker.ask("GET", "/resources/db/operations").await.is(200).value().to_string();
    assert!(log.contains("writes paused for"), "{log}");
    let mut admin = grounds.admin().await;
    eventually("the old place is removed", async || admin.texts("SHOW DATABASES LIKE 'tb%'").await.is_empty()).await;
    broker.remove("db").await.is(200);
    assert_eq!(grounds.servers(), ["shared"]);
}
