//! What `doctor` says of servers that are set up well and badly.

use broker_core::{Broker as _, Secret, cli::Findings};
use redis_broker::{Config, RedisBroker};

use crate::{
    moves::to,
    support::{Client, Given, Grounds, is_product, look_after, tenancy, tenant, update},
};

/// The account of the README.
const LEAST: &str = "ACL SETUSER least on >s3cret ~* +ping +info +config|get +acl +scan +unlink +multi +exec +dump \
    +pexpiretime +exists +restore +function|dump +set +rename +client|tracking +client|list";

const WELL: [&str; 6] = ["--databases", "1", "--maxmemory", "64mb", "--appendonly", "yes"];

/// What `check` and `doctor` say with a plan on one given server.
async fn doctor_of(url: &Secret) -> String {
    let grounds = Grounds::new();
    let plan = "[[plan]]\nname = \"crowd\"\nkind = \"shared\"\nurl-file = \"url\"\n";
    grounds.write("url", url.expose());
    let plans = Some(grounds.write("plans.toml", plan));
    doctor(&Config { plans, advertise_host: "192.0.2.1".to_owned(), ..grounds.config() }).await
}

pub(crate) async fn doctor(config: &Config) -> String {
    let mut findings = Findings::default();
    RedisBroker::check(config, &mut findings).await;
    RedisBroker::doctor(config, &mut findings).await;
    findings.to_string()
}

/// A server with these settings beside the good ones, which win.
async fn set_up(more: &[&str]) -> String {
    let given = Given::start(&[&WELL[..], more].concat()).await;
    doctor_of(&given.url("default", "admin")).await
}

#[track_caller]
pub(crate) fn says(said: &str, level: &str, sentence: &str) {
    let is_said = said.lines().any(|line| line.starts_with(level) && line.contains(sentence));
    assert!(is_said, "no {level} with {sentence:?}: {said}");
    assert!(!said.contains("s3cret") && !said.contains(":admin@"), "{said}");
}

#[tokio::test] // SPEC K-13
async fn a_server_that_is_set_up_well_is_told_so() {
    let said = set_up(&[]).await;

    assert!(said.lines().all(|line| line.starts_with("ok ")), "{said}");
    assert!(said.lines().any(|line| line.split("  ").any(is_product)), "{said}");
    says(&said, "ok", "the user \"default\" may do all that the broker does");
    says(&said, "ok", "memory for data: 64");
    says(&said, "ok", "data is written to disk");
    says(&said, "ok", "it forgets accounts when it restarts: the broker gives them back");
}

#[tokio::test] // SPEC K-13
async fn settings_that_tenants_suffer_from_are_warned_of() {
    for (setting, sentence) in [
        (["--databases", "16"], "its tenants get no SELECT and COPY"),
        (["--maxmemory", "0"], "it has no `maxmemory`: tenants may fill the machine"),
        (["--maxmemory-policy", "allkeys-lru"], "its `maxmemory-policy` is allkeys-lru: when it is full, a tenant's"),
        (["--appendonly", "no"], "it keeps nothing on disk, and tenants lose their data when it restarts"),
    ] {
        let said = set_up(&setting).await;

        says(&said, "warning", sentence);
        let warnings = said.lines().filter(|line| !line.starts_with("ok ")).count();
        assert_eq!(warnings, 1, "{said}");
    }
    says(&set_up(&["--appendonly", "no", "--save", "60 1"]).await, "warning", "from time to time only");
}

#[tokio::test] // SPEC K-13
async fn a_server_that_cannot_serve_tenants_is_an_error() {
    says(&set_up(&["--replicaof", "127.0.0.1 1"]).await, "error", "it is a replica and takes no writes");
    says(&set_up(&["--cluster-enabled", "yes"]).await, "error", "it is one of a cluster");
}

