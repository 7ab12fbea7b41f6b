//! Callers that mean harm, or are broken in the way of those: byte by byte over a connection.

use std::{net::SocketAddr, time::Duration};

use broker_core::testing::{Answer, FakeBroker, TestBroker};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

const AUTH: &str = "Authorization: Basic ZmFrZTpzM2NyZXQ=";
const PATIENCE: Duration = Duration::from_secs(20);

async fn broker() -> TestBroker {
    TestBroker::start(FakeBroker::new()).await
}

/// All that is answered until the broker closes the connection, or has answered `answers` requests.
async fn answers_to(broker: &TestBroker, bytes: &[u8], answers: usize) -> String {
    let address: SocketAddr = broker.url().strip_prefix("http://").unwrap().parse().unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut told = Vec::new();
    let reading = async {
        let mut chunk = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut chunk).await {
            told.extend_from_slice(&chunk[..length]);
            if String::from_utf8_lossy(&told).matches("HTTP/1.1 ").count() >= answers {
                return;
            }
        }
    };
    timeout(PATIENCE, reading).await.expect("an answer or the end of the connection");
    String::from_utf8_lossy(&told).into_owned()
}

#[tokio::test] // SPEC T-11
async fn a_body_of_two_lengths_is_never_taken_for_two_requests() {
    let broker = broker().await;
    let inner = format!("POST /resources HTTP/1.1\r\nHost: a\r\n{AUTH}\r\nContent-Length: 10\r\n\r\nname=inner");
    let smuggled = [
        format!("Content-Length: 4\r\nContent-Length: {}\r\n\r\n", inner.len()),
        format!("Content-Length: 0, {}\r\n\r\n", inner.len()),
        format!("Content-Length: +{}\r\n\r\n", inner.len()),
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", inner.len()),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n\r\n0\r\n\r\n", inner.len()),
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n".to_owned(),
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n".to_owned(),
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n".to_owned(),
        " Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
    ];
    for head in smuggled {
        let bytes = format!("POST /resources/x/bind-app HTTP/1.1\r\nHost: a\r\n{AUTH}\r\n{head}{inner}");
        let told = answers_to(&broker, bytes.as_bytes(), 2).await;
        assert!(told.matches("HTTP/1.1 ").count() <= 1, "{head:?}: {told}");
        broker.status("inner").await.is(404);
    }
}

#[tokio::test] // SPEC T-3, T-9
async fn no_header_that_is_given_back_breaks_the_answer() {
    let broker = broker().await;
    for id in ["a b", "a\tb", "\u{e9}", &"i".repeat(129), ""] {
        let ask = broker.request("GET", "/resources/plans").header("x-request-id", id.as_bytes());
        let answer = Answer::to(ask).await;
        answer.is(200);
        let given = answer.headers["x-request-id"].to_str().unwrap();
        assert!(given != id && given.len() == 36, "{given:?}");
    }
    let bytes = format!("GET /resources/plans HTTP/1.1\r\nHost: a\r\n{AUTH}\r\nX-Request-Id: a\rSet-Cookie: b\r\n\r\n");
    let told = answers_to(&broker, bytes.as_bytes(), 1).await;
    assert!(told.starts_with("HTTP/1.1 400") && !told.contains("Set-Cookie"), "{told}");
}

#[tokio::test] // SPEC T-11, N-4, N-13, E-2
async fn no_spelling_of_a_path_leads_anywhere_else() {
    let broker = broker().await;
    broker.create("cache").await.is(201);
    let elsewhere = [
        "/resources/..%2Fcache",
        "/resources/%2e%2e",
        "/resources/cache%00",
        "/resources/%C0%AEcache",
        "/resources/%ff",
        "/resources/cache%2Fstatus",
        "/resources//cache",
        "/resources/cache/..",
        "/resources/cache;a=b",
        "/resources/cache%0a",
        "/healthz/../resources/cache",
        "/healthz%2f..%2fresources%2fcache",
        "/resources/./cache",
        "/RESOURCES/cache",
    ];
    for path in elsewhere {
        let bytes = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{AUTH}\r\n\r\n");
        let told = answers_to(&broker, bytes.as_bytes(), 1).await;
        assert!(told.starts_with("HTTP/1.1 404"), "{path}: {told}");
        let bytes = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let told = answers_to(&broker, bytes.as_bytes(), 1).await;
        assert!(told.starts_with("HTTP/1.1 401"), "{path} without credentials: {told}");
    }
    for path in [
        "/v2/service_instances/%ff",
        "/v2/service_instances/..%2Fcache",
        "/v2/service_instances/x/service_bindings/%ff",
    ] {
        let answer = Answer::to(broker.request("DELETE", path).header("x-broker-api-version", "2.17")).await;
        answer.is(400);
        assert!(answer.value()["description"].is_string(), "{path}: {}", answer.body);
    }
}

#[tokio::test] // SPEC T-5, T-9
async fn what_is_too_large_is_refused_by_its_name() {
    let broker = broker().await;
    let create = async |body: &str| broker.form("POST", "/resources", body).await;
    let deep = format!("parameters{}", ".a".repeat(65));

    create(&format!("name=cache&description={}", "d".repeat(4097)))
        .await
        .is(400)
        .says("\"description\" is longer than 4096 bytes");
    create(&format!("name=cache{}", "&tags=t".repeat(1001))).await.is(400).says("\"tags\" has more than 1000 entries");
    create(&format!("name=cache{}", "&a".repeat(10_000))).await.is(400);
    create(&format!("name=cache&{deep}=x")).await.is(400).says("a parameter is nested more than 64 levels deep");
    create(&format!("name=cache&parameters.{}=x", "k".repeat(257))).await.is(400);
    create("name=cache&parameters.list.999999999=x").await.is(201);
    let nested = format!("{{\"name\":\"json\",\"parameters\":{}1{}}}", "{\"a\":".repeat(65), "}".repeat(65));
    broker.json("POST", "/resources", &nested).await.is(400).says("a parameter is nested more than 64 levels deep");
    let path = format!("/resources/{}", "a".repeat(9000));
    broker.ask("GET", &path).await.is(414);
    let told =
        answers_to(&broker, format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(70_000)).as_bytes(), 1)
            .await;
    assert!(told.is_empty() || told.starts_with("HTTP/1.1 431"), "{told}");
    broker.status("json").await.is(404);
}

#[tokio::test] // SPEC Q-2, O-12
async fn a_value_of_the_wrong_kind_is_not_told_back() {
    let broker = broker().await;
    let body = r#"{"service_id":"s","plan_id":"p","parameters":"s3cret-value"}"#;
    let ask = broker.request("PUT", "/v2/service_instances/x").header("x-broker-api-version", "2.17").body(body);
    let answer = Answer::to(ask).await;
    answer.is(400);
    assert!(answer.body.contains("a map is expected") && !answer.body.contains("s3cret"), "{}", answer.body);
}

#[tokio::test] // SPEC T-9
async fn parameters_as_deep_as_allowed_are_kept_and_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let broker = TestBroker::start_with(FakeBroker::new(), Some(folder.path()), |server| server).await;
    let body = format!("{{\"name\":\"deep\",\"parameters\":{}1{}}}", "{\"a\":".repeat(64), "}".repeat(64));
    broker.json("POST", "/resources", &body).await.is(201);
    broker.bind_app("deep", "web").await.is(201);
    broker.remove("deep").await.is(200);
}
