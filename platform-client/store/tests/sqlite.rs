//! The store on a real file.

use std::{error::Error as _, fs, os::unix::fs::PermissionsExt as _, path::Path};

use broker_core::SealingKey;
use platform_core::{
    ports::{RecordKind, Store as _, StoreError, Write},
    testing::store::store_contract,
};
use platform_store::SqliteStore;
use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn put(key: &str, body: &str) -> Write {
    Write::Put { kind: RecordKind::App, key: key.to_owned(), replaces: 0, body: body.to_owned() }
}

async fn body(store: &SqliteStore, key: &str) -> Option<String> {
    store.get(RecordKind::App, key).await.unwrap().map(|record| record.body)
}

/// Why a database was not opened: the sentence an operator reads.
async fn refusal(path: &Path, key: SealingKey) -> String {
    match SqliteStore::open(path, key).await.unwrap_err() {
        StoreError::Failed(source) => source.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Another program at the same file.
async fn meddle(path: &Path, statement: &'static str) {
    let mut other = SqliteConnection::connect(&format!("sqlite://{}?mode=rwc", path.display())).await.unwrap();
    sqlx::raw_sql(statement).execute(&mut other).await.unwrap();
    other.close().await.unwrap();
}

#[tokio::test] // SPEC D-1 to D-5
async fn the_store_on_disk_keeps_the_contract() {
    let folder = folder();
    let store = SqliteStore::open(&folder.path().join("db"), SealingKey::generate()).await.unwrap();

    store_contract(&store).await;
}

#[tokio::test] // SPEC D-1
async fn records_outlive_the_process() {
    let folder = folder();
    let (path, key) = (folder.path().join("db"), SealingKey::generate());
    let first = SqliteStore::open(&path, key.clone()).await.unwrap();
    first.commit(&[put("blog", "here")]).await.unwrap();
    first.close().await;

    let second = SqliteStore::open(&path, key).await.unwrap();

    assert_eq!(body(&second, "blog").await.as_deref(), Some("here"));
}

#[tokio::test] // SPEC D-1
async fn a_store_that_is_closed_says_so() {
    let folder = folder();
    let store = SqliteStore::open(&folder.path().join("db"), SealingKey::generate()).await.unwrap();
    store.close().await;

    let error = store.commit(&[put("blog", "lost")]).await.unwrap_err();

    assert!(error.source().unwrap().to_string().starts_with("the database failed: "), "{error:?}");
}

#[tokio::test] // SPEC D-6
async fn the_files_are_their_owners_alone_and_show_no_body() {
    let folder = folder();
    let path = folder.path().join("db");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();

    let store = SqliteStore::open(&path, SealingKey::generate()).await.unwrap();
    store.commit(&[put("blog", "s3cret")]).await.unwrap();

    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 3, "{files:?}");
    for file in files {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
        assert!(!fs::read(&file).unwrap().windows(6).any(|window| window == b"s3cret"), "{}", file.display());
    }
}

#[tokio::test] // SPEC D-6
async fn another_key_is_refused_and_changes_nothing() {
    let folder = folder();
    let (path, key) = (folder.path().join("db"), SealingKey::generate());
    SqliteStore::open(&path, key.clone()).await.unwrap().close().await;

    let sentence = refusal(&path, SealingKey::generate()).await;

    assert!(sentence.contains("are sealed with another key: put the key file back"), "{sentence}");
    SqliteStore::open(&path, key).await.unwrap();
}

#[tokio::test] // SPEC D-6
async fn a_body_that_was_moved_to_another_record_does_not_open() {
    let folder = folder();
    let path = folder.path().join("db");
    let store = SqliteStore::open(&path, SealingKey::generate()).await.unwrap();
    store.commit(&[put("mine", "a"), put("yours", "b")]).await.unwrap();
    meddle(&path, "UPDATE record SET body = (SELECT body FROM record WHERE key = 'yours') WHERE key = 'mine'").await;

    let error = store.get(RecordKind::App, "mine").await.unwrap_err();

    let sentence = error.source().unwrap().to_string();
    assert!(sentence.starts_with("the record app/mine is damaged: "), "{sentence}");
    assert_eq!(body(&store, "yours").await.as_deref(), Some("b"));
}

#[tokio::test] // SPEC D-7
async fn what_is_not_the_platforms_is_refused_and_kept() {
    let folder = folder();
    let text = folder.path().join("text");
    let long = folder.path().join("long");
    let other = folder.path().join("other");
    fs::write(&text, "hello").unwrap();
    fs::write(&long, "hello ".repeat(10_000)).unwrap();
    meddle(&other, "CREATE TABLE theirs (id INTEGER)").await;

    for path in [&text, &long, &other] {
        let before = fs::read(path).unwrap();
        let sentence = refusal(path, SealingKey::generate()).await;
        assert!(sentence.contains("is not a database of this platform: move it away"), "{sentence}");
        assert!(fs::read(path).unwrap() == before, "{} was changed", path.display());
    }
}

#[tokio::test] // SPEC D-7
async fn a_newer_schema_is_refused() {
    let folder = folder();
    let (path, key) = (folder.path().join("db"), SealingKey::generate());
    SqliteStore::open(&path, key.clone()).await.unwrap().close().await;
    meddle(
        &path,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'later', TRUE, x'00', 0)",
    )
    .await;

    let sentence = refusal(&path, key).await;

    assert!(sentence.contains("was written by a newer version of the platform"), "{sentence}");
}

#[tokio::test] // SPEC D-7
async fn a_place_that_cannot_be_is_named() {
    let folder = folder();

    let nowhere = refusal(&folder.path().join("no/db"), SealingKey::generate()).await;
    let directory = refusal(folder.path(), SealingKey::generate()).await;

    assert!(nowhere.contains("no/db cannot be opened: No such file"), "{nowhere}");
    assert!(directory.contains("cannot be opened: Is a directory"), "{directory}");
}

#[tokio::test] // SPEC D-2
async fn a_commit_that_was_given_up_leaves_the_store_in_order() {
    let folder = folder();
    let store = SqliteStore::open(&folder.path().join("db"), SealingKey::generate()).await.unwrap();
    let many: Vec<_> = (0..200).map(|n| put(&format!("n{n:03}"), "x")).collect();

    for polls in 1..40 {
        let mut commit = store.commit(&many);
        for _ in 0..polls {
            if futures::poll!(&mut commit).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(commit);
        let kept = store.list(RecordKind::App, Default::default()).await.unwrap().len();
        assert!(kept == 0 || kept == many.len(), "{kept} records of {} were kept", many.len());
    }

    store.commit(&[put("after", "x")]).await.unwrap();
}
