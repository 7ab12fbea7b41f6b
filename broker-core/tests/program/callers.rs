//! Who may call, in files and by an author's own check.

use std::{fs, io::Write as _, path::Path, process::Stdio};

use broker_core::testing::eventually;

use crate::{
    place::private,
    running::{Ended, PASSWORD, Running, program, run},
};

// SPEC T-6, X-3
pub(crate) async fn credentials_are_read_again_on_a_hangup() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let list = private(place.path(), "list", "watch:old\n");
    let broker = Running::start(&["--operator-credentials-file", &list], &data).await;
    assert_eq!(broker.ask(("watch", "old"), "GET", "/metrics", None).await.0, 200);
    assert_eq!(broker.ask(("watch", "old"), "GET", "/resources/plans", None).await.0, 401);

    fs::write(&list, "watch:new\n").unwrap();
    broker.signal("HUP");

    eventually("the new pair opens", async || {
        broker.ask(("watch", "new"), "GET", "/openapi.json", None).await.0 == 200
    })
    .await;
    assert_eq!(broker.ask(("watch", "old"), "GET", "/metrics", None).await.0, 401);
    assert!(broker.output().contains("told to read credentials and certificates again"));
    broker.stop();
}

/// Runs `hash-password` with something on its standard input.
fn hashed(arguments: &[&str], input: &str, data: &Path) -> Ended {
    let mut command = program(&[&["hash-password"], arguments].concat(), data);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that complains first reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap().into()
}

// SPEC T-12, X-3, X-4
pub(crate) async fn a_hashed_password_is_made_by_the_broker_itself() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let lines = [("dashboard", "pass:word\r\nsecond line"), ("watch", "s3cret")].map(|(user, password)| {
        let line = hashed(&[user], password, &data).ok();
        assert!(line.starts_with(&format!("{user}:$argon2id$")) && line.lines().count() == 1, "{line}");
        line
    });
    let list = private(place.path(), "list", &lines.concat());
    let check = run(&["check", "--listen", "127.0.0.1:0", "--credentials-file", &list], &data).ok();
    assert!(check.contains(&format!("2 in {list}")), "{check}");
    let broker = Running::start(&["--credentials-file", &list], &data).await;

    for (user, password, status) in [
        ("dashboard", "pass:word", 200),
        ("watch", "s3cret", 200),
        ("watch", "s3cret", 200),
        ("watch", "pass:word", 401),
        ("dashboard", "pass:word\r", 401),
        ("fake", PASSWORD, 200),
    ] {
        assert_eq!(broker.ask((user, password), "GET", "/resources/plans", None).await.0, status, "{user}:{password}");
    }

    broker.stop();
    assert!(hashed(&["a:b"], "s3cret\n", &data).fails(1).contains("the user name cannot be in a list"));
    assert_eq!(hashed(&["watch"], "\n", &data).fails(1), "error: the password is empty\n");
    assert!(hashed(&[], "", &data).fails(2).contains("<NAME>"));
    private(place.path(), "list", "watch:$6$salt$planted\n");
    let said = run(&["serve", "--listen", "127.0.0.1:0", "--credentials-file", &list], &data).fails(1);
    assert!(said.contains("line 1 of ") && said.contains("hash-password") && !said.contains("planted"), "{said}");
}

// SPEC T-13, T-6
pub(crate) async fn a_token_in_a_file_opens_until_it_is_gone() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let list = private(place.path(), "list", "Bearer planted-token-of-watchers\nBearer planted-token-of-others\n");
    let broker = Running::start(&["--operator-credentials-file", &list], &data).await;
    let ask = async |token: &str, path: &str| {
        broker.request("GET", path).bearer_auth(token).send().await.unwrap().status().as_u16()
    };
    assert_eq!(ask("planted-token-of-watchers", "/metrics").await, 200);
    assert_eq!(ask("planted-token-of-watchers", "/resources/plans").await, 401);

    // A file that can't be used changes nothing, and no line of it is in the log.
    fs::write(&list, "Bearer planted\n").unwrap();
    broker.signal("HUP");
    eventually("the refusal is in the log", async || broker.output().contains("has no token after `Bearer`")).await;
    assert_eq!(ask("planted-token-of-watchers", "/metrics").await, 200);
    fs::write(&list, "Bearer planted-token-of-others\n").unwrap();
    broker.signal("HUP");

    eventually("the token is gone", async || ask("planted-token-of-watchers", "/metrics").await == 401).await;
    assert_eq!(ask("planted-token-of-others", "/openapi.json").await, 200);
    assert!(!broker.output().contains("planted-token"), "{}", broker.output());
    broker.stop();
}

// SPEC T-14
pub(crate) async fn an_authors_check_is_in_the_log_by_the_name_that_it_gave() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let empty = ["--listen", "127.0.0.1:0", "--machines", ""];
    let said = run(&[&["serve"], &empty[..]].concat(), &data).fails(1);
    assert_eq!(said, "error: --machines is empty, give the machines a token\n");
    assert!(run(&[&["check"], &empty[..]].concat(), &data).out.contains("error    callers"));
    let broker = Running::start(&["--machines", "planted-machine"], &data).await;
    let ask = async |token: &str| {
        let answer = broker.request("GET", "/resources/plans").bearer_auth(token).send().await.unwrap();
        answer.status().as_u16()
    };

    assert_eq!(ask("planted-machine").await, 200);
    assert_eq!(ask("planted-unknown").await, 401);
    assert_eq!(ask("planted-wrong").await, 503);
    assert_eq!(broker.platform("GET", "/resources/plans", "").await.0, 200);

    let log = broker.output();
    let answers: Vec<&str> = log.lines().filter(|line| line.contains("GET /resources/plans answered")).collect();
    assert!(answers[0].contains("caller=\"machines\"") && answers.len() == 4, "{answers:?}");
    assert!(answers[1..].iter().all(|line| !line.contains("caller=")), "{answers:?}");
    assert!(log.contains("who has [secret]?") && !log.contains("planted-"), "{log}");
    broker.stop();
}
