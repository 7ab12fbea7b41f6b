//! Two replicas of a broker on one database serve one service (SPEC L-8).

#[path = "shared/ledger.rs"]
mod ledger;

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use broker_core::{
    Binding, Broker, BrokerServer, Catalog, EnvVars, Instance, Notes, Plan, Result, Tenant, Update,
    testing::{Answer, FakeBroker, Misdeed, PASSWORD, Postgres, TestBroker, USERNAME, eventually},
};

use ledger::{Door, Ledger, settle};

/// Short, so that a test sees it end.
const LEASE: Duration = Duration::from_secs(2);

/// A database for two, and what the replicas have in common.
struct Ground {
    server: Postgres,
    folder: tempfile::TempDir,
    service: Watched,
}

impl Ground {
    fn new() -> Self {
        Self::offering(FakeBroker::new().catalog())
    }

    fn offering(catalog: Catalog) -> Self {
        let service = Watched { fake: FakeBroker::new(), catalog, watch: Arc::default() };
        Self { server: Postgres::start(), folder: tempfile::tempdir().unwrap(), service }
    }

    async fn replica(&self) -> TestBroker {
        self.replica_with(|server| server).await
    }

    async fn replica_with(&self, settings: impl FnOnce(BrokerServer) -> BrokerServer + Send + 'static) -> TestBroker {
        let key: PathBuf = self.folder.path().join("state.key");
        let settings = move |server: BrokerServer| settings(server.lease(LEASE).turn_within(Duration::from_secs(10)));
        TestBroker::start_replica(self.service.clone(), &self.server.url("broker"), &key, settings).await
    }

    fn fake(&self) -> &FakeBroker {
        &self.service.fake
    }
}

/// The fake service, and an eye on whether calls about one instance overlap that must not.
#[derive(Clone)]
struct Watched {
    fake: FakeBroker,
    catalog: Catalog,
    watch: Arc<Mutex<Watch>>,
}

#[derive(Default)]
struct Watch {
    /// Running calls: on the whole instance, or by consumer.
    running: HashMap<String, Vec<Option<String>>>,
    overlaps: Vec<String>,
}

impl Watched {
    fn overlaps(&self) -> Vec<String> {
        self.watch.lock().unwrap().overlaps.clone()
    }

    async fn seen<T>(
        &self,
        call: &str,
        instance: &Instance,
        binding: Option<&Binding>,
        work: impl Future<Output = T>,
    ) -> T {
        let (id, whose) = (instance.id.to_string(), binding.map(|binding| binding.consumer.to_string()));
        {
            let mut watch = self.watch.lock().unwrap();
            let running = watch.running.entry(id.clone()).or_default();
            let clashes = running.iter().any(|other| other.is_none() || whose.is_none() || *other == whose);
            let what = clashes.then(|| format!("{call} for {whose:?} while {running:?}"));
            running.push(whose.clone());
            watch.overlaps.extend(what);
        }
        let _end = End { watched: self, id, whose };
        // Long enough to be overlapped.
        tokio::time::sleep(Duration::from_millis(2)).await;
        work.await
    }
}

/// A call's end, also when it is dropped.
struct End<'a> {
    watched: &'a Watched,
    id: String,
    whose: Option<String>,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        let mut watch = self.watched.watch.lock().unwrap();
        let running = watch.running.get_mut(&self.id).unwrap();
        let place = running.iter().position(|whose| *whose == self.whose).unwrap();
        running.swap_remove(place);
    }
}

#[async_trait]
impl Broker for Watched {
    fn catalog(&self) -> Catalog {
        self.catalog.clone()
    }

    async fn provision(&self, instance: &Instance) -> Result<Notes> {
        self.seen("provision", instance, None, self.fake.provision(instance)).await
    }

    async fn bind(&self, instance: &Instance, binding: &Binding) -> Result<EnvVars> {
        self.seen("bind", instance, Some(binding), self.fake.bind(instance, binding)).await
    }

    async fn unbind(&self, instance: &Instance, binding: &Binding) -> Result<()> {
        self.seen("unbind", instance, Some(binding), self.fake.unbind(instance, binding)).await
    }

    async fn update(&self, instance: &Instance, to: &Update) -> Result<Notes> {
        self.seen("update", instance, None, self.fake.update(instance, to)).await
    }

    async fn deprovision(&self, instance: &Instance) -> Result<()> {
        self.seen("deprovision", instance, None, self.fake.deprovision(instance)).await
    }

