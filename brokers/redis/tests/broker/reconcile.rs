//! What `reconcile` says differs between the records and the servers, and what it does about that.

use std::{fs, process::Command, time::Duration};

use broker_core::{
    Broker as _, Instance, OpaqueId, Tenant,
    cli::Drift,
    testing::{FakePlatform, Program},
};
use redis_broker::{Config, RedisBroker};
use tokio::time::timeout;

use crate::{
    moves::to,
    support::{Client, Given, Grounds, binding, eventually, instance, tenancy, tenant, update},
};

async fn compared(config: &Config, mut drift: Drift) -> String {
    RedisBroker::compare(config, &mut drift).await.unwrap();
    drift.to_string()
}

/// What a look says: the lines that are not about what is well.
async fn look(config: &Config, tenants: &[Tenant]) -> Vec<String> {
    let said = compared(config, Drift::look(tenants.to_vec())).await;
    said.lines().filter(|line| !line.starts_with("ok ")).map(str::to_owned).collect()
}

#[track_caller]
fn says(lines: &[String], parts: &[&str]) {
    let is_said = lines.iter().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(is_said, "no line with {parts:?}: {lines:#?}");
}

/// All accounts and keys of a server.
async fn all_of(given: &Given) -> Vec<String> {
    let mut admin = given.admin().await;
    let mut all = admin.list("ACL LIST").await;
    all.extend(admin.list("KEYS *").await);
    all.sort();
    all
}

/// A given server with two instances that are well.
async fn shared(grounds: &Grounds) -> (Given, Config, [Tenant; 2]) {
    let given = Given::start(&["--databases", "1"]).await;
    let config = Config { shared_url: Some(given.url("default", "admin")), ..grounds.config() };
    let broker = RedisBroker::start(config.clone()).await.unwrap();
    let (one, mut reader) = (tenancy(&broker, "one", "shared").await, binding("reader"));
    reader.parameters.insert("read-only".to_owned(), true.into());
    broker.bind(&one.0, &reader).await.unwrap();
    let other = tenancy(&broker, "other", "shared").await;
    Client::of(&one.2).await.unwrap().say(&format!("SET {}:k v", one.0.id)).await.unwrap();
    let tenants = [tenant(&one.0, &[&one.1, &reader]), tenant(&other.0, &[&other.1])];
    (given, config, tenants)
}

/// Something of everything goes wrong. Returns the orphans.
async fn damaged(given: &Given, tenants: &[Tenant; 2]) -> [OpaqueId; 3] {
    let (mut admin, [one, other]) = (given.admin().await, tenants);
    let [writer, reader] = &one.bindings[..] else { panic!("two bindings") };
    let (gone, strange, keys_only) = (OpaqueId::generate(), OpaqueId::generate(), OpaqueId::generate());
    for command in [
        format!("ACL DELUSER {}", writer.id),
        format!("ACL SETUSER {} ~*", reader.id),
        format!("ACL SETUSER {} +flushall", other.bindings[0].id),
        format!("ACL DELUSER tenant-{}", other.instance.id),
        // An instance that nobody remembers, an account of one that somebody does, and keys.
        format!("ACL SETUSER tenant-{gone} reset"),
        format!("ACL SETUSER {} on >pw ~{gone}:* +get", OpaqueId::generate()),
        format!("SET {gone}:k v"),
        format!("ACL SETUSER {strange} on >pw ~{}:* +get", one.instance.id),
        format!("SET {keys_only}:k v"),
        // Others on the server, of whom one has a name like ours.
        "ACL SETUSER app on >pw ~app:* +get".to_owned(),
        "ACL SETUSER abcdefghijklmnopqrstuvwx on >pw ~app:* +get".to_owned(),
        "SET app:k v".to_owned(),
    ] {
        admin.say(&command).await.unwrap();
    }
    [gone, strange, keys_only]
}

#[tokio::test] // SPEC K-19
async fn a_server_as_the_records_have_it_is_said_to_be_so() {
    let grounds = Grounds::new();
    let (_given, config, tenants) = shared(&grounds).await;

    let said = compared(&config, Drift::look(tenants.to_vec())).await;

    assert!(said.lines().all(|line| line.starts_with("ok ")), "{said}");
    assert!(said.contains("shared server shared      2 instances that should be there"), "{said}");
}

