//! What `reconcile` says differs between the records and the servers, and what it does about that.

use std::{fs, process::Command, time::Duration};

use broker_core::{
    Binding, Broker as _, EnvVars, Instance, OpaqueId, Tenant,
    cli::Drift,
    testing::{FakePlatform, Program},
};
use mysql_broker::{Config, MysqlBroker};
use tokio::time::timeout;

use crate::support::{Client, Grounds, binding, eventually, instance, on_plan, read_only, tenancy, tenant};

async fn compared(config: &Config, mut drift: Drift) -> String {
    MysqlBroker::compare(config, &mut drift).await.unwrap();
    drift.to_string()
}

/// What a look says: the lines that are not about what is well.
async fn look(config: &Config, tenants: &[Tenant]) -> Vec<String> {
    let said = compared(config, Drift::look(tenants.to_vec())).await;
    said.lines().filter(|line| !line.starts_with("ok ")).map(str::to_owned).collect()
}

#[track_caller]
fn says(lines: &[String], parts: &[&str]) {
    let is_said = lines.iter().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(is_said, "no line with {parts:?}: {lines:#?}");
}

/// Databases, accounts with their passwords, locks and limits, and what they may do.
async fn all_of(admin: &mut Client) -> Vec<String> {
    let mut all = admin.texts("SELECT SCHEMA_NAME FROM information_schema.SCHEMATA ORDER BY 1").await;
    all.extend(
        admin
            .texts(
                "SELECT CONCAT(User, JSON_REMOVE(Priv, '$.password_last_changed')) FROM mysql.global_priv ORDER BY 1",
            )
            .await,
    );
    all.extend(
        admin
            .texts("SELECT CONCAT_WS(' ', User, Db, Select_priv, Insert_priv, Grant_priv) FROM mysql.db ORDER BY 1")
            .await,
    );
    all
}

/// A server with two instances that are well, of which one has a view of an app that is unbound.
async fn shared(grounds: &Grounds) -> (Config, [Tenant; 2], EnvVars) {
    let broker = grounds.broker().await;
    let (one, other, reader) = (tenancy(&broker).await, tenancy(&broker).await, read_only("reader"));
    broker.bind(&one.0, &reader).await.unwrap();
    let (author, mut tables) = (binding("author"), Client::of(&one.2).await.unwrap());
    tables.run("CREATE TABLE t (a INT)").await.unwrap();
    let env = broker.bind(&one.0, &author).await.unwrap();
    Client::of(&env).await.unwrap().run("CREATE VIEW v AS SELECT a FROM t").await.unwrap();
    broker.unbind(&one.0, &author).await.unwrap();
    let tenants = [tenant(&one.0, &[&one.1, &reader]), tenant(&other.0, &[&other.1])];
    (grounds.config(), tenants, one.2)
}

/// The server's root, who may do what the broker's own account may not.
async fn run(grounds: &Grounds, statements: &[String]) {
    let socket = grounds.root().join("shared/data/mariadbd.sock");
    for statement in statements {
        let mut root = Command::new("mariadb");
        root.args(["--no-defaults", "--user=root", "--socket"]).arg(&socket).args(["--execute", statement]);
        let ended = root.output().expect("mariadb is installed");
        assert!(ended.status.success(), "{statement}: {}", String::from_utf8_lossy(&ended.stderr));
    }
}

