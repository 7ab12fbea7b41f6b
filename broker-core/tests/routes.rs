//! Operations of an author's own, and pools, from outside (SPEC chapter Y, T-20, T-21).

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use broker_core::{
    Binding, Broker, BrokerError, BrokerServer, Caller, Catalog, EnvVars, Instance, Neighbours, Notes, Plan, Pool,
    Result, Routes, Secret, ServeError, State as Records, Tenant, Update,
    axum::{
        Json,
        body::Bytes,
        extract::{
            Path, State,
            ws::{Message as Said, WebSocketUpgrade},
        },
        http::HeaderMap,
        routing::{get, post},
    },
    testing::{Answer, PASSWORD, TestBroker, USERNAME, eventually},
};
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest as _};

/// A service with backups, whose calls can be made to hang.
#[derive(Clone, Default)]
struct Vault(Arc<Safe>);

#[derive(Default)]
struct Safe {
    kept: Mutex<Vec<String>>,
    pools: Mutex<Vec<Option<Pool>>>,
    began: Notify,
    released: Notify,
}

impl Vault {
    fn kept(&self) -> Vec<String> {
        self.0.kept.lock().unwrap().clone()
    }
}

async fn seen(tenant: Tenant, caller: Caller, headers: HeaderMap) -> Json<Value> {
    let leaked: Vec<&str> = headers.keys().map(|name| name.as_str()).filter(|name| name.contains("tsuru")).collect();
    Json(json!({
        "instance": tenant.instance.name, "bindings": tenant.bindings.len(),
        "user": caller.user(), "event": caller.event(),
        "leaked": leaked, "password": headers.contains_key("authorization"),
    }))
}

async fn keep(
    State(vault): State<Vault>,
    Path(backup): Path<String>,
    tenant: Tenant,
    caller: Caller,
    body: Bytes,
) -> Result<String> {
    match backup.as_str() {
        "refused" => return Err(BrokerError::bad_request("there is no room for it, remove an older one")),
        "panics" => panic!("the author's mistake, password s3cret"),
        "slow" => {
            vault.0.began.notify_one();
            vault.0.released.notified().await;
        }
        _ => {}
    }
    vault.0.kept.lock().unwrap().push(backup.clone());
    Ok(format!("{} of {} by {:?}: {} bytes", backup, tenant.instance.name, caller.user(), body.len()))
}

async fn neighbour(neighbours: Neighbours, Path(name): Path<String>) -> Result<Json<Option<Value>>> {
    let found = neighbours.find(&name).await?;
    Ok(Json(found.map(|found| json!({ "name": found.name, "plan": found.plan }))))
}

#[async_trait]
impl Broker for Vault {
    fn catalog(&self) -> Catalog {
        Catalog::new("vault".parse().unwrap()).plan(Plan::new("small", "one shelf")).plan(Plan::new("large", "two"))
    }

    async fn provision(&self, instance: &Instance) -> Result<Notes> {
        self.0.pools.lock().unwrap().push(instance.pool.clone());
        Ok(Notes::new())
    }

    async fn update(&self, instance: &Instance, _: &Update) -> Result<Notes> {
        self.0.pools.lock().unwrap().push(instance.pool.clone());
        Ok(Notes::new())
    }

    async fn bind(&self, instance: &Instance, _: &Binding) -> Result<EnvVars> {
        self.0.pools.lock().unwrap().push(instance.pool.clone());
        Ok(EnvVars::from([("VAULT", "open")]))
    }

    fn routes(self: Arc<Self>) -> Routes {
        let vault = Self::clone(&self);
        Routes::new()
            .instance("/seen", get(seen).post(seen))
            .instance("/backups/{backup}", post(keep).with_state(vault.clone()))
            .instance("/neighbours/{name}", get(neighbour))
            .service("/authenticated-resources/kept", get(async move || Json(vault.kept())))
            .service("/authenticated-resources/who", post(async |caller: Caller| format!("{:?}", caller.user())))
    }
}

async fn with_cache() -> (Vault, TestBroker) {
    let vault = Vault::default();
    let settings = |server: BrokerServer| server.turn_within(Duration::from_millis(700));
    let broker = TestBroker::start_with(vault.clone(), None, settings).await;
    broker.create("cache").await.is(201);
    (vault, broker)
}

