//! Credentials that can only read.

use broker_core::Broker as _;

use crate::support::{Client, Shared, read_only, tenancy};

/// What would change something, by any way that an app has. `@A` is the instance's database.
const CHANGING: &[&str] = &[
    "INSERT INTO t VALUES (2)",
    "INSERT INTO v VALUES (2)",
    "REPLACE INTO t VALUES (2)",
    "UPDATE t SET a = 2",
    "UPDATE v SET a = 2",
    "DELETE FROM t",
    "TRUNCATE TABLE t",
    "CREATE TABLE mine (a INT)",
    "CREATE TEMPORARY TABLE mine (a INT)",
    "CREATE TABLE mine AS SELECT * FROM t",
    "CREATE VIEW mine AS SELECT * FROM t",
    "CREATE OR REPLACE VIEW v AS SELECT 1",
    "CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1",
    "CREATE PROCEDURE mine() SELECT 1",
    "CREATE EVENT e ON SCHEDULE EVERY 1 SECOND DO DELETE FROM t",
    "CALL writes()",
    "SELECT written()",
    "DROP PROCEDURE writes",
    "DROP TABLE t",
    "DROP VIEW v",
    "DROP DATABASE @A",
    "ALTER TABLE t ADD COLUMN b INT",
    "ALTER DATABASE @A CHARACTER SET latin1",
    "CREATE INDEX i ON t (a)",
    "RENAME TABLE t TO u",
    "LOCK TABLES t WRITE",
    "OPTIMIZE TABLE t",
    "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE t",
    "SELECT NEXTVAL(s)",
    "GRANT INSERT ON @A.* TO CURRENT_USER()",
];

#[tokio::test] // SPEC M-7
async fn a_read_only_binding_reads_everything_and_changes_nothing() {
    let shared = Shared::server().await;
    let (instance, _, env) = tenancy(&shared.broker).await;
    let mut app = Client::of(&env).await.unwrap();
    for statement in [
        "CREATE TABLE t (a INT)",
        "INSERT INTO t VALUES (1)",
        "CREATE VIEW v AS SELECT * FROM t",
        "CREATE PROCEDURE writes() INSERT INTO t VALUES (9)",
        "CREATE FUNCTION written() RETURNS INT MODIFIES SQL DATA BEGIN INSERT INTO t VALUES (9); RETURN 1; END",
    ] {
        app.run(statement).await.unwrap();
    }
    if app.is_on_mariadb().await {
        app.run("CREATE SEQUENCE s").await.unwrap();
    }
    let reader = shared.broker.bind(&instance, &read_only("report")).await.unwrap();
    let mut reader = Client::of(&reader).await.unwrap();

    let mut allowed = Vec::new();
    for statement in CHANGING {
        if reader.run(&statement.replace("@A", &format!("tb{}", instance.id))).await.is_ok() {
            allowed.push(*statement);
        }
    }

    assert_eq!(allowed, [""; 0]);
    assert_eq!(reader.number("SELECT SUM(a) FROM v").await, 1);
    assert_eq!(app.number("SELECT COUNT(*) FROM t").await, 1);
}

#[tokio::test] // SPEC M-7
async fn a_consumer_that_wrote_before_can_only_read_once_it_asks_for_that() {
    let shared = Shared::server().await;
    let (instance, binding, env) = tenancy(&shared.broker).await;
    Client::of(&env).await.unwrap().run("CREATE TABLE t (a INT)").await.unwrap();
    let mut reading = binding.clone();
    reading.parameters = read_only("blog").parameters;

    let env = shared.broker.bind(&instance, &reading).await.unwrap();

    let mut app = Client::of(&env).await.unwrap();
    assert_eq!(app.number("SELECT COUNT(*) FROM t").await, 0);
    assert!(app.run("INSERT INTO t VALUES (1)").await.is_err());
}

#[tokio::test] // SPEC Y-7
async fn users_see_which_account_a_binding_has_and_whether_it_only_reads() {
    let shared = Shared::server().await;
    let (instance, app, env) = tenancy(&shared.broker).await;
    let report = read_only("report");

    let shown =
        |binding| shared.broker.account(&instance, binding).into_iter().map(|item| item.value).collect::<Vec<_>>();

    let user = Client::of(&env).await.unwrap().texts("SELECT SUBSTRING_INDEX(CURRENT_USER(), '@', 1)").await.remove(0);
    assert_eq!(shown(&app), [user.as_str(), "reads and writes"]);
    assert_eq!(shown(&report), [format!("ub{}", report.id), "reads".to_owned()]);
}
