//! The framework's own brokers keep both contracts, also when their work takes long.

use std::time::Duration;

use async_trait::async_trait;
use broker_core::{
    Binding, Broker, BrokerServer, Catalog, EnvVars, InfoItem, Instance, Notes, Plan, Result, Update,
    conformance::{Dialect, Options, Variables, cases},
    testing::{FakeBroker, Target, TestBroker, conformance},
};
use serde_json::{Value, json};

use crate::check;

/// Cases of what no broker of the framework has: a path before its own (`broker-check` is given that by an operator), a
/// text of a good status, no binds of jobs, a second service.
const LEFT_OUT: [&str; 4] = ["A15", "A60", "A95", "O51"];
/// Cases of services for several clusters, which have a test of their own.
const OF_CLUSTERS: [&str; 2] = ["A23", "A24"];
/// Longer than a platform that accepts unfinished work is kept waiting.
const LONG: Duration = Duration::from_millis(2500);

fn target(url: &str) -> Target<'_> {
    Target::new(url, "small")
}

#[tokio::test]
async fn a_broker_of_the_framework_keeps_both_contracts() {
    let fake = FakeBroker::new();
    let broker = TestBroker::start(fake.clone()).await;

    let report = conformance(&target(&broker.url()), async |env| fake.opens(env)).await;

    report.is_clean();
    assert!(report.count() > 250, "only {} cases ran", report.count());
    assert_eq!((fake.instances(), fake.accounts().len()), (0, 0));
}

#[tokio::test]
async fn a_broker_that_offers_all_there_is_keeps_both_contracts_and_no_case_is_left_out() {
    let (fake, catalog) = (FakeBroker::new(), catalog());
    let broker = TestBroker::start_with(Offering { fake: fake.clone(), catalog }, None, impatient).await;
    let url = broker.url();

    let report = check(options(&url), async |env: &Variables| fake.opens(env), &cases()).await;

    report.is_clean();
    assert_eq!(report.skipped(), [&LEFT_OUT[..], &OF_CLUSTERS].concat().into_iter().collect());
    assert_eq!((fake.instances(), fake.accounts().len()), (0, 0));
}

#[tokio::test]
async fn a_broker_that_serves_several_clusters_keeps_the_contract() {
    let (fake, catalog) = (FakeBroker::new(), catalog().needs_cluster());
    let broker = TestBroker::start_with(Offering { fake: fake.clone(), catalog }, None, impatient).await;
    let url = broker.url();
    let mut options = options(&url);
    options.pool = Some(("pool1".to_owned(), "cluster1".to_owned()));

    let report = check(options, async |env: &Variables| fake.opens(env), &Dialect::Tsuru.cases()).await;

    report.is_clean();
    assert_eq!(report.skipped(), LEFT_OUT.into_iter().filter(|id| id.starts_with('A')).collect());
    assert_eq!((fake.instances(), fake.accounts().len()), (0, 0));
}

/// What takes long is not waited for.
fn impatient(server: BrokerServer) -> BrokerServer {
    server.answer_within(Duration::from_millis(500))
}

/// All that the checker may know of a broker.
fn options(url: &str) -> Options {
    let mut options = target(url).options();
    options.slow_plan = Some("large".to_owned());
    options.integer_parameter = Some("memory".to_owned());
    options.list_parameter = Some("hosts".to_owned());
    options.dotted_parameter = Some(("a.b".to_owned(), "x".to_owned()));
    options
}

/// Plans with all that a plan may have.
fn catalog() -> Catalog {
    let create = json!({
        "type": "object",
        "properties": {
            "memory": { "type": "integer", "minimum": 1 },
            "hosts": { "type": "array", "items": { "type": "string" } },
            "a.b": { "type": "string" },
        },
    });
    let bind = json!({ "type": "object", "properties": { "mode": { "type": "string", "enum": ["ro", "rw"] } } });
    let plan = |name: &str| {
        let plan = Plan::new(name, "one").schema(create.clone()).bind_schema(bind.clone());
        let (day, hour) = (Duration::from_secs(86_400), Duration::from_secs(3600));
        plan.maintenance("1.2.0", "newer").bindings_expire_after(day, hour).metadata("bullets", json!(["all of it"]))
    };
    Catalog::new("fake".parse().unwrap()).plan(plan("small")).plan(plan("large"))
}

/// A broker that shows its instances' parameters, and whose work on the plan `large` takes long.
struct Offering {
    fake: FakeBroker,
    catalog: Catalog,
}

impl Offering {
    async fn wait(&self, instance: &Instance) {
        if instance.plan.as_str() == "large" {
            tokio::time::sleep(LONG).await;
        }
    }
}

#[async_trait]
impl Broker for Offering {
    fn catalog(&self) -> Catalog {
        self.catalog.clone()
    }

    async fn provision(&self, instance: &Instance) -> Result<Notes> {
        self.wait(instance).await;
        self.fake.provision(instance).await
    }

    async fn bind(&self, instance: &Instance, binding: &Binding) -> Result<EnvVars> {
        self.wait(instance).await;
        self.fake.bind(instance, binding).await
    }

    async fn unbind(&self, instance: &Instance, binding: &Binding) -> Result<()> {
        self.wait(instance).await;
        self.fake.unbind(instance, binding).await
    }

    async fn update(&self, instance: &Instance, to: &Update) -> Result<Notes> {
        self.wait(instance).await;
        self.fake.update(instance, to).await
    }

    async fn deprovision(&self, instance: &Instance) -> Result<()> {
        self.wait(instance).await;
        self.fake.deprovision(instance).await
    }

    async fn info(&self, instance: &Instance) -> Result<Vec<InfoItem>> {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Ok(instance.parameters.iter().map(|(name, value)| InfoItem::new(name, text(value))).collect())
    }
}