    async fn reconcile(&self, tenant: &Tenant) -> Result<()> {
        self.seen("reconcile", &tenant.instance, None, self.fake.reconcile(tenant)).await
    }
}

#[tokio::test(flavor = "multi_thread")] // SPEC L-8, A45
async fn what_one_replica_makes_the_other_serves() {
    let ground = Ground::new();
    let (one, other) = (ground.replica().await, ground.replica().await);

    one.create("cache").await.is(201);

    other.status("cache").await.is(204);
    other.create("cache").await.is(409);
    let env = other.bind_app("cache", "web").await.is(201).env();
    assert_eq!(one.bind_app("cache", "web").await.is(201).env(), env);
    one.unbind_app("cache", "web").await.is(200);
    assert!(!ground.fake().opens(&env));
    other.unbind_app("cache", "web").await.is(404);
    other.remove("cache").await.is(200);
    one.status("cache").await.is(404);
    assert_eq!(ground.fake().instances(), 0);
}

#[tokio::test(flavor = "multi_thread")] // SPEC I-12
async fn a_link_that_one_replica_tells_opens_the_dashboard_at_the_other() {
    let ground = Ground::new();
    let public = |server: BrokerServer| server.public_url("https://x.test".parse().unwrap());
    let (one, other) = (ground.replica_with(public).await, ground.replica_with(public).await);
    one.create("cache").await.is(201);

    let link = |info: Answer| info.value().as_array().unwrap().last().unwrap()["value"].as_str().unwrap().to_owned();
    let told = link(one.ask("GET", "/resources/cache").await);

    let path = told.strip_prefix("https://x.test").unwrap();
    Answer::to(other.anonymous("GET", path)).await.is(200);
    assert_eq!(link(other.ask("GET", "/resources/cache").await), told);
}

#[tokio::test(flavor = "multi_thread")] // SPEC L-8, L-4
async fn replicas_that_are_asked_at_once_get_into_nobodys_way() {
    let ground = Ground::new();
    let replicas = [ground.replica().await, ground.replica().await];
    let clients = (0..8).map(|client| live(client, &replicas, ground.fake()));

    futures::future::join_all(clients).await;

    assert_eq!(ground.service.overlaps(), [""; 0]);
    for instance in 0..3 {
        let name = format!("shared-{instance}");
        eventually("it is gone", async || matches!(replicas[0].remove(&name).await.status, 200 | 404)).await;
    }
    eventually("nothing is left", async || ground.fake().instances() == 0).await;
    assert_eq!(ground.fake().accounts(), BTreeMap::new());
}

/// A platform's user who does this and that to three instances, which others use too, by whichever replica.
async fn live(client: usize, replicas: &[TestBroker; 2], fake: &FakeBroker) {
    let app = format!("app-{client}");
    for step in 0..30 {
        let (name, at) = (format!("shared-{}", (client * 7 + step) % 3), &replicas[(client + step * 5) % 2]);
        let answer = match (client * 3 + step) % 8 {
            0 | 1 => at.create(&name).await,
            2 => at.form("PUT", &format!("/resources/{name}"), &format!("plan=large&team=t{step}")).await,
            3 => at.unbind_app(&name, &app).await,
            4 if step % 3 == 0 => at.remove(&name).await,
            _ => at.bind_app(&name, &app).await,
        };
        assert!(answer.status < 500 || answer.status == 503, "{} {}", answer.status, answer.body);
    }
    let _ = fake;
}

#[tokio::test(flavor = "multi_thread")] // SPEC L-8
async fn of_two_replicas_that_create_one_name_at_once_one_is_accepted() {
    let ground = Ground::new();
    let (one, other) = (ground.replica().await, ground.replica().await);

    for round in 0..10 {
        let name = format!("race-{round}");
        let (ours, theirs) = tokio::join!(one.create(&name), other.create(&name));
        let mut statuses = [ours.status, theirs.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409], "{} / {}", ours.body, theirs.body);
    }

    assert_eq!(ground.fake().instances(), 10);
}

