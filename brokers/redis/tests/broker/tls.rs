//! Servers that are reached by TLS: the broker's own, and given ones.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command, time::Duration};

use broker_core::{Broker as _, EnvVars, Secret};
use broker_hosting::testing::Certified;
use redis_broker::{Config, RedisBroker, SharedTrust};

use crate::{
    doctor::{doctor, says},
    moves::to,
    support::{Client, Given, Grounds, admin, look_after, tenancy, tenant, update},
};

const PLANS: &str = r#"
[[plan]]
name = "clear"
kind = "dedicated"

[[plan]]
name = "sealed"
kind = "dedicated"
tls = "required"

[[plan]]
name = "crowd"
kind = "shared"
tls = "required"
"#;

const NOW: Duration = Duration::ZERO;

fn of<'a>(env: &'a EnvVars, name: &str) -> &'a str {
    env.get(name).unwrap().expose()
}

/// Whether an app that ignores TLS gets in.
async fn gets_in_without_tls(env: &EnvVars) -> bool {
    Client::login(&of(env, "REDIS_URL").replace("rediss://", "redis://")).await.is_ok()
}

/// What `redis-cli` is answered, when it trusts this authority.
fn ask_by_tool(env: &EnvVars, authority: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), authority).unwrap();
    let asked = Command::new("redis-cli")
        .args(["-u", of(env, "REDIS_URL"), "--no-auth-warning", "--cacert"])
        .arg(file.path())
        .arg("PING")
        .output()
        .expect("redis-cli is installed");
    String::from_utf8_lossy(&asked.stdout).into_owned() + &String::from_utf8_lossy(&asked.stderr)
}

#[tokio::test] // SPEC K-17
async fn apps_of_a_plan_with_tls_get_in_by_it_with_the_authority_they_are_told_and_not_otherwise() {
    let (grounds, elsewhere) = (Grounds::new(), tempfile::tempdir().unwrap());
    let broker = grounds.broker_of(PLANS).await;
    let other = Certified::new(elsewhere.path(), &["127.0.0.1"], NOW);
    let other = fs::read_to_string(other.authority).unwrap();

    for plan in ["sealed", "crowd"] {
        let (instance, _, env) = tenancy(&broker, "cache", plan).await;

        assert!(of(&env, "REDIS_URL").starts_with("rediss://") && of(&env, "REDIS_TLS") == "true");
        assert!(!of(&env, "REDIS_CA").contains("PRIVATE KEY"));
        let mut app = Client::of(&env).await.unwrap();
        app.say(&format!("SET {}:k v", instance.id)).await.unwrap();
        assert_eq!(ask_by_tool(&env, of(&env, "REDIS_CA")), "PONG\n");
        assert!(Client::trusting(of(&env, "REDIS_URL"), &other).await.is_err());
        assert!(ask_by_tool(&env, &other).contains("certificate verify failed"));
        assert!(!gets_in_without_tls(&env).await);
        let shown = broker.info(&instance).await.unwrap();
        assert!(shown.iter().any(|item| item.label == "TLS" && item.value == "required"), "{shown:?}");
    }
    let (_, _, env) = tenancy(&broker, "cache", "clear").await;
    assert!(env.get("REDIS_TLS").is_none() && env.get("REDIS_CA").is_none());
    Client::of(&env).await.unwrap();
}

#[tokio::test] // SPEC K-18
async fn a_certificate_is_renewed_without_dropping_a_connection_and_each_broker_has_the_same_authority() {
    let grounds = Grounds::new();
    let broker = grounds.broker_of(PLANS).await;
    let (instance, binding, env) = tenancy(&broker, "cache", "sealed").await;
    let mut app = Client::of(&env).await.unwrap();
    let by_name = of(&env, "REDIS_URL").replace("127.0.0.1", "localhost");
    assert!(Client::trusting(&by_name, of(&env, "REDIS_CA")).await.is_err(), "it is not for that name");

    drop(broker);
    let (plans, bind) = (Some(grounds.write("plans.toml", PLANS)), vec!["127.0.0.1".parse().unwrap()]);
    let config = Config { plans, bind, advertise_host: "localhost".to_owned(), ..grounds.config() };
    let broker = RedisBroker::start(config).await.unwrap();
    look_after(&broker, &[tenant(&instance, &[&binding])]).await;

    let renewed = broker.bind(&instance, &binding).await.unwrap();
    assert_eq!(of(&renewed, "REDIS_CA"), of(&env, "REDIS_CA"));
    assert_eq!(of(&renewed, "REDIS_URL"), by_name);
    Client::of(&renewed).await.expect("the new certificate");
    app.say("SET k v").await.expect("the connection that was there");
}

