//! The tsuru dialect from outside: authentication, encodings, statuses (contract 10.1).

use broker_core::{
    BrokerServer,
    testing::{Answer, FakeBroker, Misdeed, Target, TestBroker, Variables, conformance},
};

const PATHS: [(&str, &str); 11] = [
    ("GET", "/resources/plans"),
    ("POST", "/resources"),
    ("GET", "/resources/cache"),
    ("PUT", "/resources/cache"),
    ("DELETE", "/resources/cache"),
    ("POST", "/resources/cache/bind-app"),
    ("POST", "/resources/cache/bind"),
    ("DELETE", "/resources/cache/bind-app"),
    ("PUT", "/resources/cache/binds/jobs/nightly"),
    ("DELETE", "/resources/cache/binds/jobs/nightly"),
    ("GET", "/resources/cache/status"),
];

async fn broker() -> TestBroker {
    TestBroker::start(FakeBroker::new()).await
}

async fn with_cache() -> TestBroker {
    let broker = broker().await;
    broker.create("cache").await.is(201).says("");
    broker
}

#[tokio::test] // A2, A5, A6, A8, A9
async fn nobody_gets_anywhere_without_credentials() {
    let broker = broker().await;

    for (method, path) in PATHS.into_iter().chain([("GET", "/resources/cache/unknown"), ("PATCH", "/x"), ("GET", "/")])
    {
        let answer = Answer::to(broker.anonymous(method, path).body("name=cache&plan=small")).await;
        answer.is(401);
        assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Basic"));
        assert!(!answer.body.is_empty());
    }
    Answer::to(broker.anonymous("GET", "/resources/plans").bearer_auth("abc")).await.is(401);
    broker.status("cache").await.is(404);
}

#[tokio::test] // A3, A4, A7
async fn user_name_and_password_both_have_to_be_right() {
    let broker = broker().await;

    for (user, password) in [("fake", "wrong"), ("wrong", "s3cret"), ("fake", ""), ("", "s3cret")] {
        Answer::to(broker.anonymous("GET", "/resources/plans").basic_auth(user, Some(password))).await.is(401);
    }
    let lower = broker.anonymous("GET", "/resources/plans").header("authorization", "basic ZmFrZTpzM2NyZXQ=");
    Answer::to(lower).await.is(200);
}

#[tokio::test] // A10, A16, A17
async fn unknown_paths_and_methods_are_refused_and_nothing_redirects() {
    let broker = with_cache().await;

    for (method, path) in PATHS {
        let answer = broker.ask(method, path).await;
        assert!(!(300..400).contains(&answer.status), "{method} {path}: {}", answer.status);
    }
    broker.create("again").await.is(201);
    broker.ask("GET", "/resources/again/unknown").await.is(404).says("there is nothing at this path");
    broker.ask("GET", "/resources/again/").await.is(404);
    broker.ask("PATCH", "/resources/again").await.is(405);
    broker.ask("DELETE", "/resources/plans").await.is(405);
}

#[tokio::test] // SPEC T-5
async fn a_request_with_more_than_100_headers_is_refused() {
    let broker = with_cache().await;
    let with = |number: usize| {
        let plain = broker.request("GET", "/resources/plans");
        (0..number).fold(plain, |request, header| request.header(format!("x-filler-{header}"), "x"))
    };

    Answer::to(with(50)).await.is(200);
    Answer::to(with(101)).await.is(431);
}

#[tokio::test] // A11
async fn a_connection_that_is_to_be_closed_is_answered_first() {
    let broker = broker().await;
    let answer = Answer::to(broker.request("GET", "/resources/plans").header("connection", "close")).await;
    answer.is(200);
    assert_eq!(answer.headers["connection"], "close");
}

#[tokio::test]
async fn health_is_open_and_request_ids_come_back() {
    let broker = broker().await;

    Answer::to(broker.anonymous("GET", "/healthz")).await.is(200).says("ok");
    let named = Answer::to(broker.request("GET", "/resources/plans").header("x-request-id", "abc-1")).await;
    assert_eq!(named.headers["x-request-id"], "abc-1");
    let unnamed = broker.ask("GET", "/resources/plans").await;
    assert_eq!(unnamed.headers["x-request-id"].len(), 36);
}

