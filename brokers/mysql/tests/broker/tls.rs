//! Servers that are reached by TLS: the broker's own, and given ones.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use broker_core::{Binding, Broker as _, EnvVars, Instance, Secret, Update};
use broker_hosting::testing::Certified;
use mysql_broker::{Config, MysqlBroker, SharedTrust};

use crate::{
    doctor::{doctor, says},
    support::{Client, Grounds, binding, look_after, on_plan, tenant},
};

const PLANS: &str = r#"
    [[plan]]
    name = "crowd"
    kind = "shared"
    tls = "offered"

    [[plan]]
    name = "strict"
    kind = "shared"
    tls = "required"

    [[plan]]
    name = "sealed"
    kind = "dedicated"
    buffer-pool = "16mb"
    tls = "required"

    [[plan]]
    name = "clear"
    kind = "dedicated"
    buffer-pool = "16mb"
"#;

const NOW: Duration = Duration::ZERO;

fn of<'a>(env: &'a EnvVars, name: &str) -> &'a str {
    env.get(name).unwrap().expose()
}

async fn tenancy(broker: &MysqlBroker, plan: &str) -> (Instance, Binding, EnvVars) {
    let (mut instance, binding) = (on_plan(plan), binding("blog"));
    instance.notes = broker.provision(&instance).await.unwrap();
    let env = broker.bind(&instance, &binding).await.unwrap();
    (instance, binding, env)
}

async fn update(broker: &MysqlBroker, instance: &Instance, plan: &str) -> Instance {
    let mut to = Update::of(instance);
    to.plan = plan.parse().unwrap();
    let notes = broker.update(instance, &to).await.unwrap();
    let mut updated = instance.clone();
    (updated.plan, updated.notes) = (to.plan, notes);
    updated
}

/// What the servers' own client is answered, when it trusts this authority.
fn ask_by_tool(env: &EnvVars, authority: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), authority).unwrap();
    let asked = Command::new("mariadb")
        .args(["--no-defaults", "--protocol=tcp", "--ssl-verify-server-cert", "--batch", "--skip-column-names"])
        .args([format!("--ssl-ca={}", file.path().display()), format!("--host={}", of(env, "MYSQL_HOST"))])
        .args([format!("--port={}", of(env, "MYSQL_PORT")), format!("--user={}", of(env, "MYSQL_USER"))])
        .arg("--execute=SELECT VARIABLE_VALUE <> '' FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME = 'Ssl_cipher'")
        .env("MYSQL_PWD", of(env, "MYSQL_PASSWORD"))
        .output()
        .expect("mariadb is installed");
    String::from_utf8_lossy(&asked.stdout).into_owned() + &String::from_utf8_lossy(&asked.stderr)
}

fn other_authority(folder: &Path) -> Certified {
    Certified::new(folder, &["127.0.0.1"], NOW)
}

#[tokio::test] // SPEC M-17
async fn apps_get_in_by_tls_with_the_authority_they_are_told_and_without_it_where_their_plan_lets_them() {
    let (grounds, elsewhere) = (Grounds::new(), tempfile::tempdir().unwrap());
    let broker = MysqlBroker::start(grounds.with_plans(PLANS)).await.unwrap();
    let other = fs::read_to_string(other_authority(elsewhere.path()).authority).unwrap();

    for (plan, in_clear, word) in
        [("crowd", true, "offered"), ("strict", false, "required"), ("sealed", false, "required")]
    {
        let (instance, _, env) = tenancy(&broker, plan).await;

        assert_eq!(of(&env, "MYSQL_TLS"), "true");
        assert!(!of(&env, "MYSQL_CA").contains("PRIVATE KEY"));
        Client::by_tls(&env, of(&env, "MYSQL_CA")).await.unwrap().run("CREATE TABLE t (a INT)").await.unwrap();
        assert_eq!(ask_by_tool(&env, of(&env, "MYSQL_CA")), "1\n");
        assert!(Client::by_tls(&env, &other).await.is_err());
        assert!(ask_by_tool(&env, &other).contains("ERROR"), "{}", ask_by_tool(&env, &other));
        assert_eq!(Client::of(&env).await.is_ok(), in_clear, "{plan}");
        let shown = broker.info(&instance).await.unwrap();
        assert!(shown.iter().any(|item| item.label == "TLS" && item.value == word), "{shown:?}");
    }
    let (_, _, env) = tenancy(&broker, "clear").await;
    assert!(env.get("MYSQL_TLS").is_none() && env.get("MYSQL_CA").is_none());
    Client::of(&env).await.unwrap();
}

