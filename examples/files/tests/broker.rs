//! The broker on a disk: the contract, crashes, plan changes, limits.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use broker_core::testing::{Program, Subject, TestBroker, Variables, conformance, crash_safety, eventually};
use files_broker::{Config, FilesBroker};
use rusqlite::{Connection, OpenFlags};

fn broker(root: &Path) -> FilesBroker {
    FilesBroker::open(Config { root: root.to_owned(), max_megabytes: 10 }).unwrap()
}

/// Uses what a bind gave: writes, and reads it again.
fn opens(env: &Variables) -> bool {
    if let Some(folder) = env.get("FILES_FOLDER") {
        let file = Path::new(folder).join("hello.txt");
        return fs::write(&file, "hello").is_ok() && fs::read(&file).is_ok_and(|read| read == b"hello");
    }
    database(env).is_some_and(|found| found.execute_batch("CREATE TEMP TABLE t (x); SELECT * FROM sqlar").is_ok())
}

/// Opens the database as an app does, by its URL.
fn database(env: &Variables) -> Option<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(env.get("FILES_DATABASE_URL")?, flags).ok()
}

/// The files of all instances and bindings.
fn leftovers(root: &Path) -> Vec<String> {
    let below = |folder| fs::read_dir(root.join(folder)).unwrap().map(|entry| format!("{:?}", entry.unwrap().path()));
    below("instances").chain(below("bindings")).collect()
}

async fn create(broker: &TestBroker, plan: &str, more: &str) {
    broker.form("POST", "/resources", &format!("name=docs&plan={plan}&team=data{more}")).await.is(201);
}

