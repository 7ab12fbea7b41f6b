//! What `doctor` says of servers that are set up well and badly.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
};

use broker_core::{Broker as _, Secret, cli::Findings};
use mysql_broker::{BackupConfig, Config, MysqlBroker};

use crate::support::{Client, Grounds, Shared, eventually, look_after, tenancy, tenant};

/// What `check` and `doctor` say.
pub(crate) async fn doctor(config: &Config) -> String {
    let mut findings = Findings::default();
    MysqlBroker::check(config, &mut findings).await;
    MysqlBroker::doctor(config, &mut findings).await;
    let lines = findings.to_string();
    lines.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
}

#[track_caller]
pub(crate) fn says(said: &str, level: &str, sentence: &str) {
    let is_said = said.lines().any(|line| line.starts_with(level) && line.contains(sentence));
    assert!(is_said, "no {level} with {sentence:?}: {said}");
    assert!(!said.contains("s3cret"), "{said}");
}

fn doubts(said: &str) -> usize {
    said.lines().filter(|line| !line.starts_with("ok ")).count()
}

/// A server that was there before the broker, and lets its administrator change all settings.
struct Given {
    grounds: Grounds,
    port: u16,
    process: Child,
    _data: tempfile::TempDir,
}

const WELL: [&str; 4] =
    ["--skip-name-resolve", "--skip-symbolic-links", "--enforce-storage-engine=InnoDB", "--local-infile=0"];

impl Given {
    async fn start(settings: &[&str]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let init = data.path().join("init.sql");
        let account = "CREATE OR REPLACE USER admin@'127.0.0.1' IDENTIFIED BY 's3cret';\n\
                       GRANT ALL PRIVILEGES ON *.* TO admin@'127.0.0.1' WITH GRANT OPTION;\n";
        fs::write(&init, account).unwrap();
        let place = place(data.path());
        let install =
            Command::new("mariadb-install-db").args(["--no-defaults", "--skip-test-db"]).args(&place).output();
        let install = install.expect("mariadb-install-db is installed");
        assert!(install.status.success(), "{}", String::from_utf8_lossy(&install.stderr));
        let process = Command::new("mariadbd")
            .arg("--no-defaults")
            .args(&place)
            .args([format!("--port={port}"), format!("--init-file={}", init.display())])
            .args(["--bind-address=127.0.0.1", "--socket=s.sock", "--innodb-buffer-pool-size=16M"])
            .args(["--innodb-log-file-size=8M", "--performance-schema=OFF"])
            .args(settings)
            .stderr(Stdio::null())
            .spawn()
            .expect("mariadbd is installed");
        let given = Self { grounds: Grounds::new(), port, process, _data: data };
        eventually("the given server answers", async || Client::login(given.url("admin").expose()).await.is_ok()).await;
        given
    }

    fn url(&self, user: &str) -> Secret {
        Secret::from(format!("mysql://{user}:s3cret@127.0.0.1:{}", self.port))
    }

    async fn admin(&self) -> Client {
        Client::login(self.url("admin").expose()).await.unwrap()
    }

    fn config(&self, user: &str) -> Config {
        let advertise_host = "192.0.2.1".to_owned();
        Config { shared_url: Some(self.url(user)), advertise_host, ..self.grounds.config() }
    }
}

/// Servers don't run as root unless they are told to.
fn place(data: &Path) -> Vec<String> {
    // A server that starts clears the temporary tables of others away from a folder that they share.
    let mut arguments =
        vec![format!("--datadir={}", data.join("data").display()), format!("--tmpdir={}", data.display())];
    if fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
        arguments.push("--user=root".to_owned());
    }
    arguments
}

impl Drop for Given {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test] // SPEC M-13
async fn a_server_that_is_set_up_well_is_told_so() {
    let shared = Shared::server().await;

    let said = doctor(&Config { advertise_host: "192.0.2.1".to_owned(), ..shared.config() }).await;

    assert_eq!(doubts(&said), 0, "{said}");
    says(&said, "ok", "the user \"broker\" may do all that the broker does");
    says(&said, "ok", "100 connections, at most 5 for a binding");
    says(&said, "ok", "it offers no TLS, and is on this machine");
    says(&said, "ok", "mariadb-dump MariaDB 1");
}

