//! The `store` port in memory, and its contract.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use async_trait::async_trait;

use crate::ports::{Page, Record, RecordKind, Store, StoreError, Write};

/// Records in memory, for tests: gone with the process, and durable in nothing.
#[derive(Debug, Default)]
pub struct MemoryStore {
    records: Mutex<Records>,
}

type Records = BTreeMap<(RecordKind, String), Record>;

impl MemoryStore {
    /// A store without records.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().expect("no holder of the records panics")
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, kind: RecordKind, key: &str) -> Result<Option<Record>, StoreError> {
        Ok(self.records().get(&(kind, key.to_owned())).cloned())
    }

    async fn list(&self, kind: RecordKind, page: Page<'_>) -> Result<Vec<Record>, StoreError> {
        let records = self.records();
        let mut found: Vec<&Record> = records
            .range((kind, page.prefix.to_owned())..)
            .take_while(|((of, key), _)| *of == kind && key.starts_with(page.prefix))
            .map(|(_, record)| record)
            .collect();
        if page.descending {
            found.reverse();
        }
        let limit = if page.limit == 0 { usize::MAX } else { page.limit };
        Ok(found.into_iter().skip(page.skip).take(limit).cloned().collect())
    }

    async fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        let mut records = self.records();
        let mut changed = records.clone();
        for write in writes {
            apply(&mut changed, write)?;
        }
        *records = changed;
        Ok(())
    }
}

fn apply(records: &mut Records, write: &Write) -> Result<(), StoreError> {
    match write {
        Write::Put { kind, key, replaces, body } => {
            let identity = (*kind, key.clone());
            let revision = records.get(&identity).map_or(0, |record| record.revision);
            if revision != *replaces {
                return Err(StoreError::Conflict(kind.as_str(), key.clone()));
            }
            records.insert(identity, Record { key: key.clone(), revision: revision + 1, body: body.clone() });
        }
        Write::Delete { kind, key } => {
            records.remove(&(*kind, key.clone()));
        }
    }
    Ok(())
}

/// Every promise of the port, asked of an empty store. Panics with the one that is not kept.
pub async fn store_contract(store: &dyn Store) {
    a_missing_record_is_none_and_an_empty_list(store).await;
    revisions_count_from_one(store).await;
    a_stale_or_second_write_is_a_conflict(store).await;
    a_removed_record_can_be_made_again(store).await;
    a_commit_is_all_or_nothing(store).await;
    a_commit_writes_in_order(store).await;
    one_of_many_writers_wins(store).await;
    kinds_are_apart(store).await;
    lists_follow_keys(store).await;
    any_text_is_a_key(store).await;
    any_text_is_a_body(store).await;
}

fn put(key: &str, replaces: i64, body: &str) -> Write {
    put_in(RecordKind::App, key, replaces, body)
}

fn put_in(kind: RecordKind, key: &str, replaces: i64, body: &str) -> Write {
    Write::Put { kind, key: key.to_owned(), replaces, body: body.to_owned() }
}

fn delete(key: &str) -> Write {
    Write::Delete { kind: RecordKind::App, key: key.to_owned() }
}

fn record(key: &str, revision: i64, body: &str) -> Record {
    Record { key: key.to_owned(), revision, body: body.to_owned() }
}

async fn get(store: &dyn Store, key: &str) -> Option<Record> {
    store.get(RecordKind::App, key).await.expect("a healthy store reads")
}

async fn commit(store: &dyn Store, writes: &[Write]) {
    store.commit(writes).await.expect("a healthy store commits what nobody else changed");
}

async fn refused(store: &dyn Store, writes: &[Write], key: &str) {
    match store.commit(writes).await {
        Err(StoreError::Conflict(kind, of)) => assert_eq!((kind, of.as_str()), ("app", key)),
        other => panic!("a conflict over {key} was expected, not {other:?}"),
    }
}

async fn keys(store: &dyn Store, kind: RecordKind, page: Page<'_>) -> Vec<String> {
    let records = store.list(kind, page).await.expect("a healthy store lists");
    records.into_iter().map(|record| record.key).collect()
}

async fn a_missing_record_is_none_and_an_empty_list(store: &dyn Store) {
    assert_eq!(get(store, "missing").await, None);
    assert_eq!(keys(store, RecordKind::App, Page::default()).await, [""; 0], "the contract starts on an empty store");
}

async fn revisions_count_from_one(store: &dyn Store) {
    for revision in 1..=3 {
        let body = format!("body {revision}");
        commit(store, &[put("counted", revision - 1, &body)]).await;
        assert_eq!(get(store, "counted").await, Some(record("counted", revision, &body)));
    }
}

async fn a_stale_or_second_write_is_a_conflict(store: &dyn Store) {
    commit(store, &[put("contended", 0, "a")]).await;
    commit(store, &[put("contended", 1, "b")]).await;

    for replaces in [0, 1, 3, -1] {
        refused(store, &[put("contended", replaces, "c")], "contended").await;
    }
    refused(store, &[put("never made", 1, "c")], "never made").await;

    assert_eq!(get(store, "contended").await, Some(record("contended", 2, "b")));
    assert_eq!(get(store, "never made").await, None);
}

async fn a_removed_record_can_be_made_again(store: &dyn Store) {
    commit(store, &[put("phoenix", 0, "a")]).await;
    commit(store, &[put("phoenix", 1, "b")]).await;

    commit(store, &[delete("phoenix")]).await;
    commit(store, &[delete("phoenix")]).await;
    assert_eq!(get(store, "phoenix").await, None);
    refused(store, &[put("phoenix", 2, "c")], "phoenix").await;

    commit(store, &[put("phoenix", 0, "d")]).await;
    assert_eq!(get(store, "phoenix").await, Some(record("phoenix", 1, "d")));
}

