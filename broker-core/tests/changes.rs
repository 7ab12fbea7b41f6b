//! Changes of instances, as both dialects have them: what a repeat joins, how a refusal is answered, and what bindings
//! hold afterwards.

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use broker_core::{
    Binding, Broker, BrokerError, BrokerServer, Catalog, EnvVars, Instance, Notes, Plan, Result, Update,
    testing::{Answer, FakeBroker, Misdeed, TestBroker, eventually},
};
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// The instance `cache` of a served broker, called by platforms of both dialects.
struct Cache {
    broker: TestBroker,
    service: Value,
    plans: [Value; 2],
}

const ASYNC: &str = "?accepts_incomplete=true";

impl Cache {
    /// Nothing is there yet, or what an earlier broker left in the folder.
    async fn of(broker: impl Broker, folder: Option<&Path>, answer_within: Duration) -> Self {
        let settings =
            move |server: BrokerServer| server.turn_within(Duration::from_millis(200)).answer_within(answer_within);
        let broker = TestBroker::start_with(broker, folder, settings).await;
        let catalog = broker.request("GET", "/v2/catalog").header("x-broker-api-version", "2.17");
        let service = Answer::to(catalog).await.value()["services"][0].clone();
        let plans = [0, 1].map(|plan: usize| service["plans"][plan]["id"].clone());
        Self { broker, service: service["id"].clone(), plans }
    }

    async fn with(fake: &FakeBroker) -> Self {
        let cache = Self::of(fake.clone(), None, Duration::from_secs(60)).await;
        cache.broker.create("cache").await.is(201);
        cache
    }

