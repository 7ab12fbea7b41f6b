//! The framework's own brokers keep both contracts, also when their work takes long.

use std::time::Duration;

use async_trait::async_trait;
use broker_core::{
    Binding, Broker, Catalog, EnvVars, Instance, Notes, Result, Update,
    conformance::{Dialect, Variables, Verdict},
    testing::{FakeBroker, Target, TestBroker, conformance},
};

use crate::check;

/// Cases that need a second service, a maintenance version, metadata or a schema of binds.
const NOT_OFFERED: [&str; 4] = ["O51", "O63", "O131", "O141"];
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
async fn a_broker_of_the_framework_whose_work_takes_long_keeps_the_contract() {
    let fake = FakeBroker::new();
    let broker = TestBroker::start(Slow(fake.clone())).await;
    let url = broker.url();
    let mut options = target(&url).options();
    options.slow_plan = Some("large".to_owned());

    let report = check(options, async |env: &Variables| fake.opens(env), &Dialect::Osb.cases()).await;

    report.is_clean();
    for outcome in &report.outcomes {
        let skipped = matches!(outcome.verdict, Verdict::Skipped(_));
        assert!(!skipped || NOT_OFFERED.contains(&outcome.case.id), "{outcome:?}");
    }
    assert_eq!((fake.instances(), fake.accounts().len()), (0, 0));
}

/// A broker whose work on the plan `large` takes long.
struct Slow(FakeBroker);

impl Slow {
    async fn wait(&self, instance: &Instance) {
        if instance.plan.as_str() == "large" {
            tokio::time::sleep(LONG).await;
        }
    }
}

#[async_trait]
impl Broker for Slow {
    fn catalog(&self) -> Catalog {
        self.0.catalog()
    }

    async fn provision(&self, instance: &Instance) -> Result<Notes> {
        self.wait(instance).await;
        self.0.provision(instance).await
    }

    async fn bind(&self, instance: &Instance, binding: &Binding) -> Result<EnvVars> {
        self.wait(instance).await;
        self.0.bind(instance, binding).await
    }

    async fn unbind(&self, instance: &Instance, binding: &Binding) -> Result<()> {
        self.wait(instance).await;
        self.0.unbind(instance, binding).await
    }

    async fn update(&self, instance: &Instance, to: &Update) -> Result<Notes> {
        self.wait(instance).await;
        self.0.update(instance, to).await
    }

    async fn deprovision(&self, instance: &Instance) -> Result<()> {
        self.wait(instance).await;
        self.0.deprovision(instance).await
    }
}
