//! Records in a PostgreSQL database, sealed anew with the first key of a ring (SPEC S-8).
//!
//! Each replica read its keys when it started, so none may run. The row that proves the key goes first: from then on a
//! replica with the old key alone does not start. The rest goes in batches, each a transaction, and leaves alone what
//! the first key has sealed already: broken off anywhere, it is simply done again.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

use super::{
    StoreError,
    postgres::{PROOF, about_binding, about_instance, check_proof, options, require_tables, timely},
};
use crate::{SealingKey, Secret};

/// How many records share a transaction.
const BATCH: i64 = 500;
/// What rotations of one database exclude each other with.
const LOCK: i64 = 0x6272_6f6b_6572_0001;

/// A rotation that has the database for itself.
pub(crate) struct Resealing {
    connection: PgConnection,
    lease: Duration,
}

impl Resealing {
    /// Takes the database. Nothing is changed yet.
    pub(crate) async fn begin(url: &Secret, key: &SealingKey, lease: Duration) -> Result<Self, StoreError> {
        let mut connection = timely(PgConnection::connect_with(&options(url)?)).await?;
        require_tables(&mut connection).await?;
        check_proof(&mut connection, key).await?;
        let lock = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(LOCK);
        if !timely(lock.fetch_one(&mut connection)).await? {
            return Err(refused("another rotation of their key is under way, wait for its end".to_owned()));
        }
        refuse_if_one_lives(&mut connection, lease).await?;
        Ok(Self { connection, lease })
    }

    /// Seals anew whatever another key than the first one has sealed, and proves that nothing else is left.
    pub(crate) async fn all(&mut self, key: &SealingKey) -> Result<(), StoreError> {
        self.proof(key).await?;
        for table in [Table::Instances, Table::Bindings] {
            while self.batch(key, table, BATCH).await? {}
        }
        self.prove_the_end(key).await?;
        // What the old key sealed is still in pages that are free now.
        timely(sqlx::query("SET statement_timeout = 0").execute(&mut self.connection)).await?;
        for table in ["instance", "binding", "seal"] {
            // As long as it takes: it grows with the records.
            sqlx::query(AssertSqlSafe(format!("VACUUM {table}"))).execute(&mut self.connection).await?;
        }
        Ok(())
    }

    /// No replica can say that it lives while this happens.
    async fn proof(&mut self, key: &SealingKey) -> Result<(), StoreError> {
        let mut transaction = timely(self.connection.begin()).await?;
        timely(sqlx::query("LOCK TABLE replica IN EXCLUSIVE MODE").execute(&mut *transaction)).await?;
        refuse_if_one_lives(&mut transaction, self.lease).await?;
        let update = sqlx::query("UPDATE seal SET body = $1").bind(key.seal(PROOF, b"seal"));
        timely(update.execute(&mut *transaction)).await?;
        timely(transaction.commit()).await
    }

    /// Seals up to `limit` rows; whether there were any. A row that somebody changed meanwhile is left for the next one.
    async fn batch(&mut self, key: &SealingKey, table: Table, limit: i64) -> Result<bool, StoreError> {
        let query = sqlx::query(table.query()).bind(key.name().to_vec()).bind(limit);
        let rows = timely(query.fetch_all(&mut self.connection)).await?;
        let (mut old, mut new) = (Vec::new(), Vec::new());
        let mut places = [Vec::new(), Vec::new(), Vec::new()];
        for row in &rows {
            let place: [String; 3] = [row.try_get(0)?, row.try_get(1)?, row.try_get(2)?];
            let body: Vec<u8> = row.try_get(3)?;
            let about = table.about(&place);
            new.push(key.seal(&key.open(&body, about.as_bytes())?, about.as_bytes()));
            old.push(body);
            for (list, part) in places.iter_mut().zip(place) {
                list.push(part);
            }
        }
        let [first, second, third] = places;
        let update = sqlx::query(table.update()).bind(first).bind(second).bind(third).bind(old).bind(new);
        timely(update.execute(&mut self.connection)).await?;
        Ok(!rows.is_empty())
    }

    /// A replica that was started just before the proof was changed may have written with the old key.
    async fn prove_the_end(&mut self, key: &SealingKey) -> Result<(), StoreError> {
        let mut transaction = timely(self.connection.begin()).await?;
        timely(sqlx::query("LOCK TABLE replica IN EXCLUSIVE MODE").execute(&mut *transaction)).await?;
        refuse_if_one_lives(&mut transaction, self.lease).await?;
        let left = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM instance WHERE substring(body FROM 1 FOR 4) <> $1) \
             + (SELECT count(*) FROM binding WHERE substring(body FROM 1 FOR 4) <> $1) \
             + (SELECT count(*) FROM seal WHERE substring(body FROM 1 FOR 4) <> $1)",
        );
        let left: i64 = timely(left.bind(key.name().to_vec()).fetch_one(&mut *transaction)).await?;
        if left > 0 {
            return Err(refused("some were written meanwhile, stop all replicas and rotate again".to_owned()));
        }
        timely(transaction.commit()).await
    }
}

