//! A copy of the records that is made while the broker writes (SPEC S-10).

use std::{
    fs,
    sync::atomic::{AtomicUsize, Ordering},
};

use broker_core::{
    State,
    testing::{FakeBroker, TestBroker, eventually},
};

#[tokio::test(flavor = "multi_thread")] // SPEC S-10
async fn a_copy_made_while_the_broker_writes_opens_and_has_all_that_was_answered_before() {
    let (folder, copy, fake) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), FakeBroker::new());
    let broker = TestBroker::start_with(fake.clone(), Some(folder.path()), |server| server).await;
    let answered = AtomicUsize::new(0);
    let writing = async {
        for number in 0..60 {
            let name = format!("cache-{number}");
            broker.create(&name).await.is(201);
            broker.bind_app(&name, "web").await.is(201);
            answered.store(number + 1, Ordering::SeqCst);
        }
    };
    let copying = async {
        eventually("something is there", async || answered.load(Ordering::SeqCst) >= 20).await;
        let before = answered.load(Ordering::SeqCst);
        let (from, to) = (folder.path().join("state.db"), copy.path().join("state.db"));
        let copied = tokio::task::spawn_blocking(move || {
            let records = rusqlite::Connection::open(from)?;
            records.execute("VACUUM INTO ?", [to.to_str()])
        });
        copied.await.unwrap().unwrap();
        before
    };

    let ((), before) = tokio::join!(writing, copying);

    fs::copy(folder.path().join("state.key"), copy.path().join("state.key")).unwrap();
    let seen = State::inspect(copy.path()).await.unwrap().instances(None, 100).await.unwrap();
    assert!((before..=60).contains(&seen.len()), "{} of {before} are in the copy", seen.len());
    broker.kill().await;
    let restored = TestBroker::start_with(fake.clone(), Some(copy.path()), |server| server).await;
    for number in 0..before {
        let env = restored.bind_app(&format!("cache-{number}"), "web").await.is(201).env();
        assert!(fake.opens(&env));
    }
    let check = rusqlite::Connection::open(copy.path().join("state.db")).unwrap();
    let verdict: String = check.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}
