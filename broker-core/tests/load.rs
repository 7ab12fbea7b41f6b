//! `broker-load`, run as an operator does, against a broker that is up.

use std::process::{Output, Stdio};

use broker_core::testing::{FakeBroker, Misdeed, PASSWORD, TestBroker, USERNAME};
use tokio::process::Command;

async fn load(broker: &TestBroker, password: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_broker-load"));
    command.args([&broker.url(), "--username", USERNAME, "--plan", "small", "--output", "json"]);
    command.args(["--instances", "6", "--bindings", "2", "--connections", "3"]).env("BROKER_PASSWORD", password);
    command.stdin(Stdio::null()).output().await.expect("broker-load runs")
}

#[tokio::test]
async fn every_operation_is_measured_and_nothing_is_left() {
    let fake = FakeBroker::new();
    let broker = TestBroker::start(fake.clone()).await;

    let output = load(&broker, PASSWORD).await;

    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let measured: Vec<(&str, u64)> = report["operations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (line["operation"].as_str().unwrap(), line["good"].as_u64().unwrap()))
        .collect();
    let expected =
        [("create", 6), ("status", 6), ("info", 6), ("bind", 12), ("bind again", 12), ("unbind", 12), ("remove", 6)];
    assert_eq!(measured, expected);
    assert_eq!((fake.instances(), fake.accounts().len()), (0, 0));
}

#[tokio::test]
async fn a_failure_is_told_and_what_was_made_is_removed_all_the_same() {
    let fake = FakeBroker::new();
    let broker = TestBroker::start(fake.clone()).await;
    fake.next("bind", Misdeed::Fail);

    let output = load(&broker, PASSWORD).await;

    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let failures = report["failures"].as_array().unwrap();
    assert!(failures.iter().any(|failure| failure.as_str().unwrap().contains("status 500")), "{failures:?}");
    assert_eq!(fake.instances(), 0);
}

#[tokio::test]
async fn a_wrong_password_is_one_sentence() {
    let broker = TestBroker::start(FakeBroker::new()).await;

    let output = load(&broker, "wrong").await;

    assert_eq!(output.status.code(), Some(2));
    let sentence = String::from_utf8_lossy(&output.stderr);
    assert!(sentence.contains("does not accept the user name and password"), "{sentence}");
    assert!(!sentence.contains("wrong"), "{sentence}");
}
