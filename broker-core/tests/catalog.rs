//! What a catalog says and what follows from it, in both dialects; dashboards and the author's measurements.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use broker_core::{
    Binding, Broker, BrokerError, BrokerServer, Catalog, EnvVars, InfoItem, Instance, Metric, Notes, Plan, Result,
    Secret, ServeError, State, Tenant, Update,
    testing::{Answer, TestBroker},
};
use serde_json::{Value, json};

/// A service whose plan `small` is at the version it is made with, and which remembers its updates.
#[derive(Clone)]
struct Shop {
    version: &'static str,
    updates: Arc<Mutex<Vec<Versions>>>,
    scraped: Arc<Mutex<usize>>,
}

/// That an instance was on, and that it was to get.
type Versions = (Option<String>, Option<String>);

impl Shop {
    fn at(version: &'static str) -> Self {
        Self { version, updates: Arc::default(), scraped: Arc::default() }
    }

    /// The same shop, later.
    fn now_at(&self, version: &'static str) -> Self {
        Self { version, ..self.clone() }
    }
}

#[async_trait]
impl Broker for Shop {
    fn catalog(&self) -> Catalog {
        let wait = std::time::Duration::from_secs(90);
        Catalog::new("shop".parse().unwrap())
            .description("Shops of all sizes")
            .tag("shop")
            .metadata("documentationUrl", "https://docs.test")
            .plan(Plan::new("small", "a stall").maintenance(self.version, "doors close for a minute").poll_for(wait))
            .plan(Plan::new("large", "a hall").cost(4.5, "eur", "MONTHLY").metadata("bullets", json!(["heated"])))
            .plan(Plan::new("closed", "nobody gets in").unbindable().fixed())
    }

    async fn provision(&self, instance: &Instance) -> Result<Notes> {
        if instance.parameters.contains_key("slowly") {
            std::future::pending::<()>().await;
        }
        Ok(Notes::new())
    }

    async fn bind(&self, _: &Instance, _: &Binding) -> Result<EnvVars> {
        Ok(EnvVars::from([("SHOP", "open")]))
    }

    async fn update(&self, instance: &Instance, to: &Update) -> Result<Notes> {
        self.updates.lock().unwrap().push((instance.maintenance.clone(), to.maintenance.clone()));
        if instance.description == "broken" {
            return Err(BrokerError::failed("the door is stuck"));
        }
        Ok(instance.notes.clone())
    }

    async fn info(&self, _: &Instance) -> Result<Vec<InfoItem>> {
        Ok(vec![InfoItem::new("Address", "Market 7")])
    }

    fn dashboard(&self, instance: &Instance) -> Option<String> {
        Some(format!("https://shops.test/{}", instance.name))
    }

    async fn metrics(&self) -> Result<Vec<Metric>> {
        *self.scraped.lock().unwrap() += 1;
        let of = |instance: &str, value| Metric::gauge("goods", "Goods on them", value).label("instance", instance);
        let shelves = Metric::gauge("shelves", "Shelves in use", 3.0).label("plan", "small");
        Ok(vec![shelves, of("mine", 7.0), of("theirs", 9.0)])
    }

    async fn instance_metrics(&self, Tenant { instance, bindings, .. }: &Tenant) -> Result<Option<Vec<Metric>>> {
        *self.scraped.lock().unwrap() += 1;
        match instance.plan.as_str() {
            "small" => Ok(None),
            "large" => Ok(Some(vec![Metric::gauge("guests", "People inside", f64::from(bindings.len() as u8))])),
            _ => Err(BrokerError::unavailable("nobody counts there")),
        }
    }
}

async fn osb(broker: &TestBroker, method: &str, path: &str, body: Option<Value>) -> Answer {
    let request = broker.request(method, &format!("/v2/{path}")).header("x-broker-api-version", "2.17");
    Answer::to(match body {
        Some(body) => request.header("content-type", "application/json").body(body.to_string()),
        None => request,
    })
    .await
}

async fn service(broker: &TestBroker) -> Value {
    osb(broker, "GET", "catalog", None).await.is(200).value()["services"][0].clone()
}

/// What a platform wants of an instance on a plan, by its place in the catalog.
fn wishes(service: &Value, plan: usize, version: Option<&str>) -> Value {
    let mut wishes = json!({
        "service_id": service["id"], "plan_id": service["plans"][plan]["id"],
        "organization_guid": "org", "space_guid": "space",
    });
    if let Some(version) = version {
        wishes["maintenance_info"] = json!({ "version": version });
    }
    wishes
}

