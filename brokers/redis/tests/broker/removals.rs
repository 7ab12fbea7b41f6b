//! Removals that keep a last backup.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use broker_core::{
    Broker as _, Instance,
    testing::{Subject, TestBroker, Variables, crash_safety},
};
use redis_broker::{BackedUp as _, Config, RedisBroker};

use crate::support::{Client, Given, Grounds, binding, eventually, instance, keeping_backups, tenancy};

pub(crate) fn keeping_last(grounds: &Grounds) -> Config {
    let mut config = keeping_backups(grounds);
    config.backups.backup_before_removal = true;
    config
}

/// The manifests of an instance's backups.
fn manifests(grounds: &Grounds, instance: &Instance) -> Vec<PathBuf> {
    let folder = grounds.data().join("backups/redis").join(instance.id.as_str());
    let paths = fs::read_dir(folder).into_iter().flatten().map(|file| file.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|kind| kind == "json")).collect()
}

fn is_last(manifest: &Path) -> bool {
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
    manifest["is_last"] == true
}

/// What the subcommand says of an instance's newest backup.
fn read_backup(grounds: &Grounds, instance: &Instance, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redis-broker"));
    command.arg("read-backup").arg("--backups").arg(grounds.data().join("backups"));
    command.arg("--backup-key").arg(grounds.data().join("backup-key")).args(more);
    command.arg(instance.id.as_str()).output().unwrap()
}