#[tokio::test(flavor = "multi_thread")] // SPEC L-8, L-3
async fn a_replica_finishes_what_one_that_died_began() {
    let ground = Ground::new();
    let (survivor, dying, fake) = (ground.replica().await, ground.replica().await, ground.fake());
    for name in ["to-bind", "to-unbind", "to-update", "to-remove"] {
        survivor.create(name).await.is(201);
    }
    let kept = survivor.bind_app("to-bind", "kept").await.is(201).env();
    let taken = survivor.bind_app("to-unbind", "web").await.is(201).env();
    let mut sent = Vec::new();
    for (call, method, path, body) in [
        ("provision", "POST", "/resources", "name=made&plan=small&team=data"),
        ("bind", "POST", "/resources/to-bind/bind-app", "app-name=web"),
        ("unbind", "DELETE", "/resources/to-unbind/bind-app", "app-name=web"),
        ("update", "PUT", "/resources/to-update", "plan=large&team=data"),
        ("deprovision", "DELETE", "/resources/to-remove", "user=u"),
    ] {
        fake.next(call, Misdeed::Hang);
        let before = fake.count(call);
        let mut request = tokio::spawn(dying.request(method, path).body(body).send());
        tokio::select! {
            () = eventually("the author is at work", async || fake.count(call) > before) => {}
            answer = &mut request => panic!("the {call} was answered before the author was at work: {answer:?}"),
        }
        sent.push((call, request));
    }

    dying.kill().await;

    fake.release();
    for (call, request) in sent {
        // A removal may be at work in the survivor: it is done by whoever gets to it.
        // A task that ends a moment before its connection leaves time for the news that the broker stops.
        let refused = request.await.unwrap().map_or(true, |answer| answer.status() == 503);
        assert!(refused, "nobody was told that the {call} is done");
    }
    eventually("it is made", async || survivor.status("made").await.status == 204).await;
    eventually("access is taken away", async || !fake.opens(&taken)).await;
    eventually("it is changed", async || survivor.status("to-update").await.status == 204).await;
    eventually("it is removed", async || matches!(survivor.remove("to-remove").await.status, 200 | 404)).await;
    eventually("the half-made account is gone", async || fake.accounts().len() == 1).await;
    assert!(fake.opens(&kept));
    for name in ["made", "to-bind", "to-unbind", "to-update"] {
        survivor.remove(name).await.is(200);
    }
    eventually("nothing is left", async || fake.instances() == 0 && fake.accounts().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")] // SPEC L-8, A107
async fn a_removal_by_one_replica_stops_what_the_other_is_doing() {
    let ground = Ground::new();
    let settings = |server: BrokerServer| server.answer_within(Duration::from_millis(50));
    let (one, other) = (ground.replica_with(settings).await, ground.replica().await);
    ground.fake().next("provision", Misdeed::Hang);
    one.create("cache").await.is(201);
    other.status("cache").await.is(202);

    other.remove("cache").await.is(200);

    one.status("cache").await.is(404);
    assert_eq!(ground.fake().instances(), 0);
    other.create("cache").await.is(201);
    other.bind_app("cache", "web").await.is(201);
}

#[tokio::test(flavor = "multi_thread")] // SPEC L-8
async fn a_second_caller_learns_what_the_other_replica_is_doing() {
    let ground = Ground::new();
    let settings = |server: BrokerServer| server.turn_within(Duration::from_millis(300));
    let (one, other) = (ground.replica().await, ground.replica_with(settings).await);
    one.create("cache").await.is(201);
    ground.fake().next("update", Misdeed::Hang);
    let before = ground.fake().count("update");
    let update = one.request("PUT", "/resources/cache").body("plan=large&team=data");
    let sent = tokio::spawn(update.send());
    eventually("the author is at work", async || ground.fake().count("update") > before).await;

    let refusal = other.form("PUT", "/resources/cache", "plan=small&team=data").await;

    refusal.is(409).says("instance \"cache\" is busy: an update is running, try again when it has ended");
    ground.fake().release();
    assert_eq!(sent.await.unwrap().unwrap().status().as_u16(), 200);
}

#[tokio::test(flavor = "multi_thread")] // SPEC L-8
async fn replicas_go_on_when_the_database_comes_back() {
    let mut ground = Ground::new();
    let (one, other) = (ground.replica().await, ground.replica().await);
    one.create("cache").await.is(201);

    ground.server.restart();

    eventually("it serves again", async || one.bind_app("cache", "web").await.status == 201).await;
    eventually("the other too", async || other.bind_app("cache", "worker").await.status == 201).await;
}

#[tokio::test(flavor = "multi_thread")] // SPEC I-11, L-8
async fn replicas_that_are_asked_at_once_keep_the_limits_of_a_plan_and_of_a_team() {
    let catalog = Catalog::new("fake".parse().unwrap());
    let catalog = catalog.plan(Plan::new("few", "f").at_most(5)).plan(Plan::new("fair", "f").at_most_per_team(2));
    let ground = Ground::offering(catalog);
    let replicas = [ground.replica().await, ground.replica().await];
    let create = async |number: usize, plan: &str, team: &str| {
        let body = format!("name={plan}-{team}-{number}&plan={plan}&team={team}");
        replicas[number % 2].form("POST", "/resources", &body).await
    };

    let all = async |plan: &str, team: &str| {
        let answers = futures::future::join_all((0..12).map(|number| create(number, plan, team))).await;
        let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
        refused.iter().for_each(|refused| assert!(refused.is(400).body.contains("may not have more")));
        made.len()
    };
    let made = futures::join!(all("few", "data"), all("fair", "data"), all("fair", "web"));

    assert_eq!(made, (5, 2, 2));
    assert_eq!(ground.fake().instances(), 9);
    let names = (0..12).map(|number| format!("few-data-{number}"));
    let removed = futures::future::join_all(names.map(async |name| replicas[0].remove(&name).await.status)).await;
    assert_eq!(removed.iter().filter(|status| **status == 200).count(), 5);
    assert_eq!(futures::join!(all("few", "web"), all("fair", "ops")), (5, 2), "what was removed is free again");
}

#[tokio::test(flavor = "multi_thread")] // SPEC L-8, L-3
async fn a_replica_that_is_killed_under_load_takes_nothing_that_was_acknowledged_and_leaves_nothing() {
    let ground = Ground::new();
    let (survivor, dying, fake) = (ground.replica().await, ground.replica().await, ground.fake());
    let door = |replica: &TestBroker| Door::to(&replica.url(), USERNAME, PASSWORD);
    let (doors, acknowledged) = ([door(&survivor), door(&dying)], AtomicUsize::new(0));
    let clients = futures::future::join_all((0..6).map(|client| Ledger::of(client, &doors, &acknowledged)));
    let kill = async {
        eventually("they are at work", async || acknowledged.load(Ordering::Relaxed) > 20).await;
        dying.kill().await;
        acknowledged.load(Ordering::Relaxed)
    };

    let (ledgers, before) = futures::join!(clients, kill);

    assert!(acknowledged.load(Ordering::Relaxed) > before, "the survivor goes on");
    assert_eq!(ground.service.overlaps(), [""; 0]);
    settle(&ledgers, &doors[0], |given| fake.opens(given)).await;
    eventually("nothing is left", async || fake.instances() == 0 && fake.accounts().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")] // SPEC B-21, O-3, L-8
async fn an_update_is_joined_and_bindings_follow_it_whichever_replica_is_asked() {
    let ground = Ground::new();
    let (one, other, fake) = (ground.replica().await, ground.replica().await, ground.fake());
    let send = async |replica: &TestBroker, method: &str, path: &str, body: serde_json::Value| {
        let request = replica.request(method, path).header("x-broker-api-version", "2.17");
        Answer::to(request.body(body.to_string())).await
    };
    let catalog = send(&one, "GET", "/v2/catalog", serde_json::Value::Null).await.value();
    let service = &catalog["services"][0];
    let on = |plan: usize| serde_json::json!({ "service_id": service["id"], "plan_id": service["plans"][plan]["id"] });
    one.create("cache").await.is(201);
    let (instance, binding) = ("/v2/service_instances/cache", "/v2/service_instances/cache/service_bindings/b");
    send(&one, "PUT", binding, on(0)).await.is(201);
    fake.next("update", Misdeed::Hang);
    let patch = async |replica| send(replica, "PATCH", &format!("{instance}?accepts_incomplete=true"), on(1)).await;

    let (begun, joined) = (patch(&one).await, patch(&other).await);

    assert_eq!(joined.is(202).value()["operation"], begun.is(202).value()["operation"]);
    fake.release();
    eventually("it has moved", async || other.status("cache").await.status == 204).await;
    let fetch = async |replica| send(replica, "GET", binding, serde_json::Value::Null).await;
    for fetched in <[Answer; 2]>::from(tokio::join!(fetch(&other), fetch(&one))) {
        assert_eq!(fetched.is(200).value()["credentials"]["FAKE_ADDRESS"], "large.fake.test:1");
    }
    assert_eq!((fake.count("update"), fake.accounts().len()), (1, 1));
}