/// Something of everything goes wrong. Returns the orphans.
async fn damaged(grounds: &Grounds, tenants: &[Tenant; 2]) -> [OpaqueId; 3] {
    let [one, other] = tenants;
    let [writer, reader] = &one.bindings[..] else { panic!("two bindings") };
    let (gone, ghost, strange) = (OpaqueId::generate(), OpaqueId::generate(), OpaqueId::generate());
    let (database, second) = (format!("tb{}", one.instance.id), &other.bindings[0].id);
    run(
        grounds,
        &[
            format!("DROP USER ub{}", writer.id),
            format!("GRANT INSERT ON {database}.* TO ub{}", reader.id),
            format!("DROP DATABASE tb{}", other.instance.id),
            format!("ALTER USER ub{second} WITH MAX_USER_CONNECTIONS 77"),
            // An instance that nobody remembers, and an account of one that somebody does.
            format!("CREATE DATABASE tb{gone}"),
            format!("CREATE USER ub{ghost} IDENTIFIED BY 'x'"),
            format!("GRANT SELECT ON tb{gone}.* TO ub{ghost}"),
            format!("CREATE USER ub{strange} IDENTIFIED BY 'x'"),
            format!("GRANT SELECT ON {database}.* TO ub{strange}"),
            // Others on the server, of whom one has a name like ours.
            "CREATE DATABASE IF NOT EXISTS tbl_orders".to_owned(),
            "CREATE USER IF NOT EXISTS ubuntu IDENTIFIED BY 'x'".to_owned(),
            "CREATE USER IF NOT EXISTS ubabcdefghijklmnopqrstuvwx IDENTIFIED BY 'x'".to_owned(),
            "GRANT SELECT ON tbl_orders.* TO ubabcdefghijklmnopqrstuvwx".to_owned(),
        ],
    )
    .await;
    [gone, ghost, strange]
}

#[tokio::test] // SPEC M-20
async fn a_server_as_the_records_have_it_is_said_to_be_so() {
    let grounds = Grounds::new();
    let (config, tenants, _) = shared(&grounds).await;

    let said = compared(&config, Drift::look(tenants.to_vec())).await;

    assert!(said.lines().all(|line| line.starts_with("ok ")), "{said}");
    assert!(said.contains("shared server shared      2 instances that should be there"), "{said}");
}

#[tokio::test] // SPEC M-20, X-8, X-9
async fn each_kind_of_drift_is_said_repaired_and_removed_and_others_are_left_alone() {
    let grounds = Grounds::new();
    let (config, tenants, env) = shared(&grounds).await;
    let mut admin = grounds.admin().await;
    let well = all_of(&mut admin).await;
    let [gone, _, strange] = damaged(&grounds, &tenants).await;
    let (before, [one, other]) = (all_of(&mut admin).await, &tenants);

    let lines = look(&config, &tenants).await;

    says(&lines, &["missing ", one.bindings[0].id.as_str(), "the account of app \"blog\" at `db`"]);
    says(&lines, &["differs ", one.bindings[1].id.as_str(), "it has other rights"]);
    says(&lines, &["missing ", other.instance.id.as_str(), "the database of `db`"]);
    says(&lines, &["differs ", other.bindings[0].id.as_str(), "it has other limits"]);
    says(&lines, &["orphan ", gone.as_str(), "an instance: its database, one account"]);
    says(&lines, &["orphan ", strange.as_str(), &format!("an account of instance {}", one.instance.id)]);
    assert_eq!(lines.len(), 6, "{lines:#?}");
    assert_eq!(all_of(&mut admin).await, before, "a look changes nothing");

    let said = compared(&config, Drift::repair(tenants.to_vec())).await;
    assert_eq!((said.matches("repaired ").count(), said.matches("; it is left").count()), (4, 2), "{said}");
    Client::of(&env).await.unwrap().run("SELECT * FROM v").await.unwrap();
    assert!(look(&config, &tenants).await.iter().all(|line| line.starts_with("orphan ")));
    let said = compared(&config, Drift::repair(tenants.to_vec()).removing_orphans()).await;
    assert_eq!(said.matches("removed ").count(), 2, "{said}");
    assert_eq!(look(&config, &tenants).await, Vec::<String>::new());
    let now = all_of(&mut admin).await;
    assert!(well.iter().all(|line| now.contains(line)), "{well:#?} {now:#?}");
    let more: Vec<_> = now.iter().filter(|line| !well.contains(line)).map(|line| &line[..6]).collect();
    assert_eq!(more, ["tbl_or", "ubabcd", "ubuntu", "ubabcd"]);
}

