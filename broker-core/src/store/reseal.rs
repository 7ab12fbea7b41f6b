//! Records in a SQLite file, sealed anew with the first key of a ring (SPEC S-8).
//!
//! It goes through the tables in the order of their keys, a batch in a transaction, and leaves alone what the first key
//! has sealed already: broken off anywhere, it is simply done again.

use std::path::Path;

use rusqlite::{Connection, params};

use super::{
    StoreError,
    sqlite::{about_binding, about_instance, connect, migrate, prove},
};
use crate::SealingKey;

/// How many records share a transaction.
const BATCH: usize = 500;

/// Seals anew whatever another key than the first one has sealed. Nobody else may use the file meanwhile.
pub(crate) fn reseal(path: &Path, key: &SealingKey) -> Result<(), StoreError> {
    let mut connection = connect(path)?;
    migrate(&mut connection)?;
    prove(&connection, key)?;
    for table in [Table::Instances, Table::Bindings, Table::Proof] {
        let mut after = Place::default();
        while let Some(last) = batch(&mut connection, key, table, &after, BATCH)? {
            after = last;
        }
    }
    // What the old key sealed is still in pages that are free now, and in the log.
    connection.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);")?;
    Ok(())
}

#[derive(Clone, Copy, Debug)]
enum Table {
    Instances,
    Bindings,
    Proof,
}

/// A row's key, in as many parts as the widest table has.
type Place = (String, String, String);

impl Table {
    /// Rows behind a place that another key sealed: their place, then the parts of what they are about, then the body.
    fn query(self) -> &'static str {
        match self {
            Self::Instances => {
                "SELECT name, id, '', body FROM instance \
                 WHERE name > ?1 AND ?2 = ?2 AND ?3 = ?3 AND substr(body, 1, 4) <> ?4 ORDER BY name LIMIT ?5"
            }
            Self::Bindings => {
                "SELECT instance_id, kind, consumer, body FROM binding \
                 WHERE (instance_id, kind, consumer) > (?1, ?2, ?3) AND substr(body, 1, 4) <> ?4 \
                 ORDER BY instance_id, kind, consumer LIMIT ?5"
            }
            Self::Proof => {
                "SELECT 'seal', '', '', body FROM seal \
                 WHERE 'seal' > ?1 AND ?2 = ?2 AND ?3 = ?3 AND substr(body, 1, 4) <> ?4 LIMIT ?5"
            }
        }
    }

    fn update(self) -> &'static str {
        match self {
            Self::Instances => "UPDATE instance SET body = ?4 WHERE name = ?1 AND id = ?2 AND ?3 = ''",
            Self::Bindings => "UPDATE binding SET body = ?4 WHERE instance_id = ?1 AND kind = ?2 AND consumer = ?3",
            Self::Proof => "UPDATE seal SET body = ?4 WHERE ?1 = 'seal' AND ?2 = '' AND ?3 = ''",
        }
    }

    fn about(self, place: &Place) -> String {
        match self {
            Self::Instances => about_instance(&place.1),
            Self::Bindings => about_binding(&place.0, &place.1, &place.2),
            Self::Proof => "seal".to_owned(),
        }
    }
}

/// Seals up to `limit` rows behind a place; the last of them, or none when there are no more.
fn batch(
    connection: &mut Connection,
    key: &SealingKey,
    table: Table,
    after: &Place,
    limit: usize,
) -> Result<Option<Place>, StoreError> {
    let transaction = connection.transaction()?;
    let mut last = None;
    {
        let mut query = transaction.prepare_cached(table.query())?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = query.query_map(params![after.0, after.1, after.2, key.name(), limit], |row| {
            Ok(((row.get(0)?, row.get(1)?, row.get(2)?), row.get::<_, Vec<u8>>(3)?))
        })?;
        // Read first, then written: a table is not changed under a query.
        let rows: Vec<(Place, Vec<u8>)> = rows.collect::<rusqlite::Result<_>>()?;
        let mut update = transaction.prepare_cached(table.update())?;
        for (place, body) in rows {
            let about = table.about(&place);
            let sealed = key.seal(&key.open(&body, about.as_bytes())?, about.as_bytes());
            update.execute(params![place.0, place.1, place.2, sealed])?;
            last = Some(place);
        }
    }
    transaction.commit()?;
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{SqliteStore, Store as _, Write, contract};

    #[tokio::test] // SPEC S-8
    async fn broken_off_anywhere_all_records_open_and_a_repeat_finishes() {
        let folder = tempfile::tempdir().unwrap();
        let (path, key_file) = (folder.path().join("state.db"), folder.path().join("state.key"));
        let old = SealingKey::load_or_create(&key_file).unwrap();
        let store = SqliteStore::open(&path, old.clone()).await.unwrap();
        for name in ["one", "two", "six"] {
            store.commit(vec![Write::PutInstance(Box::new(contract::an_instance(name)))]).await.unwrap();
        }
        drop(store);

        let ring = SealingKey::begin_rotation(&key_file).unwrap();
        let mut connection = connect(&path).unwrap();
        batch(&mut connection, &ring, Table::Instances, &Place::default(), 1).unwrap();
        drop(connection);

        let between = SqliteStore::open(&path, SealingKey::load(&key_file).unwrap()).await.unwrap();
        assert_eq!(between.instances(None, 10).await.unwrap().len(), 3);
        drop(between);
        reseal(&path, &ring).unwrap();
        reseal(&path, &ring).unwrap();
        SealingKey::finish_rotation(&key_file).unwrap();
        let after = SqliteStore::open(&path, SealingKey::load(&key_file).unwrap()).await.unwrap();
        assert_eq!(after.instances(None, 10).await.unwrap().len(), 3);
        assert!(SqliteStore::open(&path, old).await.is_err());
    }
}