#[tokio::test] // SPEC K-18
async fn a_certificate_that_is_due_is_replaced_also_when_the_broker_died_before_the_server_was_told() {
    let grounds = Grounds::new();
    let broker = grounds.broker_of(PLANS).await;
    let (instance, binding, env) = tenancy(&broker, "cache", "sealed").await;
    let tenants = [tenant(&instance, &[&binding])];
    let served = || {
        let shown = Command::new("openssl")
            .args(["s_client", "-connect", &format!("127.0.0.1:{}", of(&env, "REDIS_PORT"))])
            .stdin(std::process::Stdio::null())
            .output()
            .expect("openssl is installed");
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        text.split("-----BEGIN CERTIFICATE-----").nth(1).expect("a certificate").to_owned()
    };
    let first = served();
    let own = grounds.root().join(instance.id.as_str()).join("server.pem");
    let old = Certified::new(&grounds.root(), &["127.0.0.1"], Duration::from_secs(300 * 24 * 3600));
    fs::copy(old.certificate, &own).unwrap();

    look_after(&broker, &tenants).await;
    let second = served();
    assert_ne!(first, second, "due in less than four months");

    // Renewed, and not told.
    let fresh = Certified::new(&grounds.root(), &["127.0.0.1"], Duration::from_secs(3600));
    fs::copy(fresh.certificate, &own).unwrap();
    drop(broker);
    look_after(&grounds.broker_of(PLANS).await, &tenants).await;

    assert!(fs::read_to_string(&own).unwrap().contains(served().trim().split("-----END").next().unwrap()));
    Client::of(&env).await.unwrap();
}

#[tokio::test] // SPEC K-18
async fn an_instance_moves_between_plans_with_tls_and_without_and_its_variables_with_it() {
    let grounds = Grounds::new();
    let broker = grounds.broker_of(PLANS).await;
    let (clear, binding, env) = tenancy(&broker, "cache", "clear").await;
    let mut app = Client::of(&env).await.unwrap();
    app.say("SET k v").await.unwrap();

    let sealed = update(&broker, &clear, &to(&clear, "sealed")).await.unwrap();
    let sealed_env = broker.bind(&sealed, &binding).await.unwrap();

    assert_eq!(of(&sealed_env, "REDIS_PORT"), of(&env, "REDIS_PORT"));
    assert_eq!(Client::of(&sealed_env).await.unwrap().get("k").await.as_deref(), Some("v"));
    assert!(!gets_in_without_tls(&sealed_env).await);
    app.say("SET k w").await.expect("the connection that was there");
    eventually_on_disk(&mut app).await;
    grounds.kill_all().await;
    look_after(&broker, &[tenant(&sealed, &[&binding])]).await;
    assert_eq!(Client::of(&sealed_env).await.unwrap().get("k").await.as_deref(), Some("w"));

    let clear = update(&broker, &sealed, &to(&sealed, "clear")).await.unwrap();
    assert_eq!(broker.bind(&clear, &binding).await.unwrap(), env);
    assert_eq!(Client::of(&env).await.unwrap().get("k").await.as_deref(), Some("w"));
}

async fn eventually_on_disk(app: &mut Client) {
    crate::support::eventually("the data is on disk", async || {
        let info: String = redis::from_redis_value(app.say("INFO persistence").await.unwrap()).unwrap();
        info.contains("aof_pending_bio_fsync:0") && info.contains("aof_rewrite_in_progress:0")
    })
    .await;
}