#[tokio::test] // SPEC O-21
async fn the_catalog_shows_what_the_author_says_of_service_and_plans() {
    let broker = TestBroker::start(Shop::at("1.0.0")).await;

    let service = service(&broker).await;

    assert_eq!((&service["description"], &service["tags"]), (&json!("Shops of all sizes"), &json!(["shop"])));
    assert_eq!(service["metadata"], json!({ "documentationUrl": "https://docs.test" }));
    let [small, large, closed] = [0, 1, 2].map(|plan: usize| service["plans"][plan].clone());
    assert_eq!(small["maintenance_info"], json!({ "version": "1.0.0", "description": "doors close for a minute" }));
    assert_eq!((&small["maximum_polling_duration"], &small["free"]), (&json!(90), &json!(true)));
    let cost = json!([{ "amount": { "eur": 4.5 }, "unit": "MONTHLY" }]);
    assert_eq!(large["metadata"], json!({ "costs": cost, "bullets": ["heated"] }));
    assert_eq!((&large["free"], &large["maintenance_info"]), (&json!(false), &Value::Null));
    assert_eq!((&closed["bindable"], &closed["binding_rotatable"]), (&json!(false), &json!(false)));
    assert_eq!((&closed["plan_updateable"], &small["plan_updateable"]), (&json!(false), &json!(true)));
}

#[tokio::test] // SPEC B-20, I-20
async fn what_a_plan_rules_out_is_refused_in_both_dialects() {
    let shop = Shop::at("1.0.0");
    let broker = TestBroker::start(shop.clone()).await;
    let service = service(&broker).await;
    broker.form("POST", "/resources", "name=vault&plan=closed&team=data").await.is(201);

    broker.bind_app("vault", "web").await.is(400).says("instances on plan \"closed\" cannot be bound");
    let bind = json!({ "service_id": service["id"], "plan_id": service["plans"][2]["id"] });
    osb(&broker, "PUT", "service_instances/vault/service_bindings/b", Some(bind)).await.is(400);
    broker.form("PUT", "/resources/vault", "plan=small&team=data").await.is(400);
    let change = json!({ "service_id": service["id"], "plan_id": service["plans"][0]["id"] });
    osb(&broker, "PATCH", "service_instances/vault", Some(change)).await.is(422);

    assert!(shop.updates.lock().unwrap().is_empty());
    broker.form("PUT", "/resources/vault", "plan=closed&team=other").await.is(200);
}

#[tokio::test] // SPEC O-20, I-21
async fn an_instance_moves_to_a_new_maintenance_version_when_an_update_names_it() {
    let (folder, shop) = (tempfile::tempdir().unwrap(), Shop::at("1.0.0"));
    let broker = TestBroker::start_with(shop.clone(), Some(folder.path()), |server| server).await;
    let catalog = service(&broker).await;
    let old = "service_instances/old";
    osb(&broker, "PUT", old, Some(wishes(&catalog, 0, Some("0.9.0")))).await.is(422);
    osb(&broker, "PUT", old, Some(wishes(&catalog, 0, Some("1.0.0")))).await.is(201);
    assert_eq!(osb(&broker, "GET", old, None).await.value()["maintenance_info"], json!({ "version": "1.0.0" }));
    broker.stop().await;

    let broker = TestBroker::start_with(shop.now_at("1.1.0"), Some(folder.path()), |server| server).await;

    osb(&broker, "PUT", old, Some(wishes(&catalog, 0, None))).await.is(200);
    let info = broker.ask("GET", "/resources/old").await.is(200).body.clone();
    assert!(info.contains("1.1.0 is there, the instance is on 1.0.0"), "{info}");
    let change = |version: Option<&str>| Some(wishes(&catalog, 0, version));
    let refusal = osb(&broker, "PATCH", old, change(Some("1.0.0"))).await.is(422).value();
    assert_eq!(refusal["error"], "MaintenanceInfoConflict");
    osb(&broker, "PATCH", old, Some(json!({ "service_id": catalog["id"], "maintenance_info": {} }))).await.is(400);
    osb(&broker, "PATCH", old, change(None)).await.is(200);
    assert!(shop.updates.lock().unwrap().is_empty(), "nothing was to be changed");
    osb(&broker, "PATCH", old, change(Some("1.1.0"))).await.is(200);
    osb(&broker, "PATCH", old, change(Some("1.1.0"))).await.is(200);
    let (before, after) = (Some("1.0.0".to_owned()), Some("1.1.0".to_owned()));
    assert_eq!(*shop.updates.lock().unwrap(), [(before, after)]);
    assert_eq!(osb(&broker, "GET", old, None).await.value()["maintenance_info"], json!({ "version": "1.1.0" }));
    assert!(!broker.ask("GET", "/resources/old").await.body.contains("Update"));
}

