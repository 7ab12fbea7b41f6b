//! Records that the first release wrote, opened by this one (SPEC S-6).
//!
//! `fixtures/records-1.json` holds the rows of a database of that release: an instance in each state, and on one of them
//! a binding in each. It never changes; a release that changes the tables adds one of its own.

use std::{fs, path::Path, time::Duration};

use chrono::{DateTime, Utc};
use rusqlite::{Connection, params};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use sqlx::{ConnectOptions as _, postgres::PgConnectOptions};

use super::{PostgresStore, Store};
use crate::{
    BrokerServer, SealingKey, Secret, State,
    testing::{FakeBroker, Postgres, TestBroker, eventually},
};

const SQLITE: &str = include_str!("migrations/sqlite/0001_records.sql");
const POSTGRES: &str = include_str!("migrations/postgres/0001_records.sql");

/// Instance, kind and name of the consumer, state, due, revision, body.
type BindingRow = (String, String, String, String, Option<i64>, i64, String);

/// Rows, with bodies in hexadecimal digits and moments in milliseconds since 1970.
#[derive(Deserialize)]
struct Rows {
    key: String,
    seal: String,
    instances: Vec<(String, String, String, Option<i64>, i64, String)>,
    bindings: Vec<BindingRow>,
    operations: Vec<(String, i64, String)>,
}

impl Rows {
    fn of_the_first_release(folder: &Path) -> Self {
        let rows: Self = serde_json::from_str(include_str!("fixtures/records-1.json")).unwrap();
        fs::write(folder.join("state.key"), &rows.key).unwrap();
        rows
    }

    fn into_sqlite(self, path: &Path) {
        let db = Connection::open(path).unwrap();
        db.execute_batch(SQLITE).unwrap();
        db.pragma_update(None, "user_version", 1).unwrap();
        let bytes = |body: &str| hex::decode(body).unwrap();
        db.execute("INSERT INTO seal VALUES (1, ?)", [bytes(&self.seal)]).unwrap();
        for (name, id, state, due, revision, body) in self.instances {
            let row = params![name, id, state, due, revision, bytes(&body)];
            db.execute("INSERT INTO instance VALUES (?, ?, ?, ?, ?, ?)", row).unwrap();
        }
        for (instance, kind, consumer, state, due, revision, body) in self.bindings {
            let row = params![instance, kind, consumer, state, due, revision, bytes(&body)];
            db.execute("INSERT INTO binding VALUES (?, ?, ?, ?, ?, ?, ?)", row).unwrap();
        }
        for (instance, ended, body) in self.operations {
            let insert = "INSERT INTO operation (instance, ended, body) VALUES (?, ?, ?)";
            db.execute(insert, params![instance, ended, body]).unwrap();
        }
    }

    async fn into_postgres(self, url: &Secret) {
        let mut db = url.expose().parse::<PgConnectOptions>().unwrap().connect().await.unwrap();
        let mut first = sqlx::migrate!("src/store/migrations/postgres");
        first.migrations = first.migrations.iter().take(1).cloned().collect::<Vec<_>>().into();
        first.run(&mut db).await.unwrap();
        let bytes = |body: &str| hex::decode(body).unwrap();
        let moment = |millis: Option<i64>| millis.and_then(DateTime::<Utc>::from_timestamp_millis);
        let seal = sqlx::query("INSERT INTO seal VALUES (1, $1)").bind(bytes(&self.seal));
        seal.execute(&mut db).await.unwrap();
        for (name, id, state, due, revision, body) in self.instances {
            let insert = "INSERT INTO instance (name, id, state, due, revision, body) VALUES ($1, $2, $3, $4, $5, $6)";
            let row = sqlx::query(insert).bind(name).bind(id).bind(state).bind(moment(due)).bind(revision);
            row.bind(bytes(&body)).execute(&mut db).await.unwrap();
        }
        for (instance, kind, consumer, state, due, revision, body) in self.bindings {
            let row = sqlx::query("INSERT INTO binding VALUES ($1, $2, $3, $4, $5, $6, $7)").bind(instance).bind(kind);
            let row = row.bind(consumer).bind(state).bind(moment(due)).bind(revision).bind(bytes(&body));
            row.execute(&mut db).await.unwrap();
        }
        for (instance, ended, body) in self.operations {
            let row = sqlx::query("INSERT INTO operation (instance, ended, body) VALUES ($1, $2, $3)").bind(instance);
            row.bind(moment(Some(ended))).bind(body).execute(&mut db).await.unwrap();
        }
    }
}