#[tokio::test] // SPEC T-3
async fn a_request_is_named_by_whichever_header_its_platform_sends() {
    let own = |server: BrokerServer| server.request_id_header("X-Trace-Me".parse().unwrap());
    let (usual, told) = (broker().await, TestBroker::start_with(FakeBroker::new(), None, own).await);

    for header in ["X-Request-ID", "X-Correlation-ID", "X-CorrelationID", "X-ForRequest-ID", "X-Vcap-Request-Id"] {
        for (broker, path) in [(&usual, "/resources/plans"), (&told, "/v2/catalog"), (&usual, "/nowhere")] {
            let answer = Answer::to(broker.request("GET", path).header(header, "abc-1")).await;
            assert_eq!(answer.headers[header], "abc-1", "{path}");
            let others = answer.headers.values().filter(|value| *value == "abc-1").count();
            assert!(others == 1 && (header == "X-Request-ID" || !answer.headers.contains_key("x-request-id")));
        }
    }
    let ask =
        |broker: &TestBroker| broker.anonymous("GET", "/healthz").header("X-Trace-Me", "t").header("X-Request-ID", "r");
    let (by_usual, by_own) = (Answer::to(ask(&usual)).await, Answer::to(ask(&told)).await);
    assert!(by_usual.headers["x-request-id"] == "r" && !by_usual.headers.contains_key("x-trace-me"));
    assert!(by_own.headers["x-trace-me"] == "t" && !by_own.headers.contains_key("x-request-id"));
    assert_eq!(told.ask("GET", "/resources/plans").await.headers["x-trace-me"].len(), 36);
}

#[tokio::test] // A18 to A22
async fn plans_are_listed_with_their_schemas() {
    let plans = broker().await.ask("GET", "/resources/plans").await.is(200).value();

    assert_eq!(plans[0], serde_json::json!({"name": "small", "description": "256 MB, shared"}));
    assert_eq!(plans[1]["schemas"]["service_instance"]["create"]["parameters"]["type"], "object");
    assert_eq!(plans.as_array().unwrap().len(), 2);
}

#[tokio::test] // A25, A30, A31, A32, A44
async fn a_create_that_cannot_be_is_refused_with_a_sentence() {
    let broker = broker().await;
    let create = async |body: &str| broker.form("POST", "/resources", body).await;

    create("plan=small").await.is(400).says("the instance's name is missing");
    create("name=&plan=small").await.is(400);
    create("name=plans").await.is(400).says("the instance name \"plans\" is reserved, choose another one");
    create("name=1x").await.is(400);
    create(&format!("name={}", "a".repeat(300))).await.is(400);
    create("name=cache&plan=huge").await.is(400).says("plan \"huge\" does not exist, choose one of: small, large");
    broker.status("cache").await.is(404).says("instance \"cache\" does not exist");
    broker.ask("GET", "/resources/plans").await.is(200);
}

#[tokio::test] // A33 to A37, A43
async fn a_create_is_read_leniently() {
    let broker = broker().await;
    let create = async |body: &str| broker.form("POST", "/resources", body).await;

    create("name=no-plan&team=t").await.is(201);
    create("name=tags&plan=small&tags=a&tags=b&description=a+b%26%2B%C3%A9&team=t").await.is(201);
    create("name=unknown&plan=small&color=red&parameters.=").await.is(201);
    create("name=deep&plan=small&parameters.unknown.deep.0=x").await.is(201);
    create("name=My_Cache&plan=small").await.is(201);
    broker.bind_app("My_Cache", "web").await.is(201);
    broker.status("my_cache").await.is(404);
}