    async fn osb(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let request = self.broker.request(method, &format!("/v2/service_instances/{path}"));
        let request = request.header("x-broker-api-version", "2.17");
        Answer::to(match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        })
        .await
    }

    async fn patch(&self, query: &str, plan: usize, more: Value) -> Answer {
        let mut body = json!({ "service_id": self.service, "plan_id": self.plans[plan] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.osb("PATCH", &format!("cache{query}"), Some(body)).await
    }

    async fn bind(&self, plan: usize) -> Answer {
        let body = json!({ "service_id": self.service, "plan_id": self.plans[plan] });
        self.osb("PUT", "cache/service_bindings/b", Some(body)).await
    }

    async fn fetch(&self) -> Answer {
        self.osb("GET", "cache/service_bindings/b", None).await
    }

    async fn update(&self, plan: &str) -> Answer {
        self.broker.form("PUT", "/resources/cache", &format!("plan={plan}&team=data")).await
    }
}

fn address(answer: &Answer) -> Value {
    answer.value()["credentials"]["FAKE_ADDRESS"].clone()
}

#[tokio::test] // SPEC O-3
async fn an_update_that_goes_on_is_joined_by_its_repeat_and_by_no_other() {
    let fake = FakeBroker::new();
    let cache = Cache::with(&fake).await;
    fake.next("update", Misdeed::Hang);
    let wishes = || json!({ "parameters": { "memory": 1 } });
    let operation = cache.patch(ASYNC, 1, wishes()).await.is(202).value()["operation"].clone();

    assert_eq!(cache.patch(ASYNC, 1, wishes()).await.is(202).value()["operation"], operation);

    for other in
        [cache.patch(ASYNC, 1, json!({ "parameters": { "memory": 2 } })).await, cache.patch("", 1, wishes()).await]
    {
        assert_eq!(other.is(422).value()["error"], "ConcurrencyError");
    }
    fake.release();
    let state = async || cache.osb("GET", "cache/last_operation", None).await.value()["state"].clone();
    eventually("the update has succeeded", async || state().await == "succeeded").await;
    cache.patch(ASYNC, 1, wishes()).await.is(200);
    assert_eq!(fake.count("update"), 1);
}

#[tokio::test] // SPEC O-3, I-5
async fn an_update_that_is_being_taken_back_is_joined_by_nobody() {
    let fake = FakeBroker::new();
    let cache = Cache::with(&fake).await;
    fake.next("update", Misdeed::LoseServer);
    fake.next("update", Misdeed::LoseServer);
    fake.next("update", Misdeed::Hang);
    cache.patch("", 1, json!({})).await.is(503);
    eventually("it is taken back", async || fake.count("update") == 3).await;

    let what_it_was = cache.patch(ASYNC, 0, json!({})).await;

    assert_eq!(what_it_was.is(422).value()["error"], "ConcurrencyError");
    fake.release();
    eventually("it is as it was", async || cache.patch(ASYNC, 0, json!({})).await.status == 200).await;
}

#[tokio::test] // SPEC E-5
async fn an_authors_refusal_has_the_status_of_its_dialect() {
    let fake = FakeBroker::new();
    let cache = Cache::with(&fake).await;
    fake.next("provision", Misdeed::Refuse);
    let mut other = json!({ "service_id": cache.service, "plan_id": cache.plans[0] });
    other["organization_guid"] = "org".into();
    other["space_guid"] = "space".into();
    let refused = cache.osb("PUT", "other", Some(other)).await;
    assert_eq!(refused.is(400).value(), json!({ "description": "this provision is refused" }));
    fake.next("bind", Misdeed::Refuse);
    assert_eq!(cache.bind(0).await.is(400).value(), json!({ "description": "this bind is refused" }));

    fake.next("update", Misdeed::Refuse);
    let refused = cache.patch("", 1, json!({})).await;

    assert_eq!(refused.is(422).value(), json!({ "description": "this update is refused" }));
    cache.patch("", 1, json!({ "parameters": { "memory": "much" } })).await.is(400);
    for (call, body) in
        [("provision", "name=other&plan=small&team=data"), ("bind", "app-name=web"), ("update", "plan=large&team=data")]
    {
        fake.next(call, Misdeed::Refuse);
        let refused = match call {
            "provision" => cache.broker.form("POST", "/resources", body).await,
            "bind" => cache.broker.form("POST", "/resources/cache/bind-app", body).await,
            _ => cache.broker.form("PUT", "/resources/cache", body).await,
        };
        refused.is(400).says(&format!("this {call} is refused"));
    }
}

#[tokio::test] // SPEC B-21
async fn a_binding_leads_to_where_its_instance_moved() {
    let fake = FakeBroker::new();
    let cache = Cache::with(&fake).await;
    let before = cache.bind(0).await.is(201).value()["credentials"].clone();
    let app_before = cache.broker.bind_app("cache", "web").await.is(201).env();
    cache.update("large").await.is(200);

    let fetched = cache.fetch().await;
    let bound = cache.bind(1).await;
    let app = cache.broker.bind_app("cache", "web").await;

    assert_eq!(address(fetched.is(200)), "large.fake.test:1");
    assert_eq!(bound.is(200).value()["credentials"], fetched.value()["credentials"]);
    for name in ["FAKE_USER", "FAKE_PASSWORD"] {
        assert_eq!(fetched.value()["credentials"][name], before[name]);
        assert_eq!(app.is(201).env()[name], app_before[name]);
    }
    assert_eq!((&*app_before["FAKE_ADDRESS"], &*app.env()["FAKE_ADDRESS"]), ("fake.test:1", "large.fake.test:1"));
    assert_eq!((fake.count("bind"), fake.accounts().len()), (4, 2), "each was asked for twice");
}

#[tokio::test] // SPEC B-21
async fn a_bind_again_alone_leads_to_where_the_instance_moved() {
    let fake = FakeBroker::new();
    let cache = Cache::with(&fake).await;
    cache.bind(0).await.is(201);
    cache.patch("", 1, json!({})).await.is(200);

    assert_eq!(address(cache.bind(1).await.is(200)), "large.fake.test:1");

    cache.fetch().await.is(200);
    assert_eq!(fake.count("bind"), 2);
}

#[tokio::test] // SPEC B-21
async fn other_labels_are_nothing_to_a_binding() {
    let fake = FakeBroker::new();
    let cache = Cache::with(&fake).await;
    cache.bind(0).await.is(201);

    cache.patch("", 0, json!({ "context": { "instance_name": "renamed" } })).await.is(200);
    cache.fetch().await.is(200);

    assert_eq!((fake.count("update"), fake.count("bind")), (1, 1));
}

#[tokio::test] // SPEC B-21
async fn variables_that_lead_nowhere_are_not_told() {
    let fake = FakeBroker::new();
    let cache = Cache::of(fake.clone(), None, Duration::from_millis(50)).await;
    cache.broker.create("cache").await.is(201);
    cache.bind(0).await.is(201);
    cache.update("large").await.is(200);
    fake.set_down(true);
    cache.fetch().await.is(503);
    cache.bind(1).await.is(503);
    fake.set_down(false);
    fake.next("bind", Misdeed::Hang);

    assert_eq!(cache.fetch().await.is(422).value()["error"], "ConcurrencyError");

    fake.release();
    eventually("the binding follows", async || cache.fetch().await.status == 200).await;
    assert_eq!(address(&cache.fetch().await), "large.fake.test:1");
}

#[tokio::test] // SPEC B-21, L-3
async fn a_binding_follows_its_instance_across_a_crash() {
    let (folder, fake) = (tempfile::tempdir().unwrap(), FakeBroker::new());
    let started = async || Cache::of(fake.clone(), Some(folder.path()), Duration::from_secs(60)).await;
    let cache = started().await;
    cache.broker.create("cache").await.is(201);
    cache.bind(0).await.is(201);
    cache.broker.bind_app("cache", "web").await.is(201);
    fake.next("update", Misdeed::Hang);
    cache.patch(ASYNC, 1, json!({})).await.is(202);
    cache.broker.kill().await;

    let cache = started().await;

    eventually("the update is finished", async || cache.broker.status("cache").await.status == 204).await;
    assert_eq!(address(cache.fetch().await.is(200)), "large.fake.test:1");
    cache.update("small").await.is(200);
    cache.broker.kill().await;
    let cache = started().await;
    assert_eq!(address(cache.fetch().await.is(200)), "small.fake.test:1");
    assert_eq!(cache.broker.bind_app("cache", "web").await.is(201).env()["FAKE_ADDRESS"], "small.fake.test:1");
    assert_eq!(fake.accounts().len(), 2);
}

/// Every update moves to a new place, also one that takes another one back; the first one fails when it has moved.
#[derive(Clone, Default)]
struct Nomad(Arc<Mutex<usize>>);

#[async_trait]
impl Broker for Nomad {
    fn catalog(&self) -> Catalog {
        Catalog::new("nomad".parse().unwrap()).plan(Plan::new("small", "s")).plan(Plan::new("large", "l"))
    }

    async fn provision(&self, _: &Instance) -> Result<Notes> {
        Ok(Notes::from_iter([("place".to_owned(), 0.into())]))
    }

    async fn bind(&self, instance: &Instance, _: &Binding) -> Result<EnvVars> {
        Ok(EnvVars::default().with("FAKE_ADDRESS", instance.notes["place"].to_string()))
    }

    async fn update(&self, _: &Instance, _: &Update) -> Result<Notes> {
        let mut place = self.0.lock().await;
        *place += 1;
        if *place == 1 {
            return Err(BrokerError::failed("the wheel broke"));
        }
        Ok(Notes::from_iter([("place".to_owned(), (*place).into())]))
    }
}

#[tokio::test] // SPEC B-21, I-5
async fn what_an_author_notes_when_it_takes_a_change_back_counts() {
    let cache = Cache::of(Nomad::default(), None, Duration::from_secs(60)).await;
    cache.broker.create("cache").await.is(201);
    cache.bind(0).await.is(201);

    cache.update("large").await.is(500);

    assert_eq!(address(cache.fetch().await.is(200)), "2");
}