fn from_alice(request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
    request.header("x-tsuru-user", "alice@example.com").header("x-tsuru-eventid", "5f0c7c1e8a1b2c3d4e5f6a7b")
}

#[tokio::test] // SPEC Y-8
async fn another_instance_is_found_by_name_where_the_same_team_owns_both() {
    let broker = TestBroker::start(Vault::default()).await;
    for (name, team) in [("ours", "main"), ("also", "main"), ("theirs", "other"), ("stray", ""), ("lost", "")] {
        broker.form("POST", "/resources", &format!("name={name}&team={team}&plan=large")).await.is(201);
    }
    let asked = async |from: &str, name: &str| {
        broker.ask("GET", &format!("/resources/{from}/neighbours/{name}")).await.is(200).value()
    };

    assert_eq!(asked("ours", "also").await, json!({ "name": "also", "plan": "large" }));
    for (from, name) in
        [("ours", "theirs"), ("ours", "none"), ("ours", "a%20name"), ("ours", "stray"), ("stray", "lost")]
    {
        assert_eq!(asked(from, name).await, Value::Null, "{name} from {from}");
    }
    broker.form("PUT", "/resources/also", "team=other&plan=large").await.is(200);
    assert_eq!(asked("ours", "also").await, Value::Null, "its owner is another one now");
    assert_eq!(asked("theirs", "also").await["name"], "also");
    broker.remove("also").await.is(200);
    assert_eq!(asked("theirs", "also").await, Value::Null);
}

#[tokio::test] // SPEC Y-1, Y-4
async fn an_operation_gets_the_instance_its_bindings_and_a_user_that_can_be_trusted() {
    let (_, broker) = with_cache().await;
    broker.bind_app("cache", "web").await.is(201);
    let ask = async |method: &str| {
        let request = from_alice(broker.request(method, "/resources/cache/seen")).header("x-tsuru-pool-name", "mine");
        Answer::to(request).await.is(200).value()
    };

    let (question, change) = (ask("GET").await, ask("POST").await);

    assert_eq!((&change["instance"], &change["bindings"]), (&json!("cache"), &json!(1)));
    assert_eq!((&change["user"], &question["user"]), (&json!("alice@example.com"), &Value::Null));
    assert_eq!((&change["event"], &question["event"]), (&json!("5f0c7c1e8a1b2c3d4e5f6a7b"), &Value::Null));
    for answer in [&question, &change] {
        assert_eq!((&answer["leaked"], &answer["password"]), (&json!([]), &json!(false)));
    }
    Answer::to(broker.request("HEAD", "/resources/cache/seen")).await.is(200).says("");
}

#[tokio::test] // SPEC Y-1, Y-2
async fn only_a_ready_instance_is_reached_and_only_with_credentials() {
    let (vault, broker) = with_cache().await;
    let backup = "/resources/cache/backups/monday";

    Answer::to(broker.anonymous("POST", backup)).await.is(401);
    broker.ask("POST", "/resources/other/backups/monday").await.is(404).says("instance \"other\" does not exist");
    broker.ask("GET", "/resources/other/seen").await.is(404);
    broker.ask("POST", "/resources/~/backups/monday").await.is(404);
    broker.ask("GET", backup).await.is(405);
    broker.ask("POST", "/resources/cache/backups").await.is(404);
    broker.ask("GET", "/authenticated-resources").await.is(404);
    broker.form("POST", backup, &"x".repeat(1024 * 1024 + 1)).await.is(413);
    assert!(vault.kept().is_empty());
    let answer = Answer::to(from_alice(broker.request("POST", backup)).body("abc")).await;
    answer.is(200).says("monday of cache by Some(\"alice@example.com\"): 3 bytes");
    broker.ask("GET", "/authenticated-resources/kept?x=1").await.is(200).says("[\"monday\"]");
    Answer::to(from_alice(broker.request("POST", "/authenticated-resources/who")))
        .await
        .is(200)
        .says("Some(\"alice@example.com\")");
}

/// Takes bodies of this size, and says how large they were.
struct Roomy(usize);

