//! Instances that take more than their plan has room for.

use broker_core::{Binding, Broker as _, EnvVars, Health, Instance, Update};
use mysql_broker::MysqlBroker;

use crate::support::{Client, Grounds, binding, eventually, look_after, on_plan, read_only, tenant};

const PLANS: &str = r#"
[[plan]]
name = "tiny"
kind = "shared"
storage = "8mb"

[[plan]]
name = "roomy"
kind = "shared"
storage = "64mb"

[[plan]]
name = "own"
kind = "dedicated"
storage = "8mb"
"#;

/// What makes a database larger, or could.
const GROWING: &[&str] = &[
    "INSERT INTO t (filler) VALUES ('x')",
    "REPLACE INTO t (id, filler) VALUES (1, 'x')",
    "UPDATE t SET filler = REPEAT('y', 2000)",
    "CREATE TABLE more (a INT)",
    "CREATE TABLE more AS SELECT * FROM t",
    "CREATE TEMPORARY TABLE more (a INT)",
    "ALTER TABLE t ADD COLUMN more TEXT",
    "CREATE INDEX more ON t (filler(100))",
    "CALL fill()",
];

struct Full {
    broker: MysqlBroker,
    grounds: Grounds,
    instance: Instance,
    binding: Binding,
    env: EnvVars,
    app: Client,
}

impl Full {
    /// An instance of a plan that has outgrown it, and an app that is connected since before.
    async fn of(plan: &str) -> Self {
        let grounds = Grounds::new();
        let broker = MysqlBroker::start(grounds.with_plans(PLANS)).await.unwrap();
        let (mut instance, binding) = (on_plan(plan), binding("blog"));
        instance.notes = broker.provision(&instance).await.unwrap();
        let env = broker.bind(&instance, &binding).await.unwrap();
        let mut app = Client::of(&env).await.unwrap();
        for statement in [
            "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, filler VARCHAR(2000))",
            "CREATE PROCEDURE fill() INSERT INTO t (filler) VALUES ('x')",
            "INSERT INTO t (filler) SELECT REPEAT('x', 2000) FROM seq_1_to_6000",
        ] {
            app.run(statement).await.unwrap();
        }
        Self { grounds, broker, instance, binding, env, app }
    }

    async fn look_after(&self) {
        look_after(&self.broker, &[tenant(&self.instance, &[&self.binding])]).await;
    }

    async fn client(&self) -> Client {
        Client::of(&self.env).await.unwrap()
    }