#[tokio::test] // SPEC K-18
async fn a_change_to_tls_that_was_interrupted_is_taken_back_or_finished_whatever_the_server_speaks() {
    let grounds = Grounds::new();
    let broker = grounds.broker_of(PLANS).await;
    let (clear, binding, env) = tenancy(&broker, "cache", "clear").await;
    let port = of(&env, "REDIS_PORT");
    let other = Certified::new(&grounds.root(), &["127.0.0.1"], NOW);
    fs::set_permissions(&other.certificate, fs::Permissions::from_mode(0o644)).unwrap();
    let file = other.certificate.display();
    let half =
        format!("CONFIG SET tls-cert-file {file} tls-key-file {file} tls-auth-clients no port 0 tls-port {port}");
    let tenants = [tenant(&clear, &[&binding])];

    admin(&clear, &env).await.say(&half).await.unwrap();
    assert!(Client::of(&env).await.is_err());
    look_after(&broker, &tenants).await;
    Client::of(&env).await.expect("taken back by the same broker");

    admin(&clear, &env).await.say(&half).await.unwrap();
    drop(broker);
    let broker = grounds.broker_of(PLANS).await;
    look_after(&broker, &tenants).await;
    Client::of(&env).await.expect("taken back by the next one");

    admin(&clear, &env).await.say(&half).await.unwrap();
    let sealed = update(&broker, &clear, &to(&clear, "sealed")).await.unwrap();
    Client::of(&broker.bind(&sealed, &binding).await.unwrap()).await.expect("the update is repeated");
}

#[tokio::test] // SPEC K-17, H-8
async fn a_server_in_a_container_speaks_tls_and_keeps_its_certificate_as_a_process() {
    let grounds = Grounds::new();
    let plans = "[[plan]]\nname = \"boxed\"\nkind = \"dedicated\"\nbackend = \"container\"\ntls = \"required\"\n\
                 [[plan]]\nname = \"sealed\"\nkind = \"dedicated\"\ntls = \"required\"\n";
    let broker = grounds.broker_of(plans).await;
    let (boxed, binding, env) = tenancy(&broker, "cache", "boxed").await;
    Client::of(&env).await.unwrap().say("SET k v").await.unwrap();
    assert!(!gets_in_without_tls(&env).await);
    eventually_on_disk(&mut Client::of(&env).await.unwrap()).await;

    let moved = update(&broker, &boxed, &to(&boxed, "sealed")).await.unwrap();

    assert_eq!(broker.bind(&moved, &binding).await.unwrap(), env);
    assert_eq!(Client::of(&env).await.unwrap().get("k").await.as_deref(), Some("v"));
    broker.deprovision(&moved).await.unwrap();
}

/// A server whose only port speaks TLS.
async fn given(certified: &Certified, more: &[&str]) -> Given {
    let file = certified.certificate.to_str().unwrap();
    let usual = ["--databases", "1", "--tls-cert-file", file, "--tls-key-file", file, "--tls-auth-clients", "no"];
    Given::by_tls(&[&usual, more].concat()).await
}

fn trust(certified: &Certified) -> SharedTrust {
    SharedTrust { shared_ca_file: Some(certified.authority.clone()), ..SharedTrust::default() }
}

async fn start(url: &Secret, shared_trust: SharedTrust) -> Result<(RedisBroker, Grounds), String> {
    let grounds = Grounds::new();
    let config = Config { shared_url: Some(url.clone()), shared_trust, ..grounds.config() };
    let broker = RedisBroker::start(config).await.map_err(|why| format!("{why:#}"))?;
    Ok((broker, grounds))
}

#[tokio::test] // SPEC K-16
async fn a_given_server_is_reached_by_tls_and_its_tenants_are_told_its_authority() {
    let folder = tempfile::tempdir().unwrap();
    let certified = Certified::new(folder.path(), &["127.0.0.1"], NOW);
    let given = given(&certified, &[]).await;

    let (broker, _grounds) = start(&given.tls_url("default", "admin"), trust(&certified)).await.unwrap();
    let (instance, _, env) = tenancy(&broker, "cache", "shared").await;

    assert_eq!(of(&env, "REDIS_CA"), fs::read_to_string(&certified.authority).unwrap());
    Client::of(&env).await.unwrap().say(&format!("SET {}:k v", instance.id)).await.unwrap();
    assert!(!gets_in_without_tls(&env).await);
}