#[async_trait]
impl Broker for Roomy {
    fn catalog(&self) -> Catalog {
        Catalog::new("roomy".parse().unwrap()).plan(Plan::new("small", "small"))
    }
    async fn provision(&self, _: &Instance) -> Result<Notes> {
        Ok(Notes::new())
    }
    async fn bind(&self, _: &Instance, _: &Binding) -> Result<EnvVars> {
        Ok(EnvVars::default())
    }
    fn routes(self: Arc<Self>) -> Routes {
        let weigh = post(async |body: Bytes| body.len().to_string());
        Routes::new().instance("/weigh", weigh.clone()).service("/weigh", weigh).largest_body(self.0)
    }
}

#[tokio::test] // SPEC Y-2
async fn a_body_is_as_large_as_the_author_says() {
    let mib = 1024 * 1024;
    for (largest, said) in [(4 * mib, "4 MiB"), (10, "10 bytes")] {
        let broker = TestBroker::start(Roomy(largest)).await;
        broker.create("cache").await.is(201);
        for path in ["/resources/cache/weigh", "/weigh"] {
            broker.form("POST", path, &"x".repeat(largest)).await.is(200).says(&largest.to_string());
            let refusal = broker.form("POST", path, &"x".repeat(largest + 1)).await;
            refusal.is(413).says(&format!("the body is larger than {said}"));
        }
        let create = format!("name=other&description={}", "x".repeat(mib));
        broker.form("POST", "/resources", &create).await.is(413).says("the body is larger than 1 MiB");
    }
}

#[tokio::test] // SPEC Y-3
async fn a_call_has_its_turn_and_the_second_caller_hears_what_runs() {
    let (vault, broker) = with_cache().await;
    let calling = broker.ask("POST", "/resources/cache/backups/slow");
    let meanwhile = async {
        vault.0.began.notified().await;
        let busy = "instance \"cache\" is busy: a call is running, try again when it has ended";
        broker.form("PUT", "/resources/cache", "plan=large").await.is(409).says(busy);
        broker.ask("POST", "/resources/cache/backups/other").await.is(409).says(busy);
        broker.ask("GET", "/resources/cache/seen").await.is(200);
        vault.0.released.notify_one();
    };

    let (answer, ()) = tokio::join!(calling, meanwhile);

    answer.is(200);
    assert_eq!(vault.kept(), ["slow"]);
}

#[tokio::test] // SPEC Y-3
async fn a_call_goes_on_when_its_caller_leaves_and_is_in_the_log() {
    let (vault, broker) = with_cache().await;
    {
        let leaving = from_alice(broker.request("POST", "/resources/cache/backups/slow")).send();
        tokio::select! {
            _ = leaving => panic!("it hangs"),
            () = vault.0.began.notified() => {}
        }
    }
    vault.0.released.notify_one();
    eventually("it is kept", async || vault.kept() == ["slow"]).await;
    broker
        .ask("POST", "/resources/cache/backups/refused")
        .await
        .is(400)
        .says("there is no room for it, remove an older one");
    broker.ask("POST", "/resources/cache/backups/panics").await.is(500);

    let log = broker.ask("GET", "/resources/cache/operations").await.is(200).value();

    let calls: Vec<Value> = log.as_array().unwrap().iter().filter(|entry| entry["kind"] == "call").cloned().collect();
    assert_eq!(calls.len(), 3, "{log}");
    assert_eq!(calls[2]["request"], "POST /backups/slow");
    assert_eq!((&calls[2]["actor"]["user"], &calls[2]["failure"]), (&json!("alice@example.com"), &Value::Null));
    assert_eq!(calls[1]["failure"], "answered 400 Bad Request");
    assert!(!log.to_string().contains("s3cret"), "{log}");
}

#[tokio::test] // SPEC Y-3, L-4
async fn a_removal_does_not_wait_for_a_call() {
    let (vault, broker) = with_cache().await;
    let removal = async {
        vault.0.began.notified().await;
        broker.remove("cache").await.is(200);
    };
    let (call, ()) = tokio::join!(broker.ask("POST", "/resources/cache/backups/slow"), removal);

    call.is(409).says("instance \"cache\" is being removed");
    let log = broker.ask("GET", "/resources/cache/operations").await.value().to_string();
    assert!(log.contains("it was cut off before it ended"), "{log}");
}

