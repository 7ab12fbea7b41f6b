//! Records in a PostgreSQL database, which several replicas of a broker can share.
//!
//! What waits to be written goes to the server in one statement, which is one transaction with a savepoint for each
//! commit: many small commits cost one round trip and one write to the server's disk. Nothing is cached here: another
//! replica may have changed it.

use std::{str::FromStr as _, time::Duration};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::{
    Connection as _, PgConnection, PgPool, Row as _,
    migrate::MigrateError,
    postgres::{PgConnectOptions, PgPoolOptions, PgRow},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tracing::warn;

use super::{Counts, Living, Store, StoreError, Write, consumer_key};
use crate::{
    Consumer, InstanceName, OpaqueId, SealingKey, Secret,
    lifecycle::records::{BindingRecord, InstanceRecord, Operation},
};

/// The most commits that share a transaction.
const BATCH: usize = 128;
/// How many connections are kept for questions.
const CONNECTIONS: u32 = 8;
/// How long the server may take for anything, a new connection included.
const WITHIN: Duration = Duration::from_secs(10);
/// How often a batch is sent again that met one of another replica.
const TRIES: usize = 5;
/// What the row that proves the key says.
pub(super) const PROOF: &[u8] = b"this key opens these records";

/// Records in a PostgreSQL database, sealed.
pub(crate) struct PostgresStore {
    key: SealingKey,
    pool: PgPool,
    writer: mpsc::Sender<Request>,
}

/// A commit on its way to the writer, and who waits for it.
struct Request {
    changes: Vec<Value>,
    answer: oneshot::Sender<Result<(), StoreError>>,
}

impl PostgresStore {
    /// Connects, brings the tables up to date and proves that the key fits. Replicas that start at the same moment
    /// take turns.
    pub(crate) async fn connect(url: &Secret, key: SealingKey) -> Result<Self, StoreError> {
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(WITHIN);
        let pool = timely(pool.connect_with(options(url)?)).await?;
        let migrations = sqlx::migrate!("src/store/migrations/postgres");
        migrations.run(&pool).await.map_err(not_brought_up_to_date)?;
        prove(&pool, &key).await?;
        Ok(Self::on(pool, key))
    }

    /// Connects to look at records that are there: nothing is made or brought up to date.
    pub(crate) async fn look(url: &Secret, key: SealingKey) -> Result<Self, StoreError> {
        let mut options = options(url)?;
        options = options.options([("default_transaction_read_only", "on")]);
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(WITHIN);
        let pool = timely(pool.connect_with(options)).await?;
        require_tables(&mut *timely(pool.acquire()).await?).await?;
        check_proof(&mut *timely(pool.acquire()).await?, &key).await?;
        Ok(Self::on(pool, key))
    }

    /// Whether there are records in the database.
    pub(crate) async fn has_tables(url: &Secret) -> Result<bool, StoreError> {
        let mut connection = timely(PgConnection::connect_with(&options(url)?)).await?;
        has_tables(&mut connection).await
    }

    /// Whether a replica said within `lease` that it lives.
    pub(crate) async fn has_replicas(url: &Secret, lease: Duration) -> Result<bool, StoreError> {
        let mut connection = timely(PgConnection::connect_with(&options(url)?)).await?;
        let seen = "SELECT EXISTS (SELECT FROM replica WHERE seen > clock_timestamp() - make_interval(secs => $1))";
        timely(sqlx::query_scalar(seen).bind(lease.as_secs_f64()).fetch_one(&mut connection)).await
    }

    fn on(pool: PgPool, key: SealingKey) -> Self {
        let (writer, requests) = mpsc::channel(4 * BATCH);
        tokio::spawn(write(pool.clone(), requests));
        Self { key, pool, writer }
    }

    /// A change as the server takes it: bodies sealed.
    fn change(&self, write: Write) -> Result<Value, StoreError> {
        Ok(match write {
            Write::PutInstance(record) => {
                let about = about_instance(record.instance.id.as_str());
                let body = self.key.seal(&serde_json::to_vec(&record)?, about.as_bytes());
                json!({
                    "do": if record.revision == 0 { "insert instance" } else { "update instance" },
                    "name": record.instance.name, "id": record.instance.id, "state": record.state.as_str(),
                    "holder": record.holder, "due": record.due, "revision": record.revision,
                    "body": STANDARD.encode(body),
                })
            }
            Write::DeleteInstance(name, id) => json!({ "do": "delete instance", "name": name, "id": id }),
            Write::PutBinding(record) => {
                let (kind, consumer) = consumer_key(record.consumer());
                let about = about_binding(record.instance.as_str(), kind, consumer);
                let body = self.key.seal(&serde_json::to_vec(&record)?, about.as_bytes());
                json!({
                    "do": if record.revision == 0 { "insert binding" } else { "update binding" },
                    "name": record.instance_name, "id": record.instance, "kind": kind, "consumer": consumer,
                    "state": record.state.as_str(), "due": record.due, "revision": record.revision,
                    "body": STANDARD.encode(body),
                })
            }
            Write::DeleteBinding(instance, consumer) => {
                let (kind, name) = consumer_key(&consumer);
                json!({ "do": "delete binding", "id": instance, "kind": kind, "consumer": name })
            }
            Write::RequireReady(name, id, replica) => {
                json!({ "do": "require ready", "name": name, "id": id, "replica": replica })
            }
            Write::Log(operation) => json!({
                "do": "log", "name": operation.instance, "due": operation.ended.unwrap_or_else(Utc::now),
                "body": serde_json::to_string(&operation)?,
            }),
            Write::Places { name, id, revision, places } => {
                let places: Vec<Value> =
                    places.into_iter().map(|place| json!({ "plan": place.plan, "team": place.team })).collect();
                json!({ "do": "places", "name": name, "id": id, "revision": revision, "places": places })
            }
            Write::Within(limit) => json!({
                "do": "within", "plan": limit.plan, "team": limit.team, "most": limit.most,
                "refusal": limit.to_string(),
            }),
        })
    }

    fn open_instance(&self, row: &PgRow) -> Result<InstanceRecord, StoreError> {
        let body: &[u8] = row.try_get("body")?;
        let plain = self.key.open(body, about_instance(row.try_get("id")?).as_bytes())?;
        let record: InstanceRecord = serde_json::from_slice(&plain)?;
        Ok(InstanceRecord { revision: row.try_get("revision")?, due: row.try_get("due")?, ..record })
    }

    fn open_binding(&self, row: &PgRow) -> Result<BindingRecord, StoreError> {
        let about = about_binding(row.try_get("instance_id")?, row.try_get("kind")?, row.try_get("consumer")?);
        let plain = self.key.open(row.try_get("body")?, about.as_bytes())?;
        let record: BindingRecord = serde_json::from_slice(&plain)?;
        Ok(BindingRecord { revision: row.try_get("revision")?, due: row.try_get("due")?, ..record })
    }
}

pub(super) fn about_instance(id: &str) -> String {
    format!("instance/{id}")
}

pub(super) fn about_binding(instance: &str, kind: &str, consumer: &str) -> String {
    format!("binding/{instance}/{kind}/{consumer}")
}

/// A URL has a password in it, so what is wrong with it is not quoted.
fn not_a_url() -> StoreError {
    let sentence = "the database's URL can't be read, it looks like postgres://user:password@host:5432/database";
    StoreError::Failed(sentence.into())
}

fn not_brought_up_to_date(error: MigrateError) -> StoreError {
    match error {
        MigrateError::VersionMissing(_) | MigrateError::VersionTooNew(..) => {
            let sentence = "the records were written by a newer version of the broker, which this one can't read";
            StoreError::Failed(sentence.into())
        }
        error => StoreError::Failed(Box::new(error)),
    }
}

/// What the server says, if it says it in time.
pub(super) async fn timely<T>(question: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    let limit = WITHIN + Duration::from_secs(1);
    let answer = timeout(limit, question).await;
    answer
        .map_err(|_| StoreError::Failed(format!("the database did not answer within {} s", limit.as_secs()).into()))?
        .map_err(StoreError::from)
}

/// How every connection is made.
pub(super) fn options(url: &Secret) -> Result<PgConnectOptions, StoreError> {
    let options = PgConnectOptions::from_str(url.expose()).map_err(|_| not_a_url())?;
    let millis = WITHIN.as_millis().to_string();
    Ok(options.application_name("broker").options([
        ("statement_timeout", millis.as_str()),
        ("lock_timeout", millis.as_str()),
        // What is answered is on the disk, whatever the server is set to.
        ("synchronous_commit", "on"),
    ]))
}

async fn has_tables(connection: &mut PgConnection) -> Result<bool, StoreError> {
    timely(sqlx::query_scalar("SELECT to_regclass('seal') IS NOT NULL").fetch_one(connection)).await
}

/// Refuses a database that no broker has used.
pub(super) async fn require_tables(connection: &mut PgConnection) -> Result<(), StoreError> {
    if has_tables(connection).await? {
        return Ok(());
    }
    Err(StoreError::Failed("there are none yet, no broker has used this database".into()))
}

/// The key must open the row that proves it.
pub(super) async fn check_proof(connection: &mut PgConnection, key: &SealingKey) -> Result<(), StoreError> {
    let row = timely(sqlx::query("SELECT body FROM seal").fetch_one(connection)).await?;
    key.open(row.try_get("body")?, b"seal")?;
    Ok(())
}

/// Writes the proof into a new database; in an old one, the key must open it.
async fn prove(pool: &PgPool, key: &SealingKey) -> Result<(), StoreError> {
    let insert = sqlx::query("INSERT INTO seal (one, body) VALUES (1, $1) ON CONFLICT DO NOTHING");
    timely(insert.bind(key.seal(PROOF, b"seal")).execute(pool)).await?;
    let row = timely(sqlx::query("SELECT body FROM seal").fetch_one(pool)).await?;
    key.open(row.try_get("body")?, b"seal")?;
    Ok(())
}

/// Commits what comes, in batches, until the store is dropped.
async fn write(pool: PgPool, mut requests: mpsc::Receiver<Request>) {
    let mut batch = Vec::with_capacity(BATCH);
    while requests.recv_many(&mut batch, BATCH).await > 0 {
        let (changes, answers): (Vec<_>, Vec<_>) =
            batch.drain(..).map(|Request { changes, answer }| (Value::Array(changes), answer)).unzip();
        let outcomes = commit_batch(&pool, &Value::Array(changes)).await;
        let outcomes = match outcomes {
            Ok(outcomes) => {
                outcomes.into_iter().map(|refusal| refusal.map_or(Ok(()), |why| Err(refused(why)))).collect()
            }
            Err(error) => {
                let text = error.to_string();
                answers.iter().map(|_| Err(StoreError::Failed(text.clone().into()))).collect::<Vec<_>>()
            }
        };
        for (answer, outcome) in answers.into_iter().zip(outcomes) {
            // Whoever asked may have given up; what was written stays written.
            let _ = answer.send(outcome);
        }
    }
}

/// An empty text is that it was overtaken.
fn refused(why: String) -> StoreError {
    if why.is_empty() { StoreError::Conflict("an instance or binding".to_owned()) } else { StoreError::Full(why) }
}

/// One statement, one transaction. Two replicas' batches may wait for each other, which the server ends by refusing one.
async fn commit_batch(pool: &PgPool, commits: &Value) -> Result<Vec<Option<String>>, StoreError> {
    let mut tries = 1;
    loop {
        let statement = sqlx::query_scalar("SELECT commit_all($1)").bind(commits);
        match timely(statement.fetch_one(pool)).await {
            Err(StoreError::Failed(cause)) if tries < TRIES && is_deadlock(cause.as_ref()) => {
                warn!("a batch of commits met one of another replica, it is sent again");
                tries += 1;
            }
            outcome => return outcome,
        }
    }
}

fn is_deadlock(cause: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    let database = cause.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error);
    database.and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == "40P01" || code == "40001")
}

