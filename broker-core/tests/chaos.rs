//! Any sequence of requests, with failures and crashes in between: what was answered holds, and in the end
//! nothing is left (SPEC L-2, L-3, I-2, B-6).

use std::{collections::BTreeMap, path::Path, time::Duration};

use broker_core::testing::{Answer, FakeBroker, Misdeed, TestBroker, Variables, eventually};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

#[derive(Clone, Debug)]
enum Step {
    Create,
    Update(&'static str),
    Remove,
    Bind(&'static str),
    Unbind(&'static str),
    Rotate(&'static str),
    /// The next such call goes wrong.
    GoesWrong(&'static str, Misdeed),
    /// The broker dies while it works on a request.
    Crash(&'static str),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let app = prop_oneof![Just("web"), Just("worker")];
    let call = prop_oneof![Just("provision"), Just("bind"), Just("unbind"), Just("update"), Just("deprovision")];
    let misdeed =
        prop_oneof![Just(Misdeed::Refuse), Just(Misdeed::LoseServer), Just(Misdeed::Fail), Just(Misdeed::Panic)];
    let step = prop_oneof![
        3 => Just(Step::Create),
        2 => prop_oneof![Just("small"), Just("large")].prop_map(Step::Update),
        1 => Just(Step::Remove),
        4 => app.clone().prop_map(Step::Bind),
        2 => app.clone().prop_map(Step::Unbind),
        2 => app.prop_map(Step::Rotate),
        4 => (call.clone(), misdeed).prop_map(|(call, misdeed)| Step::GoesWrong(call, misdeed)),
        2 => call.prop_map(Step::Crash),
    ];
    prop::collection::vec(step, 4..14)
}

#[test]
fn whatever_happens_nothing_acknowledged_is_lost_and_nothing_refused_is_left() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config = Config { cases: 24, max_shrink_iters: 40, failure_persistence: None, ..Config::default() };
    let outcome =
        TestRunner::new(config).run(&steps(), |steps| runtime.block_on(live(steps)).map_err(TestCaseError::fail));
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

/// What the platform believes.
#[derive(Debug, Default)]
struct Believed {
    bound: BTreeMap<&'static str, Variables>,
}

async fn live(steps: Vec<Step>) -> Result<(), String> {
    let (folder, fake) = (tempfile::tempdir().unwrap(), FakeBroker::new());
    let mut broker = on(folder.path(), &fake).await;
    let mut believed = Believed::default();
    for step in steps {
        broker = take(step.clone(), broker, folder.path(), &fake, &mut believed).await;
        for (app, env) in &believed.bound {
            if !fake.opens(env) {
                return Err(format!("after {step:?} the credentials of {app} do not work any more"));
            }
        }
    }
    fake.forgive();
    eventually("the instance can be removed", async || matches!(broker.remove("cache").await.status, 200 | 404)).await;
    eventually("nothing is left", async || fake.instances() == 0 && fake.accounts().is_empty()).await;
    broker.stop().await;
    Ok(())
}

async fn on(folder: &Path, fake: &FakeBroker) -> TestBroker {
    TestBroker::start_with(fake.clone(), Some(folder), |server| server.turn_within(Duration::from_millis(200))).await
}

async fn take(step: Step, broker: TestBroker, folder: &Path, fake: &FakeBroker, believed: &mut Believed) -> TestBroker {
    match step {
        Step::Create => drop(broker.form("POST", "/resources", "name=cache&plan=small&team=data").await),
        Step::Update(plan) => {
            drop(broker.form("PUT", "/resources/cache", &format!("plan={plan}&team=data")).await);
        }
        Step::Remove => {
            // The platform unbinds first; whatever it hears, it does not rely on what is being removed.
            believed.bound.clear();
            drop(broker.remove("cache").await);
        }
        Step::Bind(app) => heard(app, &broker.bind_app("cache", app).await, believed),
        Step::Unbind(app) => {
            let before = believed.bound.remove(app);
            let answer = broker.unbind_app("cache", app).await;
            if answer.status == 200 {
                assert!(before.is_none_or(|env| !fake.opens(&env)), "credentials work after their unbind");
            }
        }
        Step::Rotate(app) => drop(broker.form("POST", "/resources/cache/rotate", &format!("app-name={app}")).await),
        Step::GoesWrong(call, misdeed) => fake.next(call, misdeed),
        Step::Crash(call) => return crash(call, broker, folder, fake, believed).await,
    }
    broker
}

fn heard(app: &'static str, answer: &Answer, believed: &mut Believed) {
    if answer.status == 201 {
        believed.bound.insert(app, answer.env());
    }
}

/// The broker dies while the author is at work on a request, or after it if the author was not asked.
async fn crash(
    call: &'static str,
    broker: TestBroker,
    folder: &Path,
    fake: &FakeBroker,
    believed: &mut Believed,
) -> TestBroker {
    let (method, path, body) = match call {
        "provision" => ("POST", "/resources", "name=cache&plan=small&team=data"),
        "bind" => ("POST", "/resources/cache/bind-app", "app-name=web"),
        "unbind" => ("DELETE", "/resources/cache/bind-app", "app-name=web"),
        "update" => ("PUT", "/resources/cache", "plan=large&team=data"),
        _ => ("DELETE", "/resources/cache", "user=u"),
    };
    match call {
        "unbind" => drop(believed.bound.remove("web")),
        "deprovision" => believed.bound.clear(),
        _ => {}
    }
    fake.forgive();
    fake.next(call, Misdeed::Hang);
    let before = fake.count(call);
    let mut sent = tokio::spawn(broker.request(method, path).body(body).send());
    let at_work = async {
        while fake.count(call) == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = at_work => {}
        answered = &mut sent => drop(answered),
    }
    broker.kill().await;
    fake.forgive();
    on(folder, fake).await
}
