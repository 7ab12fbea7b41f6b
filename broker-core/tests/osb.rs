//! The Open Service Broker dialect, over HTTP (SPEC chapter O).

use std::time::Duration;

use broker_core::{
    BrokerServer,
    testing::{Answer, FakeBroker, Misdeed, TestBroker, eventually},
};
use serde_json::{Value, json};

/// A platform of this dialect.
struct Platform<'a> {
    broker: &'a TestBroker,
    service: String,
    plans: Vec<String>,
}

impl<'a> Platform<'a> {
    async fn of(broker: &'a TestBroker) -> Self {
        let answer = Answer::to(broker.request("GET", "/v2/catalog").header("x-broker-api-version", "2.17")).await;
        let service = answer.is(200).value()["services"][0].clone();
        let id = |value: &Value| value["id"].as_str().unwrap().to_owned();
        let plans = service["plans"].as_array().unwrap().iter().map(id).collect();
        Self { broker, service: id(&service), plans }
    }

    async fn send(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let request = self.broker.request(method, path).header("x-broker-api-version", "2.17");
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        };
        Answer::to(request).await
    }

    fn wishes(&self, plan: usize) -> Value {
        json!({
            "service_id": self.service, "plan_id": self.plans[plan],
            "organization_guid": "org", "space_guid": "space", "unheard_of": true,
        })
    }

    async fn provision(&self, id: &str, query: &str) -> Answer {
        self.send("PUT", &format!("/v2/service_instances/{id}{query}"), Some(self.wishes(0))).await
    }

    async fn bind(&self, instance: &str, id: &str, query: &str) -> Answer {
        let path = format!("/v2/service_instances/{instance}/service_bindings/{id}{query}");
        self.send("PUT", &path, Some(json!({ "service_id": self.service, "plan_id": self.plans[0] }))).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", &format!("/v2/service_instances/{path}"), None).await
    }

    async fn delete(&self, path: &str, more: &str) -> Answer {
        let query = format!("service_id={}&plan_id={}{more}", self.service, self.plans[0]);
        self.send("DELETE", &format!("/v2/service_instances/{path}?{query}"), None).await
    }
}

const GUID: &str = "1b5c0bd4-52dc-4b5a-a372-4e5a1e9ba3e6";
const ASYNC: &str = "?accepts_incomplete=true";

async fn started() -> (FakeBroker, TestBroker) {
    let fake = FakeBroker::new();
    (fake.clone(), TestBroker::start(fake).await)
}

#[tokio::test] // SPEC O-1
async fn a_caller_of_another_version_is_refused_on_every_path() {
    let (_, broker) = started().await;
    for path in ["/v2/catalog", "/v2/service_instances/x", "/v2/service_instances/x/last_operation"] {
        for (version, status) in [("", 400), ("1.0", 412), ("3.0", 412), ("2", 412), ("two", 412)] {
            let request = broker.request("GET", path).header("x-broker-api-version", version);
            let answer = Answer::to(request).await;
            assert!(answer.is(status).value()["description"].as_str().unwrap().contains("2.17"));
        }
        broker.ask("GET", path).await.is(400);
        Answer::to(broker.anonymous("GET", path).header("x-broker-api-version", "2.17")).await.is(401);
    }
    Answer::to(broker.request("GET", "/v2/catalog").header("x-broker-api-version", "2.13")).await.is(200);
}

#[tokio::test] // SPEC O-2
async fn the_catalog_has_identifiers_that_stay() {
    let (_, one) = started().await;
    let (_, other) = started().await;

    let (ours, theirs) = (Platform::of(&one).await, Platform::of(&other).await);

    assert_eq!((&ours.service, &ours.plans), (&theirs.service, &theirs.plans));
    assert_eq!(ours.service, "8aae9cd3-a6e6-579c-b281-44e1a0107725", "platforms have it in their books");
    assert_ne!(ours.plans[0], ours.plans[1]);
}