#[tokio::test] // SPEC M-13
async fn settings_that_tenants_suffer_from_are_warned_of_one_by_one() {
    let given = Given::start(&WELL).await;
    let mut admin = given.admin().await;
    let well = doctor(&given.config("admin")).await;
    assert_eq!(doubts(&well), 0, "{well}");
    for (variable, bad, good, level, sentence) in [
        ("read_only", "1", "0", "error", "it is read-only, and tenants cannot write"),
        ("event_scheduler", "ON", "OFF", "warning", "events of tenants run on it"),
        ("innodb_force_primary_key", "1", "0", "warning", "innodb_force_primary_key is on: what has a table without"),
        ("max_connections", "10", "151", "warning", "it takes 10 connections, and one binding of the plan \"shared\""),
        ("local_infile", "1", "0", "warning", "clients can be made to send files: set local-infile=0"),
        ("enforce_storage_engine", "NULL", "InnoDB", "warning", "tenants can use engines that lose data in a crash"),
    ] {
        admin.run(&format!("SET GLOBAL {variable} = {bad}")).await.unwrap();

        let said = doctor(&Config { max_user_connections: 20, ..given.config("admin") }).await;

        says(&said, level, sentence);
        assert_eq!(doubts(&said), 1, "{said}");
        admin.run(&format!("SET GLOBAL {variable} = {good}")).await.unwrap();
    }
    let encrypted = doctor(&Config { require_tls: true, ..given.config("admin") }).await;
    says(&encrypted, "error", "it offers no TLS, and a plan or --require-tls refuses connections without");
}

#[tokio::test] // SPEC M-13
async fn settings_that_only_a_start_changes_are_warned_of_too() {
    let given = Given::start(&[&WELL[2..], &["--log-bin=changes"]].concat()).await;

    let said = doctor(&given.config("admin")).await;

    says(&said, "warning", "tenants cannot make functions and triggers on it");
    says(&said, "warning", "it asks DNS for the name of each client");
    says(&said, "warning", "tenants can make files elsewhere: set skip-symbolic-links");
    assert_eq!(doubts(&said), 3, "{said}");
}

/// For a run against MySQL, which has other settings (CONTRIBUTING.md): MariaDB has none of these doubts.
#[tokio::test] // SPEC M-13
async fn what_mysql_cannot_promise_is_said_of_mysql_alone() {
    let shared = Shared::server().await;
    let is_on_mariadb = shared.admin().await.is_on_mariadb().await;

    let said = doctor(&Config { max_statement_time: 30, ..shared.config() }).await;

    let is_warned = said.lines().any(|line| line.starts_with("warning") && line.contains("does not hold on MySQL"));
    assert_eq!(is_warned, !is_on_mariadb, "{said}");
}

#[tokio::test] // SPEC M-13
async fn rights_that_the_broker_lacks_are_named_and_those_of_a_role_count() {
    let given = Given::start(&WELL).await;
    let mut admin = given.admin().await;
    for statement in [
        "CREATE USER few@'127.0.0.1' IDENTIFIED BY 's3cret'",
        "GRANT CREATE USER, SHOW DATABASES ON *.* TO few@'127.0.0.1'",
        "GRANT SELECT ON mysql.* TO few@'127.0.0.1'",
        "GRANT ALL PRIVILEGES ON `tb%`.* TO few@'127.0.0.1'",
        "CREATE USER guest@'127.0.0.1' IDENTIFIED BY 's3cret'",
        "CREATE ROLE keeper",
        "GRANT CREATE USER, PROCESS, CONNECTION ADMIN, SET USER ON *.* TO keeper",
        "GRANT SELECT ON mysql.* TO keeper",
        "GRANT ALL PRIVILEGES ON `tb%`.* TO keeper WITH GRANT OPTION",
        "GRANT keeper TO guest@'127.0.0.1'",
        "SET DEFAULT ROLE keeper FOR guest@'127.0.0.1'",
    ] {
        admin.run(statement).await.unwrap();
    }

    let few = doctor(&given.config("few")).await;
    let role = doctor(&given.config("guest")).await;

    says(
        &few,
        "error",
        "the user \"few\" lacks PROCESS, CONNECTION ADMIN, SET USER on *.*; GRANT OPTION on `tb%`.*: grant that",
    );
    assert_eq!(doubts(&few), 1, "{few}");
    assert_eq!(doubts(&role), 0, "{role}");
    let broker =
        MysqlBroker::start(Config { advertise_host: "127.0.0.1".to_owned(), ..given.config("guest") }).await.unwrap();
    let (instance, binding, env) = tenancy(&broker).await;
    Client::of(&env).await.unwrap().run("CREATE TABLE t (a INT)").await.unwrap();
    look_after(&broker, &[tenant(&instance, &[&binding])]).await;
    broker.unbind(&instance, &binding).await.unwrap();
    broker.deprovision(&instance).await.unwrap();
    assert_eq!(admin.texts("SHOW DATABASES LIKE 'tb%'").await, Vec::<String>::new());
}

