//! `broker-check` as its users run it: what it prints, and how it ends (SPEC X-7).

use std::{
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use axum::{Router, http::StatusCode, routing::get};
use broker_core::testing::{FakeBroker, Misdeed, PASSWORD, TestBroker, USERNAME, eventually};
use serde_json::Value;
use tokio::{net::TcpListener, process::Command};

/// The program with a broker's URL and some flags, and with the credentials of a [`TestBroker`].
fn broker_check(url: &str, flags: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_broker-check"));
    command.arg(url).args(flags.split_whitespace()).env("BROKER_USERNAME", USERNAME).env("BROKER_PASSWORD", PASSWORD);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// How a run ended.
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("a text");
        let code = output.status.code().expect("it ended by itself");
        Self { code, out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Ended {
    /// Insists on an exit status.
    #[track_caller]
    fn with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn has(&self, text: &str) -> &Self {
        assert!(self.out.contains(text), "{text:?} is not in: {}", self.out);
        self
    }

    #[track_caller]
    fn complains(&self, text: &str) -> &Self {
        assert!(self.err.contains(text), "{text:?} is not in: {}", self.err);
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    /// The numbers of the cases that were run.
    #[track_caller]
    fn ids(&self) -> Vec<String> {
        let report = self.json();
        let cases = report["cases"].as_array().expect("a list of cases");
        cases.iter().map(|case| case["id"].as_str().expect("a number").to_owned()).collect()
    }
}

async fn run(url: &str, flags: &str) -> Ended {
    broker_check(url, flags).output().await.expect("the program runs").into()
}

/// A broker that creates whatever it is asked for and removes nothing, and whose plan has no description.
async fn wrong_broker() -> String {
    let plans = get(async || "[{\"name\":\"small\"}]");
    let resources = Router::new().route("/plans", plans).route("/", axum::routing::post(async || StatusCode::CREATED));
    let one = axum::routing::delete(async || (StatusCode::INTERNAL_SERVER_ERROR, "it is <kept> & in use"));
    let router = Router::new().route("/resources/{name}", one).nest("/resources", resources);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[tokio::test] // SPEC X-7
async fn a_right_broker_is_told_so_in_a_table() {
    let fake = FakeBroker::new();
    let broker = TestBroker::start(fake.clone()).await;

    let ended = run(&broker.url(), "--strict --only A1-A27,A71,O1-O16 --plan small").await.with(0);

    ended.has("\nTransport and plans\n  passed  A1    must      Valid credentials");
    ended.has("\nCatalog\n  passed  O1 ").has("  skipped A71 ").has("--slow-plan NAME").has(" 0 failed, ");
    assert_eq!(fake.instances(), 0);
}

#[tokio::test]
async fn the_dialect_that_is_checked_is_the_one_that_is_spoken() {
    let ended = run(&wrong_broker().await, "--level must --skip A10,A26-A108 --output json").await.with(0);

    ended.complains("the broker speaks tsuru\n");
    assert_eq!(ended.ids(), ["A1", "A11", "A18", "A19"]);
}

#[tokio::test]
async fn json_has_each_verdict_with_what_belongs_to_it() {
    let report = run(&wrong_broker().await, "--only A19,A20,A22 --output json").await.with(0).json();

    let verdicts: Vec<_> = report["cases"].as_array().unwrap().iter().map(|case| &case["verdict"]).collect();
    assert_eq!(verdicts, ["passed", "failed", "skipped"]);
    assert_eq!((&report["passed"], &report["failed"], &report["skipped"]), (&1.into(), &1.into(), &1.into()));
    assert_eq!(report["cases"][1]["expected"], "a text as description of each plan");
    assert_eq!(report["cases"][1]["level"], "should");
    assert!(report["cases"][1]["seen"].as_str().unwrap().starts_with("GET /resources/plans answered 200"));
    assert_eq!(report["cases"][2]["reason"], "no plan has a schema for create");
    assert_eq!(report["left_behind"], Value::Array(Vec::new()));
}

#[tokio::test]
async fn junit_has_a_test_for_each_case_and_one_for_the_clean_up() {
    let ended = run(&wrong_broker().await, "--only A19,A20,A22 --output junit").await.with(0);

    ended.has("<testsuite name=\"broker-check\" tests=\"4\" failures=\"1\" skipped=\"1\" time=");
    ended.has("name=\"A19 Every plan has a name\"").has("<skipped message=\"no plan has a schema for create\"/>");
    ended.has("<failure message=\"expected a text as description of each plan\">GET /resources/plans answered 200");
    ended.has("<testcase classname=\"Clean-up\" name=\"What the cases made is removed\"></testcase>\n</testsuite>\n");
    assert_eq!(ended.out.matches("<testcase ").count(), 4);
}

#[tokio::test] // SPEC X-7
async fn a_case_that_platforms_can_do_without_fails_the_run_only_when_it_is_strict() {
    let url = wrong_broker().await;

    run(&url, "--only A18-A20").await.with(0).has("  failed  A20 ");
    run(&url, "--only A18-A20 --strict").await.with(1).has("A20 (should): Plans have descriptions");
    run(&url, "--only A18-A20 --strict --skip A20").await.with(0);
    run(&url, "--only A18-A20 --strict --level must").await.with(0);
}

#[tokio::test] // SPEC X-7
async fn a_case_that_platforms_need_fails_the_run() {
    let fake = FakeBroker::new();
    let broker = TestBroker::start(fake.clone()).await;
    fake.set_down(true);

    let ended = run(&broker.url(), "--only A26").await.with(1);

    ended.has("  FAILED  A26 ").has("\n  expected  a status of 200 to 299\n  seen      POST /resources answered 5");
}

#[tokio::test] // SPEC X-7
async fn what_is_left_behind_fails_the_run_and_is_in_every_report() {
    let url = wrong_broker().await;

    run(&url, "--only A26").await.with(1).has("\nLeft behind: instance \"conf-").has("\n1 passed, 0 failed, 0 skipped");

    let report = run(&url, "--only A26 --output json").await.with(1).json();
    assert!(report["left_behind"][0].as_str().unwrap().ends_with("answered 500 \"it is <kept> & in use\""), "{report}");

    let ended = run(&url, "--only A26 --output junit").await.with(1);
    ended.has(" tests=\"2\" failures=\"1\" ").has("<failure message=\"expected nothing to be left behind\">instance ");
    ended.has("was not removed: DELETE").has("it is &lt;kept&gt; &amp; in use");
}

#[tokio::test] // SPEC X-7
async fn what_cannot_be_checked_ends_with_2_and_a_sentence() {
    let broker = TestBroker::start(FakeBroker::new()).await;
    let url = broker.url();
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}", port.local_addr().unwrap());
    drop(port);

    run(&url, "--only A999").await.with(2).complains("\"A999\" names no case: give a number like A64");
    run(&url, "--level most").await.with(2).complains("--level");
    run("ftp://broker.test", "").await.with(2).complains("is no base URL: it begins with http:// or https://");
    run(&nobody, "").await.with(2).complains(&format!("cannot reach the broker at {nobody}: "));
    run(&format!("{url}/elsewhere"), "").await.with(2).complains("say which one it speaks with --dialect");
    let mut stranger = broker_check(&url, "");
    let ended: Ended = stranger.env("BROKER_PASSWORD", "wrong").output().await.unwrap().into();
    ended.with(2).complains("the broker refuses the user name or the password (401)");
}

#[tokio::test]
async fn only_skip_and_level_select_cases() {
    let broker = TestBroker::start(FakeBroker::new()).await;
    let ids = async |flags: &str| run(&broker.url(), &format!("{flags} --output json")).await.with(0).ids();

    assert_eq!(ids("--only A1-A3,O1 --skip A2").await, ["A1", "A3", "O1"]);
    assert_eq!(ids("--only A18-A22 --level must").await, ["A18", "A19"]);
    assert_eq!(ids("--only A18-A22 --level should").await, ["A18", "A19", "A20", "A21"]);
    assert_eq!(ids("--only A21-A22,O1 --dialect tsuru").await, ["A21", "A22"]);
}

#[tokio::test]
async fn a_broker_is_spared_by_pauses_and_by_few_requests_at_once() {
    let broker = TestBroker::start(FakeBroker::new()).await;
    let begun = Instant::now();

    // Two requests to make contact, then two of the case.
    run(&broker.url(), "--only A21 --delay 200").await.with(0);

    assert!(begun.elapsed() >= Duration::from_millis(800), "{:?}", begun.elapsed());
    let alone = run(&broker.url(), "--only A45,A82 --parallel 1").await.with(0);
    alone.has("needs two requests at once: --parallel 2").has("needs three requests at once: --parallel 3");
    run(&broker.url(), "--only A45,A82 --parallel 3").await.with(0).has("\n2 passed, 0 failed, 0 skipped");
}

#[tokio::test] // SPEC X-7
async fn what_was_made_is_removed_after_ctrl_c() {
    let fake = FakeBroker::new();
    fake.next("bind", Misdeed::Hang);
    let broker = TestBroker::start(fake.clone()).await;
    let mut checking = broker_check(&broker.url(), "--only A64");
    let checking = checking.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("a bind hangs", async || fake.count("bind") == 1).await;
    let made = fake.instances();

    let process = checking.id().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-INT", &process]).status().await.unwrap().success());
    let ended: Ended = checking.wait_with_output().await.unwrap().into();

    ended.with(130).complains("interrupted, removing what was made");
    assert_eq!((made, fake.instances()), (1, 0));
}
