//! A broker that dies between intent and outcome, and the one that comes after it (SPEC L-3).

use std::{collections::HashSet, path::Path, sync::Mutex, time::Duration};

use async_trait::async_trait;
use broker_core::{
    Binding, Broker, Catalog, EnvVars, Instance, Notes, OpaqueId, Result, Tenant, Update,
    testing::{CrashReport, FakeBroker, Misdeed, Subject, TestBroker, crash_safety, eventually},
};

async fn on(folder: &Path, fake: &FakeBroker) -> TestBroker {
    TestBroker::start_with(fake.clone(), Some(folder), |server| server).await
}

/// Sends a request and kills the broker while the author is at work on it.
async fn killed_during(call: &'static str, broker: TestBroker, fake: &FakeBroker, request: reqwest::RequestBuilder) {
    fake.next(call, Misdeed::Hang);
    let before = fake.count(call);
    let sent = tokio::spawn(request.send());
    eventually("the author is at work", async || fake.count(call) > before).await;
    broker.kill().await;
    let answer = sent.await.unwrap();
    // A task that ends a moment before its connection leaves time for the news that the broker stops.
    let refused = answer.as_ref().map_or(true, |answer| answer.status() == 503);
    assert!(refused, "nobody was told yes, but: {answer:?}");
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_crash() {
    let (folder, fake) = (tempfile::tempdir().unwrap(), FakeBroker::new());
    let broker = on(folder.path(), &fake).await;
    broker.create("cache").await.is(201);
    let env = broker.bind_app("cache", "web").await.is(201).env();
    broker.kill().await;

    let again = on(folder.path(), &fake).await;

    again.status("cache").await.is(204);
    assert_eq!(again.bind_app("cache", "web").await.is(201).env(), env);
    assert_eq!((fake.instances(), fake.accounts().len()), (1, 1));
}

#[tokio::test]
async fn a_create_that_a_crash_interrupts_is_finished_and_can_be_repeated() {
    let (folder, fake) = (tempfile::tempdir().unwrap(), FakeBroker::new());
    let broker = on(folder.path(), &fake).await;
    let request = broker.request("POST", "/resources").body("name=cache&plan=small&team=data");
    killed_during("provision", broker, &fake, request).await;

    let again = on(folder.path(), &fake).await;

    eventually("the create is accepted", async || {
        again.form("POST", "/resources", "name=cache&plan=small&team=data").await.status == 201
    })
    .await;
    assert_eq!(fake.instances(), 1, "the identifier is the same in every repeat");
    again.bind_app("cache", "web").await.is(201);
}

#[tokio::test] // SPEC I-7
async fn a_create_nobody_was_told_of_is_replaced_by_one_with_other_wishes() {
    let (folder, fake) = (tempfile::tempdir().unwrap(), FakeBroker::new());
    let broker = on(folder.path(), &fake).await;
    let request = broker.request("POST", "/resources").body("name=cache&plan=small&team=data");
    killed_during("provision", broker, &fake, request).await;

    let again = on(folder.path(), &fake).await;

    eventually("the other create is accepted", async || {
        again.form("POST", "/resources", "name=cache&plan=large&team=data").await.status == 201
    })
    .await;
    assert_eq!((fake.instances(), fake.plan().as_deref()), (1, Some("large")));
    again.form("POST", "/resources", "name=cache&plan=large&team=data").await.is(409);
}

#[tokio::test]
async fn an_accepted_create_that_a_crash_interrupts_becomes_ready() {
    let (folder, fake) = (tempfile::tempdir().unwrap(), FakeBroker::new());
    let impatient = |server: broker_core::BrokerServer| server.answer_within(Duration::from_millis(20));
    let broker = TestBroker::start_with(fake.clone(), Some(folder.path()), impatient).await;
    fake.next("provision", Misdeed::Hang);
    broker.create("cache").await.is(201);
    broker.kill().await;

    let again = on(folder.path(), &fake).await;

    eventually("the instance is up", async || again.status("cache").await.status == 204).await;
    assert_eq!(fake.instances(), 1);
}

#[tokio::test]
async fn a_bind_that_a_crash_interrupts_leaks_no_credentials() {
    let (folder, fake) = (tempfile::tempdir().unwrap(), FakeBroker::new());
    let broker = on(folder.path(), &fake).await;
    broker.create("cache").await.is(201);
    let request = broker.request("POST", "/resources/cache/bind-app").body("app-name=web");
    killed_during("bind", broker, &fake, request).await;
    assert_eq!(fake.accounts().len(), 1);

    let again = on(folder.path(), &fake).await;

    eventually("the account is gone", async || fake.accounts().is_empty()).await;
    let env = again.bind_app("cache", "web").await.is(201).env();
    assert!(fake.opens(&env));
}

#[tokio::test]
async fn an_unbind_that_a_crash_interrupts_is_finished() {
    let (folder, fake) = (tempfile::tempdir().unwrap(), FakeBroker::new());
    let broker = on(folder.path(), &fake).await;
    broker.create("cache").await.is(201);
    broker.bind_app("cache", "web").await.is(201);
    let request = broker.request("DELETE", "/resources/cache/bind-app").body("app-name=web");
    killed_during("unbind", broker, &fake, request).await;
    let before = fake.count("unbind");

    let again = on(folder.path(), &fake).await;

    eventually("the unbind is repeated", async || fake.count("unbind") > before).await;
    eventually("the platform's repeat is done", async || again.unbind_app("cache", "web").await.status == 404).await;
    assert!(fake.accounts().is_empty());
}

#[tokio::test]
async fn an_update_that_a_crash_interrupts_is_finished() {
    let (folder, fake) = (tempfile::tempdir().unwrap(), FakeBroker::new());
    let broker = on(folder.path(), &fake).await;
    broker.create("cache").await.is(201);
    let request = broker.request("PUT", "/resources/cache").body("plan=large&team=data");
    killed_during("update", broker, &fake, request).await;

    let again = on(folder.path(), &fake).await;

    eventually("the instance is up", async || again.status("cache").await.status == 204).await;
    assert_eq!(again.ask("GET", "/resources/cache").await.value()[1]["value"], "large");
}

#[tokio::test]
async fn a_delete_that_a_crash_interrupts_is_finished_and_the_repeat_hears_yes() {
    let (folder, fake) = (tempfile::tempdir().unwrap(), FakeBroker::new());
    let broker = on(folder.path(), &fake).await;
    broker.create("cache").await.is(201);
    broker.bind_app("cache", "web").await.is(201);
    let request = broker.request("DELETE", "/resources/cache");
    killed_during("deprovision", broker, &fake, request).await;

    let again = on(folder.path(), &fake).await;

    eventually("it is not shown", async || again.status("cache").await.status == 404).await;
    assert_eq!((fake.instances(), fake.accounts().len()), (0, 0));
    again.remove("cache").await.is(200);
    again.remove("cache").await.is(404);
}

#[tokio::test]
async fn a_stopping_broker_finishes_what_it_accepted() {
    let (folder, fake) = (tempfile::tempdir().unwrap(), FakeBroker::new());
    let broker = on(folder.path(), &fake).await;
    fake.next("provision", Misdeed::Hang);
    let request = broker.request("POST", "/resources").body("name=cache&plan=small&team=data");
    let sent = tokio::spawn(request.send());
    eventually("the author is at work", async || fake.count("provision") == 1).await;

    let stopping = tokio::spawn(broker.stop());
    fake.release();

    assert_eq!(sent.await.unwrap().unwrap().status(), 201);
    stopping.await.unwrap();
    on(folder.path(), &fake).await.status("cache").await.is(204);
}

#[tokio::test]
async fn two_brokers_do_not_share_a_folder() {
    let (folder, fake) = (tempfile::tempdir().unwrap(), FakeBroker::new());
    let _broker = on(folder.path(), &fake).await;

    let refusal = broker_core::State::open(folder.path()).await.unwrap_err();

    assert!(
        refusal.to_string().ends_with("is in use by another broker process, stop that one or choose another folder")
    );
}

#[tokio::test] // SPEC B-8
async fn a_rotation_that_a_crash_interrupts_leaves_the_credentials_as_they_were() {
    let (folder, fake) = (tempfile::tempdir().unwrap(), FakeBroker::new());
    let broker = on(folder.path(), &fake).await;
    broker.create("cache").await.is(201);
    let env = broker.bind_app("cache", "web").await.is(201).env();
    let request = broker.request("POST", "/resources/cache/rotate").body("app-name=web");
    killed_during("bind", broker, &fake, request).await;
    assert_eq!(fake.accounts().len(), 2);

    let again = on(folder.path(), &fake).await;

    eventually("the new account is gone", async || fake.accounts().len() == 1).await;
    assert!(fake.opens(&env));
    assert_eq!(again.bind_app("cache", "web").await.is(201).env(), env);
}

/// The crash suite on a broker whose accounts are counted.
async fn crash_report<B: Broker>(fake: &FakeBroker, patience: Duration, make: impl AsyncFn() -> B) -> CrashReport {
    let left = async || {
        let instances = (0..fake.instances()).map(|_| "an instance".to_owned());
        instances.chain(fake.accounts().into_keys()).collect()
    };
    let subject = Subject::on_plan("small").updated_to("large").patience(patience);
    crash_safety(subject, make, async |env| fake.opens(env), left).await
}

#[tokio::test] // SPEC L-2, L-3
async fn a_broker_that_makes_it_so_survives_every_crash() {
    let fake = FakeBroker::new();

    let report = crash_report(&fake, Duration::from_secs(20), async || fake.clone()).await;

    report.is_clean();
    assert!(report.crashes() >= 24, "{report:?}");
}

/// A broker that breaks one of the promises that the framework relies on.
struct Sloppy {
    fake: FakeBroker,
    fault: Fault,
    /// What this process bound.
    bound: Mutex<HashSet<OpaqueId>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Its accounts have names of their own making.
    OwnNames,
    /// An unbind of what another process bound does nothing.
    ForgetfulUnbind,
    /// A removal leaves the instance behind.
    LeavesInstances,
    /// A look after an instance takes access away that another process gave.
    ForgetfulReconcile,
}

#[async_trait]
impl Broker for Sloppy {
    fn catalog(&self) -> Catalog {
        self.fake.catalog()
    }

    async fn provision(&self, instance: &Instance) -> Result<Notes> {
        self.fake.provision(instance).await
    }

    async fn bind(&self, instance: &Instance, binding: &Binding) -> Result<EnvVars> {
        let mut binding = binding.clone();
        if self.fault == Fault::OwnNames {
            binding.id = OpaqueId::generate();
        }
        self.bound.lock().unwrap().insert(binding.id.clone());
        self.fake.bind(instance, &binding).await
    }

    async fn unbind(&self, instance: &Instance, binding: &Binding) -> Result<()> {
        if self.fault == Fault::ForgetfulUnbind && !self.bound.lock().unwrap().contains(&binding.id) {
            return Ok(());
        }
        self.fake.unbind(instance, binding).await
    }

    async fn update(&self, instance: &Instance, to: &Update) -> Result<Notes> {
        self.fake.update(instance, to).await
    }

    async fn deprovision(&self, instance: &Instance) -> Result<()> {
        if self.fault == Fault::LeavesInstances { Ok(()) } else { self.fake.deprovision(instance).await }
    }

    async fn reconcile(&self, tenant: &Tenant) -> Result<()> {
        let strange = tenant.bindings.iter().filter(|binding| !self.bound.lock().unwrap().contains(&binding.id));
        for binding in strange.filter(|_| self.fault == Fault::ForgetfulReconcile) {
            self.fake.unbind(&tenant.instance, binding).await?;
        }
        Ok(())
    }
}

#[tokio::test]
async fn the_crash_suite_finds_what_a_sloppy_broker_loses_or_leaves() {
    let found = [
        (Fault::OwnNames, &["with other variables"][..]),
        (
            Fault::ForgetfulUnbind,
            &["access is taken away", "the unbind of a removal (tsuru): credentials work after their instance is gone"],
        ),
        (Fault::ForgetfulReconcile, &["reconcile (tsuru): not within 0.2 s: what was bound works"]),
        (Fault::LeavesInstances, &["nothing is left: an instance"]),
    ];
    let reports = found.map(async |(fault, wrong)| {
        let fake = FakeBroker::new();
        let report = crash_report(&fake, Duration::from_millis(200), async || Sloppy {
            fake: fake.clone(),
            fault,
            bound: Mutex::default(),
        })
        .await;
        for wrong in wrong {
            assert!(report.failures().iter().any(|failure| failure.contains(wrong)), "{fault:?}: {report:?}");
        }
    });
    futures::future::join_all(reports).await;
}