#[tokio::test] // SPEC K-19, X-8
async fn each_kind_of_drift_is_said_and_a_look_changes_nothing() {
    let grounds = Grounds::new();
    let (given, config, tenants) = shared(&grounds).await;
    let [gone, strange, keys_only] = damaged(&given, &tenants).await;
    let (before, [one, other]) = (all_of(&given).await, &tenants);

    let lines = look(&config, &tenants).await;

    says(&lines, &["missing ", one.bindings[0].id.as_str(), "the account of app \"one\" at `one`"]);
    says(&lines, &["differs ", one.bindings[1].id.as_str(), "`one`: it reaches other keys or channels"]);
    says(&lines, &["differs ", other.bindings[0].id.as_str(), "`other`: it may use other commands"]);
    says(&lines, &["missing ", other.instance.id.as_str(), "the mark of `other`"]);
    says(&lines, &["orphan ", gone.as_str(), "an instance: its mark, one account, keys"]);
    says(&lines, &["orphan ", strange.as_str(), &format!("an account of instance {}", one.instance.id)]);
    says(&lines, &["orphan ", keys_only.as_str(), "an instance: keys"]);
    assert_eq!(lines.len(), 7, "{lines:#?}");
    assert_eq!(all_of(&given).await, before);
    assert!(!lines.concat().contains(one.bindings[0].secret.expose()));
}

#[tokio::test] // SPEC K-19, X-9
async fn what_differs_is_repaired_and_orphans_go_only_when_they_are_to() {
    let grounds = Grounds::new();
    let (given, config, tenants) = shared(&grounds).await;
    let well = all_of(&given).await;
    damaged(&given, &tenants).await;
    let foreign: Vec<_> = all_of(&given).await.into_iter().filter(|line| line.contains("app:")).collect();
    assert_eq!(foreign.len(), 3);

    let said = compared(&config, Drift::repair(tenants.to_vec())).await;

    assert_eq!(said.matches("repaired ").count(), 4, "{said}");
    assert_eq!(said.matches("; it is left there").count(), 3, "{said}");
    assert!(look(&config, &tenants).await.iter().all(|line| line.starts_with("orphan ")));
    let said = compared(&config, Drift::repair(tenants.to_vec()).removing_orphans()).await;
    assert_eq!(said.matches("removed ").count(), 3, "{said}");
    assert_eq!(look(&config, &tenants).await, Vec::<String>::new());
    let mut whole = [well, foreign].concat();
    whole.sort();
    assert_eq!(all_of(&given).await, whole);
}

#[tokio::test] // SPEC K-19, K-15
async fn an_instance_whose_restore_was_cut_off_gets_no_account_back() {
    let grounds = Grounds::new();
    let (given, config, tenants) = shared(&grounds).await;
    let (mut admin, one) = (given.admin().await, &tenants[0]);
    admin.say(&format!("SET broker:{}:restore x", one.instance.id)).await.unwrap();
    for binding in &one.bindings {
        admin.say(&format!("ACL DELUSER {}", binding.id)).await.unwrap();
    }
    let before = all_of(&given).await;

    let said = compared(&config, Drift::repair(tenants.to_vec())).await;

    assert!(said.contains("a restore of `one` was cut off: restore again"), "{said}");
    assert!(said.lines().all(|line| line.starts_with("ok ")), "{said}");
    assert_eq!(all_of(&given).await, before);
}

#[tokio::test] // SPEC X-10
async fn a_repair_that_is_cut_off_anywhere_is_finished_by_the_next() {
    let grounds = Grounds::new();
    let (given, config, tenants) = shared(&grounds).await;
    let well = all_of(&given).await.into_iter().filter(|line| !line.starts_with("user default")).collect::<Vec<_>>();

    for after in [1, 2, 4, 8, 16] {
        damaged(&given, &tenants).await;
        let mut drift = Drift::repair(tenants.to_vec()).removing_orphans();
        let cut_off = timeout(Duration::from_millis(after), RedisBroker::compare(&config, &mut drift)).await;

        compared(&config, Drift::repair(tenants.to_vec()).removing_orphans()).await;

        assert_eq!(look(&config, &tenants).await, Vec::<String>::new(), "after {after} ms, {cut_off:?}");
        let now = all_of(&given).await;
        assert!(well.iter().all(|line| now.contains(line)), "{now:#?}");
    }
}

