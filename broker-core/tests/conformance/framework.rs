//! The framework's own brokers keep both contracts.

use broker_core::{
    conformance::Verdict,
    testing::{FakeBroker, PASSWORD, Target, TestBroker, USERNAME, conformance},
};

#[tokio::test]
async fn a_broker_of_the_framework_keeps_both_contracts() {
    let fake = FakeBroker::new();
    let broker = TestBroker::start(fake.clone()).await;
    let target = Target { url: &broker.url(), username: USERNAME, password: PASSWORD, plan: "small" };

    let report = conformance(&target, async |env| fake.opens(env)).await;

    for outcome in &report.outcomes {
        if let Verdict::Skipped(reason) = &outcome.verdict {
            println!("{} {reason}", outcome.case.id);
        }
    }
    report.is_clean();
    assert_eq!((fake.instances(), fake.accounts().len()), (0, 0));
}
