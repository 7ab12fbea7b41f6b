//! The store under `kill -9`.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use broker_core::SealingKey;
use platform_core::ports::{Page, RecordKind, Store as _, Write};
use platform_store::SqliteStore;

const FOLDER: &str = "STORE_CRASH_FOLDER";
const ROUNDS: u64 = 4;

async fn open(folder: &Path) -> SqliteStore {
    let key = SealingKey::load_or_create(&folder.join("key")).unwrap();
    SqliteStore::open(&folder.join("db"), key).await.unwrap()
}

/// The number of the last commit that the store knows.
async fn counter(store: &SqliteStore) -> u64 {
    let record = store.get(RecordKind::Pool, "counter").await.unwrap();
    record.map_or(0, |record| record.body.parse().unwrap())
}

/// Three records that belong together; large enough to be written in many pieces.
fn commit_number(n: u64) -> [Write; 3] {
    let put = |kind, key: String, replaces, body| Write::Put { kind, key, replaces, body };
    [
        put(RecordKind::App, format!("{n:08}"), 0, format!("{n}").repeat(10_000)),
        put(RecordKind::Pool, "counter".to_owned(), i64::try_from(n - 1).unwrap(), n.to_string()),
        put(RecordKind::Instance, format!("{n:08}"), 0, format!("{n}").repeat(10_000)),
    ]
}

/// Not a test of its own: the process that the test below kills.
#[tokio::test]
#[ignore = "started by the test below"]
async fn commits_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let store = open(&folder).await;
    for n in counter(&store).await + 1.. {
        store.commit(&commit_number(n)).await.unwrap();
        // Not `println`, which the harness would capture.
        writeln!(std::io::stdout(), "acknowledged {n}").unwrap();
    }
}

fn start(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "commits_until_it_is_killed", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills the process once it acknowledged a few commits; returns the last it acknowledged before it died.
fn kill_after(mut child: Child, commits: u64) -> u64 {
    let mut last = 0;
    let mut seen = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some((_, n)) = line.split_once("acknowledged ") else { continue };
        last = n.parse().unwrap();
        seen += 1;
        if seen == commits {
            child.kill().unwrap(); // SIGKILL
        }
    }
    child.wait().unwrap();
    assert!(seen >= commits, "the process ended after {seen} commits by itself");
    last
}

#[tokio::test] // SPEC D-1, D-2
async fn a_killed_process_loses_no_acknowledged_commit_and_leaves_none_half_made() {
    let folder = tempfile::tempdir().unwrap();

    for round in 1..=ROUNDS {
        let acknowledged = kill_after(start(folder.path()), round * 3);

        let store = open(folder.path()).await;
        let committed = counter(&store).await;
        assert!(committed >= acknowledged, "{acknowledged} was acknowledged, {committed} is there");
        let numbers: Vec<_> = (1..=committed).map(|n| format!("{n:08}")).collect();
        for kind in [RecordKind::App, RecordKind::Instance] {
            let records = store.list(kind, Page::default()).await.unwrap();
            assert_eq!(records.iter().map(|record| record.key.clone()).collect::<Vec<_>>(), numbers);
        }
        store.close().await;
    }
}
