//! What the framework does for a plan by itself: how long credentials work, how far slow work is, how many instances
//! there may be (SPEC B-8, B-9, L-11, I-11).

use std::{path::Path, time::Duration};

use async_trait::async_trait;
use broker_core::{
    Binding, Broker, BrokerServer, Catalog, EnvVars, Health, Instance, Notes, Plan, Result, Tenant, Update,
    testing::{Answer, FakeBroker, Misdeed, TestBroker, eventually},
};
use serde_json::{Value, json};

/// The fake broker with plans of the test's own, which says how far it is.
#[derive(Clone)]
struct Ruled {
    fake: FakeBroker,
    plans: Vec<Plan>,
}

impl Ruled {
    fn with(plans: &[Plan]) -> Self {
        Self { fake: FakeBroker::new(), plans: plans.to_vec() }
    }

    async fn start(&self) -> TestBroker {
        self.start_with(|server| server).await
    }

    async fn start_in(&self, folder: &Path) -> TestBroker {
        TestBroker::start_with(self.clone(), Some(folder), |server| server).await
    }

    async fn start_with(&self, settings: impl FnOnce(BrokerServer) -> BrokerServer + Send + 'static) -> TestBroker {
        TestBroker::start_with(self.clone(), None, settings).await
    }
}

#[async_trait]
impl Broker for Ruled {
    fn catalog(&self) -> Catalog {
        self.plans.iter().cloned().fold(Catalog::new("fake".parse().unwrap()), Catalog::plan)
    }

    async fn provision(&self, instance: &Instance) -> Result<Notes> {
        instance.progress("starting a server");
        instance.progress("copied 3\nof 10 GB");
        self.fake.provision(instance).await
    }

    async fn bind(&self, instance: &Instance, binding: &Binding) -> Result<EnvVars> {
        instance.progress("nobody reads this");
        self.fake.bind(instance, binding).await
    }

    async fn unbind(&self, instance: &Instance, binding: &Binding) -> Result<()> {
        self.fake.unbind(instance, binding).await
    }

    async fn update(&self, instance: &Instance, to: &Update) -> Result<Notes> {
        instance.progress(format!("moving to {}", to.plan));
        self.fake.update(instance, to).await
    }

    async fn deprovision(&self, instance: &Instance) -> Result<()> {
        self.fake.deprovision(instance).await
    }

    async fn reconcile(&self, tenant: &Tenant) -> Result<()> {
        self.fake.reconcile(tenant).await
    }

    async fn status(&self, instance: &Instance) -> Result<Health> {
        match instance.description.as_str() {
            "hangs" => std::future::pending().await,
            "panics" => panic!("the author's mistake"),
            _ => self.fake.status(instance).await,
        }
    }
}

async fn osb(broker: &TestBroker, method: &str, path: &str, body: Option<Value>) -> Answer {
    let request = broker.request(method, path).header("x-broker-api-version", "2.17");
    Answer::to(match body {
        Some(body) => request.header("content-type", "application/json").body(body.to_string()),
        None => request,
    })
    .await
}

/// The identifiers that a provision of a plan sends.
async fn wishes(broker: &TestBroker, plan: usize) -> Value {
    let catalog = osb(broker, "GET", "/v2/catalog", None).await.value();
    let service = &catalog["services"][0];
    json!({
        "service_id": service["id"], "plan_id": service["plans"][plan]["id"],
        "organization_guid": "org", "space_guid": "space",
    })
}

#[tokio::test] // SPEC B-8
async fn a_plan_says_how_long_replaced_credentials_work() {
    let strict = Plan::new("small", "old passwords are over at once").rotation_grace(Duration::ZERO);
    let service = Ruled::with(&[strict]);
    let broker = service.start().await;
    broker.create("cache").await.is(201);
    let old = broker.bind_app("cache", "web").await.is(201).env();

    broker.form("POST", "/resources/cache/rotate", "app-name=web").await.is(200);

    let new = broker.bind_app("cache", "web").await.is(201).env();
    eventually("the old ones are over", async || !service.fake.opens(&old)).await;
    assert!(service.fake.opens(&new));
}

