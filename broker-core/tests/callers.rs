//! Who may call: passwords in clear and hashed, tokens, an author's own check (SPEC T-1, T-6, T-12 to T-14).

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use async_trait::async_trait;
use broker_core::{
    Access, Attempt, Authorizer, BrokerError, BrokerServer, Credential, Result, Secret, ServeError, State,
    testing::{Answer, FakeBroker, TestBroker, eventually},
};
use futures::future::join_all;
use reqwest::RequestBuilder;
use tokio::time::{sleep, timeout};

const TOKEN: &str = "5tYqKqVdKcRl0EzS3mVvJ9nPq4wXa1Zf";
/// Of "s3cret", which takes a few milliseconds.
const QUICK: &str = "$2y$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK";
/// Of a password that nobody knows, which takes a tenth of a second.
const SLOW: &str = "$2y$10$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK";

fn write(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

async fn with(settings: impl FnOnce(BrokerServer) -> BrokerServer + Send + 'static) -> TestBroker {
    TestBroker::start_with(FakeBroker::new(), None, settings).await
}

/// A broker that knows its test's caller, and those in a list.
async fn listing(list: &Path) -> TestBroker {
    let list = list.to_owned();
    with(move |server| server.credentials_file(list)).await
}

fn plans(broker: &TestBroker) -> RequestBuilder {
    broker.anonymous("GET", "/resources/plans")
}

async fn status(request: RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

fn challenges(answer: &Answer) -> Vec<&str> {
    answer.headers.get_all("www-authenticate").iter().map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test] // SPEC T-12, T-6
async fn a_password_opens_that_is_listed_as_a_hash_until_the_list_changes() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list");
    write(&list, &format!("redis:{QUICK}\n"));
    let broker = listing(&list).await;

    for _ in 0..2 {
        assert_eq!(status(plans(&broker).basic_auth("redis", Some("s3cret"))).await, 200);
        for (user, password) in [("redis", "wrong"), ("redis", QUICK), ("redis", ""), ("other", "s3cret")] {
            assert_eq!(status(plans(&broker).basic_auth(user, Some(password))).await, 401, "{user}:{password}");
        }
    }
    // At once from the first one on, and whoever comes meanwhile waits for the same answer.
    let burst = (0..200).map(|_| status(plans(&broker).basic_auth("redis", Some("s3cret"))));
    assert!(join_all(burst).await.into_iter().all(|status| status == 200));

    write(&list, "redis:another-one\n");

    eventually("the new password opens", async || {
        status(plans(&broker).basic_auth("redis", Some("another-one"))).await == 200
    })
    .await;
    assert_eq!(status(plans(&broker).basic_auth("redis", Some("s3cret"))).await, 401);
}

#[tokio::test] // SPEC T-12
async fn who_guesses_passwords_is_kept_waiting_and_keeps_nobody_else_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list");
    write(&list, &format!("redis:{SLOW}\n"));
    let broker = listing(&list).await;
    let guess = |number: usize| plans(&broker).basic_auth("redis", Some(format!("guess-{number}"))).send();
    let guesses = async { join_all((0..100).map(guess)).await };
    let others = async {
        sleep(Duration::from_millis(100)).await;
        for _ in 0..20 {
            let asked = timeout(Duration::from_secs(5), status(broker.request("GET", "/resources/plans")));
            assert_eq!(asked.await.expect("an answer meanwhile"), 200);
        }
    };

    let (guesses, ()) = tokio::join!(guesses, others);

    let answers: Vec<reqwest::Response> = guesses.into_iter().map(|answer| answer.unwrap()).collect();
    let busy: Vec<_> = answers.iter().filter(|answer| answer.status() == 503).collect();
    assert!(busy.len() > 20, "{} were refused", busy.len());
    assert!(busy.iter().all(|answer| answer.headers()["retry-after"] == "1"));
    let wrong = answers.iter().filter(|answer| answer.status() == 401).count();
    assert!(wrong > 20 && wrong + busy.len() == answers.len(), "{wrong} were wrong");
    let metrics = broker.ask("GET", "/metrics").await.is(200).body.clone();
    let counted = format!("requests_refused_total{{limit=\"passwords\"}} {}", busy.len());
    assert!(metrics.contains(&counted), "{metrics}");
}

#[tokio::test] // SPEC T-13, T-1
async fn a_token_opens_and_refusals_name_both_schemes() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list");
    write(&list, &format!("# for the dashboard\nBearer {TOKEN}\n"));
    let broker = listing(&list).await;

    assert_eq!(status(plans(&broker).bearer_auth(TOKEN)).await, 200);
    assert_eq!(status(plans(&broker).header("authorization", format!("bEaReR {TOKEN}"))).await, 200);
    assert_eq!(status(broker.request("GET", "/resources/plans")).await, 200);
    for wrong in [&TOKEN[1..], "", "fake:s3cret"] {
        let refusal = Answer::to(plans(&broker).bearer_auth(wrong)).await;
        refusal.is(401);
        let named = challenges(&refusal);
        assert!(named[0].starts_with("Basic ") && named[1].starts_with("Bearer "), "{named:?}");
        assert!(refusal.body.contains("token") && !refusal.body.contains(&TOKEN[1..]), "{}", refusal.body);
    }
    let twice = plans(&broker).bearer_auth(TOKEN).header("authorization", "Basic ZmFrZTpzM2NyZXQ=");
    assert_eq!(status(twice).await, 401);
    // The header of a request is at most 32 KiB.
    let large = status(plans(&broker).bearer_auth("x".repeat(20_000))).await;
    assert_eq!(large, 401);
}