fn refused(sentence: String) -> StoreError {
    StoreError::Failed(sentence.into())
}

/// Says until when to wait, too: a replica that was stopped is not told from one that is silent for a moment.
async fn refuse_if_one_lives(connection: &mut PgConnection, lease: Duration) -> Result<(), StoreError> {
    let query = sqlx::query_scalar("SELECT extract(epoch FROM clock_timestamp() - max(seen))::float8 FROM replica");
    let silent: Option<f64> = timely(query.fetch_one(connection)).await?;
    match silent.map(|seconds| lease.as_secs_f64() - seconds) {
        Some(left) if left > 0.0 => Err(refused(format!(
            "a replica said a moment ago that it lives: stop all replicas, and try again {left:.0} s after that"
        ))),
        _ => Ok(()),
    }
}

#[derive(Clone, Copy, Debug)]
enum Table {
    Instances,
    Bindings,
}

impl Table {
    /// Rows that another key sealed: the parts of their place, then the body.
    fn query(self) -> &'static str {
        match self {
            Self::Instances => {
                "SELECT name, id, '', body FROM instance WHERE substring(body FROM 1 FOR 4) <> $1 LIMIT $2"
            }
            Self::Bindings => {
                "SELECT instance_id, kind, consumer, body FROM binding WHERE substring(body FROM 1 FOR 4) <> $1 LIMIT $2"
            }
        }
    }

    fn update(self) -> &'static str {
        match self {
            Self::Instances => {
                "UPDATE instance SET body = n.new \
                 FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::bytea[]) AS n(name, id, none, old, new) \
                 WHERE instance.name = n.name AND instance.id = n.id AND instance.body = n.old"
            }
            Self::Bindings => {
                "UPDATE binding SET body = n.new \
                 FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::bytea[]) \
                   AS n(instance_id, kind, consumer, old, new) \
                 WHERE binding.instance_id = n.instance_id AND binding.kind = n.kind \
                   AND binding.consumer = n.consumer AND binding.body = n.old"
            }
        }
    }

    fn about(self, place: &[String; 3]) -> String {
        match self {
            Self::Instances => about_instance(&place[1]),
            Self::Bindings => about_binding(&place[0], &place[1], &place[2]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        OpaqueId, State, StateError,
        store::{PostgresStore, Store as _, Write, contract},
        testing::Postgres,
    };

    const LEASE: Duration = Duration::from_secs(15);

    #[tokio::test] // SPEC S-8
    async fn broken_off_anywhere_all_records_open_and_a_repeat_finishes() {
        let (server, folder) = (Postgres::start(), tempfile::tempdir().unwrap());
        let (url, key_file) = (server.url("rotated"), folder.path().join("state.key"));
        let old = SealingKey::load_or_create(&key_file).unwrap();
        let store = PostgresStore::connect(&url, old.clone()).await.unwrap();
        for name in ["one", "two", "six"] {
            store.commit(vec![Write::PutInstance(Box::new(contract::an_instance(name)))]).await.unwrap();
        }

        let mut broken_off = Resealing::begin(&url, &old, LEASE).await.unwrap();
        let ring = SealingKey::begin_rotation(&key_file).unwrap();
        broken_off.proof(&ring).await.unwrap();
        assert!(broken_off.batch(&ring, Table::Instances, 1).await.unwrap());
        let other = Resealing::begin(&url, &ring, LEASE).await.err().unwrap();
        assert!(other.to_string().contains("another rotation"), "{other}");
        timely(broken_off.connection.close()).await.unwrap();

        let between = State::inspect_database(&url, &key_file).await.unwrap();
        assert_eq!(between.instances(None, 10).await.unwrap().len(), 3);
        assert!(PostgresStore::connect(&url, old.clone()).await.is_err());
        State::rotate_database_key(&url, &key_file, LEASE).await.unwrap();
        let after = State::inspect_database(&url, &key_file).await.unwrap();
        assert_eq!(after.instances(None, 10).await.unwrap().len(), 3);
        assert_eq!(std::fs::read_to_string(&key_file).unwrap().lines().count(), 1);
    }

    #[tokio::test] // SPEC S-8
    async fn no_key_is_rotated_while_a_replica_lives() {
        let (server, folder) = (Postgres::start(), tempfile::tempdir().unwrap());
        let (url, key_file) = (server.url("shared"), folder.path().join("state.key"));
        let store = PostgresStore::connect(&url, SealingKey::load_or_create(&key_file).unwrap()).await.unwrap();
        store.beat(&OpaqueId::generate(), LEASE).await.unwrap();
        let before = std::fs::read_to_string(&key_file).unwrap();

        let refusal = State::rotate_database_key(&url, &key_file, LEASE).await.unwrap_err();

        assert!(matches!(refusal, StateError::Server(_)) && refusal.to_string().contains("stop all replicas"));
        assert_eq!(std::fs::read_to_string(&key_file).unwrap(), before);
        State::rotate_database_key(&url, &key_file, Duration::ZERO).await.unwrap();
    }
}