    /// Those of the statements that are let through.
    async fn allowed(&self, statements: &[&'static str]) -> Vec<&'static str> {
        let mut client = self.client().await;
        let mut allowed = Vec::new();
        for statement in statements {
            if client.run(statement).await.is_ok() {
                allowed.push(*statement);
            }
        }
        allowed
    }

    async fn can_write(&self) -> bool {
        self.client().await.run("INSERT INTO t (filler) VALUES ('x')").await.is_ok()
    }

    async fn says(&self) -> Health {
        self.broker.status(&self.instance).await.unwrap()
    }
}

#[tokio::test] // SPEC M-16
async fn a_full_instance_reads_and_removes_and_grows_again_when_it_has_room() {
    for plan in ["tiny", "own"] {
        let mut full = Full::of(plan).await;
        assert_eq!(full.says().await, Health::Up, "nobody has looked yet");

        full.look_after().await;

        assert!(full.app.run("SELECT 1").await.is_err(), "a connection from before would go on writing");
        assert_eq!(full.allowed(GROWING).await, [""; 0]);
        let Health::Notice(line) = full.says().await else { panic!("{plan}") };
        assert_eq!(
            line,
            "it is full: it can be read and made smaller, and written again once it takes less than 7.2 MiB"
        );
        let info = full.broker.info(&full.instance).await.unwrap();
        let size = &info.iter().find(|item| item.label == "Size").unwrap().value;
        assert!(size.ends_with(" MiB of 8.0 MiB"), "{size}");

        let mut app = full.client().await;
        assert_eq!(app.number("SELECT COUNT(*) FROM t").await, 6000);
        app.run("DELETE FROM t WHERE id > 100").await.unwrap();
        // Rows are removed for good a moment later.
        eventually("room after rows were removed", async || {
            full.look_after().await;
            full.can_write().await
        })
        .await;

        assert_eq!(full.says().await, Health::Up);
        assert!(app.run("SELECT 1").await.is_err(), "a connection from before would not notice");
        assert_eq!(full.allowed(&["CALL fill()", "CREATE TABLE more (a INT)"]).await.len(), 2);
    }
}

#[tokio::test] // SPEC M-16
async fn whoever_is_bound_to_a_full_instance_cannot_write_either() {
    let mut full = Full::of("tiny").await;
    let reader = full.broker.bind(&full.instance, &read_only("report")).await.unwrap();
    full.look_after().await;

    // The same app again, which must not undo it, and another one.
    let again = full.broker.bind(&full.instance, &full.binding).await.unwrap();
    let other = full.broker.bind(&full.instance, &binding("shop")).await.unwrap();

    for env in [&again, &other] {
        let mut client = Client::of(env).await.unwrap();
        assert!(client.run("INSERT INTO t (filler) VALUES ('x')").await.is_err());
        assert_eq!(client.number("SELECT COUNT(*) FROM t").await, 6000);
    }
    full.app = full.client().await;
    full.app.run("TRUNCATE TABLE t").await.unwrap();
    full.look_after().await;
    let mut shop = Client::of(&other).await.unwrap();
    shop.run("INSERT INTO t (filler) VALUES ('x')").await.unwrap();
    let mut reader = Client::of(&reader).await.unwrap();
    assert!(reader.run("DELETE FROM t").await.is_err(), "who only reads is given no more");
    assert_eq!(reader.number("SELECT COUNT(*) FROM t").await, 1);
}

#[tokio::test] // SPEC M-16
async fn an_accounts_rights_follow_after_a_crash_in_between() {
    let full = Full::of("tiny").await;
    full.look_after().await;
    let mut admin = full.grounds.admin().await;
    // As if the broker had died after the first of two accounts.
    let other = binding("shop");
    full.broker.bind(&full.instance, &other).await.unwrap();
    let database = format!("tb{}", full.instance.id);
    admin.run(&format!("GRANT INSERT ON {database}.* TO 'ub{}'@'%'", other.id)).await.unwrap();

    drop(full.broker);
    let again = MysqlBroker::start(full.grounds.with_plans(PLANS)).await.unwrap();
    look_after(&again, &[tenant(&full.instance, &[&full.binding, &other])]).await;

    let writers = format!("SELECT COUNT(*) FROM mysql.db WHERE Db = '{database}' AND Insert_priv = 'Y'");
    assert_eq!(admin.number(&writers).await, 0);
}

#[tokio::test] // SPEC M-16
async fn a_larger_plan_opens_a_full_instance_and_a_smaller_one_takes_what_fits() {
    let mut full = Full::of("tiny").await;
    full.look_after().await;

    let update = |from: &Instance, plan: &str| {
        let mut to = from.clone();
        to.plan = plan.parse().unwrap();
        Update::of(&to)
    };
    full.instance.notes = full.broker.update(&full.instance, &update(&full.instance, "roomy")).await.unwrap();
    full.instance.plan = "roomy".parse().unwrap();
    full.look_after().await;
    assert!(full.can_write().await);

    for smaller in ["tiny", "own"] {
        let refusal =
            full.broker.update(&full.instance, &update(&full.instance, smaller)).await.unwrap_err().to_string();
        assert!(
            refusal.contains(&format!("plan \"{smaller}\" has room for 8.0 MiB: remove some of it first")),
            "{refusal}"
        );
        assert!(full.can_write().await, "a refusal changes nothing");
    }
    full.client().await.run("TRUNCATE TABLE t").await.unwrap();
    full.broker.update(&full.instance, &update(&full.instance, "tiny")).await.unwrap();
}