async fn a_commit_is_all_or_nothing(store: &dyn Store) {
    commit(store, &[put("kept", 0, "a"), put("removed?", 0, "a")]).await;

    let writes = [put("half", 0, "b"), put("kept", 1, "b"), delete("removed?"), put("kept", 1, "stale")];
    refused(store, &writes, "kept").await;

    assert_eq!(get(store, "half").await, None);
    assert_eq!(get(store, "kept").await, Some(record("kept", 1, "a")));
    assert_eq!(get(store, "removed?").await, Some(record("removed?", 1, "a")));
    commit(store, &[]).await;
}

async fn a_commit_writes_in_order(store: &dyn Store) {
    commit(store, &[put("ordered", 0, "a"), put("ordered", 1, "b"), delete("ordered"), put("ordered", 0, "c")]).await;

    assert_eq!(get(store, "ordered").await, Some(record("ordered", 1, "c")));
}

async fn one_of_many_writers_wins(store: &dyn Store) {
    let raced = [put("raced", 0, "a")];
    let results = futures::future::join_all((0..16).map(|_| store.commit(&raced))).await;

    let won = results.iter().filter(|result| result.is_ok()).count();
    let lost = results.iter().filter(|result| matches!(result, Err(StoreError::Conflict("app", _)))).count();
    assert_eq!((won, lost), (1, 15));
}

async fn kinds_are_apart(store: &dyn Store) {
    commit(store, &[put_in(RecordKind::Team, "same", 0, "team"), put_in(RecordKind::Pool, "same", 0, "pool")]).await;

    let team = store.get(RecordKind::Team, "same").await.expect("a healthy store reads");
    assert_eq!(team, Some(record("same", 1, "team")));
    assert_eq!(get(store, "same").await, None);
    assert_eq!(keys(store, RecordKind::Team, Page::default()).await, ["same"]);
}

async fn lists_follow_keys(store: &dyn Store) {
    let listed = |page| keys(store, RecordKind::Instance, page);
    let made = ["mysql/a", "mysql/b", "mysql-x/a", "redis/10", "redis/9", "Redis/a", "redis", "redis0"];
    for key in made {
        commit(store, &[put_in(RecordKind::Instance, key, 0, "{}")]).await;
    }

    let all = ["Redis/a", "mysql-x/a", "mysql/a", "mysql/b", "redis", "redis/10", "redis/9", "redis0"];
    assert_eq!(listed(Page::default()).await, all, "keys are in order of their bytes");
    assert_eq!(listed(Page { prefix: "redis/", ..Page::default() }).await, ["redis/10", "redis/9"]);
    assert_eq!(listed(Page { prefix: "mysql", ..Page::default() }).await, ["mysql-x/a", "mysql/a", "mysql/b"]);
    assert_eq!(listed(Page { prefix: "redis/9", ..Page::default() }).await, ["redis/9"]);
    assert_eq!(listed(Page { prefix: "x", ..Page::default() }).await, [""; 0]);

    let newest = Page { descending: true, ..Page::default() };
    assert_eq!(listed(newest).await, all.iter().rev().copied().collect::<Vec<_>>());
    assert_eq!(listed(Page { limit: 2, ..newest }).await, ["redis0", "redis/9"]);
    assert_eq!(listed(Page { limit: 2, skip: 1, ..newest }).await, ["redis/9", "redis/10"]);
    assert_eq!(listed(Page { skip: 6, ..Page::default() }).await, ["redis/9", "redis0"]);
    assert_eq!(listed(Page { skip: 100, ..Page::default() }).await, [""; 0]);
    assert_eq!(listed(Page { prefix: "redis", descending: true, limit: 1, skip: 1 }).await, ["redis/9"]);
    assert_eq!(listed(Page { limit: usize::MAX, ..Page::default() }).await, all);
}

async fn any_text_is_a_key(store: &dyn Store) {
    let mut odd = [
        "",
        "%",
        "%%",
        "_",
        "/",
        "//",
        "a%b",
        "a_b",
        "aXb",
        "a*b",
        "a[b",
        "a\\b",
        "'",
        "\"",
        ";--",
        " ",
        "\n",
        "é",
        "e\u{301}",
        "雪",
        "\u{d7ff}",
        "\u{d7ff}a",
        "\u{10ffff}",
        "\u{10ffff}\u{10ffff}",
        "\u{7f}",
        "\u{80}",
    ];
    for key in odd {
        commit(store, &[put_in(RecordKind::Event, key, 0, key)]).await;
    }
    odd.sort_unstable();

    for key in odd {
        let read = store.get(RecordKind::Event, key).await.expect("a healthy store reads");
        assert_eq!(read, Some(record(key, 1, key)), "{key:?}");
    }
    for prefix in odd {
        let expected: Vec<_> = odd.iter().filter(|key| key.starts_with(prefix)).collect();
        let page = Page { prefix, ..Page::default() };
        assert_eq!(keys(store, RecordKind::Event, page).await.iter().collect::<Vec<_>>(), expected, "{prefix:?}");
    }
}

async fn any_text_is_a_body(store: &dyn Store) {
    let large = "0123456789abcdef".repeat(4 << 16); // 4 MiB
    for (key, body) in [("large", large.as_str()), ("empty", ""), ("odd", "'%_\\\"\u{0}\u{10ffff}\r\n{}")] {
        commit(store, &[put(key, 0, body)]).await;
        let read = get(store, key).await.expect("it was committed");
        assert!(read == record(key, 1, body), "the body of {key} did not come back as it was written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_store_in_memory_keeps_the_contract() {
        store_contract(&MemoryStore::new()).await;
    }
}