#[tokio::test] // SPEC K-19
async fn one_server_that_is_down_keeps_the_others_from_nothing() {
    let grounds = Grounds::new();
    let mut servers = [Given::start(&["--databases", "1"]).await, Given::start(&["--databases", "1"]).await];
    let entry = |id: &str, given: &Given| {
        format!("[[server]]\nid = \"{id}\"\ncapacity = 9\nurl = \"{}\"\n", given.url("default", "admin").expose())
    };
    grounds.write("fleet.toml", &(entry("a", &servers[0]) + &entry("b", &servers[1])));
    let plan = "[[plan]]\nname = \"crowd\"\nkind = \"shared\"\nservers = \"fleet.toml\"\n";
    let config = Config { plans: Some(grounds.write("plans.toml", plan)), ..grounds.config() };
    let broker = RedisBroker::start(config.clone()).await.unwrap();
    let (one, other) = (tenancy(&broker, "one", "crowd").await, tenancy(&broker, "other", "crowd").await);
    drop(broker);
    let on = |instance: &Instance| usize::from(instance.notes["server"] == "b");
    let tenants = [tenant(&one.0, &[&one.1]), tenant(&other.0, &[&other.1])];
    assert_ne!(on(&one.0), on(&other.0));

    servers[on(&one.0)].stop();
    servers[on(&other.0)].admin().await.say(&format!("ACL DELUSER {}", other.1.id)).await.unwrap();
    let said = compared(&config, Drift::repair(tenants.to_vec())).await;

    let lines: Vec<_> = said.lines().map(str::to_owned).collect();
    says(&lines, &["unseen ", &format!("shared server {}", ["a", "b"][on(&one.0)])]);
    says(&lines, &["repaired ", &format!("shared server {}", ["a", "b"][on(&other.0)]), other.1.id.as_str()]);
    Client::of(&other.2).await.unwrap();
    assert!(!said.contains("admin@"), "{said}");
}

#[tokio::test] // SPEC K-19, H-13
async fn own_servers_that_are_down_lost_or_remembered_by_nobody_are_found() {
    let grounds = Grounds::new();
    let config = grounds.config();
    let broker = grounds.broker().await;
    let (well, down) = (tenancy(&broker, "well", "dedicated").await, tenancy(&broker, "down", "dedicated").await);
    let (lost, forgotten) = (tenancy(&broker, "lost", "dedicated").await, instance("forgotten", "dedicated"));
    broker.provision(&forgotten).await.unwrap();
    let shared = tenancy(&broker, "shared", "shared").await;
    drop(broker);
    let tenants: Vec<_> =
        [&well, &down, &lost, &shared].iter().map(|(instance, binding, _)| tenant(instance, &[binding])).collect();
    assert_eq!(look(&config, &tenants[..4]).await.len(), 1, "the forgotten one");
    let stray = grounds.pid(lost.0.id.as_str()).unwrap();
    grounds.kill(down.0.id.as_str()).await;
    fs::remove_dir_all(grounds.root().join(lost.0.id.as_str())).unwrap();
    // The next start of this one would forget its account.
    fs::write(grounds.root().join(well.0.id.as_str()).join("roster"), "").unwrap();
    let before = grounds.servers();

    let lines = look(&config, &tenants).await;

    says(&lines, &["missing ", "server of down", "the server does not run"]);
    says(&lines, &["missing ", "server of lost", "the server is not there"]);
    says(&lines, &["differs ", lost.0.id.as_str(), &format!("still runs as process {stray}")]);
    says(&lines, &["differs ", well.1.id.as_str(), "it is lost at the server's next start"]);
    says(&lines, &["orphan ", forgotten.id.as_str(), "a server's folder, with what runs there"]);
    assert_eq!((lines.len(), grounds.servers()), (5, before), "{lines:#?}");
    let said = compared(&config, Drift::repair(tenants.clone()).removing_orphans()).await;
    assert_eq!((said.matches("repaired ").count(), said.matches("removed ").count()), (4, 1), "{said}");
    assert_eq!(look(&config, &tenants).await, Vec::<String>::new());
    assert!(!grounds.servers().contains(&forgotten.id.to_string()));
    eventually("the stray process is gone", async || !fs::exists(format!("/proc/{stray}")).unwrap()).await;
    for (_, _, env) in [&well, &down, &shared] {
        Client::of(env).await.unwrap();
    }
}