#[test] // SPEC S-6
fn a_released_step_is_never_changed() {
    let digest = |step: &str| hex::encode(&Sha256::digest(step)[..8]);

    assert_eq!((digest(SQLITE), digest(POSTGRES)), ("7b658bf485ca8f95".to_owned(), "889e501885cba268".to_owned()));
}

#[tokio::test(flavor = "multi_thread")] // SPEC S-6
async fn records_of_the_first_release_are_served_from_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    Rows::of_the_first_release(folder.path()).into_sqlite(&folder.path().join("state.db"));
    let state = State::open(folder.path()).await.unwrap();
    opens(&*state.store).await;
    drop(state);

    let fake = FakeBroker::new();
    let broker = TestBroker::start_with(fake.clone(), Some(folder.path()), |server| server).await;

    serves(&broker, &fake).await;
}

#[tokio::test(flavor = "multi_thread")] // SPEC S-6
async fn records_of_the_first_release_are_served_from_postgres() {
    let (folder, server) = (tempfile::tempdir().unwrap(), Postgres::start());
    let (url, key) = (server.url("released"), folder.path().join("state.key"));
    Rows::of_the_first_release(folder.path()).into_postgres(&url).await;
    opens(&PostgresStore::connect(&url, SealingKey::load(&key).unwrap()).await.unwrap()).await;

    let fake = FakeBroker::new();
    let settings = |server: BrokerServer| server.lease(Duration::from_secs(2));
    let broker = TestBroker::start_replica(fake.clone(), &url, &key, settings).await;

    serves(&broker, &fake).await;
    let mut db = url.expose().parse::<PgConnectOptions>().unwrap().connect().await.unwrap();
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (99, 'later', true, ''::bytea, 0)";
    sqlx::query(newer).execute(&mut db).await.unwrap();
    let refusal = PostgresStore::connect(&url, SealingKey::load(&key).unwrap()).await.err().unwrap();
    assert!(refusal.to_string().contains("a newer version of the broker"), "{refusal}");
}

/// Every record opens, in the state it was written in.
async fn opens(store: &dyn Store) {
    let instances = store.instances(None, 100).await.unwrap();
    let named = |name: &str| instances.iter().find(|record| record.instance.name.as_str() == name).unwrap();
    assert_eq!(instances.len(), 7);
    for state in ["provisioning", "ready", "updating", "deprovisioning", "failed", "gone"] {
        assert_eq!(named(state).state.as_str(), state);
    }
    assert_eq!(named("updating").wish.as_ref().unwrap().plan.as_str(), "large");
    assert_eq!(named("failed").reason.as_deref(), Some("the disk is full"));
    assert_eq!(named("ready").instance.notes["address"], "fake.test:1");
    let bindings = store.bindings(&named("ready").instance.id).await.unwrap();
    let states: Vec<_> = bindings.iter().map(|record| record.state.as_str()).collect();
    assert_eq!(states.len(), 6);
    assert!(bindings.iter().all(|record| record.consumer().to_string().contains(record.state.as_str())), "{states:?}");
    assert_eq!(store.operations(&"failed".parse().unwrap(), 10).await.unwrap().len(), 1);
}

/// What was begun is finished, what was promised holds, and everything can be removed.
async fn serves(broker: &TestBroker, fake: &FakeBroker) {
    for name in ["provisioning", "untold", "ready", "updating"] {
        eventually("it is up", async || broker.status(name).await.status == 204).await;
    }
    eventually("it is gone", async || broker.status("deprovisioning").await.status == 404).await;
    broker.status("failed").await.is(500);
    let env = broker.form("PUT", "/resources/ready/binds/jobs/bound", "").await.is(201).env();
    assert!(fake.opens(&env));
    broker.create("gone").await.is(201);
    for name in ["provisioning", "untold", "ready", "updating", "failed", "gone"] {
        broker.remove(name).await.is(200);
    }
    eventually("nothing is left", async || fake.instances() == 0 && fake.accounts().is_empty()).await;
}