#[tokio::test] // A41, A42, A52, A78, A92, A100, A106
async fn json_does_what_forms_do() {
    let broker = broker().await;

    let create = r#"{"name":"cache","team":"data","plan":"large","tags":["a"],"eventID":"5f","user":"","parameters":{"a":{"b":[1]}}}"#;
    broker.json("POST", "/resources", &format!("{create}\n")).await.is(201);
    broker.json("PUT", "/resources/cache", r#"{"team":"data","eventID":"5f","user":"u"}"#).await.is(200);
    let bound = broker.json("POST", "/resources/cache/bind-app", r#"{"appName":"blog","appHosts":["",null]}"#).await;
    assert_eq!(bound.is(201).env().len(), 4);
    broker.json("DELETE", "/resources/cache/bind-app", r#"{"appHosts":null,"appName":"blog"}"#).await.is(200);
    broker.json("PUT", "/resources/cache/binds/jobs/nightly", r#"{"jobName":"nightly"}"#).await.is(201);
    broker.json("DELETE", "/resources/cache", r#"{"eventID":"5f","user":"u"}"#).await.is(200);
}

#[tokio::test] // A111 to A114
async fn bodies_that_cannot_be_read_are_refused() {
    let broker = broker().await;
    let send = async |kind: &str, body: String| {
        Answer::to(broker.request("POST", "/resources").header("content-type", kind).body(body)).await
    };

    send("application/x-www-form-urlencoded", "name=%zz".into()).await.is(400);
    send("application/json", "{\"name\":".into()).await.is(400);
    send("application/json", "{\"name\":5}".into()).await.is(400).says("\"name\" is not a text");
    send("text/xml", "<a/>".into()).await.is(415);
    send("application/x-www-form-urlencoded", "a=".repeat(600_000)).await.is(413);
    send("application/x-www-form-urlencoded; charset=UTF-8", "name=cache&plan=small".into()).await.is(201);
    send("Application/JSON;charset=utf-8", "{\"name\":\"other\"}".into()).await.is(201);
}

#[tokio::test] // A54 to A61, A63
async fn info_and_status_tell_how_an_instance_is() {
    let broker = with_cache().await;

    let info = broker.ask("GET", "/resources/cache").await.is(200).value();
    assert_eq!(info[0], serde_json::json!({"label": "Address", "value": "fake.test:1"}));
    for _ in 0..10 {
        broker.status("cache").await.is(204);
    }
    broker.ask("GET", "/resources/other").await.is(404);
    broker.status("other").await.is(404);
    broker.status("a%2Fb").await.is(404);
}

#[tokio::test]
async fn an_instance_that_is_down_answers_500_and_no_other_status() {
    let fake = FakeBroker::new();
    let broker = TestBroker::start(fake.clone()).await;
    broker.create("cache").await.is(201);
    fake.set_down(true);

    broker.status("cache").await.is(500).says("the server does not answer");
}

#[tokio::test] // A64 to A69, A70, A75, A76, A77, A79, A80
async fn a_bind_answers_with_variables() {
    let broker = with_cache().await;
    let bind = async |body: &str| broker.form("POST", "/resources/cache/bind-app", body).await;

    bind("").await.is(400).says("the app's name is missing");
    bind("app-name=Bad_Name").await.is(400);
    assert_eq!(bind("app-name=web").await.is(201).env().len(), 4);
    bind("app-name=web2&app-hosts=a&app-hosts=&parameters.unknown=x").await.is(201);
    broker.bind_app("other", "web").await.is(404).says("instance \"other\" does not exist");
    broker.form("POST", "/resources/other/bind", "app-name=web").await.is(404);
    broker.form("POST", "/resources/other/bind", "unit-host=10.0.0.1").await.is(404);
}

#[tokio::test] // A83 to A85
async fn units_of_the_past_are_tolerated() {
    let broker = with_cache().await;

    broker.form("POST", "/resources/cache/bind", "unit-host=10.0.0.1&app-host=web.test").await.is(201).says("{}");
    broker.form("DELETE", "/resources/cache/bind", "unit-host=10.0.0.1").await.is(200);
    broker.form("DELETE", "/resources/cache/bind", "").await.is(400);
    assert_eq!(broker.form("POST", "/resources/cache/bind", "app-name=web").await.is(201).env().len(), 4);
}

#[tokio::test] // A94 to A99
async fn a_job_is_bound_apart_from_an_app_of_its_name() {
    let broker = with_cache().await;
    let job = "/resources/cache/binds/jobs/web";
    let of_app = broker.bind_app("cache", "web").await.is(201).env();
    let of_job = broker.form("PUT", job, "job-name=web").await.is(201).env();
    assert_ne!(of_app, of_job);
    assert_eq!(broker.form("PUT", job, "").await.is(201).env(), of_job);

    broker.form("DELETE", job, "user=u&eventid=5f").await.is(200);

    broker
        .form("DELETE", job, "user=u&eventid=5f")
        .await
        .is(404)
        .says("job \"web\" is not bound to instance \"cache\"");
    assert_eq!(broker.bind_app("cache", "web").await.is(201).env(), of_app);
    broker.form("PUT", "/resources/other/binds/jobs/web", "").await.is(404);
    broker.form("PUT", job, "job-name=other").await.is(400);
}

#[tokio::test] // A109, A110
async fn a_failure_says_something_and_no_secret() {
    let fake = FakeBroker::new();
    let broker = TestBroker::start(fake.clone()).await;
    fake.next("provision", Misdeed::Fail);

    let failed = broker.create("cache").await;

    failed.is(500).says("the service failed, its operator finds the cause in the broker's log");
    fake.set_down(true);
    broker.create("cache").await.is(503).says("the service is unavailable at the moment, try again later");
}

#[tokio::test] // A1 to A114
async fn a_broker_on_the_framework_conforms() {
    let fake = FakeBroker::new();
    let broker = TestBroker::start(fake.clone()).await;
    let url = broker.url();
    let target = Target::new(&url, "small");

    let report = conformance(&target, async |env: &Variables| !env.is_empty() && fake.opens(env)).await;

    report.is_clean();
    assert!(report.count() > 90, "only {} cases ran", report.count());
    assert_eq!((fake.instances(), fake.accounts().len()), (0, 0), "something was left behind");
}

#[tokio::test] // SPEC Q-1, Q-2
async fn parameters_are_read_by_the_plans_schema_in_both_encodings() {
    let broker = TestBroker::start(FakeBroker::new()).await;
    let create = async |name: &str, memory: &str| {
        let body = format!("name={name}&plan=large&team=data&parameters.memory={memory}&parameters.other=x");
        broker.form("POST", "/resources", &body).await
    };

    let refusal = create("cache", "s3cret").await;

    refusal.is(400).says("the parameters do not fit the plan: \"memory\": value is not of type \"integer\"");
    broker.status("cache").await.is(404);
    create("cache", "1e%2B03").await.is(201);
    let json = r#"{"name":"other","plan":"large","team":"data","parameters":{"memory":0}}"#;
    broker.json("POST", "/resources", json).await.is(400);
    broker.form("PUT", "/resources/cache", "plan=&team=data&parameters.memory=x").await.is(400);
    broker.form("PUT", "/resources/cache", "plan=large&team=data&parameters.memory=7").await.is(200);
}

/// A broker whose plan has a schema that no validator takes.
struct Misschemed;

#[async_trait::async_trait]
impl broker_core::Broker for Misschemed {
    fn catalog(&self) -> broker_core::Catalog {
        let plan = broker_core::Plan::new("small", "").schema(serde_json::json!({ "type": 17 }));
        broker_core::Catalog::new("fake".parse().unwrap()).plan(plan)
    }

    async fn provision(&self, _: &broker_core::Instance) -> broker_core::Result<broker_core::Notes> {
        Ok(broker_core::Notes::new())
    }

    async fn bind(
        &self,
        _: &broker_core::Instance,
        _: &broker_core::Binding,
    ) -> broker_core::Result<broker_core::EnvVars> {
        Ok(broker_core::EnvVars::default())
    }
}

#[tokio::test] // SPEC Q-3
async fn a_schema_that_cannot_be_used_keeps_the_broker_from_starting() {
    let server = broker_core::BrokerServer::new(Misschemed, broker_core::State::in_memory());
    let server = server.accept("fake", &broker_core::Secret::from("s3cret"));

    let refusal = server.bind(([127, 0, 0, 1], 0).into()).await.unwrap_err().to_string();

    assert!(
        refusal.starts_with("the catalog is wrong: the parameter schema of plan \"small\" cannot be used"),
        "{refusal}"
    );
}

#[tokio::test] // contract 4.1, 4.13
async fn every_path_takes_its_own_methods_and_no_other() {
    let broker = with_cache().await;
    let known: [(&str, &[&str]); 8] = [
        ("/resources/plans", &["GET", "HEAD"]),
        ("/resources", &["POST"]),
        ("/resources/cache", &["GET", "HEAD", "PUT", "DELETE"]),
        ("/resources/cache/bind-app", &["POST", "DELETE"]),
        ("/resources/cache/bind", &["POST", "DELETE"]),
        ("/resources/cache/binds/jobs/nightly", &["PUT", "DELETE"]),
        ("/resources/cache/status", &["GET", "HEAD"]),
        ("/resources/cache/operations", &["GET", "HEAD"]),
    ];
    for (path, methods) in known {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] {
            if methods.contains(&method) {
                continue;
            }
            let answer = broker.ask(method, path).await;
            answer.is(405);
            let allowed = answer.headers["allow"].to_str().unwrap();
            assert!(methods.iter().all(|method| allowed.contains(method)), "{path}: {allowed}");
        }
        // The platform drops the slash at the end before it sends anything: nothing is there.
        broker.ask("GET", &format!("{path}/")).await.is(404);
    }
    broker.status("cache").await.is(204);
}

#[tokio::test] // contract 4.4, 4.12
async fn a_head_is_answered_as_its_get_without_a_body() {
    let broker = with_cache().await;
    for path in ["/resources/plans", "/resources/cache", "/resources/cache/status"] {
        let (get, head) = (broker.ask("GET", path).await, broker.ask("HEAD", path).await);
        assert_eq!((get.status, ""), (head.status, head.body.as_str()), "{path}");
        assert_eq!(get.headers.get("content-type"), head.headers.get("content-type"), "{path}");
    }
}