/// Sends commands to a server, as the README says.
fn pipe(url: &str, commands: &[u8]) {
    let mut cli = Command::new("redis-cli")
        .args(["-u", url, "--pipe"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    cli.stdin.take().unwrap().write_all(commands).unwrap();
    let output = cli.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("errors: 0"), "{said}");
}

#[tokio::test] // SPEC K-20
async fn what_a_removed_instance_held_can_be_read_and_loaded_into_another() {
    let grounds = Grounds::new();
    let given = Given::start(&["--databases", "1"]).await;
    let config = Config { shared_url: Some(given.url("default", "admin")), ..keeping_last(&grounds) };
    let broker = RedisBroker::start(config).await.unwrap();
    for plan in ["shared", "dedicated"] {
        let (gone, app, env) = tenancy(&broker, "cache", plan).await;
        let prefix = if plan == "shared" { format!("{}:", gone.id) } else { String::new() };
        let mut client = Client::of(&env).await.unwrap();
        client.say(&format!("RPUSH {prefix}l a b")).await.unwrap();
        client.say(&format!("SET {prefix}t v PXAT 4000000000123")).await.unwrap();
        broker.back_up(&gone).await.unwrap();
        client.say(&format!("RPUSH {prefix}l c")).await.unwrap();
        broker.unbind(&gone, &app).await.unwrap();

        broker.deprovision(&gone).await.unwrap();

        assert_eq!(grounds.servers(), [""; 0]);
        assert_eq!(given.admin().await.list("KEYS *").await, [""; 0]);
        let made = manifests(&grounds, &gone);
        assert_eq!((made.len(), made.iter().filter(|made| is_last(made)).count()), (2, 1), "{made:?}");
        // Into a server of its own with the credentials of a binding, into a shared one with the administrator's.
        for target in ["dedicated", "shared"] {
            let (next, _, env) = tenancy(&broker, "next", target).await;
            let (next_prefix, url) = match target {
                "shared" => (format!("{}:", next.id), given.url("default", "admin")),
                _ => (String::new(), env.get("REDIS_URL").unwrap().clone()),
            };
            let read = read_backup(&grounds, &gone, &["--prefix", &next_prefix]);
            assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
            pipe(url.expose(), &read.stdout);
            let mut client = Client::of(&env).await.unwrap();
            assert_eq!(client.list(&format!("LRANGE {next_prefix}l 0 -1")).await, ["a", "b", "c"]);
            let end = client.say(&format!("PEXPIRETIME {next_prefix}t")).await.unwrap();
            assert_eq!(end, redis::Value::Int(4_000_000_000_123));
            broker.deprovision(&next).await.unwrap();
        }
        let as_it_was = String::from_utf8_lossy(&read_backup(&grounds, &gone, &[]).stdout).into_owned();
        assert!(as_it_was.contains(&format!("{prefix}l\r\n")), "{as_it_was}");
    }
    let missing = read_backup(&grounds, &instance("cache", "shared"), &[]);
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(!missing.status.success() && said.contains("the instance has no such backup"), "{said}");
}

#[tokio::test] // SPEC K-20
async fn a_removal_that_is_repeated_makes_no_second_last_backup() {
    let grounds = Grounds::new();
    for plan in ["shared", "dedicated"] {
        let broker = RedisBroker::start(keeping_last(&grounds)).await.unwrap();
        let (gone, _, env) = tenancy(&broker, "cache", plan).await;
        let prefix = if plan == "shared" { format!("{}:", gone.id) } else { String::new() };
        Client::of(&env).await.unwrap().say(&format!("SET {prefix}k v")).await.unwrap();
        if plan == "dedicated" {
            grounds.kill_all().await;
        }

        broker.deprovision(&gone).await.unwrap();
        broker.deprovision(&gone).await.unwrap();
        // As if the broker had died when the backup was whole, and before anything was removed.
        broker.provision(&gone).await.unwrap();
        let env = broker.bind(&gone, &binding("blog")).await.unwrap();
        Client::of(&env).await.unwrap().say(&format!("SET {prefix}k v")).await.unwrap();
        drop(broker);
        let broker = RedisBroker::start(keeping_last(&grounds)).await.unwrap();
        broker.deprovision(&gone).await.unwrap();

        let made = manifests(&grounds, &gone);
        assert!(made.len() == 1 && is_last(&made[0]), "{plan}: {made:?}");
    }
}

#[tokio::test] // SPEC K-20
async fn a_removal_whose_backup_fails_is_refused_and_what_was_never_used_is_removed_all_the_same() {
    let grounds = Grounds::new();
    let given = Given::start(&["--databases", "1"]).await;
    let config = Config { shared_url: Some(given.url("default", "admin")), ..keeping_last(&grounds) };
    let broker = TestBroker::start(RedisBroker::start(config.clone()).await.unwrap()).await;
    let blocked = grounds.data().join("backups/redis");
    for plan in ["shared", "dedicated"] {
        fs::write(&blocked, "no folder").unwrap();
        let create = format!("name=cache&plan={plan}&team=main");
        broker.form("POST", "/resources", &create).await.is(201);
        let env = broker.bind_app("cache", "blog").await.is(201).env();
        let key = format!("{}k", env.get("REDIS_PREFIX").cloned().unwrap_or_default());
        let mut app = Client::login(&env["REDIS_URL"]).await.unwrap();
        app.say(&format!("SET {key} v")).await.unwrap();

        broker.remove("cache").await.is(412).says(
            "instance \"cache\" is not removed, since its last backup could not be made: the broker tries again, and its \
             operator finds the cause in its log",
        );

        match plan {
            "shared" => assert_eq!(given.admin().await.list("KEYS *").await, [key], "nothing is removed"),
            _ => assert_eq!(grounds.servers().len(), 1, "nothing is removed"),
        }
        fs::remove_file(&blocked).unwrap();
        eventually("the broker tries again", async || broker.ask("GET", "/resources/cache/status").await.status == 404)
            .await;
        assert_eq!(fs::read_dir(&blocked).unwrap().count(), 1, "and then there is a backup");
        fs::remove_dir_all(&blocked).unwrap();
    }
    drop(broker);
    let broker = RedisBroker::start(config).await.unwrap();
    for plan in ["shared", "dedicated"] {
        let (half_made, never_made) = (instance("half", plan), instance("never", plan));
        broker.provision(&half_made).await.unwrap();
        for unused in [half_made, never_made] {
            broker.deprovision(&unused).await.unwrap();
            assert!(manifests(&grounds, &unused).is_empty());
        }
    }
    assert_eq!(grounds.servers(), [""; 0]);
}

#[tokio::test] // SPEC L-2, L-3, K-20
async fn removals_that_keep_a_backup_survive_crashes() {
    for (plan, moved_to) in [("shared", "dedicated"), ("dedicated", "shared")] {
        let grounds = Grounds::new();
        let given = Given::start(&["--databases", "1"]).await;
        let config = Config { shared_url: Some(given.url("default", "admin")), ..keeping_last(&grounds) };

        let report = crash_safety(
            Subject::on_plan(plan).updated_to(moved_to),
            async || RedisBroker::start(config.clone()).await.unwrap(),
            async |env: &Variables| {
                let key = format!("{}k", env.get("REDIS_PREFIX").cloned().unwrap_or_default());
                match Client::login(&env["REDIS_URL"]).await {
                    Ok(mut app) => app.say(&format!("SET {key} v")).await.is_ok(),
                    Err(_) => false,
                }
            },
            async || {
                let mut admin = given.admin().await;
                let accounts = admin.list("ACL USERS").await.into_iter().filter(|user| user != "default");
                accounts.chain(admin.list("KEYS *").await).chain(grounds.servers()).collect()
            },
        );

        let report = report.await;
        report.is_clean();
        assert!(report.crashes() > 40, "only {} crashes", report.crashes());
        let kept = fs::read_dir(grounds.data().join("backups/redis")).unwrap().count();
        assert!(kept > 10, "only {kept} instances had a last backup");
    }
}
