//! What an author hears of who asks, and of where the platform has an instance (SPEC L-13, O-15).

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use broker_core::{
    Actor, Binding, Broker, Catalog, EnvVars, Instance, Notes, Plan, Result, Update,
    testing::{Answer, TestBroker},
};
use serde_json::{Value, json};

/// A service that writes down what it hears with each call.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<Heard>>>);

#[derive(Clone, Debug, PartialEq)]
struct Heard {
    call: &'static str,
    by: Actor,
    context: Value,
}

impl Listener {
    fn hears(&self, call: &'static str, by: &Actor, context: &broker_core::Parameters) {
        self.0.lock().unwrap().push(Heard { call, by: by.clone(), context: context.clone().into() });
    }

    /// What was heard since the last look.
    fn heard(&self) -> Vec<Heard> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

#[async_trait]
impl Broker for Listener {
    fn catalog(&self) -> Catalog {
        Catalog::new("ear".parse().unwrap()).plan(Plan::new("small", "s"))
    }

    async fn provision(&self, instance: &Instance) -> Result<Notes> {
        self.hears("provision", &instance.asked_by, &instance.context);
        Ok(Notes::new())
    }

    async fn update(&self, instance: &Instance, _: &Update) -> Result<Notes> {
        self.hears("update", &instance.asked_by, &instance.context);
        Ok(Notes::new())
    }

    async fn deprovision(&self, instance: &Instance) -> Result<()> {
        self.hears("deprovision", &instance.asked_by, &instance.context);
        Ok(())
    }

    async fn bind(&self, _: &Instance, binding: &Binding) -> Result<EnvVars> {
        self.hears("bind", &binding.asked_by, &binding.whereabouts.context);
        Ok(EnvVars::from([("EAR", binding.id.as_str())]))
    }

    async fn unbind(&self, _: &Instance, binding: &Binding) -> Result<()> {
        self.hears("unbind", &binding.asked_by, &binding.whereabouts.context);
        Ok(())
    }
}

fn heard(call: &'static str, by: &str, context: Value) -> Heard {
    let (user, event) = by.split_once(' ').unwrap();
    Heard { call, by: Actor::new(user, event), context }
}

#[tokio::test] // SPEC L-13
async fn an_author_hears_who_asked_in_the_platforms_words() {
    let ear = Listener::default();
    let broker = TestBroker::start(ear.clone()).await;
    let by = |who: &str, event: &str| format!("user={who}%40example.com&eventid={event}");

    let body = format!("name=cache&plan=small&team=data&{}", by("ann", "e1"));
    broker.form("POST", "/resources", &body).await.is(201);
    broker.form("PUT", "/resources/cache", &format!("team=data&description=x&{}", by("bob", "e2"))).await.is(200);
    let app = |who, event| format!("app-name=web&{}", by(who, event));
    broker.form("POST", "/resources/cache/bind-app", &app("cat", "e3")).await.is(201);
    broker.form("DELETE", "/resources/cache/bind-app", &app("dan", "e4")).await.is(200);
    broker.form("POST", "/resources/cache/bind-app", &app("eve", "e5")).await.is(201);
    broker.form("DELETE", "/resources/cache", &by("fay", "e6")).await.is(200);

    let expected = [
        ("provision", "ann@example.com e1"),
        ("update", "bob@example.com e2"),
        ("bind", "cat@example.com e3"),
        ("unbind", "dan@example.com e4"),
        ("bind", "eve@example.com e5"),
        ("unbind", "fay@example.com e6"),
        ("deprovision", "fay@example.com e6"),
    ];
    assert_eq!(ear.heard(), expected.map(|(call, by)| heard(call, by, json!({}))));
}

/// A request of Open Service Broker by somebody.
async fn ask(broker: &TestBroker, method: &str, path: &str, who: &str, body: &Value) -> Answer {
    let origin = STANDARD.encode(json!({ "user_id": who }).to_string());
    let request = broker
        .request(method, path)
        .header("x-broker-api-version", "2.17")
        .header("x-broker-api-originating-identity", format!("cloudfoundry {origin}"))
        .header("x-broker-api-request-identity", format!("of-{who}"))
        .header("content-type", "application/json");
    Answer::to(request.body(body.to_string())).await
}

#[tokio::test] // SPEC L-13, O-15
async fn an_author_hears_the_context_of_open_service_broker_whole() {
    let ear = Listener::default();
    let broker = TestBroker::start(ear.clone()).await;
    let catalog = ask(&broker, "GET", "/v2/catalog", "x", &json!({})).await.value();
    let service = &catalog["services"][0];
    let with = |context: &Value| {
        json!({
            "service_id": service["id"], "plan_id": service["plans"][0]["id"], "organization_guid": "o",
            "space_guid": "s", "context": context,
        })
    };
    let first = json!({ "platform": "kubernetes", "namespace": "shop", "clusterid": "k1", "labels": { "a": ["b"] } });
    let later = json!({ "platform": "kubernetes", "namespace": "store", "clusterid": "k1" });
    let of_app = json!({ "platform": "cloudfoundry", "space_name": "other" });
    let path = "/v2/service_instances/i1";

    ask(&broker, "PUT", path, "ann", &with(&first)).await.is(201);
    ask(&broker, "PUT", path, "ann", &with(&later)).await.is(200);
    let bind = format!("{path}/service_bindings/b1");
    ask(&broker, "PUT", &bind, "cat", &with(&of_app)).await.is(201);
    let no_change = json!({ "service_id": service["id"], "context": later });
    ask(&broker, "PATCH", path, "bob", &no_change).await.is(200);
    let change = json!({ "service_id": service["id"], "parameters": { "x": 1 } });
    ask(&broker, "PATCH", path, "bob", &change).await.is(200);
    let ids = format!("service_id={}&plan_id={}", service["id"], service["plans"][0]["id"]).replace('"', "");
    ask(&broker, "DELETE", &format!("{path}?{ids}"), "fay", &json!({})).await.is(200);

    let expected = [
        heard("provision", "cloudfoundry:ann of-ann", first),
        heard("bind", "cloudfoundry:cat of-cat", of_app.clone()),
        heard("update", "cloudfoundry:bob of-bob", later.clone()),
        heard("unbind", "cloudfoundry:fay of-fay", of_app),
        heard("deprovision", "cloudfoundry:fay of-fay", later),
    ];
    assert_eq!(ear.heard(), expected);
}