#[tokio::test] // SPEC K-19, K-11
async fn what_a_move_left_is_noticed_and_cleaned_up() {
    let grounds = Grounds::new();
    let (given, config, tenants) = shared(&grounds).await;
    let (broker, one) = (RedisBroker::start(config.clone()).await.unwrap(), &tenants[0]);
    let moved = update(&broker, &one.instance, &to(&one.instance, "dedicated")).await.unwrap();
    for binding in &one.bindings {
        broker.bind(&moved, binding).await.unwrap();
    }
    drop(broker);
    let tenants = [Tenant::new(moved, one.bindings.clone()), tenants[1].clone()];

    let lines = look(&config, &tenants).await;

    says(&lines, &["differs ", one.instance.id.as_str(), "what a move of `one` left elsewhere is still there"]);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    compared(&config, Drift::repair(tenants.to_vec())).await;
    assert_eq!(look(&config, &tenants).await, Vec::<String>::new());
    assert!(!all_of(&given).await.concat().contains(one.instance.id.as_str()));
}

#[tokio::test] // SPEC K-19
async fn a_look_makes_no_folder_and_no_password() {
    let grounds = Grounds::new();

    assert_eq!(look(&grounds.config(), &[]).await, Vec::<String>::new());

    assert!(!grounds.root().exists());
}

/// The binary, as its operator runs it beside a given server.
fn program(grounds: &Grounds, given: &Given) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redis-broker"));
    command.env("REDIS_BROKER_SHARED_URL", given.url("default", "admin").expose());
    command.env("REDIS_BROKER_SERVERS_DIR", grounds.root()).env("REDIS_BROKER_PORTS", grounds.ports());
    command
}

/// The exit status, standard output and standard error of `reconcile`.
fn reconcile(grounds: &Grounds, given: &Given, flags: &[&str]) -> (i32, String, String) {
    let mut command = program(grounds, given);
    let ended = command.arg("reconcile").arg("--data").arg(grounds.data()).args(flags).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (ended.status.code().unwrap(), text(ended.stdout), text(ended.stderr))
}

#[tokio::test] // SPEC
async fn the_command_looks_beside_a_broker_and_repairs_when_it_has_stopped() {
    let (grounds, given) = (Grounds::new(), Given::start(&["--databases", "1"]).await);
    let run = |flags: &[&str]| reconcile(&grounds, &given, flags);
    let (status, _, errors) = run(&[]);
    assert!(status == 1 && errors.contains("there are no records in"), "{errors}");
    let serving =
        Program::serve_by(program(&grounds, &given), "redis", &grounds.data(), &["--reconcile-every", "3600"]);
    let platform = FakePlatform::tsuru(&serving.target("shared"));
    platform.create("cache").await.unwrap();
    platform.bind("cache", "blog").await.unwrap();

    let (status, said, errors) = run(&[]);
    assert!(status == 0 && errors.contains("nothing differs"), "{said} {errors}");
    let (status, _, errors) = run(&["--repair"]);
    assert!(status == 1 && errors.contains("nothing is repaired while a broker runs"), "{errors}");
    drop(serving);

    let (mut admin, orphan, other) = (given.admin().await, OpaqueId::generate(), OpaqueId::generate());
    let user = platform.env("blog")["REDIS_USERNAME"].clone();
    admin.say(&format!("ACL DELUSER {user}")).await.unwrap();
    admin.say(&format!("SET {orphan}:k v")).await.unwrap();
    admin.say(&format!("SET {other}:k v")).await.unwrap();
    let (status, said, _) = run(&["--json"]);
    let lines: Vec<serde_json::Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |id: &str| lines.iter().find(|line| line["id"] == id).unwrap();
    assert_eq!(
        (status, of(&user)["kind"].as_str(), of(&user)["outcome"].as_str()),
        (3, Some("missing"), Some("found"))
    );
    assert_eq!(of(orphan.as_str())["kind"], "orphan");
    let (status, said, errors) = run(&["--repair", &format!("--remove-orphans={orphan}")]);
    assert!(status == 3 && errors.contains("one orphan left"), "{said} {errors}");
    assert!(
        said.contains("repaired ") && said.contains(&format!("{other}  an instance: keys; it is left there")),
        "{said}"
    );
    assert_eq!(admin.list("KEYS *").await, [format!("{other}:k")]);
    Client::login(&platform.env("blog")["REDIS_URL"]).await.unwrap();
    let (status, _, errors) = run(&["--repair", &format!("--remove-orphans={orphan}")]);
    assert!(status == 1 && errors.contains(&format!("it is gone or the records know it: {orphan}")), "{errors}");
    assert_eq!(run(&["--repair", "--remove-orphans"]).0, 0);
    assert_eq!(run(&[]).0, 0);
    assert_eq!(run(&["--remove-orphans"]).0, 2, "only a repair removes");
}
