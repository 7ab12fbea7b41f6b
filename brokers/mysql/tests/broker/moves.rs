//! Instances that change plans.

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use broker_core::{Binding, Broker as _, BrokerError, Instance, Update, testing::call_within};
use mysql_broker::{Config, MysqlBroker};

use crate::support::{Client, Grounds, Shared, binding, eventually, look_after, on_plan, tenant};

/// An instance on the plan `shared`, whose data has all that a database can hold.
async fn moving(broker: &MysqlBroker) -> (Instance, Binding) {
    let (mut instance, binding, author) = (on_plan("shared"), binding("blog"), binding("author"));
    instance.notes = broker.provision(&instance).await.unwrap();
    let env = broker.bind(&instance, &author).await.unwrap();
    let mut app = Client::of(&env).await.unwrap();
    for statement in [
        "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, a VARCHAR(100), b VARBINARY(100))",
        "INSERT INTO t (a, b) VALUES ('héllo ✓', x'00FF0D0A5C27'), ('\\\\! id', NULL)",
        "CREATE VIEW v AS SELECT * FROM t",
        "CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.a = CONCAT(NEW.a, '!')",
        "CREATE PROCEDURE p() SELECT COUNT(*) FROM t",
        "CREATE SEQUENCE s START WITH 5",
        "CREATE EVENT e ON SCHEDULE EVERY 1 YEAR DO DELETE FROM t WHERE id > 1000",
        "CREATE TABLE `odd ``name;` (a INT)",
    ] {
        app.run(statement).await.unwrap();
    }
    // What an account defined runs on without it.
    broker.unbind(&instance, &author).await.unwrap();
    broker.bind(&instance, &binding).await.unwrap();
    (instance, binding)
}

async fn move_to(broker: &MysqlBroker, instance: &mut Instance, plan: &str) -> broker_core::Result<()> {
    let mut to = Update::of(instance);
    to.plan = plan.parse().unwrap();
    instance.notes = broker.update(instance, &to).await?;
    instance.plan = to.plan;
    Ok(())
}

