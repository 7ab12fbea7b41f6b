//! The port's contract over HTTP, and what the platform sends and understands (contract 10.2).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, http::Request, response::IntoResponse};
use broker_core::{
    Consumer, Parameters, Secret,
    client::Client,
    testing::{FakeBroker, PASSWORD, TestBroker, USERNAME},
};
use platform_core::{
    EventId, InstanceName, Service, ServiceInstance,
    ports::{Acting, BindRequest, Brokers},
    testing::brokers::contract,
};
use platform_services::HttpBrokers;

fn service(endpoint: &str) -> Service {
    Service {
        name: "fake".parse().unwrap(),
        username: USERNAME.to_owned(),
        password: Secret::from(PASSWORD),
        endpoints: BTreeMap::from([("production".to_owned(), endpoint.to_owned())]),
        json: false,
        team: "admin".parse().unwrap(),
        doc: String::new(),
    }
}

#[tokio::test]
async fn brokers_over_http_keep_the_ports_contract_in_both_encodings() {
    let broker = TestBroker::start(FakeBroker::new()).await;
    let service = service(&broker.url());

    contract(&HttpBrokers::new().unwrap(), &service).await;
    contract(&HttpBrokers::new().unwrap(), &Service { json: true, ..service }).await;
}

#[tokio::test]
async fn jobs_plans_and_info_arrive() {
    let broker = TestBroker::start(FakeBroker::new()).await;
    let (service, brokers) = (service(&broker.url()), HttpBrokers::new().unwrap());
    let name = cache().name;
    brokers.create(&service, &cache(), &acting()).await.unwrap();

    assert_eq!(brokers.plans(&service).await.unwrap()[0], ("small".to_owned(), "256 MB, shared".to_owned()));
    assert_eq!(brokers.info(&service, &name).await.unwrap()["Address"], "fake.test:1");
    let job = BindRequest { consumer: Consumer::Job("nightly".parse().unwrap()), ..bind() };
    assert_eq!(brokers.bind(&service, &name, &job, &acting()).await.unwrap().len(), 4);
    brokers.unbind(&service, &name, &job.consumer, &[], &acting()).await.unwrap();
}

/// A service API that answers as it is told and writes down what it was asked.
#[derive(Clone, Default)]
struct Recorder {
    answers: Arc<Mutex<BTreeMap<String, (u16, String)>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

#[derive(Clone, Debug)]
struct Asked {
    line: String,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Recorder {
    /// Serves on a free port; anything it is not told about is answered 200 and nothing.
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        format!("http://{address}")
    }