#[tokio::test] // SPEC Y-3
async fn a_call_that_a_crash_cut_off_is_in_the_log_and_does_not_block_the_next() {
    let (folder, vault) = (tempfile::tempdir().unwrap(), Vault::default());
    let start = async || TestBroker::start_with(vault.clone(), Some(folder.path()), |server| server).await;
    let broker = start().await;
    broker.create("cache").await.is(201);
    {
        let call = broker.ask("POST", "/resources/cache/backups/slow");
        tokio::select! {
            _ = call => panic!("it hangs"),
            () = vault.0.began.notified() => {}
        }
    }
    broker.kill().await;

    let broker = start().await;

    broker.ask("POST", "/resources/cache/backups/next").await.is(200);
    let log = broker.ask("GET", "/resources/cache/operations").await.value();
    let failures: Vec<&Value> = log.as_array().unwrap().iter().map(|entry| &entry["failure"]).collect();
    assert!(failures.contains(&&json!("it was cut off before it ended")), "{log}");
    assert_eq!(vault.kept(), ["next"]);
}

/// Says back what it hears, and knows how many it heard to the end.
#[derive(Clone, Default)]
struct Parrot(Arc<AtomicUsize>);

#[async_trait]
impl Broker for Parrot {
    fn catalog(&self) -> Catalog {
        Catalog::new("parrot".parse().unwrap()).plan(Plan::new("small", "small"))
    }
    async fn provision(&self, _: &Instance) -> Result<Notes> {
        Ok(Notes::new())
    }
    async fn bind(&self, _: &Instance, _: &Binding) -> Result<EnvVars> {
        Ok(EnvVars::default())
    }
    fn routes(self: Arc<Self>) -> Routes {
        let talk = async |State(Self(ended)): State<Self>, tenant: Tenant, upgrade: WebSocketUpgrade| {
            upgrade.on_upgrade(async move |mut socket| {
                while let Some(Ok(Said::Text(heard))) = socket.recv().await {
                    socket.send(format!("{}: {heard}", tenant.instance.name).into()).await.unwrap();
                }
                ended.fetch_add(1, Ordering::SeqCst);
            })
        };
        Routes::new().instance("/talk", get(talk).with_state(Self::clone(&self)))
    }
}

type Talk = tokio_tungstenite::WebSocketStream<tokio::net::TcpStream>;

/// As the platform's proxy passes it on.
async fn talk_to(broker: &TestBroker, password: &str) -> Result<Talk, tungstenite::Error> {
    let url = broker.url();
    let address = url.strip_prefix("http://").unwrap();
    let mut request = format!("ws://{address}/resources/cache/talk").into_client_request().unwrap();
    let pair = format!("Basic {}", STANDARD.encode(format!("{USERNAME}:{password}")));
    request.headers_mut().insert("authorization", pair.parse().unwrap());
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    Ok(tokio_tungstenite::client_async(request, stream).await?.0)
}

#[tokio::test] // SPEC Y-5
async fn a_web_socket_below_an_instance_lives_until_the_broker_stops() {
    let parrot = Parrot::default();
    let broker = TestBroker::start(parrot.clone()).await;
    let connections = async |number: usize| {
        let line = format!("broker_connections {number}\n");
        eventually(&line, async || broker.ask("GET", "/metrics").await.body.contains(&line)).await;
    };
    broker.create("cache").await.is(201);
    let refused = talk_to(&broker, "wrong").await.unwrap_err();
    assert!(matches!(refused, tungstenite::Error::Http(answer) if answer.status() == 401));

    let mut talk = talk_to(&broker, PASSWORD).await.unwrap();
    let mut ends = talk_to(&broker, PASSWORD).await.unwrap();

    for word in ["hello", "again"] {
        talk.send(word.into()).await.unwrap();
        assert_eq!(talk.next().await.unwrap().unwrap(), format!("cache: {word}").into());
    }
    connections(3).await;
    ends.close(None).await.unwrap();
    connections(2).await;
    assert_eq!(parrot.0.load(Ordering::SeqCst), 1);
    broker.stop().await;
    assert_eq!(parrot.0.load(Ordering::SeqCst), 2, "its author did not hear that it ended");
}