#[tokio::test] // SPEC M-18
async fn a_certificate_that_is_due_is_replaced_without_dropping_a_connection() {
    let grounds = Grounds::new();
    let broker = MysqlBroker::start(grounds.with_plans(PLANS)).await.unwrap();
    let (instance, binding, env) = tenancy(&broker, "sealed").await;
    let tenants = [tenant(&instance, &[&binding])];
    let served = || {
        let shown = Command::new("openssl")
            .args(["s_client", "-starttls", "mysql", "-connect", &format!("127.0.0.1:{}", of(&env, "MYSQL_PORT"))])
            .stdin(Stdio::null())
            .output()
            .expect("openssl is installed");
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        text.split("-----BEGIN CERTIFICATE-----").nth(1).expect("a certificate").to_owned()
    };
    let mut app = Client::by_tls(&env, of(&env, "MYSQL_CA")).await.unwrap();
    let (first, id) = (served(), app.id());
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
    look_after(&MysqlBroker::start(grounds.with_plans(PLANS)).await.unwrap(), &tenants).await;

    assert_ne!(second, served());
    assert!(fs::read_to_string(&own).unwrap().contains(served().trim().split("-----END").next().unwrap()));
    Client::by_tls(&env, of(&env, "MYSQL_CA")).await.unwrap();
    assert_eq!(app.number("SELECT CONNECTION_ID()").await, u64::from(id), "the connection that was there");
}

#[tokio::test] // SPEC M-18
async fn an_instance_moves_between_plans_with_tls_and_without_and_its_variables_with_it() {
    let grounds = Grounds::new();
    let broker = MysqlBroker::start(grounds.with_plans(PLANS)).await.unwrap();
    let (clear, binding, env) = tenancy(&broker, "clear").await;
    Client::of(&env).await.unwrap().run("CREATE TABLE t AS SELECT 7 AS a").await.unwrap();

    let sealed = update(&broker, &clear, "sealed").await;
    assert!(Client::of(&env).await.is_err(), "from the update on");
    let sealed_env = broker.bind(&sealed, &binding).await.unwrap();
    let mut app = Client::by_tls(&sealed_env, of(&sealed_env, "MYSQL_CA")).await.unwrap();
    assert_eq!(app.number("SELECT a FROM t").await, 7);

    let crowd = update(&broker, &sealed, "crowd").await;
    look_after(&broker, &[tenant(&crowd, &[&binding])]).await;
    let crowd_env = broker.bind(&crowd, &binding).await.unwrap();
    assert_eq!(Client::of(&crowd_env).await.unwrap().number("SELECT a FROM t").await, 7);
    assert_eq!(ask_by_tool(&crowd_env, of(&crowd_env, "MYSQL_CA")), "1\n");

    let strict = update(&broker, &crowd, "strict").await;
    assert!(Client::of(&crowd_env).await.is_err());
    let clear = update(&broker, &strict, "clear").await;
    look_after(&broker, &[tenant(&clear, &[&binding])]).await;
    let env = broker.bind(&clear, &binding).await.unwrap();
    assert!(env.get("MYSQL_CA").is_none());
    assert_eq!(Client::of(&env).await.unwrap().number("SELECT a FROM t").await, 7);
}

#[tokio::test] // SPEC M-18
async fn a_plan_that_has_tls_from_now_on_gives_it_to_instances_with_their_next_bind() {
    let grounds = Grounds::new();
    let without = PLANS.replace("tls = \"required\"", "");
    let broker = MysqlBroker::start(grounds.with_plans(&without)).await.unwrap();
    let (instance, binding, env) = tenancy(&broker, "sealed").await;
    Client::of(&env).await.unwrap().run("CREATE TABLE t AS SELECT 7 AS a").await.unwrap();
    drop(broker);

    let broker = MysqlBroker::start(grounds.with_plans(PLANS)).await.unwrap();
    look_after(&broker, &[tenant(&instance, &[&binding])]).await;
    Client::of(&env).await.expect("nothing changed yet");
    let env = broker.bind(&instance, &binding).await.unwrap();

    assert!(Client::of(&env).await.is_err());
    let mut app = Client::by_tls(&env, of(&env, "MYSQL_CA")).await.unwrap();
    assert_eq!(app.number("SELECT a FROM t").await, 7);
    look_after(&broker, &[tenant(&instance, &[&binding])]).await;
    app.run("SELECT 1").await.unwrap();
}