#[tokio::test] // SPEC B-9
async fn credentials_of_a_plan_that_lets_them_end_do_so_and_the_next_ones_are_new() {
    let lifetime = Duration::from_millis(1500);
    let short = Plan::new("small", "short").bindings_expire_after(lifetime, Duration::from_millis(500));
    let service = Ruled::with(&[short]);
    let broker = service.start().await;
    let wishes = wishes(&broker, 0).await;
    osb(&broker, "PUT", "/v2/service_instances/one", Some(wishes.clone())).await.is(201);
    let path = "/v2/service_instances/one/service_bindings/b1";
    let bind = json!({ "service_id": wishes["service_id"], "plan_id": wishes["plan_id"] });

    let first = osb(&broker, "PUT", path, Some(bind.clone())).await.is(201).value();

    let moment =
        |name: &str| first["metadata"][name].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    assert_eq!((moment("expires_at") - moment("renew_before")).num_milliseconds(), 500);
    assert!((moment("expires_at") - chrono::Utc::now()).num_milliseconds() <= 1500);
    assert_eq!(osb(&broker, "GET", path, None).await.is(200).value()["metadata"], first["metadata"]);
    assert_eq!(osb(&broker, "PUT", path, Some(bind.clone())).await.is(200).value(), first, "a repeat lives no longer");
    eventually("access is taken away", async || service.fake.accounts().is_empty()).await;
    osb(&broker, "GET", path, None).await.is(404);
    osb(&broker, "GET", &format!("{path}/last_operation"), None).await.is(410);
    let second = osb(&broker, "PUT", path, Some(bind)).await.is(201).value();
    assert_ne!(first["credentials"]["FAKE_PASSWORD"], second["credentials"]["FAKE_PASSWORD"]);
    assert_ne!(first["credentials"]["FAKE_USER"], second["credentials"]["FAKE_USER"]);
}

#[tokio::test] // SPEC B-9
async fn an_app_keeps_its_credentials_on_a_plan_that_lets_them_end() {
    let short = Plan::new("small", "short").bindings_expire_after(Duration::from_millis(1), Duration::ZERO);
    let service = Ruled::with(&[short]);
    let broker = service.start().await;
    broker.create("cache").await.is(201);

    let env = broker.bind_app("cache", "web").await.is(201).env();

    let rounds = service.fake.count("reconcile");
    eventually("a few rounds are over", async || service.fake.count("reconcile") > rounds + 3).await;
    assert!(service.fake.opens(&env));
    assert_eq!(broker.bind_app("cache", "web").await.is(201).env(), env);
}

#[tokio::test] // SPEC L-11
async fn slow_work_says_how_far_it_is_and_the_log_keeps_the_last_line() {
    let service = Ruled::with(&[Plan::new("small", "s"), Plan::new("large", "l")]);
    let broker = service.start_with(|server| server.answer_within(Duration::from_millis(20))).await;
    service.fake.next("provision", Misdeed::Hang);
    broker.create("cache").await.is(201);

    broker.status("cache").await.is(202).says("copied 3 of 10 GB");
    let last = osb(&broker, "GET", "/v2/service_instances/cache/last_operation", None).await.is(200).value();
    assert_eq!((&last["state"], &last["description"]), (&json!("in progress"), &json!("copied 3 of 10 GB")));
    service.fake.release();
    eventually("it is up", async || broker.status("cache").await.status == 204).await;
    service.fake.next("update", Misdeed::Hang);
    broker.form("PUT", "/resources/cache", "plan=large&team=data").await.is(200);
    broker.status("cache").await.is(202).says("moving to large");
    service.fake.release();
    eventually("it is changed", async || broker.status("cache").await.status == 204).await;

    let log = broker.ask("GET", "/resources/cache/operations").await.value();
    assert_eq!((&log[0]["progress"], &log[1]["progress"]), (&json!("moving to large"), &json!("copied 3 of 10 GB")));
}

#[tokio::test] // SPEC L-5
async fn questions_and_binds_have_limits_of_their_own() {
    let service = Ruled::with(&[Plan::new("small", "s")]);
    let settings =
        |server: BrokerServer| server.look_timeout(Duration::from_millis(30)).bind_timeout(Duration::from_millis(30));
    let broker = service.start_with(settings).await;
    for how in ["hangs", "panics"] {
        broker.form("POST", "/resources", &format!("name={how}&team=data&description={how}")).await.is(201);
        broker.status(how).await.is(500);
    }
    broker.create("cache").await.is(201);
    service.fake.next("bind", Misdeed::Hang);

    broker.bind_app("cache", "web").await.is(503);

    eventually("its account is gone", async || service.fake.accounts().is_empty()).await;
    service.fake.next("provision", Misdeed::Hang);
    let create = tokio::spawn(broker.request("POST", "/resources").body("name=slow&team=data").send());
    eventually("it is being made", async || service.fake.count("provision") == 4).await;
    broker.bind_app("cache", "web").await.is(201);
    service.fake.release();
    assert_eq!(create.await.unwrap().unwrap().status().as_u16(), 201);
}