#[tokio::test] // SPEC I-21
async fn an_update_of_the_other_dialect_moves_too_and_one_that_fails_does_not() {
    let (folder, shop) = (tempfile::tempdir().unwrap(), Shop::at("1.0.0"));
    let broker = TestBroker::start_with(shop.clone(), Some(folder.path()), |server| server).await;
    let [fine, broken] = [("fine", "description="), ("broken", "description=broken")];
    for (name, more) in [fine, broken] {
        broker.form("POST", "/resources", &format!("name={name}&plan=small&team=data&{more}")).await.is(201);
    }
    broker.stop().await;
    let broker = TestBroker::start_with(shop.now_at("2.0.0"), Some(folder.path()), |server| server).await;

    broker.form("PUT", "/resources/fine", "plan=small&team=data").await.is(200);
    broker.form("PUT", "/resources/broken", "plan=small&team=data&description=broken").await.is(500);

    let version = async |name: &str| {
        let fetched = osb(&broker, "GET", &format!("service_instances/{name}"), None).await.is(200).value();
        fetched["maintenance_info"]["version"].clone()
    };
    assert_eq!((version("fine").await, version("broken").await), (json!("2.0.0"), json!("1.0.0")));
    broker.form("PUT", "/resources/fine", "plan=large&team=data").await.is(200);
    assert_eq!(version("fine").await, Value::Null, "the other plan has no versions");
}

#[tokio::test] // SPEC O-22
async fn a_dashboard_is_shown_wherever_the_instance_is() {
    let broker = TestBroker::start(Shop::at("1.0.0")).await;
    let catalog = service(&broker).await;
    let url = json!("https://shops.test/x1");

    let made = osb(&broker, "PUT", "service_instances/x1", Some(wishes(&catalog, 0, None))).await.is(201).value();

    let fetched = osb(&broker, "GET", "service_instances/x1", None).await.is(200).value();
    assert_eq!((&made["dashboard_url"], &fetched["dashboard_url"]), (&url, &url));
    let mut slow = wishes(&catalog, 0, None);
    slow["parameters"] = json!({ "slowly": true });
    let accepted =
        osb(&broker, "PUT", "service_instances/x2?accepts_incomplete=true", Some(slow)).await.is(202).value();
    assert_eq!(accepted["dashboard_url"], "https://shops.test/x2");
    assert!(accepted["operation"].is_string());
    osb(
        &broker,
        "DELETE",
        &format!(
            "service_instances/x2?service_id={}&plan_id={}",
            catalog["id"].as_str().unwrap(),
            catalog["plans"][0]["id"].as_str().unwrap()
        ),
        None,
    )
    .await
    .is(200);
    let info = broker.ask("GET", "/resources/x1").await.is(200).value();
    let expected = json!([{"label": "Address", "value": "Market 7"}, {"label": "Dashboard", "value": url}]);
    assert_eq!(info, expected);
}

#[tokio::test] // SPEC T-22
async fn the_authors_measurements_are_scraped_once_however_often_somebody_looks() {
    let shop = Shop::at("1.0.0");
    let broker = TestBroker::start(shop.clone()).await;

    for _ in 0..5 {
        let text = broker.ask("GET", "/metrics").await.is(200).body.clone();
        assert!(text.contains("\nshop_shelves{plan=\"small\"} 3"), "{text}");
        assert_eq!(text.matches("# EOF").count(), 1);
    }

    assert_eq!(*shop.scraped.lock().unwrap(), 1);
}

#[tokio::test] // SPEC Y-9
async fn users_get_the_measurements_of_their_instance_and_no_others() {
    let shop = Shop::at("1.0.0");
    let broker = TestBroker::start(shop.clone()).await;
    broker.form("POST", "/resources", "name=mine&plan=small&team=t&user=u%40example.com").await.is(201);

    for _ in 0..3 {
        let text = broker.ask("GET", "/resources/mine/metrics").await.is(200).body.clone();
        let expected = "# HELP shop_goods Goods on them\n# TYPE shop_goods gauge\n\
            shop_goods{instance=\"mine\"} 7.0\n# EOF\n";
        assert_eq!(text, expected);
    }

    assert_eq!(*shop.scraped.lock().unwrap(), 2, "once for all, and once for the instance");
    broker.form("POST", "/resources", "name=hall&plan=large&team=t&user=u%40example.com").await.is(201);
    broker.form("POST", "/resources/hall/bind-app", "app-name=blog&user=u%40example.com").await.is(201);
    for _ in 0..3 {
        let text = broker.ask("GET", "/resources/hall/metrics").await.is(200).body.clone();
        assert_eq!(text, "# HELP shop_guests People inside\n# TYPE shop_guests gauge\nshop_guests{} 1.0\n# EOF\n");
    }
    assert_eq!(*shop.scraped.lock().unwrap(), 3);
    broker.form("POST", "/resources", "name=ruin&plan=closed&team=t&user=u%40example.com").await.is(201);
    broker.ask("GET", "/resources/ruin/metrics").await.is(503);
    broker.ask("GET", "/resources/theirs/metrics").await.is(404);
}

#[tokio::test] // SPEC O-20
async fn a_version_that_platforms_cannot_compare_keeps_the_broker_from_starting() {
    let server = BrokerServer::new(Shop::at("seven"), State::in_memory()).accept("x", &Secret::from("y"));

    let refusal = server.bind(([127, 0, 0, 1], 0).into()).await.unwrap_err();

    assert!(matches!(&refusal, ServeError::Catalog(why) if why.contains("seven")), "{refusal}");
}