#[tokio::test] // SPEC T-13
async fn where_there_are_no_tokens_a_refusal_asks_for_none() {
    let broker = with(|server| server).await;

    let refusal = Answer::to(plans(&broker).bearer_auth(TOKEN)).await;

    refusal.is(401);
    assert_eq!(challenges(&refusal), ["Basic realm=\"service broker\", charset=\"UTF-8\""]);
}

#[tokio::test] // SPEC T-6, T-13
async fn an_operators_token_opens_what_is_for_operators() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list");
    write(&list, &format!("watch:{QUICK}\n"));
    let broker = with(move |server| {
        server
            .accept_operator_token(&Secret::from(TOKEN))
            .operator_credentials_file(list)
            .accept_token(&Secret::from("all"))
    })
    .await;

    for path in ["/metrics", "/openapi.json"] {
        assert_eq!(status(broker.anonymous("GET", path).bearer_auth(TOKEN)).await, 200);
        assert_eq!(status(broker.anonymous("GET", path).basic_auth("watch", Some("s3cret"))).await, 200);
    }
    for path in ["/resources/plans", "/v2/catalog", "/metrics/"] {
        assert_eq!(status(broker.anonymous("GET", path).bearer_auth(TOKEN)).await, 401);
        assert_eq!(status(broker.anonymous("GET", path).basic_auth("watch", Some("s3cret"))).await, 401);
    }
    assert_eq!(status(plans(&broker).bearer_auth("all")).await, 200);
}

/// Decides by the header `X-Badge`.
struct Badges;

#[async_trait]
impl Authorizer for Badges {
    async fn authorize(&self, attempt: &Attempt) -> Result<Access> {
        assert!(!format!("{attempt:?}").contains("s3cret"));
        Ok(match attempt.header("X-Badge") {
            Some("guest") if attempt.method() == "GET" && attempt.path() == "/resources/plans" => {
                Access::Granted("a guest\nof many".to_owned())
            }
            Some("stolen" | "guest") => Access::Refused,
            Some("broken") => return Err(BrokerError::failed("the directory said s3cret")),
            Some("down") => return Err(BrokerError::unavailable("the directory is away")),
            Some("odd") => return Err(BrokerError::bad_request("shown to nobody")),
            Some("slow") => std::future::pending().await,
            Some("panic") => panic!("no badge"),
            _ => match attempt.credential() {
                Some(Credential::Basic { username, password })
                    if username == "ann" && *password == Secret::from("pass:word") =>
                {
                    Access::Granted("ann".to_owned())
                }
                Some(Credential::Bearer(token)) if *token == Secret::from(TOKEN) => Access::Granted("token".to_owned()),
                _ => Access::NotMine,
            },
        })
    }
}

#[tokio::test] // SPEC T-14
async fn an_authors_check_goes_before_the_lists_and_they_decide_what_is_not_its_own() {
    let broker = with(|server| server.authorize(Badges)).await;

    assert_eq!(status(plans(&broker).header("x-badge", "guest")).await, 200);
    assert_eq!(status(plans(&broker).basic_auth("ann", Some("pass:word"))).await, 200);
    assert_eq!(status(plans(&broker).bearer_auth(TOKEN)).await, 200);
    assert_eq!(status(broker.request("GET", "/resources/plans")).await, 200);
    for refused in [
        plans(&broker),
        plans(&broker).basic_auth("ann", Some("wrong")),
        broker.request("GET", "/resources/plans").header("x-badge", "stolen"),
        broker.request("POST", "/resources").header("x-badge", "guest").body("name=cache&plan=small"),
        broker.anonymous("GET", "/resources/plans?x=/resources/plans").header("authorization", "Basic %%%"),
    ] {
        let refusal = Answer::to(refused).await;
        refusal.is(401);
        assert_eq!(challenges(&refusal).len(), 2);
    }
    broker.status("cache").await.is(404);
    assert_eq!(status(broker.anonymous("GET", "/healthz").header("x-badge", "panic")).await, 200);
}

#[tokio::test] // SPEC T-14
async fn an_authors_check_that_comes_to_no_end_lets_nobody_in() {
    let broker = with(|server| server.authorize(Badges).look_timeout(Duration::from_millis(200))).await;

    for badge in ["broken", "down", "odd", "slow", "panic"] {
        let badged = |method, path| broker.request(method, path).header("x-badge", badge);
        let refusal = Answer::to(badged("POST", "/resources").body("name=cache&plan=small")).await;
        refusal.is(503);
        assert_eq!(refusal.headers["retry-after"], "1", "{badge}");
        assert_eq!(refusal.body, "whether you may call cannot be found out now, try again in a moment");
        let refusal = Answer::to(badged("GET", "/v2/catalog").header("x-broker-api-version", "2.17")).await;
        refusal.is(503);
        assert!(refusal.body.starts_with("{\"description\":\"whether you may call"), "{}", refusal.body);
    }
    broker.status("cache").await.is(404);
    let metrics = broker.ask("GET", "/metrics").await.body.clone();
    assert!(metrics.contains("author_calls_total{operation=\"authorize\",outcome=\"failed\"}"), "{metrics}");
}

#[tokio::test] // SPEC T-14
async fn a_server_starts_for_nobody_only_where_the_author_says_who_may_call() {
    let server = || BrokerServer::new(FakeBroker::new(), State::in_memory());
    let address = "127.0.0.1:0".parse().unwrap();

    let open = server().accept_operator("watch", &Secret::from("s3cret")).bind(address).await;

    assert!(matches!(open, Err(ServeError::NoCredentials)), "{open:?}");
    assert!(server().accept_token(&Secret::from(TOKEN)).bind(address).await.is_ok());
    assert!(server().authorize(Badges).bind(address).await.is_ok());
}