#[tokio::test] // SPEC O-3
async fn an_instance_lives_from_provision_to_deprovision() {
    let (fake, broker) = started().await;
    let platform = Platform::of(&broker).await;

    platform.provision(GUID, "").await.is(201);
    platform.provision(GUID, "").await.is(200);
    let other = platform.send("PUT", &format!("/v2/service_instances/{GUID}"), Some(platform.wishes(1))).await;
    other.is(409);
    let fetched = platform.get(GUID).await.is(200).value();
    assert_eq!((&fetched["service_id"], &fetched["plan_id"]), (&json!(platform.service), &json!(platform.plans[0])));
    platform.get(&format!("{GUID}/last_operation")).await.is(200);
    platform.delete(GUID, "").await.is(200);
    platform.delete(GUID, "").await.is(410);
    platform.get(GUID).await.is(404);
    platform.get(&format!("{GUID}/last_operation")).await.is(410);
    assert_eq!(fake.instances(), 0);
}

#[tokio::test] // SPEC O-4
async fn a_request_that_lacks_something_is_refused_with_its_name() {
    let (fake, broker) = started().await;
    let platform = Platform::of(&broker).await;
    let path = format!("/v2/service_instances/{GUID}");
    for field in ["service_id", "plan_id", "organization_guid", "space_guid"] {
        let mut wishes = platform.wishes(0);
        wishes.as_object_mut().unwrap().remove(field);
        let refusal = platform.send("PUT", &path, Some(wishes)).await.is(400).value();
        assert_eq!(refusal["description"], format!("{field} is missing"));
    }
    let mut foreign = platform.wishes(0);
    foreign["plan_id"] = "another".into();
    platform.send("PUT", &path, Some(foreign)).await.is(400);
    let mut maintained = platform.wishes(0);
    maintained["maintenance_info"] = json!({ "version": "1.0.0" });
    let refusal = platform.send("PUT", &path, Some(maintained)).await.is(422).value();
    assert_eq!(refusal["error"], "MaintenanceInfoConflict");
    platform.send("DELETE", &path, None).await.is(400);
    let request = broker.request("PUT", &path).header("x-broker-api-version", "2.17").body("{");
    Answer::to(request).await.is(400);
    assert_eq!(fake.count("provision"), 0);
}

#[tokio::test] // SPEC O-3, O-7
async fn slow_work_goes_on_under_an_operation() {
    let (fake, broker) = started().await;
    let platform = Platform::of(&broker).await;
    fake.next("provision", Misdeed::Hang);

    let accepted = platform.provision(GUID, ASYNC).await.is(202).value();

    let operation = accepted["operation"].as_str().unwrap();
    assert_eq!(platform.provision(GUID, ASYNC).await.is(202).value()["operation"], operation);
    platform.provision(GUID, "").await.is(422);
    platform.get(GUID).await.is(404);
    let poll = format!("{GUID}/last_operation?operation={operation}");
    let state = async || platform.get(&poll).await.is(200).value()["state"].clone();
    assert_eq!(state().await, "in progress");
    platform.get(&format!("{GUID}/last_operation?operation=other")).await.is(400);
    assert_eq!(platform.bind(GUID, "b", "").await.is(422).value()["error"], "ConcurrencyError");
    fake.release();
    eventually("it has succeeded", async || state().await == "succeeded").await;
    platform.get(GUID).await.is(200);
}

#[tokio::test] // SPEC O-3
async fn work_that_is_not_waited_for_asks_for_a_platform_that_accepts_that_it_goes_on() {
    let fake = FakeBroker::new();
    let impatient = |server: BrokerServer| server.answer_within(Duration::from_millis(50));
    let broker = TestBroker::start_with(fake.clone(), None, impatient).await;
    let platform = Platform::of(&broker).await;
    fake.next("provision", Misdeed::Hang);

    let refused = platform.provision(GUID, "").await.is(422).value();

    assert_eq!(refused["error"], "AsyncRequired");
    fake.release();
    eventually("it is there", async || platform.provision(GUID, "").await.status == 200).await;
    assert_eq!(fake.instances(), 1);
}