#[tokio::test] // SPEC M-20
async fn rights_elsewhere_and_another_password_are_noticed_and_taken_back() {
    let grounds = Grounds::new();
    let (config, tenants, env) = shared(&grounds).await;
    let [one, other] = &tenants;
    run(
        &grounds,
        &[
            format!("GRANT SELECT ON tb{}.* TO ub{}", other.instance.id, one.bindings[0].id),
            format!("GRANT PROCESS ON *.* TO ub{}", one.bindings[1].id),
            format!("SET PASSWORD FOR ub{} = PASSWORD('another')", other.bindings[0].id),
        ],
    )
    .await;

    let lines = look(&config, &tenants).await;

    says(&lines, &["differs ", one.bindings[0].id.as_str(), "it reaches more than its database"]);
    says(&lines, &["differs ", one.bindings[1].id.as_str(), "it reaches more than its database"]);
    says(&lines, &["differs ", other.bindings[0].id.as_str(), "it has another password"]);
    assert_eq!(lines.len(), 3, "{lines:#?}");
    compared(&config, Drift::repair(tenants.to_vec())).await;
    assert_eq!(look(&config, &tenants).await, Vec::<String>::new());
    Client::of(&env).await.unwrap().run("INSERT INTO t VALUES (1)").await.unwrap();
}

#[tokio::test] // SPEC M-20, M-11, M-16
async fn an_instance_that_is_full_or_half_restored_is_as_it_should_be() {
    let grounds = Grounds::new();
    let (config, tenants, _) = shared(&grounds).await;
    let [one, other] = &tenants;
    let growth = "INSERT, UPDATE, CREATE, ALTER, INDEX, CREATE TEMPORARY TABLES";
    run(
        &grounds,
        &[
            format!("REVOKE {growth} ON tb{}.* FROM ub{}", one.instance.id, one.bindings[0].id),
            format!("CREATE DATABASE tb{}r", other.instance.id),
            format!("ALTER USER ub{} ACCOUNT LOCK", other.bindings[0].id),
        ],
    )
    .await;

    let limited = look(&Config { max_storage: Some("1gb".parse().unwrap()), ..config.clone() }, &tenants).await;
    let unlimited = look(&config, &tenants).await;

    assert_eq!(limited, Vec::<String>::new());
    says(&unlimited, &["differs ", one.bindings[0].id.as_str(), "it has other rights"]);
    assert_eq!(unlimited.len(), 1, "{unlimited:#?}");
}

#[tokio::test] // SPEC X-10
async fn a_repair_that_is_cut_off_anywhere_is_finished_by_the_next() {
    let grounds = Grounds::new();
    let (config, tenants, env) = shared(&grounds).await;

    for after in [2, 10, 30, 60] {
        damaged(&grounds, &tenants).await;
        let mut drift = Drift::repair(tenants.to_vec()).removing_orphans();
        let cut_off = timeout(Duration::from_millis(after), MysqlBroker::compare(&config, &mut drift)).await;

        compared(&config, Drift::repair(tenants.to_vec()).removing_orphans()).await;

        assert_eq!(look(&config, &tenants).await, Vec::<String>::new(), "after {after} ms, {cut_off:?}");
        Client::of(&env).await.unwrap().run("SELECT * FROM v").await.unwrap();
    }
}