/// A server with a certificate, which another broker started, and the settings of a broker that is given it.
struct Given {
    grounds: Grounds,
    own: Grounds,
}

impl Given {
    async fn start() -> Self {
        let grounds = Grounds::new();
        drop(MysqlBroker::start(grounds.with_plans(PLANS)).await.unwrap());
        let broker = MysqlBroker::start(grounds.with_plans(PLANS)).await.unwrap();
        tenancy(&broker, "crowd").await;
        Self { grounds, own: Grounds::new() }
    }

    /// The authority's file has its key, too.
    fn trust(&self) -> SharedTrust {
        SharedTrust { shared_ca_file: Some(self.grounds.root().join("authority.pem")), ..SharedTrust::default() }
    }

    fn url(&self) -> String {
        self.grounds.url_of("shared")
    }

    fn config(&self, url: &str, shared_trust: SharedTrust) -> Config {
        Config { shared_url: Some(Secret::from(url)), shared_trust, ..self.own.config() }
    }

    async fn refusal(&self, url: &str, trust: SharedTrust) -> String {
        format!("{:#}", MysqlBroker::start(self.config(url, trust)).await.err().unwrap())
    }
}

#[tokio::test] // SPEC M-19
async fn a_given_server_is_reached_by_tls_and_its_tenants_are_told_its_authority() {
    let given = Given::start().await;
    let plans = "[[plan]]\nname = \"shared\"\nkind = \"shared\"\n[[plan]]\nname = \"sealed\"\nkind = \"dedicated\"\n\
                 buffer-pool = \"16mb\"\ntls = \"required\"\n";
    let plans = Some(given.own.write("plans.toml", plans));
    let broker = MysqlBroker::start(Config { plans, ..given.config(&given.url(), given.trust()) }).await.unwrap();

    let (instance, binding, env) = tenancy(&broker, "shared").await;

    let authority = fs::read_to_string(given.grounds.root().join("authority.pem")).unwrap();
    assert!(authority.contains(of(&env, "MYSQL_CA")) && !of(&env, "MYSQL_CA").contains("PRIVATE"));
    let mut app = Client::by_tls(&env, of(&env, "MYSQL_CA")).await.unwrap();
    app.run("CREATE TABLE t AS SELECT 7 AS a").await.unwrap();
    // The programs that copy reach it so, too.
    let moved = update(&broker, &instance, "sealed").await;
    look_after(&broker, &[tenant(&moved, &[&binding])]).await;
    let back = update(&broker, &moved, "shared").await;
    look_after(&broker, &[tenant(&back, &[&binding])]).await;
    let env = broker.bind(&back, &binding).await.unwrap();
    let mut app = Client::by_tls(&env, of(&env, "MYSQL_CA")).await.unwrap();
    assert_eq!(app.number("SELECT a FROM t").await, 7);
}

#[tokio::test] // SPEC M-19, H-12
async fn a_certificate_that_is_not_to_be_trusted_keeps_the_broker_from_starting_and_says_why() {
    let (given, elsewhere) = (Given::start().await, tempfile::tempdir().unwrap());
    let (url, by_name) = (given.url(), given.url().replace("127.0.0.1", "localhost"));
    let strange = other_authority(elsewhere.path()).authority;
    let strange = SharedTrust { shared_ca_file: Some(strange), ..SharedTrust::default() };
    let asks = |url: &str| format!("{url}?require_ssl=true");

    for (url, trust, sentence) in [
        (&url, strange, "its certificate is not signed by a trusted authority: name its authority's certificate"),
        (&asks(&url), SharedTrust::default(), "its certificate is not signed by a trusted authority"),
        (&by_name, given.trust(), "its certificate is for 127.0.0.1 and not for localhost: use a host in the URL"),
    ] {
        let refusal = given.refusal(url, trust).await;
        assert!(refusal.contains(sentence), "{refusal}");
    }
    let any = SharedTrust { shared_insecure_accept_any_certificate: true, ..SharedTrust::default() };
    MysqlBroker::start(given.config(&by_name, any.clone())).await.unwrap();
    says(&doctor(&given.config(&by_name, any)).await, "warning", "any certificate is taken for its own");
    says(&doctor(&given.config(&url, given.trust())).await, "ok", "reached by TLS");
}