#[tokio::test] // SPEC O-7
async fn a_create_that_fails_later_says_so_until_it_is_deleted() {
    let fake = FakeBroker::new();
    let settings = |server: BrokerServer| server.call_timeout(Duration::from_millis(1300));
    let broker = TestBroker::start_with(fake.clone(), None, settings).await;
    let platform = Platform::of(&broker).await;
    fake.next("provision", Misdeed::Hang);
    fake.next("provision", Misdeed::Fail);
    platform.provision(GUID, ASYNC).await.is(202);
    let poll = format!("{GUID}/last_operation");

    eventually("it has failed", async || platform.get(&poll).await.value()["state"] == "failed").await;

    let seen = platform.get(&poll).await.value();
    assert_eq!((&seen["instance_usable"], &seen["update_repeatable"]), (&Value::Null, &Value::Null), "it is no update");
    assert!(!seen["description"].as_str().unwrap().contains("s3cret"), "{seen}");
    platform.delete(GUID, "&accepts_incomplete=true").await.is(200);
    assert_eq!(fake.instances(), 0);
}

#[tokio::test] // SPEC O-4
async fn a_delete_wins_over_a_provision_that_goes_on() {
    let (fake, broker) = started().await;
    let platform = Platform::of(&broker).await;
    fake.next("provision", Misdeed::Hang);
    platform.provision(GUID, ASYNC).await.is(202);

    platform.delete(GUID, "&accepts_incomplete=true").await.is(200);

    platform.get(&format!("{GUID}/last_operation")).await.is(410);
    assert_eq!(fake.instances(), 0);
}

#[tokio::test] // SPEC O-7
async fn an_operation_that_is_not_the_last_one_is_told_as_it_ended() {
    let (fake, broker) = started().await;
    let platform = Platform::of(&broker).await;
    let poll = async |path: &str, operation: &Value| {
        platform.get(&format!("{path}/last_operation?operation={}", operation.as_str().unwrap())).await
    };
    fake.next("provision", Misdeed::Hang);
    let provision = platform.provision(GUID, ASYNC).await.is(202).value()["operation"].clone();
    platform.delete(GUID, "").await.is(200);
    let told = poll(GUID, &provision).await.is(200).value();
    assert_eq!(
        (&told["state"], &told["description"]),
        (&json!("failed"), &json!("a remove was asked for before it ended"))
    );

    platform.provision(GUID, "").await.is(201);
    fake.next("bind", Misdeed::Hang);
    let binding = format!("{GUID}/service_bindings/b");
    let bind = platform.bind(GUID, "b", ASYNC).await.is(202).value()["operation"].clone();
    fake.release();
    eventually("it is bound", async || poll(&binding, &bind).await.value()["state"] == "succeeded").await;
    platform.delete(&binding, "").await.is(200);

    assert_eq!(poll(&binding, &bind).await.is(200).value()["state"], "succeeded");
    poll(GUID, &bind).await.is(400);
    poll(&binding, &provision).await.is(400);
    platform.delete(GUID, "").await.is(200);
    assert_eq!(poll(GUID, &provision).await.is(200).value()["state"], "failed");
}

#[tokio::test] // SPEC O-5
async fn an_update_changes_what_it_names() {
    let (fake, broker) = started().await;
    let platform = Platform::of(&broker).await;
    let path = format!("/v2/service_instances/{GUID}");
    let mut wishes = platform.wishes(0);
    wishes["parameters"] = json!({ "eviction": "none", "keep": 1 });
    platform.send("PUT", &path, Some(wishes)).await.is(201);

    let change = json!({
        "service_id": platform.service, "plan_id": platform.plans[1], "parameters": { "eviction": "lru" },
    });
    platform.send("PATCH", &path, Some(change)).await.is(200);

    let fetched = platform.get(GUID).await.value();
    assert_eq!(fetched["parameters"], json!({ "eviction": "lru", "keep": 1 }));
    assert_eq!(fake.plan().as_deref(), Some("large"));
    platform.send("PATCH", &path, Some(json!({ "plan_id": platform.plans[0] }))).await.is(400);
    let unknown = json!({ "service_id": platform.service });
    platform.send("PATCH", "/v2/service_instances/other", Some(unknown)).await.is(404);
}

