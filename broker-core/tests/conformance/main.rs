//! The checker itself: a right broker passes, each case fails where a broker is wrong in just what it asks for, and no
//! assertion of a case is left that no wrong broker makes fail.

mod assertions;

mod document;
mod framework;
mod mistake;
mod osb;
mod tsuru;

use std::time::Duration;

use assertions::Unseen;

use broker_core::{
    Secret,
    conformance::{Case, Dialect, Options, Report, Run, Variables, Verdict},
};
use futures::{
    StreamExt as _,
    future::{join, join_all},
    stream,
};
use mistake::Mistake;
use osb::OsbBroker;
use tsuru::{PASSWORD, ScriptedBroker, USERNAME};

/// Cases that a broker with every feature can't be tried on.
const SKIPPED: [&str; 1] = ["A95"];
/// Mistakes that all cases are run with, as cases prepare themselves with what is broken.
const BROKEN_TSURU: [&str; 6] = ["A26", "A64", "A81 status", "A86", "A98 first", "A101"];
const BROKEN_OSB: [&str; 5] = ["O31", "O31 crash", "O65", "O65 list", "O113"];
/// How many wrong brokers are checked at once.
const AT_ONCE: usize = 64;
/// How many parts the cases of one broker are run in, at once.
const PARTS: usize = 24;
/// How long a broker may take that is wrong in taking for ever.
const HASTE: Duration = Duration::from_secs(4);

fn options() -> Options {
    let mut options = Options::new("", USERNAME, Secret::from(PASSWORD));
    options.plan = Some("small".to_owned());
    options.slow_plan = Some("slow".to_owned());
    options.pool = Some(("p".to_owned(), "c".to_owned()));
    options.integer_parameter = Some("size".to_owned());
    options.list_parameter = Some("hosts".to_owned());
    options.dotted_parameter = Some(("a.b".to_owned(), "v".to_owned()));
    options.timeout = Duration::from_secs(20);
    options.ready_within = Duration::from_secs(20);
    options
}

pub(crate) async fn check(options: Options, opens: impl AsyncFn(&Variables) -> bool, cases: &[Case]) -> Report {
    // Neighbours are alike: slow ones are spread over the parts.
    let parts = (0..PARTS.min(cases.len())).map(async |first| {
        let run = Run::new(options.clone(), &opens).await.expect("the broker answers");
        let part: Vec<_> = cases.iter().skip(first).step_by(PARTS).copied().collect();
        run.cases(&part, |_| ()).await
    });
    let mut whole = Report::default();
    for part in join_all(parts).await {
        whole.outcomes.extend(part.outcomes);
        whole.left_behind.extend(part.left_behind);
    }
    whole
}

/// Checks a broker of the dialect that is wrong in something, or right in all, and has these options.
async fn check_scripted(wrong: &str, dialect: Dialect, cases: &[Case], options: Options) -> (Report, usize) {
    match dialect {
        Dialect::Tsuru => {
            let broker = ScriptedBroker::start(wrong).await;
            let options = at(options, broker.url());
            let report = check(options, async |env: &Variables| broker.opens(env), cases).await;
            (report, broker.instances())
        }
        Dialect::Osb => {
            let broker = OsbBroker::start(wrong).await;
            let options = at(options, broker.url());
            let report = check(options, async |env: &Variables| broker.opens(env), cases).await;
            (report, broker.instances())
        }
    }
}

fn at(mut options: Options, url: String) -> Options {
    options.url = url;
    options
}

/// Checks the case of a mistake.
async fn check_mistake(mistake: &Mistake<'_>, dialect: Dialect) -> Report {
    let mut options = options();
    match mistake.name {
        "A11" | "A81" => options.timeout = HASTE,
        "A62" | "A103" => options.ready_within = Duration::from_secs(1),
        // No mistake of the broker: a request that can't be sent.
        "A24 header" => options.pool = Some(("two\nlines".to_owned(), "c".to_owned())),
        _ => {}
    }
    check_scripted(mistake.name, dialect, &[mistake.case], options).await.0
}

/// Checks all cases with a broker that can't do something, and is not waited for.
async fn check_broken(wrong: &str, dialect: Dialect) -> Report {
    let mut options = options();
    options.ready_within = Duration::from_millis(100);
    check_scripted(wrong, dialect, &dialect.cases(), options).await.0
}

async fn a_right_broker_passes(dialect: Dialect) {
    let (report, left) = check_scripted("", dialect, &dialect.cases(), options()).await;

    report.is_clean();
    for outcome in &report.outcomes {
        if let Verdict::Skipped(reason) = &outcome.verdict {
            assert!(SKIPPED.contains(&outcome.case.id), "{} was skipped: {reason}", outcome.case.id);
        }
    }
    assert_eq!(left, 0, "something was left behind");
}

async fn each_mistake_fails_its_case_and_each_assertion_fails(dialect: Dialect, mistakes: &str, broken: &[&str]) {
    let mistakes = Mistake::all(mistakes, &dialect.cases());
    let broken = join_all(broken.iter().map(|name| check_broken(name, dialect)));
    let checks = stream::iter(mistakes).map(async |mistake| {
        let report = check_mistake(&mistake, dialect).await;
        (mistake.differs(report.verdict(mistake.case.id)), report)
    });
    let (checked, broken) = join(checks.buffered(AT_ONCE).collect::<Vec<_>>(), broken).await;

    let differing: Vec<_> = checked.iter().filter_map(|(line, _)| line.as_deref()).collect();
    assert!(differing.is_empty(), "mistakes whose case ends otherwise:\n{}", differing.join("\n"));
    let mut unseen = Unseen::all(dialect);
    checked.iter().map(|(_, report)| report).for_each(|report| unseen.saw(report));
    broken.iter().for_each(|report| unseen.saw(report));
    unseen.are_none();
}

#[tokio::test]
async fn a_right_tsuru_broker_passes_every_case_and_keeps_nothing() {
    a_right_broker_passes(Dialect::Tsuru).await;
}

#[tokio::test]
async fn a_right_open_service_broker_passes_every_case_and_keeps_nothing() {
    a_right_broker_passes(Dialect::Osb).await;
}

#[tokio::test]
async fn each_mistake_of_a_tsuru_broker_fails_its_case_where_the_mistake_shows() {
    let mistakes = include_str!("mistakes_tsuru.txt");
    each_mistake_fails_its_case_and_each_assertion_fails(Dialect::Tsuru, mistakes, &BROKEN_TSURU).await;
}

#[tokio::test]
async fn each_mistake_of_an_open_service_broker_fails_its_case_where_the_mistake_shows() {
    let mistakes = include_str!("mistakes_osb.txt");
    each_mistake_fails_its_case_and_each_assertion_fails(Dialect::Osb, mistakes, &BROKEN_OSB).await;
}
