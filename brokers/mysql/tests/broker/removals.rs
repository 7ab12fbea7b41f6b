//! Removals that keep a last backup.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use broker_core::{
    Broker as _, EnvVars, Instance, Update,
    testing::{Subject, TestBroker, Variables, crash_safety},
};
use mysql_broker::{BackedUp as _, BackupConfig, Config, MysqlBroker};

use crate::support::{Client, Grounds, binding, eventually, instance, look_after, tenancy, tenant};

pub(crate) fn keeping_last(grounds: &Grounds) -> Config {
    fs::create_dir_all(grounds.data()).unwrap();
    let backups = BackupConfig {
        backups: Some(folder(grounds)),
        backup_key: Some(key(grounds)),
        backup_before_removal: true,
        ..grounds.config().backups
    };
    Config { backups, ..grounds.config() }
}

pub(crate) fn folder(grounds: &Grounds) -> PathBuf {
    grounds.data().join("backups")
}

fn key(grounds: &Grounds) -> PathBuf {
    grounds.data().join("backup-key")
}

/// The manifests of an instance's backups.
fn manifests(grounds: &Grounds, instance: &Instance) -> Vec<PathBuf> {
    let files = fs::read_dir(folder(grounds).join("mysql").join(instance.id.as_str())).into_iter().flatten();
    let paths = files.map(|file| file.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|kind| kind == "json")).collect()
}

fn is_last(manifest: &Path) -> bool {
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
    manifest["is_last"] == true
}

/// What the subcommand says of an instance's newest backup.
fn read_backup(grounds: &Grounds, instance: &Instance, key: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mysql-broker"));
    command.arg("read-backup").arg("--backups").arg(folder(grounds)).arg("--backup-key").arg(key);
    command.arg(instance.id.as_str()).output().unwrap()
}

/// Loads SQL with what an app has in its environment, as the README says.
fn load(env: &EnvVars, sql: &[u8]) {
    use std::io::Write as _;
    let sql = filtered("/^INSERT /!s/DEFINER=`[^`]*`@`[^`]*`//", sql);
    let of = |name: &str| env.get(name).unwrap().expose().to_owned();
    let mut load = Command::new("mariadb")
        .args([
            "--no-defaults",
            "--sandbox",
            "--protocol=tcp",
            "--host",
            &of("MYSQL_HOST"),
            "--port",
            &of("MYSQL_PORT"),
        ])
        .args(["--user", &of("MYSQL_USER"), &format!("--password={}", of("MYSQL_PASSWORD"))])
        .arg(of("MYSQL_DATABASE_NAME"))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    load.stdin.take().unwrap().write_all(&sql).unwrap();
    assert!(load.wait().unwrap().success());
}

/// What `sed` makes of a text.
fn filtered(script: &str, text: &[u8]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    let sed = Command::new("sed").env("LC_ALL", "C").arg(script).arg(file.path()).output().unwrap();
    assert!(sed.status.success(), "{}", String::from_utf8_lossy(&sed.stderr));
    sed.stdout
}

async fn databases(grounds: &Grounds) -> Vec<String> {
    grounds.admin().await.texts("SHOW DATABASES LIKE 'tb%'").await
}

#[tokio::test] // SPEC M-15
async fn what_a_removed_instance_held_can_be_read_and_loaded_into_another() {
    let grounds = Grounds::new();
    let broker = MysqlBroker::start(keeping_last(&grounds)).await.unwrap();
    let (gone, app, env) = tenancy(&broker).await;
    let mut client = Client::of(&env).await.unwrap();
    for statement in [
        "CREATE TABLE t AS SELECT 'héllo' AS a",
        "CREATE VIEW v AS SELECT a FROM t",
        "CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.a = CONCAT(NEW.a, '!')",
        "CREATE PROCEDURE p() INSERT INTO t VALUES ('new')",
    ] {
        client.run(statement).await.unwrap();
    }
    broker.back_up(&gone).await.unwrap();
    broker.unbind(&gone, &app).await.unwrap();

    broker.deprovision(&gone).await.unwrap();

    assert!(databases(&grounds).await.is_empty());
    let made = manifests(&grounds, &gone);
    assert_eq!((made.len(), made.iter().filter(|made| is_last(made)).count()), (2, 1), "{made:?}");
    let read = read_backup(&grounds, &gone, &key(&grounds));
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let (_, _, env) = tenancy(&broker).await;
    load(&env, &read.stdout);
    let mut client = Client::of(&env).await.unwrap();
    client.run("CALL p()").await.unwrap();
    assert_eq!(client.texts("SELECT a FROM v").await, ["héllo", "new!"]);
    let missing = read_backup(&grounds, &gone, Path::new("/no/such/key"));
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(!missing.status.success() && said.contains("there is no /no/such/key"), "{said}");
}

#[tokio::test] // SPEC M-15
async fn a_removal_that_is_repeated_makes_no_second_last_backup() {
    let grounds = Grounds::new();
    let broker = MysqlBroker::start(keeping_last(&grounds)).await.unwrap();
    let (gone, _, env) = tenancy(&broker).await;
    Client::of(&env).await.unwrap().run("CREATE TABLE t AS SELECT 1 AS a").await.unwrap();

    broker.deprovision(&gone).await.unwrap();
    broker.deprovision(&gone).await.unwrap();
    // As if the broker had died when the backup was whole, and before anything was removed.
    broker.provision(&gone).await.unwrap();
    let env = broker.bind(&gone, &binding("blog")).await.unwrap();
    Client::of(&env).await.unwrap().run("CREATE TABLE t AS SELECT 1 AS a").await.unwrap();
    drop(broker);
    let broker = MysqlBroker::start(keeping_last(&grounds)).await.unwrap();
    broker.deprovision(&gone).await.unwrap();

    assert_eq!(manifests(&grounds, &gone).len(), 1);
    assert!(databases(&grounds).await.is_empty());
}