#[tokio::test] // SPEC M-13
async fn a_server_that_does_not_answer_is_an_error_and_no_password_is_shown() {
    let grounds = Grounds::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = Secret::from(format!("mysql://admin:s3cret@127.0.0.1:{port}"));

    let said = doctor(&Config { shared_url: Some(url), ..grounds.config() }).await;

    says(&said, "warning", "does not answer, calls will fail until it does");
    says(&said, "error", "nothing more can be said of it: the server cannot be reached");
    says(&said, "warning", "apps are told to connect to 127.0.0.1");
}

#[tokio::test] // SPEC M-13, M-14
async fn each_server_of_a_file_is_told_by_its_name() {
    let shared = Shared::server().await;
    let grounds = Grounds::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = shared.config().shared_url.unwrap();
    grounds.write(
        "servers.toml",
        &format!(
            "[[server]]\nid = \"one\"\ncapacity = 9\nurl = \"{}\"\n\
             [[server]]\nid = \"two\"\ncapacity = 9\nurl = \"mysql://admin:s3cret@127.0.0.1:{port}\"\n",
            url.expose()
        ),
    );
    let plan = "[[plan]]\nname = \"crowd\"\nkind = \"shared\"\nservers = \"servers.toml\"\n";

    let said = doctor(&grounds.with_plans(plan)).await;

    says(&said, "ok", "shared server one the user \"broker\" may do all that the broker does");
    says(&said, "error", "shared server two nothing more can be said of it: the server cannot be reached");
    assert!(!said.contains("run as"), "none is the broker's own: {said}");
}

#[tokio::test] // SPEC M-13
async fn own_servers_need_programs_and_memory_that_are_there() {
    let grounds = Grounds::new();
    let plan = "[[plan]]\nname = \"small\"\nkind = \"dedicated\"\nmemory = \"1gb\"\n";
    let many = grounds.with_plans(&format!("{plan}at-most = 1000000\n"));

    let said = doctor(&many).await;

    says(&said, "ok", "mariadbd MariaDB 1");
    says(&said, "", "run as");
    says(&said, "warning", "the plans promise 1000000.0 GiB in all and this machine has");
    assert!(!said.contains("error ") && !said.contains("engine"), "{said}");
    let unbounded = doctor(&grounds.with_plans(plan)).await;
    says(&unbounded, "warning", "the plan \"small\" has no `at-most`");
    let other = doctor(&Config { mariadbd: "cat".to_owned(), mariadb_dump: "no-such-dump".to_owned(), ..many }).await;
    says(&other, "error", "/cat is no MariaDB of version 10.4 or newer: install one");
    says(&other, "warning", "no moves between plans: the program no-such-dump is not installed");
    assert!(!grounds.root().exists(), "a doctor makes nothing");
}

#[tokio::test] // SPEC M-13
async fn backups_without_their_program_are_an_error() {
    let grounds = Grounds::new();
    let backups = BackupConfig { backups: Some(grounds.data()), ..grounds.config().backups };

    let said = doctor(&Config { mariadb_dump: "no-such-dump".to_owned(), backups, ..grounds.config() }).await;

    says(&said, "error", "there can be no backups: the program no-such-dump is not installed");
}