fn as_limit(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[async_trait]
impl Store for PostgresStore {
    async fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let changes = writes.into_iter().map(|write| self.change(write)).collect::<Result<_, _>>()?;
        let (answer, outcome) = oneshot::channel();
        let gone = || StoreError::Failed("the task that writes records has ended".into());
        self.writer.send(Request { changes, answer }).await.map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }

    async fn instance(&self, name: &InstanceName) -> Result<Option<InstanceRecord>, StoreError> {
        let query = sqlx::query("SELECT id, due, revision, body FROM instance WHERE name = $1").bind(name.as_str());
        let row = timely(query.fetch_optional(&self.pool)).await?;
        row.map(|row| self.open_instance(&row)).transpose()
    }

    async fn instances(&self, after: Option<&InstanceName>, limit: usize) -> Result<Vec<InstanceRecord>, StoreError> {
        let query = sqlx::query("SELECT id, due, revision, body FROM instance WHERE name > $1 ORDER BY name LIMIT $2");
        let query = query.bind(after.map_or("", InstanceName::as_str)).bind(as_limit(limit));
        timely(query.fetch_all(&self.pool)).await?.iter().map(|row| self.open_instance(row)).collect()
    }

    async fn binding(&self, instance: &OpaqueId, consumer: &Consumer) -> Result<Option<BindingRecord>, StoreError> {
        let (kind, name) = consumer_key(consumer);
        let query = sqlx::query(
            "SELECT instance_id, kind, consumer, due, revision, body FROM binding \
             WHERE instance_id = $1 AND kind = $2 AND consumer = $3",
        );
        let query = query.bind(instance.as_str()).bind(kind).bind(name);
        let row = timely(query.fetch_optional(&self.pool)).await?;
        row.map(|row| self.open_binding(&row)).transpose()
    }

    async fn bindings(&self, instance: &OpaqueId) -> Result<Vec<BindingRecord>, StoreError> {
        let query = sqlx::query(
            "SELECT instance_id, kind, consumer, due, revision, body FROM binding \
             WHERE instance_id = $1 ORDER BY kind, consumer",
        );
        let rows = timely(query.bind(instance.as_str()).fetch_all(&self.pool)).await?;
        rows.iter().map(|row| self.open_binding(row)).collect()
    }

    async fn due_instances(
        &self,
        now: DateTime<Utc>,
        after: Option<&InstanceRecord>,
        limit: usize,
    ) -> Result<Vec<InstanceRecord>, StoreError> {
        let query = sqlx::query(
            "SELECT id, due, revision, body FROM instance \
             WHERE due <= $1 AND ($2::timestamptz IS NULL OR (due, name) > ($2, $3)) ORDER BY due, name LIMIT $4",
        );
        let name = after.map(|record| record.instance.name.as_str());
        let query = query.bind(now).bind(after.and_then(|record| record.due)).bind(name).bind(as_limit(limit));
        timely(query.fetch_all(&self.pool)).await?.iter().map(|row| self.open_instance(row)).collect()
    }

    async fn due_bindings(
        &self,
        now: DateTime<Utc>,
        after: Option<&BindingRecord>,
        limit: usize,
    ) -> Result<Vec<BindingRecord>, StoreError> {
        let query = sqlx::query(
            "SELECT instance_id, kind, consumer, due, revision, body FROM binding \
             WHERE due <= $1 \
               AND ($2::timestamptz IS NULL OR (due, instance_id, kind, consumer) > ($2, $3, $4, $5)) \
             ORDER BY due, instance_id, kind, consumer LIMIT $6",
        );
        let instance = after.map(|record| record.instance.as_str());
        let (kind, consumer) = after.map(|record| consumer_key(record.consumer())).unzip();
        let query = query.bind(now).bind(after.and_then(|record| record.due)).bind(instance).bind(kind).bind(consumer);
        let query = query.bind(as_limit(limit));
        timely(query.fetch_all(&self.pool)).await?.iter().map(|row| self.open_binding(row)).collect()
    }

    async fn operations(&self, instance: &InstanceName, limit: usize) -> Result<Vec<Operation>, StoreError> {
        let query = sqlx::query("SELECT body FROM operation WHERE instance = $1 ORDER BY number DESC LIMIT $2");
        let rows = timely(query.bind(instance.as_str()).bind(as_limit(limit)).fetch_all(&self.pool)).await?;
        rows.iter().map(|row| Ok(serde_json::from_str(row.try_get("body")?)?)).collect()
    }

    async fn forget_operations(&self, before: DateTime<Utc>, limit: usize) -> Result<usize, StoreError> {
        let query = sqlx::query(
            "DELETE FROM operation WHERE ended < $1 \
             AND number IN (SELECT number FROM operation ORDER BY number LIMIT $2)",
        );
        let gone = timely(query.bind(before).bind(as_limit(limit)).execute(&self.pool)).await?;
        Ok(usize::try_from(gone.rows_affected()).unwrap_or(usize::MAX))
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        let count = async |query: &'static str| {
            let rows = timely(sqlx::query(query).fetch_all(&self.pool)).await?;
            let counted = rows.iter().map(|row| {
                let count: i64 = row.try_get("count")?;
                Ok((row.try_get("state")?, count.unsigned_abs()))
            });
            counted.collect::<Result<_, StoreError>>()
        };
        Ok(Counts {
            instances: count("SELECT state, count(*) FROM instance GROUP BY state ORDER BY state").await?,
            bindings: count("SELECT state, count(*) FROM binding GROUP BY state ORDER BY state").await?,
        })
    }

    async fn beat(&self, replica: &OpaqueId, lease: Duration) -> Result<Living, StoreError> {
        let say = sqlx::query(
            "INSERT INTO replica (id, seen) VALUES ($1, clock_timestamp()) \
             ON CONFLICT (id) DO UPDATE SET seen = clock_timestamp() \
             RETURNING coalesce((SELECT seen < clock_timestamp() - make_interval(secs => $2) FROM replica \
             WHERE id = $1), false)",
        );
        // What the inner question sees is what was there before.
        let said = timely(say.bind(replica.as_str()).bind(lease.as_secs_f64()).fetch_one(&self.pool)).await?;
        let was_dead = said.try_get(0)?;
        let list = sqlx::query("SELECT id FROM replica WHERE seen > clock_timestamp() - make_interval(secs => $1)");
        let rows = timely(list.bind(lease.as_secs_f64()).fetch_all(&self.pool)).await?;
        let forget = sqlx::query("DELETE FROM replica WHERE seen < clock_timestamp() - interval '1 day'");
        timely(forget.execute(&self.pool)).await?;
        let ids = rows.iter().map(|row| row.try_get::<&str, _>("id").map(str::parse::<OpaqueId>));
        let alive = ids.filter_map(|id| id.map(Result::ok).transpose()).collect::<Result<_, _>>()?;
        Ok(Living { alive, was_dead })
    }

    fn is_shared(&self) -> bool {
        true
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{store::contract, testing::Postgres};

    #[tokio::test] // SPEC S-1
    async fn postgres_keeps_the_contract() {
        let server = Postgres::start();
        let key = SealingKey::generate();
        let store = PostgresStore::connect(&server.url("contract"), key.clone()).await.unwrap();

        contract::check(&store).await;

        let other = PostgresStore::connect(&server.url("contract"), key).await.unwrap();
        contract::check_shared(&store, &other).await;
        let refusal = PostgresStore::connect(&server.url("contract"), SealingKey::generate()).await.err().unwrap();
        assert!(refusal.to_string().contains("cannot be opened"), "{refusal}");
    }

    #[tokio::test] // SPEC S-5
    async fn a_url_that_cannot_be_read_is_not_shown() {
        let refusal = PostgresStore::connect(&Secret::from("mysql//u:s3cret@h"), SealingKey::generate()).await;

        let refusal = refusal.err().unwrap().to_string();
        assert!(refusal.contains("can't be read") && !refusal.contains("s3cret"), "{refusal}");
    }
}