async fn conforms(plan: &str) {
    let (data, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let arguments = [format!("--root={}", root.path().display())];
    let broker = Program::serve(env!("CARGO_BIN_EXE_files-broker"), "files", data.path(), &arguments);

    let report = conformance(&broker.target(plan), async |env: &Variables| opens(env)).await;

    report.is_clean();
    assert!(report.count() > 250, "these were skipped: {:?}", report.skipped());
    assert_eq!(leftovers(root.path()), [""; 0], "something was left behind");
}

#[tokio::test] // A1 to A114
async fn the_plan_folder_conforms() {
    conforms("folder").await;
}

#[tokio::test] // A1 to A114
async fn the_plan_database_conforms() {
    conforms("database").await;
}

#[tokio::test] // SPEC L-2, L-3
async fn a_crash_at_any_point_loses_nothing_and_leaves_nothing() {
    for (plan, other) in [("folder", "database"), ("database", "folder")] {
        let root = tempfile::tempdir().unwrap();

        let report = crash_safety(
            Subject::on_plan(plan).updated_to(other),
            async || broker(root.path()),
            async |env| opens(env),
            async || leftovers(root.path()),
        )
        .await;

        report.is_clean();
        assert!(report.crashes() >= 10, "it died only {} times", report.crashes());
    }
}

#[tokio::test]
async fn a_change_of_plan_carries_the_files_over_and_back() {
    let root = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(broker(root.path())).await;
    create(&broker, "folder", "").await;
    let folder = broker.bind_app("docs", "web").await.is(201).env()["FILES_FOLDER"].clone();
    fs::create_dir(Path::new(&folder).join("letters")).unwrap();
    fs::write(Path::new(&folder).join("letters/a.txt"), "dear all").unwrap();

    broker.form("PUT", "/resources/docs", "plan=database&team=data").await.is(200);
    assert!(!Path::new(&folder).exists(), "apps could go on writing where nobody looks");
    let rows = database(&broker.bind_app("docs", "cli").await.is(201).env()).unwrap();
    let found = rows.query_row("SELECT name, data FROM sqlar", [], |row| Ok((row.get(0)?, row.get(1)?)));
    assert_eq!(found.unwrap(), ("letters/a.txt".to_owned(), b"dear all".to_vec()));

    broker.form("PUT", "/resources/docs", "plan=folder&team=data").await.is(200);
    assert_eq!(fs::read_to_string(Path::new(&folder).join("letters/a.txt")).unwrap(), "dear all");
}

#[tokio::test]
async fn a_database_that_no_folder_can_hold_stays_one() {
    let root = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(broker(root.path())).await;
    create(&broker, "database", "").await;
    let env = broker.bind_app("docs", "web").await.is(201).env();
    let attempt = async |statement: &str, reason: &str| {
        database(&env).unwrap().execute_batch(statement).unwrap();
        let answer = broker.form("PUT", "/resources/docs", "plan=folder&team=data").await;
        assert!(answer.is(400).body.contains(reason), "{}", answer.body);
        assert!(opens(&env), "it is there as before");
    };

    attempt("CREATE TABLE orders (id)", "a folder cannot hold the tables orders").await;
    let outside = "DROP TABLE orders; INSERT INTO sqlar VALUES ('../../escaped', 33188, 0, 1, x'41')";
    attempt(outside, "cannot be a file's name in a folder").await;
    broker.status("docs").await.is(204);
}

#[tokio::test]
async fn a_read_only_bind_reads_and_does_not_write() {
    let root = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(broker(root.path())).await;
    create(&broker, "database", "").await;

    let body = "app-name=web&parameters.read_only=true";
    let env = broker.form("POST", "/resources/docs/bind-app", body).await.is(201).env();

    assert_eq!(env["FILES_MODE"], "ro");
    let reading = database(&env).unwrap();
    assert!(reading.prepare("SELECT * FROM sqlar").is_ok());
    assert!(reading.execute_batch("CREATE TABLE t (x)").unwrap_err().to_string().contains("readonly"));
}

#[tokio::test]
async fn parameters_are_looked_at_before_anything_is_made() {
    let root = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(broker(root.path())).await;

    for wrong in ["parameters.megabytes=11", "parameters.megabytes=0", "parameters.color=red"] {
        broker.form("POST", "/resources", &format!("name=docs&plan=folder&team=data&{wrong}")).await.is(400);
    }

    assert_eq!(leftovers(root.path()), [""; 0]);
}

#[tokio::test]
async fn what_holds_too_much_is_closed_to_writing_until_it_may_hold_more() {
    let root = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(broker(root.path())).await;
    create(&broker, "folder", "&parameters.megabytes=1").await;
    let folder = broker.bind_app("docs", "web").await.is(201).env()["FILES_FOLDER"].clone();
    let mode = || fs::metadata(&folder).unwrap().permissions().mode() & 0o777;
    eventually("it is open to writing", async || mode() == 0o777).await;

    fs::write(Path::new(&folder).join("big"), vec![0; 1_500_000]).unwrap();
    eventually("it is closed to writing", async || mode() == 0o555).await;
    let status = broker.status("docs").await;
    assert!(status.body.contains("it holds 1.5 MB of 1.0 MB"), "{}", status.body);
    let info = broker.ask("GET", "/resources/docs").await.is(200).body.clone();
    assert!(info.contains("1.5 MB of 1.0 MB"), "{info}");

    broker.form("PUT", "/resources/docs", "plan=folder&team=data&parameters.megabytes=2").await.is(200);
    eventually("it is open to writing again", async || mode() == 0o777).await;
    broker.form("PUT", "/resources/docs", "plan=folder&team=data&parameters.megabytes=1").await.is(400);
}

#[tokio::test]
async fn links_that_are_lost_come_back() {
    let root = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(broker(root.path())).await;
    create(&broker, "folder", "").await;
    let env = broker.bind_app("docs", "web").await.is(201).env();

    for link in fs::read_dir(root.path().join("bindings")).unwrap() {
        fs::remove_file(link.unwrap().path()).unwrap();
    }

    eventually("the binding works again", async || opens(&env)).await;
}