    fn answers(&self, line: &str, status: u16, body: &str) {
        self.answers.lock().unwrap().insert(line.to_owned(), (status, body.to_owned()));
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn answer(State(recorder): State<Recorder>, request: Request<axum::body::Body>) -> axum::response::Response {
    let (parts, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, 1_000_000).await.unwrap();
    let line = format!("{} {}", parts.method, parts.uri.path());
    let header = |(name, value): (&axum::http::HeaderName, &axum::http::HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let headers = parts.headers.iter().map(header).collect();
    let asked = Asked { line: line.clone(), headers, body: String::from_utf8(body.to_vec()).unwrap() };
    recorder.asked.lock().unwrap().push(asked);
    let (status, body) = recorder.answers.lock().unwrap().get(&line).cloned().unwrap_or((200, String::new()));
    let location = [("location", "/elsewhere")];
    (axum::http::StatusCode::from_u16(status).unwrap(), location, body).into_response()
}

fn cache() -> ServiceInstance {
    ServiceInstance {
        service: "fake".parse().unwrap(),
        name: "cache".parse().unwrap(),
        plan: String::new(),
        team: "data".parse().unwrap(),
        teams: vec!["data".parse().unwrap()],
        description: String::new(),
        tags: vec!["a".to_owned(), "b".to_owned()],
        parameters: Parameters::new(),
        apps: Vec::new(),
        jobs: Vec::new(),
    }
}

fn acting() -> Acting {
    Acting { user: "alice@example.com".to_owned(), event: EventId::generate() }
}

fn bind() -> BindRequest {
    BindRequest {
        consumer: Consumer::App("blog".parse().unwrap()),
        hosts: vec!["blog.test".to_owned(), "blog.internal".to_owned()],
        pool: "theonepool".to_owned(),
        parameters: Parameters::new(),
    }
}

fn name() -> InstanceName {
    "cache".parse().unwrap()
}

#[tokio::test] // B1, B3, B4, B9, B13
async fn a_create_is_sent_as_the_contract_has_it() {
    let recorder = Recorder::default();
    let service = Service { username: String::new(), ..service(&format!("{}/v2/", recorder.start().await)) };
    let acting = acting();

    HttpBrokers::new().unwrap().create(&service, &cache(), &acting).await.unwrap();

    let asked = &recorder.asked()[0];
    assert_eq!(asked.line, "POST /v2/resources");
    assert_eq!(
        asked.body,
        format!("eventid={}&name=cache&tags=a&tags=b&team=data&user=alice%40example.com", acting.event)
    );
    for (header, value) in [
        ("authorization", "Basic ZmFrZTpzM2NyZXQ="),
        ("accept", "application/json"),
        ("connection", "close"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("x-tsuru-user", "alice@example.com"),
        ("x-tsuru-eventid", acting.event.as_str()),
    ] {
        assert_eq!(asked.headers.get(header).map(String::as_str), Some(value), "{header}");
    }
}

#[tokio::test] // B11
async fn questions_carry_no_user_and_no_body() {
    let recorder = Recorder::default();
    recorder.answers("GET /resources/plans", 200, "[]");
    let service = service(&recorder.start().await);

    HttpBrokers::new().unwrap().plans(&service).await.unwrap();

    let asked = &recorder.asked()[0];
    assert!(
        ["x-tsuru-user", "x-tsuru-eventid", "content-type"].iter().all(|header| !asked.headers.contains_key(*header))
    );
    assert_eq!(asked.body, "");
}

#[tokio::test] // B19, B41, B42
async fn a_bind_that_is_not_found_is_tried_again_with_the_same_body() {
    let recorder = Recorder::default();
    recorder.answers("POST /resources/cache/bind-app", 404, "");
    recorder.answers("POST /resources/cache/bind", 200, r#"{"A":"1"}"#);
    let (service, brokers) = (service(&recorder.start().await), HttpBrokers::new().unwrap());

    let env = brokers.bind(&service, &name(), &bind(), &acting()).await.unwrap();

    assert_eq!(env["A"].expose(), "1");
    let asked = recorder.asked();
    assert_eq!((asked.len(), &asked[0].body), (2, &asked[1].body));
    assert!(asked[0].body.starts_with("app-host=blog.test&app-hosts=blog.test&app-hosts=blog.internal&app-name=blog&"));
    recorder.answers("POST /resources/cache/bind", 404, "");
    let refusal = brokers.bind(&service, &name(), &bind(), &acting()).await.unwrap_err();
    assert_eq!(refusal.to_string(), "instance does not exist in the service API");
}

#[tokio::test] // B22, B23, B28, B29, B31, B32, B50, B51, B60
async fn refusals_have_the_contracts_texts() {
    let recorder = Recorder::default();
    let (service, brokers) = (service(&recorder.start().await), HttpBrokers::new().unwrap());
    let acting = acting();
    let consumer = bind().consumer;
    let said = |outcome: platform_core::Result<()>| outcome.map_err(|error| error.to_string());

    recorder.answers("POST /resources", 500, "no quota");
    let refused = "Failed to create the instance cache: invalid response: no quota (code: 500)";
    assert_eq!(said(brokers.create(&service, &cache(), &acting).await), Err(refused.into()));
    recorder.answers("POST /resources", 409, "");
    let exists = "instance already exists in the service API";
    assert_eq!(said(brokers.create(&service, &cache(), &acting).await), Err(exists.into()));

    recorder.answers("PUT /resources/cache", 404, "");
    assert_eq!(said(brokers.update(&service, &cache(), &acting).await), Ok(()));
    recorder.answers("PUT /resources/cache", 405, "no");
    let refused = "Failed to update the instance cache: invalid response: no (code: 405)";
    assert_eq!(said(brokers.update(&service, &cache(), &acting).await), Err(refused.into()));

    recorder.answers("DELETE /resources/cache", 404, "");
    let unknown = "instance does not exist in the service API";
    assert_eq!(said(brokers.delete(&service, &name(), &acting).await), Err(unknown.into()));
    recorder.answers("DELETE /resources/cache", 500, "x");
    let refused = "Failed to destroy the instance cache: invalid response: x (code: 500)";
    assert_eq!(said(brokers.delete(&service, &name(), &acting).await), Err(refused.into()));

    recorder.answers("DELETE /resources/cache/bind-app", 404, "");
    assert_eq!(said(brokers.unbind(&service, &name(), &consumer, &[], &acting).await), Ok(()));
    recorder.answers("DELETE /resources/cache/bind-app", 500, "x");
    let refused = "Failed to unbind (\"/resources/cache/bind-app\"): invalid response: x (code: 500)";
    assert_eq!(said(brokers.unbind(&service, &name(), &consumer, &[], &acting).await), Err(refused.into()));

    recorder.answers("POST /resources/cache/bind-app", 500, "x");
    let refused = "Failed to bind the instance \"fake/cache\" to the app \"blog\": invalid response: x (code: 500)";
    let outcome = brokers.bind(&service, &name(), &bind(), &acting).await.map(drop);
    assert_eq!(said(outcome), Err(refused.into()));
}

#[tokio::test] // B73, B74
async fn statuses_have_the_platforms_words() {
    let recorder = Recorder::default();
    let (service, brokers) = (service(&recorder.start().await), HttpBrokers::new().unwrap());
    for (status, body, word) in [
        (200, "working", "working"),
        (204, "", "up"),
        (202, "x", "pending"),
        (404, "x", "not implemented for this service"),
        (500, "x", "down"),
    ] {
        recorder.answers("GET /resources/cache/status", status, body);
        assert_eq!(brokers.status(&service, &name()).await.unwrap(), word);
    }
    recorder.answers("GET /resources/cache/status", 503, "x");
    let refusal = brokers.status(&service, &name()).await.unwrap_err().to_string();
    assert_eq!(refusal, "Failed to get status of instance cache: invalid response: x (code: 503)");
}

#[tokio::test]
async fn redirects_are_failures_and_not_followed() {
    let recorder = Recorder::default();
    recorder.answers("DELETE /resources/cache", 302, "moved");
    let service = service(&recorder.start().await);

    let refusal = HttpBrokers::new().unwrap().delete(&service, &name(), &acting()).await.unwrap_err().to_string();

    assert_eq!(refusal, "Failed to destroy the instance cache: invalid response: moved (code: 302)");
    assert_eq!(recorder.asked().len(), 1);
}

#[tokio::test] // B18
async fn a_broker_that_is_not_there_or_says_nothing_is_a_sentence() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap().to_string();
    let limits = (Duration::from_secs(5), Duration::from_millis(200));
    let brokers = HttpBrokers::over(Client::with_timeouts(limits.0, limits.1).unwrap());

    let silent = brokers.create(&service(&address), &cache(), &acting()).await.unwrap_err().to_string();
    drop(closed);
    let refused = brokers.create(&service(&address), &cache(), &acting()).await.unwrap_err().to_string();
    let nowhere = Service { endpoints: BTreeMap::new(), ..service("") };
    let unknown = brokers.create(&nowhere, &cache(), &acting()).await.unwrap_err().to_string();

    assert!(silent.starts_with("Failed to create the instance cache: ") && silent.contains("timed out"), "{silent}");
    assert_eq!(
        refused,
        "Failed to create the instance cache: no answer from the broker of service \"fake\" (Connection refused): see that it runs, then try again"
    );
    assert_eq!(unknown, "Unknown endpoint: production");
    assert!(brokers.plans(&service(&address)).await.unwrap().is_empty());
}
