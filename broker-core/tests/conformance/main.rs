//! The checker itself: a right broker passes, and for each case a broker that is wrong in just that fails.

mod broker;
mod framework;

use std::time::Duration;

use broker::{PASSWORD, ScriptedBroker, USERNAME};
use broker_core::{
    Secret,
    conformance::{Case, Dialect, Options, Report, Run, Variables, Verdict},
};

/// Cases that a broker with every feature can't be tried on.
const SKIPPED: [&str; 1] = ["A95"];

async fn check(broker: &ScriptedBroker, cases: &[Case]) -> Report {
    let mut options = Options::new(&broker.url(), USERNAME, Secret::from(PASSWORD));
    options.plan = Some("small".to_owned());
    options.slow_plan = Some("slow".to_owned());
    options.pool = Some(("p".to_owned(), "c".to_owned()));
    options.integer_parameter = Some("size".to_owned());
    options.list_parameter = Some("hosts".to_owned());
    options.dotted_parameter = Some(("a.b".to_owned(), "v".to_owned()));
    options.timeout = Duration::from_millis(700);
    options.ready_within = Duration::from_millis(900);
    let opens = async |env: &Variables| broker.opens(env);
    let run = Run::new(options, &opens).await.expect("the broker answers");
    run.cases(cases, |_| ()).await
}

#[tokio::test]
async fn a_right_broker_passes_every_case_and_keeps_nothing() {
    let broker = ScriptedBroker::start("").await;

    let report = check(&broker, &Dialect::Tsuru.cases()).await;

    report.is_clean();
    for outcome in &report.outcomes {
        if let Verdict::Skipped(reason) = &outcome.verdict {
            assert!(SKIPPED.contains(&outcome.case.id), "{} was skipped: {reason}", outcome.case.id);
        }
    }
    assert_eq!(broker.instances(), 0, "something was left behind");
}

#[tokio::test]
async fn each_case_fails_alone_against_a_broker_that_is_wrong_in_it() {
    let mut cannot_fail = Vec::new();
    for case in Dialect::Tsuru.cases() {
        let broker = ScriptedBroker::start(case.id).await;

        let report = check(&broker, &[case]).await;

        if !matches!(report.verdict(case.id), Some(Verdict::Failed { .. })) {
            cannot_fail.push(format!("{}: {:?}", case.id, report.verdict(case.id)));
        }
    }
    assert!(cannot_fail.is_empty(), "cases that do not fail:\n{}", cannot_fail.join("\n"));
}