/// A program that does this.
fn program(grounds: &Grounds, name: &str, script: &str) -> String {
    let path = grounds.write(name, &format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

async fn is_whole(client: &mut Client, rows: u64) {
    assert_eq!(client.texts("SELECT a FROM v ORDER BY id LIMIT 1").await, ["héllo ✓"]);
    assert_eq!(client.texts("SELECT HEX(b) FROM v ORDER BY id LIMIT 1").await, ["00FF0D0A5C27"]);
    assert_eq!(client.number("SELECT COUNT(*) FROM t").await, rows);
    client.run("CALL p()").await.unwrap();
    assert_eq!(
        client.texts("SELECT EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE()").await,
        ["e"]
    );
    client.run("INSERT INTO t (a) VALUES ('new')").await.unwrap();
    assert_eq!(client.texts("SELECT a FROM t ORDER BY id DESC LIMIT 1").await, ["new!"]);
}

#[tokio::test] // SPEC M-9
async fn an_instance_moves_to_a_server_of_its_own_and_back_with_data_and_credentials() {
    let grounds = Grounds::new();
    let broker = grounds.broker().await;
    let (mut instance, binding) = moving(&broker).await;
    let before = broker.bind(&instance, &binding).await.unwrap();

    move_to(&broker, &mut instance, "dedicated").await.unwrap();
    let mut admin = grounds.admin().await;
    let databases = format!("SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'tb{}'", instance.id);
    assert_eq!(admin.number(&databases).await, 1, "the old place is kept until the new one is written down");
    assert!(Client::of(&before).await.is_err(), "nobody writes where it would be lost");
    look_after(&broker, &[tenant(&instance, &[&binding])]).await;

    let env = broker.bind(&instance, &binding).await.unwrap();
    assert_ne!(env.get("MYSQL_PORT"), before.get("MYSQL_PORT"));
    for kept in ["MYSQL_USER", "MYSQL_PASSWORD", "MYSQL_DATABASE_NAME"] {
        assert_eq!(env.get(kept), before.get(kept), "{kept}");
    }
    is_whole(&mut Client::of(&env).await.unwrap(), 2).await;
    assert_eq!(admin.number(&databases).await, 0, "the old place is removed");
    assert_eq!(admin.number("SELECT COUNT(*) FROM mysql.user WHERE User LIKE 'ub%'").await, 0);

    move_to(&broker, &mut instance, "shared").await.unwrap();
    look_after(&broker, &[tenant(&instance, &[&binding])]).await;

    assert_eq!(broker.bind(&instance, &binding).await.unwrap(), before);
    is_whole(&mut Client::of(&before).await.unwrap(), 3).await;
    assert_eq!(grounds.servers(), ["shared"]);
}

#[tokio::test] // SPEC M-9
async fn a_move_that_is_repeated_takes_the_data_from_the_old_place_again() {
    let grounds = Grounds::new();
    let broker = grounds.broker().await;
    let (instance, binding) = moving(&broker).await;

    // The broker dies when the move is done, and before that is written down.
    move_to(&broker, &mut instance.clone(), "dedicated").await.unwrap();
    drop(broker);
    let broker = grounds.broker().await;
    let mut instance = instance;
    move_to(&broker, &mut instance, "dedicated").await.unwrap();
    look_after(&broker, &[tenant(&instance, &[&binding])]).await;

    let env = broker.bind(&instance, &binding).await.unwrap();
    is_whole(&mut Client::of(&env).await.unwrap(), 2).await;
}

#[tokio::test] // SPEC M-9
async fn a_move_that_fails_leaves_the_instance_working_where_it_was() {
    for (program, is_dump) in [("false", true), ("false", false)] {
        let grounds = Grounds::new();
        let mut config = grounds.config();
        *(if is_dump { &mut config.mariadb_dump } else { &mut config.mariadb }) = program.to_owned();
        let broker = MysqlBroker::start(config).await.unwrap();
        let (mut instance, binding) = moving(&broker).await;
        let env = broker.bind(&instance, &binding).await.unwrap();

        let refusal = move_to(&broker, &mut instance, "dedicated").await.unwrap_err();
        assert!(!matches!(refusal, BrokerError::BadRequest(_)), "after a refusal nothing is taken back");
        broker.update(&instance, &Update::of(&instance)).await.unwrap();

        is_whole(&mut Client::of(&env).await.unwrap(), 2).await;
        assert_eq!(grounds.servers(), ["shared"], "no server is left behind");

        // Where that can't be done, the next look at the instance does it.
        move_to(&broker, &mut instance, "dedicated").await.unwrap_err();
        let is_written = async || {
            look_after(&broker, &[tenant(&instance, &[&binding])]).await;
            Client::of(&env).await.unwrap().run("INSERT INTO t (a) VALUES ('again')").await.is_ok()
        };
        eventually("it is written again", is_written).await;
        assert_eq!(grounds.servers(), ["shared"], "no server is left behind");
    }
}

/// Also for a run against MySQL (CONTRIBUTING.md): the server of one's own is a MariaDB.
#[tokio::test] // SPEC M-9
async fn an_instance_of_a_given_server_moves_to_one_of_its_own_and_back() {
    let shared = Shared::server().await;
    let (mut instance, binding) = (on_plan("shared"), binding("blog"));
    instance.notes = shared.broker.provision(&instance).await.unwrap();
    let mut env = shared.broker.bind(&instance, &binding).await.unwrap();
    let mut app = Client::of(&env).await.unwrap();
    for statement in [
        // Each of the servers has collations that the other does not know.
        "SET NAMES utf8mb4 COLLATE utf8mb4_unicode_ci",
        "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, a VARCHAR(100), b VARBINARY(100))",
        "INSERT INTO t (a, b) VALUES ('héllo ✓', x'00FF0D0A5C27')",
        "CREATE TABLE child (t INT, FOREIGN KEY (t) REFERENCES t (id))",
        "INSERT INTO child VALUES (1)",
        "CREATE FUNCTION f(a INT) RETURNS INT DETERMINISTIC RETURN a + 1",
        "CREATE VIEW v AS SELECT f(id) AS next, a FROM t",
        "CREATE VIEW w AS SELECT next, a FROM v",
        "CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.a = CONCAT(NEW.a, '!')",
    ] {
        app.run(statement).await.unwrap();
    }

    for (plan, rows) in [("dedicated", 2), ("shared", 3)] {
        move_to(&shared.broker, &mut instance, plan).await.unwrap();
        look_after(&shared.broker, &[tenant(&instance, &[&binding])]).await;

        env = shared.broker.bind(&instance, &binding).await.unwrap();
        let mut app = Client::of(&env).await.unwrap();
        app.run("INSERT INTO t (a) VALUES ('new')").await.unwrap();
        assert_eq!(app.texts("SELECT a FROM w ORDER BY next").await.len(), rows);
        assert_eq!(app.texts("SELECT a FROM w ORDER BY next DESC LIMIT 1").await, ["new!"]);
        assert_eq!(app.number("SELECT COUNT(*) FROM child JOIN t ON t.id = child.t").await, 1);
        assert_eq!(app.texts("SELECT HEX(b) FROM t WHERE id = 1").await, ["00FF0D0A5C27"]);
    }
    shared.broker.unbind(&instance, &binding).await.unwrap();
    shared.broker.deprovision(&instance).await.unwrap();
}

#[tokio::test] // SPEC M-9
async fn apps_read_and_do_not_write_while_their_instance_moves() {
    let grounds = Grounds::new();
    let script = "touch $0.begun; until [ -e $0.go ]; do sleep 0.05; done; exec mariadb-dump \"$@\"";
    let waiting = program(&grounds, "waiting", script);
    let signal = |name: &str| std::path::PathBuf::from(format!("{waiting}.{name}"));
    let (begun, go) = (signal("begun"), signal("go"));
    let broker = MysqlBroker::start(Config { mariadb_dump: waiting.clone(), ..grounds.config() }).await.unwrap();
    let (instance, kept) = moving(&broker).await;
    let env = broker.bind(&instance, &kept).await.unwrap();
    let mut reading = binding("reader");
    reading.parameters.insert("read-only".to_owned(), true.into());
    let read_only = broker.bind(&instance, &reading).await.unwrap();
    let (mut reader, mut writer) = (Client::of(&read_only).await.unwrap(), Client::of(&env).await.unwrap());
    writer.run("CREATE TABLE writes (id INT PRIMARY KEY AUTO_INCREMENT)").await.unwrap();

    let (mut moved, mut written) = (instance.clone(), 0);
    let during = async {
        while writer.run("INSERT INTO writes VALUES ()").await.is_ok() {
            written += 1;
        }
        eventually("the copy begins", async || begun.exists()).await;
        let mut app = Client::of(&env).await.unwrap();
        let mut refusals = Vec::new();
        for change in [
            "INSERT INTO t (a) VALUES ('lost')",
            "DELETE FROM t",
            "DROP TABLE writes",
            "CREATE TABLE more (a INT)",
            "ALTER TABLE t ADD b INT",
            "CREATE VIEW w AS SELECT * FROM t",
            "DROP VIEW v",
            "CREATE TRIGGER other BEFORE INSERT ON t FOR EACH ROW SET NEW.a = ''",
            "CREATE FUNCTION f() RETURNS INT RETURN 1",
            "LOCK TABLES t READ",
        ] {
            refusals.push((change, app.run(change).await.is_err()));
        }
        assert!(refusals.iter().all(|(_, is_refused)| *is_refused), "{refusals:?}");
        app.run("CALL p()").await.unwrap();
        assert_eq!(app.number("SELECT COUNT(*) FROM t").await, 2);
        assert_eq!(reader.number("SELECT COUNT(*) FROM t").await, 2, "it reads on, over the same connection");
        std::fs::write(go, "").unwrap();
    };
    let (update, ()) = tokio::join!(move_to(&broker, &mut moved, "dedicated"), during);
    update.unwrap();

    assert!(Client::of(&env).await.is_err() && reader.run("SELECT 1").await.is_err(), "the old place is closed");
    look_after(&broker, &[tenant(&moved, &[&kept, &reading])]).await;
    let mut app = Client::of(&broker.bind(&moved, &kept).await.unwrap()).await.unwrap();
    let there = app.number("SELECT COUNT(*) FROM writes").await;
    assert!((written..=written + 1).contains(&there), "{there} of {written} that were answered, and perhaps the last");
    is_whole(&mut app, 2).await;
}

#[tokio::test] // SPEC M-9
async fn a_move_that_takes_longer_than_its_call_may_is_given_up_before() {
    let grounds = Grounds::new();
    let endless = program(&grounds, "endless", "exec sleep 60");
    let config = Config { mariadb_dump: endless, ..grounds.config() };
    let broker = MysqlBroker::start(config).await.unwrap();
    let (mut instance, binding) = moving(&broker).await;
    let env = broker.bind(&instance, &binding).await.unwrap();

    let update = move_to(&broker, &mut instance, "dedicated");
    let refusal = call_within(Duration::from_secs(10), update).await.unwrap_err().to_string();
    broker.update(&instance, &Update::of(&instance)).await.unwrap();

    assert!(refusal.starts_with("copying the data takes longer than"), "{refusal}");
    is_whole(&mut Client::of(&env).await.unwrap(), 2).await;
    assert_eq!(grounds.servers(), ["shared"], "no server is left behind");
}

#[tokio::test] // SPEC M-9
async fn a_view_that_refers_to_what_is_gone_is_named_before_anything_moves() {
    let grounds = Grounds::new();
    let broker = grounds.broker().await;
    let (mut instance, binding) = moving(&broker).await;
    let mut app = Client::of(&broker.bind(&instance, &binding).await.unwrap()).await.unwrap();
    app.run("CREATE TABLE gone (a INT)").await.unwrap();
    app.run("CREATE VIEW left_over AS SELECT * FROM gone").await.unwrap();
    app.run("DROP TABLE gone").await.unwrap();

    let refusal = move_to(&broker, &mut instance, "dedicated").await.unwrap_err();

    assert!(matches!(&refusal, BrokerError::BadRequest(said) if said.contains("the view \"left_over\"")), "{refusal}");
    is_whole(&mut app, 2).await;
    app.run("DROP VIEW left_over").await.unwrap();
    move_to(&broker, &mut instance, "dedicated").await.unwrap();
}

#[tokio::test] // SPEC M-9
async fn an_instance_that_is_removed_while_it_moves_leaves_neither_place() {
    let grounds = Grounds::new();
    let broker = grounds.broker().await;
    let (instance, _) = moving(&broker).await;
    move_to(&broker, &mut instance.clone(), "dedicated").await.unwrap();

    broker.deprovision(&instance).await.unwrap();

    let mut admin = grounds.admin().await;
    assert!(admin.texts("SHOW DATABASES LIKE 'tb%'").await.is_empty());
    assert_eq!(grounds.servers(), ["shared"]);
}