const FULL: &str = "plan \"large\" has 2 instances and may not have more, remove one or choose another plan";

async fn create_on(broker: &TestBroker, name: &str, plan: &str, team: &str) -> Answer {
    broker.form("POST", "/resources", &format!("name={name}&plan={plan}&team={team}")).await
}

#[tokio::test] // SPEC I-11
async fn a_plan_has_no_more_instances_than_it_may_however_many_ask_at_once() {
    let (folder, service) = (tempfile::tempdir().unwrap(), Ruled::with(&[Plan::new("large", "l").at_most(2)]));
    let broker = service.start_in(folder.path()).await;

    let names: Vec<String> = (0..8).map(|number| format!("race-{number}")).collect();
    let answers = futures::future::join_all(names.iter().map(|name| create_on(&broker, name, "large", "data"))).await;

    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 2);
    for refused in answers.iter().filter(|answer| answer.status != 201) {
        refused.is(400).says(FULL);
    }
    assert_eq!((service.fake.count("provision"), service.fake.instances()), (2, 2));
    let made = names.iter().zip(&answers).find(|(_, answer)| answer.status == 201).unwrap().0;
    create_on(&broker, made, "large", "data").await.is(409);
    let wishes = wishes(&broker, 0).await;
    let refused = osb(&broker, "PUT", "/v2/service_instances/one", Some(wishes)).await;
    assert_eq!(refused.is(400).value()["description"], FULL);
    broker.remove(made).await.is(200);
    create_on(&broker, "free-again", "large", "data").await.is(201);
}

#[tokio::test] // SPEC I-11
async fn a_team_has_no_more_than_its_share_and_what_fails_takes_none() {
    let service = Ruled::with(&[Plan::new("small", "s"), Plan::new("large", "l").at_most_per_team(1)]);
    let broker = service.start().await;
    service.fake.next("provision", Misdeed::Fail);
    create_on(&broker, "fails", "large", "data").await.is(500);

    create_on(&broker, "first", "large", "data").await.is(201);

    let refused = create_on(&broker, "second", "large", "data").await;
    let sentence =
        "team \"data\" has 1 instance of plan \"large\" and may not have more, remove one or choose another plan";
    refused.is(400).says(sentence);
    create_on(&broker, "others", "large", "web").await.is(201);
    create_on(&broker, "second", "small", "data").await.is(201);
    let change = async |body: &str| broker.form("PUT", "/resources/second", body).await;
    change("plan=large&team=data").await.is(400).says(sentence);
    let mut over = wishes(&broker, 1).await;
    over["context"] = json!({ "organization_guid": "a", "space_guid": "b" });
    osb(&broker, "PATCH", "/v2/service_instances/first", Some(over.clone())).await.is(200);
    let refused = osb(&broker, "PATCH", "/v2/service_instances/second", Some(over)).await;
    assert!(refused.is(422).value()["description"].as_str().unwrap().starts_with("team \"a/b\" has 1 instance"));
    change("plan=small&team=data").await.is(200);
    broker.form("PUT", "/resources/first", "plan=large&team=data").await.is(200);
    broker.status("second").await.is(204);
    broker.form("PUT", "/resources/first", "plan=large&team=data&description=new").await.is(200);
    service.fake.next("update", Misdeed::Fail);
    broker.form("PUT", "/resources/first", "plan=small&team=data").await.is(500);
    change("plan=large&team=data").await.is(400).says(sentence);
    broker.form("PUT", "/resources/first", "plan=small&team=data").await.is(200);
    change("plan=large&team=data").await.is(200);
}

#[tokio::test] // SPEC I-11
async fn what_was_made_before_there_was_a_limit_counts() {
    let (folder, service) = (tempfile::tempdir().unwrap(), Ruled::with(&[Plan::new("large", "l")]));
    let broker = service.start_in(folder.path()).await;
    for name in ["one", "two", "three"] {
        create_on(&broker, name, "large", "data").await.is(201);
    }
    broker.stop().await;

    let limited = Ruled { plans: vec![Plan::new("large", "l").at_most(2)], ..service };
    let broker = limited.start_in(folder.path()).await;

    create_on(&broker, "four", "large", "data").await.is(400).says(FULL);
    broker.form("PUT", "/resources/one", "plan=large&team=data&description=new").await.is(200);
    broker.remove("one").await.is(200);
    create_on(&broker, "four", "large", "data").await.is(400).says(FULL);
    broker.remove("two").await.is(200);
    create_on(&broker, "four", "large", "data").await.is(201);
}