#[tokio::test] // SPEC O-7
async fn an_update_that_fails_later_leaves_a_usable_instance() {
    let (fake, broker) = started().await;
    let platform = Platform::of(&broker).await;
    platform.provision(GUID, "").await.is(201);
    fake.next("update", Misdeed::Hang);
    let path = format!("/v2/service_instances/{GUID}{ASYNC}");
    let change = json!({ "service_id": platform.service, "plan_id": platform.plans[1] });
    platform.send("PATCH", &path, Some(change)).await.is(202);
    assert_eq!(platform.get(GUID).await.is(422).value()["error"], "ConcurrencyError");

    fake.release();

    let poll = format!("{GUID}/last_operation");
    eventually("it has ended", async || platform.get(&poll).await.value()["state"] == "succeeded").await;
    fake.next("update", Misdeed::Fail);
    let back = json!({ "service_id": platform.service, "plan_id": platform.plans[0] });
    platform.send("PATCH", &path, Some(back)).await.is(500);
    let seen = platform.get(&poll).await.value();
    assert_eq!((&seen["state"], &seen["instance_usable"]), (&json!("failed"), &json!(true)));
    assert_eq!(seen["update_repeatable"], true);
    fake.next("deprovision", Misdeed::Fail);
    assert_eq!(platform.delete(GUID, "").await.is(500).value()["instance_usable"], false);
    platform.delete(&format!("{GUID}/service_bindings/none"), "").await.is(409);
}

#[tokio::test] // SPEC O-8, O-6
async fn a_binding_lives_from_bind_to_unbind() {
    let (fake, broker) = started().await;
    let platform = Platform::of(&broker).await;
    platform.bind(GUID, "b", "").await.is(404);
    platform.provision(GUID, "").await.is(201);

    let bound = platform.bind(GUID, "b", "").await.is(201).value();

    let env = serde_json::from_value(bound["credentials"].clone()).unwrap();
    assert!(fake.opens(&env));
    assert_eq!(platform.bind(GUID, "b", "").await.is(200).value(), bound);
    let path = format!("{GUID}/service_bindings/b");
    let fetched = platform.get(&path).await.is(200).value();
    assert_eq!(fetched["credentials"], bound["credentials"]);
    let endpoints = json!([{ "host": "fake.test", "ports": ["1"], "protocol": "tcp" }]);
    assert_eq!((&bound["endpoints"], &fetched["endpoints"]), (&endpoints, &endpoints));
    let other = json!({ "service_id": platform.service, "plan_id": platform.plans[0], "parameters": { "x": 1 } });
    platform.send("PUT", &format!("/v2/service_instances/{path}"), Some(other)).await.is(409);
    let wrong = json!({ "service_id": platform.service, "plan_id": platform.plans[1] });
    platform.send("PUT", &format!("/v2/service_instances/{GUID}/service_bindings/c"), Some(wrong)).await.is(400);
    platform.delete(&path, "").await.is(200);
    assert!(!fake.opens(&env));
    platform.delete(&path, "").await.is(410);
    platform.get(&path).await.is(404);
    platform.get(&format!("{path}/last_operation")).await.is(410);
}

#[tokio::test] // SPEC O-8, O-7
async fn a_slow_bind_goes_on_and_its_credentials_are_fetched() {
    let (fake, broker) = started().await;
    let platform = Platform::of(&broker).await;
    platform.provision(GUID, "").await.is(201);
    fake.next("bind", Misdeed::Hang);

    let accepted = platform.bind(GUID, "b", ASYNC).await.is(202).value();

    let path = format!("{GUID}/service_bindings/b");
    let poll = format!("{path}/last_operation?operation={}", accepted["operation"].as_str().unwrap());
    assert_eq!(platform.get(&poll).await.is(200).value()["state"], "in progress");
    platform.get(&path).await.is(404);
    fake.release();
    eventually("it has succeeded", async || platform.get(&poll).await.value()["state"] == "succeeded").await;
    let env = serde_json::from_value(platform.get(&path).await.is(200).value()["credentials"].clone()).unwrap();
    assert!(fake.opens(&env));
}