#[tokio::test] // SPEC K-13
async fn rights_that_the_broker_lacks_are_named() {
    let given = Given::start(&WELL).await;
    let mut admin = given.admin().await;
    admin.say("ACL SETUSER few on >s3cret ~* &* +@all -unlink -acl|deluser").await.unwrap();
    admin.say("ACL SETUSER narrow on >s3cret ~app:* &* +@all").await.unwrap();
    admin.say(LEAST).await.unwrap();
    admin.say("ACL SETUSER blind on >s3cret ~* &* +@all -acl|dryrun").await.unwrap();

    admin.say("ACL SETUSER silent on >s3cret ~* &* +@all -client|list").await.unwrap();

    let silent = doctor_of(&given.url("silent", "s3cret")).await;
    let few = doctor_of(&given.url("few", "s3cret")).await;
    let narrow = doctor_of(&given.url("narrow", "s3cret")).await;
    let blind = doctor_of(&given.url("blind", "s3cret")).await;

    says(&few, "error", "the user \"few\" may not use ACL DELUSER, UNLINK on all keys: allow that");
    says(
        &narrow,
        "error",
        "the user \"narrow\" may not use UNLINK, DUMP, PEXPIRETIME, EXISTS, RESTORE, SET, RENAME on all keys",
    );
    says(&silent, "warning", "may not use CLIENT LIST: instances' connections are not counted");
    assert!(!silent.contains("error"), "{silent}");
    says(&blind, "warning", "cannot be seen: allow it `+acl|dryrun`");
    assert!(!blind.contains("error"), "{blind}");
}

#[tokio::test] // SPEC K-13
async fn an_account_with_the_rights_that_the_doctor_wants_is_enough() {
    let (grounds, given) = (Grounds::new(), Given::start(&WELL).await);
    given.admin().await.say(LEAST).await.unwrap();
    let url = given.url("least", "s3cret");
    let said = doctor_of(&url).await;
    assert!(said.lines().all(|line| line.starts_with("ok ")), "{said}");
    let broker = RedisBroker::start(Config { shared_url: Some(url), ..grounds.config() }).await.unwrap();

    let (shared, binding, env) = tenancy(&broker, "cache", "shared").await;
    Client::of(&env).await.unwrap().say(&format!("SET {}:k v", shared.id)).await.unwrap();
    let moved = update(&broker, &shared, &to(&shared, "dedicated")).await.unwrap();
    look_after(&broker, &[tenant(&moved, &[&binding])]).await;
    broker.unbind(&moved, &binding).await.unwrap();
    let back = update(&broker, &moved, &to(&moved, "shared")).await.unwrap();
    look_after(&broker, &[tenant(&back, &[])]).await;
    assert_eq!(given.admin().await.get(&format!("{}:k", shared.id)).await.as_deref(), Some("v"));
    broker.deprovision(&back).await.unwrap();

    assert_eq!(given.admin().await.list("KEYS *").await, Vec::<String>::new());
}

#[tokio::test] // SPEC K-13
async fn a_default_user_without_a_password_is_warned_of() {
    let given = Given::start(&WELL).await;
    given.admin().await.say("CONFIG SET requirepass ").await.unwrap();

    let open = doctor_of(&given.url("default", "admin")).await;
    given.admin().await.say("ACL SETUSER other on >s3cret ~* &* +@all").await.unwrap();
    given.admin().await.say("ACL SETUSER default off").await.unwrap();
    let closed = doctor_of(&given.url("other", "s3cret")).await;

    says(&open, "warning", "who reaches it is its user \"default\" without a password");
    assert!(closed.lines().all(|line| line.starts_with("ok ")), "{closed}");
}

#[tokio::test] // SPEC K-13
async fn a_server_that_does_not_answer_is_an_error_and_one_far_away_a_warning() {
    let mut given = Given::start(&WELL).await;
    given.stop();

    let down = doctor_of(&given.url("default", "s3cret")).await;
    let far = doctor_of(&Secret::from("redis://default:s3cret@cache.invalid:6379")).await;

    says(&down, "warning", "does not answer, calls that need it will fail until it does");
    says(&down, "error", "nothing more can be said of it");
    says(&far, "warning", "passwords and data go to it without TLS");
}

#[tokio::test] // SPEC K-13
async fn own_servers_that_promise_more_memory_than_there_is_are_warned_of() {
    let grounds = Grounds::new();
    let plan = "[[plan]]\nname = \"small\"\nkind = \"dedicated\"\nmemory = \"1gb\"\n";
    let with =
        |more: &str| Config { plans: Some(grounds.write("plans.toml", &format!("{plan}{more}"))), ..grounds.config() };

    let many = doctor(&with("at-most = 1000000\n")).await;
    let few = doctor(&with("at-most = 1\n")).await;
    let unbounded = doctor(&with("")).await;

    says(&many, "warning", "the plans promise 1000000.0 GiB in all and this machine has");
    says(&few, "ok", "1.0 GiB promised, of");
    says(&unbounded, "warning", "the plan \"small\" has no `at-most`");
    says(&few, "", "run as");
    says(&few, "warning", "apps are told to connect to 127.0.0.1, which inside of a container is the container itself");
    assert!(!grounds.root().exists(), "a doctor makes nothing");
}
