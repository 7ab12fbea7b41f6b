//! The two services, from outside: the whole contract of a broker, and crashes.

use std::sync::Mutex;

use broker_core::testing::{Subject, TestBroker, Variables, conformance, crash_safety};

use crate::support::{below, broker, copy_of, serve, site_opens, tokens};

#[tokio::test] // A1 to A114, SPEC S-5
async fn a_shell_script_keeps_the_contract() {
    let (folder, data, secrets) = (copy_of("htpasswd"), tempfile::tempdir().unwrap(), Mutex::new(Vec::new()));
    let broker = serve(folder.path(), "site", data.path());

    let report = conformance(&broker.target("private"), async |env: &Variables| {
        secrets.lock().unwrap().push(env["SITE_PASSWORD"].clone());
        site_opens(folder.path(), env)
    })
    .await;

    report.is_clean();
    assert!(report.count() > 250, "these were skipped: {:?}", report.skipped());
    assert_eq!(below(&folder.path().join("sites")), [""; 0], "something was left behind");
    let (log, secrets) = (broker.log(), secrets.into_inner().unwrap());
    assert!(log.contains("bind: user "), "what operations say is in the log");
    assert!(!secrets.is_empty() && !secrets.iter().any(|secret| log.contains(secret)), "a secret is in the log");
}

#[tokio::test] // A1 to A114
async fn a_python_script_keeps_the_contract() {
    let (folder, data) = (copy_of("tokens"), tempfile::tempdir().unwrap());
    let broker = serve(folder.path(), "tokens", data.path());

    let report = conformance(&broker.target("standard"), async |env: &Variables| {
        tokens(folder.path(), "SELECT count(*) FROM tokens WHERE hash = ?", &env["API_TOKEN"]) == "1"
    })
    .await;

    report.is_clean();
    assert!(report.count() > 250, "these were skipped: {:?}", report.skipped());
    assert_eq!(tokens(folder.path(), "SELECT count(*), (SELECT count(*) FROM apis) FROM tokens", ""), "0 0");
}

#[tokio::test] // SPEC L-2, L-3
async fn scripts_that_are_killed_anywhere_lose_nothing_and_leave_nothing() {
    let folder = copy_of("htpasswd");

    let report = crash_safety(
        Subject::on_plan("private").updated_to("public"),
        async || broker(folder.path(), 20),
        async |env| site_opens(folder.path(), env),
        async || below(&folder.path().join("sites")),
    )
    .await;

    report.is_clean();
    assert!(report.crashes() >= 10, "it died only {} times", report.crashes());
}

#[tokio::test]
async fn what_a_user_types_cannot_pass_for_another_member_of_the_request() {
    let folder = copy_of("htpasswd");
    let broker = TestBroker::start(broker(folder.path(), 20)).await;
    let body = "name=docs&plan=public&team=data&description=x%22%0A%20%20%20%20%22id%22%3A%20%22..%22\
        &parameters.id=..&parameters.binding.secret=x";

    broker.form("POST", "/resources", body).await.is(201);
    let env = broker.bind_app("docs", "web").await.is(201).env();

    assert!(site_opens(folder.path(), &env));
    assert_eq!(below(&folder.path().join("sites")).len(), 1);
    let info = broker.ask("GET", "/resources/docs").await.is(200).body.clone();
    assert!(info.contains(&format!("http://localhost/{}/", env["SITE_FOLDER"].rsplit('/').nth(1).unwrap())), "{info}");
}

#[tokio::test]
async fn a_plan_of_everybody_asks_for_no_password_and_a_private_one_does() {
    let folder = copy_of("htpasswd");
    let broker = TestBroker::start(broker(folder.path(), 20)).await;
    let location = || {
        let site = below(&folder.path().join("sites")).remove(0);
        std::fs::read_to_string(format!("{site}/location.conf")).unwrap()
    };

    broker.form("POST", "/resources", "name=docs&plan=public&team=data").await.is(201);
    assert!(!location().contains("auth_basic"));
    let realm = "plan=private&team=data&parameters.realm=Staff%20only";
    broker.form("PUT", "/resources/docs", realm).await.is(200);
    assert!(location().contains("auth_basic \"Staff only\";"), "{}", location());
    broker.form("PUT", "/resources/docs", "plan=private&team=data&parameters.realm=a%22b").await.is(400);
}
