//! What an author hears of where a consumer is (SPEC B-22).

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use broker_core::{
    Binding, Broker, Catalog, EnvVars, Instance, Notes, Plan, Result,
    testing::{Answer, TestBroker},
};
use serde_json::{Value, json};

/// A service that stands in front of apps; it knows the hosts of each bind that it was asked for.
#[derive(Clone, Default)]
struct Front(Arc<Mutex<Vec<Vec<String>>>>);

#[async_trait]
impl Broker for Front {
    fn catalog(&self) -> Catalog {
        Catalog::new("front".parse().unwrap()).plan(Plan::new("small", "s"))
    }

    async fn provision(&self, _: &Instance) -> Result<Notes> {
        Ok(Notes::new())
    }

    async fn bind(&self, _: &Instance, binding: &Binding) -> Result<EnvVars> {
        self.0.lock().unwrap().push(binding.whereabouts.hosts.clone());
        let seen = serde_json::to_string(&binding.whereabouts).expect("it can be written");
        Ok(EnvVars::from([("FRONT_OF", seen.as_str()), ("FRONT_USER", binding.id.as_str())]))
    }
}

async fn with_cache() -> TestBroker {
    started(Front::default()).await
}

async fn started(front: Front) -> TestBroker {
    let broker = TestBroker::start(front).await;
    broker.create("cache").await.is(201);
    broker
}

/// What the author saw.
fn seen(env: &Value) -> Value {
    serde_json::from_str(env["FRONT_OF"].as_str().unwrap()).unwrap()
}

const APP: &str = "/resources/cache/bind-app";

#[tokio::test] // SPEC B-22: contract 4.7
async fn an_author_hears_where_an_app_is_in_either_encoding() {
    let broker = with_cache().await;
    let form = "app-cluster-addresses=https%3A%2F%2Fk1&app-cluster-addresses=https%3A%2F%2Fk2&app-cluster-name=c1\
        &app-cluster-provisioner=kubernetes&app-host=blog.test&app-hosts=blog.test&app-hosts=&app-internal-hosts=\
        tcp%3A%2F%2Fblog-web%3A8888&app-name=blog&app-pool-name=pool1&app-pool-provisioner=kubernetes";
    let json = json!({
        "appName": "shop", "appHosts": ["blog.test", ""], "appInternalHosts": ["tcp://blog-web:8888"],
        "appPoolName": "pool1", "appPoolProvisioner": "kubernetes", "appClusterName": "c1",
        "appClusterProvisioner": "kubernetes", "appClusterAddresses": ["https://k1", "https://k2"],
    });

    let (by_form, by_json) = (broker.form("POST", APP, form).await, broker.json("POST", APP, &json.to_string()).await);

    let cluster = json!({
        "name": "c1", "provisioner": "kubernetes", "addresses": ["https://k1", "https://k2"], "kube_config": null,
    });
    let expected = json!({
        "hosts": ["blog.test", ""], "internal_hosts": ["tcp://blog-web:8888"],
        "pool": { "name": "pool1", "provisioner": "kubernetes", "cluster": cluster },
        "app_guid": null, "route": null,
    });
    assert_eq!(seen(&by_form.is(201).value()), expected);
    assert_eq!(seen(&by_json.is(201).value()), expected);
}

#[tokio::test] // SPEC B-22, B-8
async fn a_bind_again_tells_where_the_app_is_now_and_a_rotation_keeps_it() {
    let front = Front::default();
    let broker = started(front.clone()).await;
    let bind = async |host: &str| broker.form("POST", APP, &format!("app-name=web&app-hosts={host}")).await.value();
    let before = bind("old.test").await;

    let after = bind("new.test").await;
    broker.form("POST", "/resources/cache/rotate", "app-name=web").await.is(200);

    assert_eq!(before["FRONT_USER"], after["FRONT_USER"]);
    assert_eq!(*front.0.lock().unwrap(), [["old.test"], ["new.test"], ["new.test"]]);
}

#[tokio::test] // SPEC B-22: contract 4.10
async fn an_author_hears_where_a_job_runs() {
    let broker = with_cache().await;
    let body = "job-name=nightly&job-pool-name=pool1&job-cluster-name=c1";

    let bound = broker.form("PUT", "/resources/cache/binds/jobs/nightly", body).await;

    let pool = seen(&bound.is(201).value())["pool"].clone();
    assert_eq!((&pool["name"], &pool["cluster"]["name"]), (&json!("pool1"), &json!("c1")));
}

#[tokio::test] // SPEC B-22
async fn an_author_hears_the_app_and_the_route_of_a_binding() {
    let broker = with_cache().await;
    let send = async |method: &str, path: &str, body: Value| {
        let request = broker.request(method, path).header("x-broker-api-version", "2.17").body(body.to_string());
        Answer::to(request).await
    };
    let service = send("GET", "/v2/catalog", Value::Null).await.value()["services"][0].clone();
    let bind = async |id: &str, field: &str, value: Value| {
        let mut body = json!({ "service_id": service["id"], "plan_id": service["plans"][0]["id"] });
        body[field] = value;
        send("PUT", &format!("/v2/service_instances/cache/service_bindings/{id}"), body).await
    };
    let told = |answer: &Answer| {
        let seen = seen(&answer.is(201).value()["credentials"]);
        (seen["app_guid"].clone(), seen["route"].clone())
    };

    assert_eq!(told(&bind("old", "app_guid", "a-1".into()).await), ("a-1".into(), Value::Null));
    let resource = json!({ "app_guid": "a-2", "route": "app.test", "unheard": [1] });
    assert_eq!(told(&bind("new", "bind_resource", resource).await), ("a-2".into(), "app.test".into()));
    assert_eq!(told(&bind("none", "bind_resource", Value::Null).await), (Value::Null, Value::Null));
    bind("wrong", "bind_resource", json!({ "app_guid": 1 })).await.is(400);
    bind("long", "bind_resource", json!({ "route": "x".repeat(5000) })).await.is(400);
}