#[tokio::test] // SPEC M-15
async fn an_instance_with_a_server_of_its_own_is_kept_too() {
    let grounds = Grounds::new();
    let broker = MysqlBroker::start(keeping_last(&grounds)).await.unwrap();
    let (mut moved, app, env) = tenancy(&broker).await;
    Client::of(&env).await.unwrap().run("CREATE TABLE t AS SELECT 7 AS a").await.unwrap();
    let mut to = Update::of(&moved);
    to.plan = "dedicated".parse().unwrap();
    moved.notes = broker.update(&moved, &to).await.unwrap();
    moved.plan = to.plan;
    look_after(&broker, &[tenant(&moved, &[&app])]).await;
    grounds.kill_all().await;

    broker.deprovision(&moved).await.unwrap();

    assert_eq!(grounds.servers(), ["shared"]);
    let sql = String::from_utf8(read_backup(&grounds, &moved, &key(&grounds)).stdout).unwrap();
    assert!(sql.contains("INSERT INTO `t` VALUES") && sql.contains("(7)"), "{sql}");
}

#[tokio::test] // SPEC M-15
async fn a_removal_whose_backup_fails_is_refused_and_what_was_never_made_is_removed_all_the_same() {
    let grounds = Grounds::new();
    let broken = Config { mariadb_dump: "false".to_owned(), ..keeping_last(&grounds) };
    let broker = TestBroker::start(MysqlBroker::start(broken.clone()).await.unwrap()).await;
    broker.form("POST", "/resources", "name=db&team=main").await.is(201);
    let env = broker.bind_app("db", "blog").await.is(201).env();
    let mut app = Client::login(&env["DATABASE_URL"]).await.unwrap();
    app.run("CREATE TABLE t AS SELECT 7 AS a").await.unwrap();

    broker.remove("db").await.is(412).says(
        "instance \"db\" is not removed, since its last backup could not be made: the broker tries again, and its \
         operator finds the cause in its log",
    );

    let held = format!("SELECT a FROM {}.t", env["MYSQL_DATABASE_NAME"]);
    assert_eq!(grounds.admin().await.number(&held).await, 7, "nothing is removed");
    drop(broker);
    let broker = MysqlBroker::start(broken).await.unwrap();
    let (half_made, never_made) = (instance("half"), instance("never"));
    broker.provision(&half_made).await.unwrap();
    let own = Instance::new("own".parse().unwrap(), "dedicated".parse().unwrap());
    for unused in [half_made, never_made, own] {
        broker.deprovision(&unused).await.unwrap();
        assert!(manifests(&grounds, &unused).is_empty());
    }
    assert_eq!(databases(&grounds).await, [env["MYSQL_DATABASE_NAME"].clone()]);
}

#[tokio::test] // SPEC M-15, Z-6
async fn removed_instances_are_forgotten_after_the_days_that_the_operator_says() {
    let grounds = Grounds::new();
    let broker = MysqlBroker::start(keeping_last(&grounds)).await.unwrap();
    let mut removed = Vec::new();
    for _ in 0..2 {
        let (gone, _, env) = tenancy(&broker).await;
        Client::of(&env).await.unwrap().run("CREATE TABLE t AS SELECT 1 AS a").await.unwrap();
        broker.deprovision(&gone).await.unwrap();
        removed.push(gone);
    }
    drop(broker);
    let manifest = &manifests(&grounds, &removed[0])[0];
    let mut older: serde_json::Value = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
    older["ended"] = (chrono::Utc::now() - chrono::Duration::days(8)).to_rfc3339().into();
    fs::write(manifest, older.to_string()).unwrap();
    let mut config = keeping_last(&grounds);
    config.backups.last_backups_kept = Some(7);

    let _broker = MysqlBroker::start(config).await.unwrap();

    eventually("the older one is forgotten", async || manifests(&grounds, &removed[0]).is_empty()).await;
    assert_eq!(manifests(&grounds, &removed[1]).len(), 1);
}

#[tokio::test] // SPEC L-2, L-3, M-15
async fn removals_that_keep_a_backup_survive_crashes() {
    let grounds = Grounds::new();
    let config = keeping_last(&grounds);
    drop(MysqlBroker::start(config.clone()).await.unwrap());

    let report = crash_safety(
        Subject::on_plan("shared").patience(std::time::Duration::from_secs(90)),
        async || MysqlBroker::start(config.clone()).await.unwrap(),
        async |env: &Variables| match Client::login(&env["DATABASE_URL"]).await {
            Ok(mut app) => app.run("CREATE TABLE IF NOT EXISTS t (a INT)").await.is_ok(),
            Err(_) => false,
        },
        async || databases(&grounds).await,
    );

    let report = report.await;
    report.is_clean();
    assert!(report.crashes() > 40, "only {} crashes", report.crashes());
    let kept = fs::read_dir(folder(&grounds).join("mysql")).unwrap().count();
    assert!(kept > 10, "only {kept} instances had a last backup");
}