struct Clashing(&'static str);

#[async_trait]
impl Broker for Clashing {
    fn catalog(&self) -> Catalog {
        Catalog::new("clash".parse().unwrap()).plan(Plan::new("small", "small")).needs_cluster()
    }
    async fn provision(&self, _: &Instance) -> Result<Notes> {
        Ok(Notes::new())
    }
    async fn bind(&self, _: &Instance, _: &Binding) -> Result<EnvVars> {
        Ok(EnvVars::default())
    }
    fn routes(self: Arc<Self>) -> Routes {
        Routes::new().instance(self.0, get(async || ""))
    }
}

#[tokio::test] // SPEC Y-1
async fn a_path_of_the_frameworks_own_keeps_the_broker_from_starting() {
    let server = BrokerServer::new(Clashing("/status"), Records::in_memory()).accept("x", &Secret::from("y"));

    let refusal = server.bind(([127, 0, 0, 1], 0).into()).await.unwrap_err();

    assert!(matches!(&refusal, ServeError::Routes(why) if why.contains("/status")), "{refusal}");
}

fn in_pool(request: reqwest::RequestBuilder, pool: &str) -> reqwest::RequestBuilder {
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let request = request.header("x-tsuru-pool-name", pool).header("x-tsuru-pool-provisioner", "kubernetes");
    let request = request.header("x-tsuru-cluster-name", "k1").header("x-tsuru-cluster-provisioner", "kubernetes");
    request.header("x-tsuru-cluster-addresses", "https://a").header("x-tsuru-cluster-addresses", "https://b")
}

#[tokio::test] // SPEC T-20
async fn a_pool_is_remembered_and_follows_the_platform_where_nobody_else_can_name_one() {
    let (vault, broker) = with_cache().await;
    let create = in_pool(broker.request("POST", "/resources"), "eu").body("name=db&plan=small&team=data");
    Answer::to(create).await.is(201);
    Answer::to(in_pool(broker.request("PUT", "/resources/db"), "us").body("plan=small&team=data")).await.is(200);
    Answer::to(in_pool(broker.request("GET", "/resources/db/seen"), "forged")).await.is(200);
    Answer::to(in_pool(broker.request("PUT", "/resources/db/binds/jobs/nightly"), "forged")).await.is(201);
    Answer::to(in_pool(broker.request("POST", "/resources/db/bind-app"), "asia").body("app-name=web")).await.is(201);
    broker.bind_app("db", "other").await.is(201);

    let pools = vault.0.pools.lock().unwrap().clone();

    let names: Vec<Option<&str>> = pools.iter().map(|pool| pool.as_ref().map(|pool| pool.name.as_str())).collect();
    assert_eq!(names, [None, Some("eu"), Some("us"), Some("asia"), Some("asia")]);
    assert_eq!(pools[1].as_ref().unwrap().cluster.as_ref().unwrap().addresses, ["https://a", "https://b"]);
    let broken = broker.request("PUT", "/resources/db").header("x-tsuru-cluster-kube-config", "s3cret!");
    let refusal = Answer::to(broken).await;
    assert!(refusal.is(400).body.contains("x-tsuru-cluster-kube-config") && !refusal.body.contains("s3cret"));
}

#[tokio::test] // SPEC T-21, A23, A24
async fn a_broker_that_needs_a_cluster_says_so_as_the_platform_understands_it() {
    let broker = TestBroker::start(Clashing("/fine")).await;
    let plans = broker.ask("GET", "/resources/plans").await.is(400).value();
    assert_eq!(plans["missing_params"], json!(["cluster"]));
    assert_eq!(broker.create("cache").await.is(400).value()["missing_params"], json!(["cluster"]));

    Answer::to(in_pool(broker.request("GET", "/resources/plans"), "eu")).await.is(200);
    let create = in_pool(broker.request("POST", "/resources"), "eu").body("name=cache&plan=small&team=data");
    Answer::to(create).await.is(201);
    broker.bind_app("cache", "web").await.is(201);
}