#[tokio::test] // SPEC M-20, H-13
async fn own_servers_that_are_down_or_remembered_by_nobody_are_found_beside_one_that_is_unreachable() {
    let grounds = Grounds::new();
    let file = "[[server]]\nid = \"far\"\ncapacity = 9\nurl = \"mysql://root:s3cret@127.0.0.1:1\"\n\
                [[server]]\nid = \"near\"\ncapacity = 9\n";
    grounds.write("servers.toml", file);
    let plans = "[[plan]]\nname = \"crowd\"\nkind = \"shared\"\nservers = \"servers.toml\"\n\
                 [[plan]]\nname = \"own\"\nkind = \"dedicated\"\n";
    let config = grounds.with_plans(plans);
    let broker = MysqlBroker::start(config.clone()).await.unwrap();
    let made = async |plan| -> (Instance, Binding) {
        let (mut instance, binding) = (on_plan(plan), binding("blog"));
        instance.notes = broker.provision(&instance).await.unwrap();
        broker.bind(&instance, &binding).await.unwrap();
        (instance, binding)
    };
    let (near, down, forgotten) = (made("crowd").await, made("own").await, made("own").await);
    drop(broker);
    let tenants = [tenant(&near.0, &[&near.1]), tenant(&down.0, &[&down.1])];
    grounds.kill(down.0.id.as_str()).await;
    let (process, folders) = (grounds.pid(forgotten.0.id.as_str()).unwrap(), grounds.servers());

    let lines = look(&config, &tenants).await;

    says(&lines, &["unseen ", "shared server far", "cannot be reached"]);
    says(&lines, &["missing ", "server of db", "the server does not run"]);
    says(&lines, &["orphan ", forgotten.0.id.as_str(), "a server's folder, with what runs there"]);
    assert_eq!((lines.len(), grounds.servers()), (3, folders), "{lines:#?}");
    let said = compared(&config, Drift::repair(tenants.to_vec()).removing_orphans()).await;
    assert_eq!((said.matches("repaired ").count(), said.matches("removed ").count()), (1, 1), "{said}");
    assert!(look(&config, &tenants).await.iter().all(|line| line.starts_with("unseen ")));
    eventually("the forgotten server ended", async || !fs::exists(format!("/proc/{process}")).unwrap()).await;
    assert!(!said.contains("s3cret"), "{said}");
}

#[tokio::test] // SPEC M-20
async fn a_look_makes_no_folder_and_no_password() {
    let grounds = Grounds::new();

    let lines = look(&grounds.config(), &[tenant(&instance("db"), &[])]).await;

    says(&lines, &["missing ", "the server of `db` was never made"]);
    assert!(lines.len() == 1 && !grounds.root().exists(), "{lines:#?}");
}

/// The binary, as its operator runs it.
fn program(grounds: &Grounds) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mysql-broker"));
    command.env("MYSQL_BROKER_SERVERS_DIR", grounds.root()).env("MYSQL_BROKER_PORTS", grounds.ports());
    command.env("MYSQL_BROKER_BUFFER_POOL", "16");
    command
}

#[tokio::test] // SPEC X-8, X-9
async fn the_command_looks_beside_a_broker_and_repairs_when_it_has_stopped() {
    let grounds = Grounds::new();
    let run = |flags: &[&str]| {
        let mut command = program(&grounds);
        let ended = command.arg("reconcile").arg("--data").arg(grounds.data()).args(flags).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (ended.status.code().unwrap(), text(ended.stdout), text(ended.stderr))
    };
    let serving = Program::serve_by(program(&grounds), "mysql", &grounds.data(), &["--reconcile-every", "3600"]);
    let platform = FakePlatform::tsuru(&serving.target("shared"));
    platform.create("db").await.unwrap();
    platform.bind("db", "blog").await.unwrap();
    let (status, said, errors) = run(&[]);
    assert!(status == 0 && errors.contains("nothing differs"), "{said} {errors}");
    assert_eq!(run(&["--repair"]).0, 1, "a broker runs");
    drop(serving);
    let (mut admin, user) = (grounds.admin().await, platform.env("blog")["MYSQL_USER"].clone());
    admin.run(&format!("DROP USER {user}")).await.unwrap();
    let orphan = OpaqueId::generate();
    admin.run(&format!("CREATE DATABASE tb{orphan}")).await.unwrap();

    let (status, said, _) = run(&["--json"]);

    let lines: Vec<serde_json::Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |id: &str| lines.iter().find(|line| line["id"] == id).unwrap();
    assert_eq!(
        (status, &of(&user[2..])["kind"], &of(orphan.as_str())["kind"]),
        (3, &"missing".into(), &"orphan".into())
    );
    let (status, said, _) = run(&["--repair"]);
    assert!(status == 3 && said.contains("repaired ") && said.contains("; it is left there"), "{said}");
    Client::login(&platform.env("blog")["DATABASE_URL"]).await.unwrap();
    let (status, said, errors) = run(&["--repair", &format!("--remove-orphans={orphan}")]);
    assert!(status == 0 && said.contains("removed "), "{said} {errors}");
    assert_eq!(run(&[]).0, 0);
}