#[tokio::test] // SPEC O-9
async fn a_successor_has_credentials_of_its_own_and_the_predecessors_parameters() {
    let (fake, broker) = started().await;
    let platform = Platform::of(&broker).await;
    platform.provision(GUID, "").await.is(201);
    let path = |id: &str| format!("/v2/service_instances/{GUID}/service_bindings/{id}");
    let body = json!({ "service_id": platform.service, "plan_id": platform.plans[0] });
    let with = |field: &str, value: Value| {
        let mut body = body.clone();
        body[field] = value;
        Some(body)
    };
    let old = platform.send("PUT", &path("old"), with("parameters", json!({ "mode": "ro" }))).await.is(201).value();

    let new = platform.send("PUT", &path("new"), with("predecessor_binding_id", "old".into())).await.is(201).value();

    assert_ne!(old["credentials"], new["credentials"]);
    assert_eq!(fake.accounts().len(), 2);
    let fetched = platform.get(&format!("{GUID}/service_bindings/new")).await.value();
    assert_eq!(fetched["parameters"], json!({ "mode": "ro" }));
    platform.send("PUT", &path("third"), with("predecessor_binding_id", "none".into())).await.is(400);
    platform.delete(&format!("{GUID}/service_bindings/old"), "").await.is(200);
    let again = platform.send("PUT", &path("new"), with("predecessor_binding_id", "old".into())).await;
    assert_eq!(again.is(200).value(), new, "a repeat, although the predecessor is gone");
}

#[tokio::test] // SPEC O-10
async fn what_one_dialect_makes_the_other_sees() {
    let (fake, broker) = started().await;
    let platform = Platform::of(&broker).await;
    broker.create("cache").await.is(201);
    platform.provision(GUID, "").await.is(201);

    platform.get("cache").await.is(200);
    broker.status(GUID).await.is(204);
    platform.bind("cache", "b", "").await.is(201);
    broker.bind_app(GUID, "web").await.is(201);
    broker.form("POST", "/resources", &format!("name={GUID}&plan=small&team=data")).await.is(400);

    platform.delete("cache", "").await.is(200);
    broker.remove(GUID).await.is(200);
    assert_eq!((fake.instances(), fake.accounts().len()), (0, 0), "bindings that are left go with their instance");
}

#[tokio::test] // SPEC O-11
async fn who_asks_is_read_and_a_requests_identity_is_given_back() {
    let (_, broker) = started().await;
    let catalog = || broker.request("GET", "/v2/service_instances/x").header("x-broker-api-version", "2.17");
    let origin = "x-broker-api-originating-identity";

    let answer = Answer::to(catalog().header("x-broker-api-request-identity", "r-1")).await;
    assert_eq!(answer.headers["x-broker-api-request-identity"], "r-1");
    Answer::to(catalog().header(origin, "cloudfoundry eyJ1c2VyX2lkIjoiYWxpY2UifQ==")).await.is(404);
    for malformed in ["cloudfoundry", "cloudfoundry %%%", "cloudfoundry bm8ganNvbg=="] {
        Answer::to(catalog().header(origin, malformed)).await.is(400);
    }
}

#[tokio::test] // SPEC O-3
async fn what_goes_on_survives_a_crash() {
    let (folder, fake) = (tempfile::tempdir().unwrap(), FakeBroker::new());
    let on = async || TestBroker::start_with(fake.clone(), Some(folder.path()), |server| server).await;
    let broker = on().await;
    let platform = Platform::of(&broker).await;
    platform.provision("ready", "").await.is(201);
    fake.next("provision", Misdeed::Hang);
    platform.provision(GUID, ASYNC).await.is(202);
    fake.next("bind", Misdeed::Hang);
    platform.bind("ready", "b", ASYNC).await.is(202);
    broker.kill().await;

    let broker = on().await;

    let platform = Platform::of(&broker).await;
    let state = async |path: &str| platform.get(&format!("{path}/last_operation")).await.value()["state"].clone();
    eventually("it is made", async || state(GUID).await == "succeeded").await;
    eventually("it is bound", async || state("ready/service_bindings/b").await == "succeeded").await;
    assert_eq!(fake.accounts().len(), 1);
}