#[tokio::test] // SPEC K-16, H-12
async fn a_certificate_that_is_not_to_be_trusted_keeps_the_broker_from_starting_and_says_why() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let here = |names: &[&str], days: u64| Certified::new(folder.path(), names, Duration::from_secs(days * 24 * 3600));
    let other = Certified::new(elsewhere.path(), &["127.0.0.1"], NOW);
    let (good, named, old) = (here(&["127.0.0.1"], 0), here(&["redis.example"], 0), here(&["127.0.0.1"], 400));
    let usual = SharedTrust::default;

    for (certified, trust, sentence) in [
        (
            &good,
            trust(&other),
            "its certificate is not signed by a trusted authority: name its authority's certificate",
        ),
        (&good, usual(), "its certificate is not signed by a trusted authority"),
        (&named, trust(&good), "its certificate is for redis.example and not for 127.0.0.1: use a host in the URL"),
        (&old, trust(&good), "its certificate has expired: renew it"),
    ] {
        let given = given(certified, &[]).await;
        let refusal = start(&given.tls_url("default", "admin"), trust).await.err().unwrap();
        assert!(refusal.contains(sentence) && !refusal.contains("admin"), "{refusal}");
    }
    let given = given(&named, &[]).await;
    let any = SharedTrust { shared_insecure_accept_any_certificate: true, ..usual() };
    start(&given.tls_url("default", "admin"), any).await.unwrap();
}

#[tokio::test] // SPEC K-16
async fn a_server_that_wants_the_brokers_certificate_is_shown_it() {
    let folder = tempfile::tempdir().unwrap();
    let certified = Certified::new(folder.path(), &["127.0.0.1"], NOW);
    let ca = certified.authority.to_str().unwrap();
    let given = given(&certified, &["--tls-auth-clients", "yes", "--tls-ca-cert-file", ca]).await;
    let url = given.tls_url("default", "admin");

    let refusal = start(&url, trust(&certified)).await.err().unwrap();
    let (shared_certificate_file, shared_key_file) =
        (Some(client(folder.path())), Some(folder.path().join("client.key")));
    let shown = start(&url, SharedTrust { shared_certificate_file, shared_key_file, ..trust(&certified) }).await;

    assert!(refusal.contains("it wants a certificate of the broker's that it knows"), "{refusal}");
    shown.unwrap();
}

/// A client's certificate that a folder's authority signed.
fn client(folder: &std::path::Path) -> std::path::PathBuf {
    let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let run = |line: &str| {
        let done = Command::new("openssl").args(line.split(' ')).output().expect("openssl is installed");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let (key, request, certificate, authority) =
        (at("client.key"), at("client.csr"), at("client.pem"), at("authority.pem"));
    run(&format!(
        "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=broker -keyout {key} -out {request}"
    ));
    run(&format!(
        "x509 -req -in {request} -CA {authority} -CAkey {authority} -CAcreateserial -days 2 -out {certificate}"
    ));
    certificate.into()
}

#[tokio::test] // SPEC K-16
async fn tls_where_there_is_none_and_files_that_cannot_be_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let certified = Certified::new(folder.path(), &["127.0.0.1"], NOW);
    let plain = Given::start(&["--databases", "1"]).await;
    let clear = plain.url("default", "admin");

    let without = start(&clear, trust(&certified)).await.err().unwrap();
    let missing = SharedTrust { shared_ca_file: Some(folder.path().join("none.pem")), ..SharedTrust::default() };
    let missing = start(&plain.tls_url("default", "admin"), missing).await.err().unwrap();

    assert!(without.contains("is for TLS: write its URL as rediss://"), "{without}");
    assert!(missing.contains("none.pem: No such file"), "{missing}");
}

#[tokio::test] // SPEC K-13
async fn doctor_says_how_given_servers_are_reached_and_when_the_authority_ends() {
    let folder = tempfile::tempdir().unwrap();
    let certified = Certified::new(folder.path(), &["127.0.0.1"], NOW);
    let given = given(&certified, &["--maxmemory", "64mb", "--appendonly", "yes"]).await;
    let (grounds, url) = (Grounds::new(), given.tls_url("default", "admin"));
    let config = |shared_trust| Config { shared_url: Some(url.clone()), shared_trust, ..grounds.config() };

    let well = doctor(&config(trust(&certified))).await;
    let any = SharedTrust { shared_insecure_accept_any_certificate: true, ..SharedTrust::default() };
    let any = doctor(&config(any)).await;
    let unknown = doctor(&config(SharedTrust::default())).await;
    let own = doctor(&Config { plans: Some(grounds.write("plans.toml", PLANS)), ..grounds.config() }).await;

    says(&well, "ok", "reached by TLS");
    says(&any, "warning", "any certificate is taken for its own");
    says(&unknown, "error", "its certificate is not signed by a trusted authority");
    says(&own, "ok", "it is made when the broker starts");
}