#[tokio::test] // SPEC O-13
async fn a_catalog_that_the_caller_has_is_not_sent_again() {
    let (_, broker) = started().await;
    let catalog = || broker.request("GET", "/v2/catalog").header("x-broker-api-version", "2.17");
    let known = Answer::to(catalog()).await.is(200).headers.clone();
    let (tag, since) = (&known["etag"], &known["last-modified"]);

    for request in [catalog().header("if-none-match", tag), catalog().header("if-modified-since", since)] {
        let answer = Answer::to(request).await;
        answer.is(304).says("");
        assert!(answer.headers["etag"] == tag && answer.headers["last-modified"] == since);
    }
    let another = || catalog().header("if-none-match", "\"another\"");
    Answer::to(another()).await.is(200);
    Answer::to(another().header("if-modified-since", since)).await.is(200);
    let later = "Fri, 31 Dec 2999 23:59:59 GMT";
    Answer::to(catalog().header("if-modified-since", later)).await.is(200);
}

#[tokio::test] // SPEC O-5
async fn an_update_of_the_context_moves_and_renames_the_instance() {
    let (fake, broker) = started().await;
    let platform = Platform::of(&broker).await;
    platform.provision(GUID, "").await.is(201);
    let path = format!("/v2/service_instances/{GUID}");
    let context = json!({ "organization_guid": "org", "space_guid": "other", "instance_name": "cache" });
    let change = json!({ "service_id": platform.service, "context": context });

    platform.send("PATCH", &path, Some(change)).await.is(200);

    assert_eq!(fake.count("update"), 1);
    let mut moved = platform.wishes(0);
    moved["space_guid"] = "other".into();
    moved["context"] = context;
    platform.send("PUT", &path, Some(moved)).await.is(200);
    platform.provision(GUID, "").await.is(409);
}

#[tokio::test] // SPEC O-4
async fn identifiers_that_are_sent_without_need_are_checked() {
    let (_, broker) = started().await;
    let platform = Platform::of(&broker).await;
    platform.provision(GUID, "").await.is(201);
    platform.bind(GUID, "b", "").await.is(201);
    for path in [GUID.to_owned(), format!("{GUID}/service_bindings/b")] {
        for path in [format!("{path}/last_operation"), path] {
            platform.get(&format!("{path}?service_id=another")).await.is(400);
            platform.get(&format!("{path}?plan_id=another")).await.is(400);
            let ours = format!("service_id={}&plan_id={}", platform.service, platform.plans[0]);
            platform.get(&format!("{path}?{ours}")).await.is(200);
        }
    }
}

#[tokio::test] // SPEC O-3
async fn a_removal_that_goes_on_is_joined_by_its_repeat() {
    let (fake, broker) = started().await;
    let platform = Platform::of(&broker).await;
    platform.provision(GUID, "").await.is(201);
    platform.bind(GUID, "b", "").await.is(201);
    for (call, path) in [("unbind", format!("{GUID}/service_bindings/b")), ("deprovision", GUID.to_owned())] {
        fake.next(call, Misdeed::Hang);
        let accepted = platform.delete(&path, "&accepts_incomplete=true").await.is(202).value();

        let again = platform.delete(&path, "&accepts_incomplete=true").await.is(202).value();

        assert_eq!(again, accepted);
        let poll = format!("{path}/last_operation?operation={}", accepted["operation"].as_str().unwrap());
        assert_eq!(platform.get(&poll).await.is(200).value()["state"], "in progress");
        fake.release();
        eventually("it is gone", async || platform.get(&poll).await.status == 410).await;
        assert_eq!(fake.count(call), 1);
    }
}
