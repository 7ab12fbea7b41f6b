//! Restores: what they bring back, what they refuse, and what is left when they are cut off.

use std::{
    fs,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use broker_backup::{About, BackupKey, Backups};
use broker_core::{Broker as _, Health, Instance, testing::TestBroker};
use redis_broker::{BackedUp as _, RedisBroker};
use tokio::{io::AsyncReadExt as _, sync::Notify};

use crate::{
    backups::{broker, change, files, fill, is_filled, noise, number, on_given, prefix_of, set},
    moves::to,
    support::{Client, Grounds, is_product, keeping_backups, look_after, tenancy, tenant, update},
};

#[tokio::test] // SPEC K-11, K-15
async fn an_instance_that_is_read_only_for_a_while_is_that_also_on_a_server_that_started_anew() {
    let grounds = Grounds::new();
    let broker = broker(&grounds).await;
    for plan in ["shared", "dedicated"] {
        let (instance, binding, env) = tenancy(&broker, "cache", plan).await;
        let server = if plan == "shared" { plan } else { instance.id.as_str() };
        let set = format!("SET {}k v", prefix_of(&env));
        broker.hold(&instance).await.unwrap();

        grounds.kill(server).await;
        broker.provision(&instance).await.unwrap();
        let refusal = Client::of(&env).await.unwrap().say(&set).await.unwrap_err().to_string();
        broker.open(&tenant(&instance, &[&binding])).await.unwrap();

        assert!(refusal.contains("no permissions"), "{refusal}");
        Client::of(&env).await.unwrap().say(&set).await.unwrap();
        grounds.kill(server).await;
        broker.provision(&instance).await.unwrap();
        Client::of(&env).await.unwrap().say(&set).await.expect("for good");
        broker.deprovision(&instance).await.unwrap();
    }
}

#[tokio::test] // SPEC K-14, K-15
async fn a_restore_brings_back_every_kind_of_key_on_both_kinds_of_plan_and_no_other_tenants() {
    let grounds = Grounds::new();
    let broker = broker(&grounds).await;
    let (other, _, other_env) = tenancy(&broker, "other", "shared").await;
    Client::of(&other_env).await.unwrap().say(&format!("SET {}:k v", other.id)).await.unwrap();
    for plan in ["shared", "dedicated"] {
        let (instance, binding, env) = tenancy(&broker, "cache", plan).await;
        let prefix = prefix_of(&env);
        let mut app = Client::of(&env).await.unwrap();
        fill(&mut app, &prefix).await;
        let made = broker.back_up(&instance).await.unwrap();
        change(&mut app, &prefix).await;

        let before = broker.restore_backup(&tenant(&instance, &[&binding]), &made.id).await.unwrap().unwrap();

        assert!(app.say("PING").await.is_err(), "connections ended with the data they were about");
        let mut app = Client::of(&env).await.unwrap();
        is_filled(&mut app, &prefix).await;
        assert!(is_product(&made.about.server), "{}", made.about.server);
        // What was there before is not lost either.
        broker.restore_backup(&tenant(&instance, &[&binding]), &before.id).await.unwrap();
        let mut app = Client::of(&env).await.unwrap();
        assert_eq!(app.get(&format!("{prefix}later")).await.as_deref(), Some("x"));
        assert_eq!(number(&mut app, &format!("LLEN {prefix}l")).await, 3);
        assert_eq!(app.say(&format!("EXISTS {prefix}h")).await.unwrap(), redis::Value::Int(0));
        assert_eq!(broker.status(&instance).await.unwrap(), Health::Up);
    }
    let held = Client::of(&other_env).await.unwrap().get(&format!("{}:k", other.id)).await;
    assert_eq!(held.as_deref(), Some("v"));
}

#[tokio::test] // SPEC K-14, K-15
async fn all_databases_and_functions_of_a_dedicated_server_are_restored() {
    let grounds = Grounds::new();
    let broker = broker(&grounds).await;
    let (instance, binding, env) = tenancy(&broker, "cache", "dedicated").await;
    let mut app = Client::of(&env).await.unwrap();
    let load = async |app: &mut Client, answer: u8| {
        let library = format!("#!lua name=lib\nredis.register_function('f', function() return {answer} end)");
        let _: String =
            redis::cmd("FUNCTION").arg("LOAD").arg("REPLACE").arg(library).query_async(app.connection()).await.unwrap();
    };
    load(&mut app, 1).await;
    for command in ["SET zero 0", "SELECT 3", "SET three 3"] {
        app.say(command).await.unwrap();
    }
    let made = broker.back_up(&instance).await.unwrap();
    load(&mut app, 2).await;
    for command in ["SELECT 3", "SET three changed", "SELECT 5", "SET five 5"] {
        app.say(command).await.unwrap();
    }

    broker.restore_backup(&tenant(&instance, &[&binding]), &made.id).await.unwrap();

    let mut app = Client::of(&env).await.unwrap();
    assert_eq!(number(&mut app, "FCALL f 0").await, 1);
    assert_eq!(app.list("KEYS *").await, ["zero"], "the mark is gone, too");
    app.say("SELECT 3").await.unwrap();
    assert_eq!(app.get("three").await.as_deref(), Some("3"));
    app.say("SELECT 5").await.unwrap();
    assert_eq!(app.list("KEYS *").await, [""; 0]);
}

#[tokio::test] // SPEC K-15
async fn a_backup_of_another_kind_of_plan_is_restored_under_the_names_that_apps_use() {
    let grounds = Grounds::new();
    let broker = broker(&grounds).await;
    let (own, binding, env) = tenancy(&broker, "cache", "dedicated").await;
    fill(&mut Client::of(&env).await.unwrap(), "").await;
    let without_prefix = broker.back_up(&own).await.unwrap();
    let restored = async |instance: &Instance, id: &str| {
        look_after(&broker, &[tenant(instance, &[&binding])]).await;
        broker.restore_backup(&tenant(instance, &[&binding]), id).await.unwrap();
        let env = broker.bind(instance, &binding).await.unwrap();
        (Client::of(&env).await.unwrap(), prefix_of(&env))
    };

    let shared = update(&broker, &own, &to(&own, "shared")).await.unwrap();
    let (mut app, prefix) = restored(&shared, &without_prefix.id).await;
    is_filled(&mut app, &prefix).await;
    assert_eq!(prefix, format!("{}:", own.id));
    let with_prefix = broker.back_up(&shared).await.unwrap();

    let back = update(&broker, &shared, &to(&shared, "dedicated")).await.unwrap();
    for id in [&with_prefix.id, &without_prefix.id] {
        let (mut app, prefix) = restored(&back, id).await;
        is_filled(&mut app, &prefix).await;
        assert_eq!(app.get("s").await, None, "apps look below the prefix");
    }
    let (mut app, prefix) = restored(&back, &with_prefix.id).await;
    app.say("SET bare x").await.unwrap();
    let mixed = broker.back_up(&back).await.unwrap();
    app.say("FLUSHALL").await.unwrap();
    let (mut app, _) = restored(&back, &mixed.id).await;
    assert_eq!(app.get("bare").await.as_deref(), Some("x"), "it had no prefix and gets none");
    is_filled(&mut app, &prefix).await;
}

#[tokio::test] // SPEC K-15
async fn what_cannot_be_restored_is_refused_before_anything_is_touched() {
    let grounds = Grounds::new();
    let broker = broker(&grounds).await;
    let (own, binding, env) = tenancy(&broker, "cache", "dedicated").await;
    let mut app = Client::of(&env).await.unwrap();
    fill(&mut app, "").await;
    let plain = broker.back_up(&own).await.unwrap();
    for command in ["SELECT 3", "SET k v"] {
        app.say(command).await.unwrap();
    }
    let three = broker.back_up(&own).await.unwrap();
    app.say("DEL k").await.unwrap();
    let shared = update(&broker, &own, &to(&own, "shared")).await.unwrap();
    look_after(&broker, &[tenant(&shared, &[&binding])]).await;
    let env = broker.bind(&shared, &binding).await.unwrap();
    let (mut app, prefix) = (Client::of(&env).await.unwrap(), prefix_of(&env));
    let refusal = async |id: &str| broker.restore_backup(&tenant(&shared, &[&binding]), id).await.unwrap_err();

    let databases = refusal(&three.id).await.to_string();
    let backups = Backups::in_folder(&grounds.data().join("backups")).unwrap();
    let backups = backups.sealed_with(BackupKey::kept(&grounds.data().join("backup-key")).unwrap());
    let mut data = Vec::new();
    backups.read(&plain).await.unwrap().read_to_end(&mut data).await.unwrap();
    let about = About::new("redis", own.id.as_str(), "dedicated").server("redis 99.0").format("redis-keys");
    let write = async |data: &[u8]| backups.write(&about, data).await.unwrap().id;
    let newer = refusal(&write(&newer(&data)).await).await.to_string();
    let cut = refusal(&write(&data[..data.len() - 40]).await).await;
    let foreign = refusal(&write(b"CREATE TABLE t (a INT);").await).await;
    let none = refusal("no-such").await.to_string();

    assert!(databases.contains("the backup has data in databases other than 0"), "{databases}");
    assert!(newer.contains("the backup is of a server (redis 99.0) whose data"), "{newer}");
    for damaged in [cut, foreign] {
        let cause = std::error::Error::source(&damaged).unwrap().to_string();
        assert!(cause.contains("is damaged"), "{cause}");
    }
    assert_eq!(none, "the instance has no such backup");
    is_filled(&mut app, &prefix).await;
    app.say(&format!("SET {prefix}later x")).await.unwrap();
    assert_eq!(broker.list_backups(&shared).await.unwrap().len(), 5, "nothing was begun");
}

/// The same backup, where the first value is in a format that no server knows yet.
fn newer(data: &[u8]) -> Vec<u8> {
    let number = |at: usize| u32::from_be_bytes(data[at..at + 4].try_into().unwrap()) as usize;
    let (head, fixed) = (11, 1 + 2 + 1 + 8);
    let value = head + fixed + 4 + number(head + fixed);
    let footer = value + 4 + number(value) - 10;
    let mut newer = data.to_vec();
    newer[footer..footer + 2].copy_from_slice(&999_u16.to_le_bytes());
    newer
}

#[tokio::test] // SPEC K-15, Z-2, Z-3
async fn a_damaged_backup_or_another_key_changes_nothing() {
    let grounds = Grounds::new();
    let broker = broker(&grounds).await;
    let (instance, binding, env) = tenancy(&broker, "cache", "dedicated").await;
    let mut app = Client::of(&env).await.unwrap();
    fill(&mut app, "").await;
    let made = broker.back_up(&instance).await.unwrap();
    let file = &files(&grounds, &instance, "data")[0];
    let good = fs::read(file).unwrap();

    fs::write(file, &good[..good.len() / 2]).unwrap();
    broker.restore_backup(&tenant(&instance, &[&binding]), &made.id).await.unwrap_err();
    fs::write(file, &good).unwrap();
    drop(broker);
    let mut config = keeping_backups(&grounds);
    config.backups.backup_key = Some(grounds.data().join("another-key"));
    let broker = RedisBroker::start(config).await.unwrap();
    let refusal = broker.restore_backup(&tenant(&instance, &[&binding]), &made.id).await.unwrap_err();

    let cause = std::error::Error::source(&refusal).unwrap().to_string();
    assert!(cause.contains("is sealed with key"), "{cause}");
    app.say("SET still x").await.unwrap();
    is_filled(&mut app, "").await;
    assert_eq!(files(&grounds, &instance, "json").len(), 1, "no other backup was begun");
}

/// An app that appends numbers to a list, again and again, whatever happens to its connections; it remembers those that
/// were answered until the first one that was not.
async fn write_on(url: String, list: String, answered: Arc<Mutex<Vec<u64>>>, wrote: Arc<Notify>) {
    let (mut number, mut has_failed) = (0_u64, false);
    loop {
        if let Ok(mut app) = Client::login(&url).await {
            while app.say(&format!("RPUSH {list} {number}")).await.is_ok() {
                if !has_failed {
                    answered.lock().unwrap_or_else(PoisonError::into_inner).push(number);
                }
                number += 1;
                wrote.notify_one();
            }
        }
        has_failed = number > 0;
        number += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test] // SPEC K-14, K-15, Z-7, Z-8
async fn a_restore_while_an_app_writes_loses_no_write_that_was_answered() {
    let grounds = Grounds::new();
    for plan in ["shared", "dedicated"] {
        let broker = TestBroker::start(broker(&grounds).await).await;
        let name = format!("cache-{plan}");
        broker.form("POST", "/resources", &format!("name={name}&plan={plan}&team=main")).await.is(201);
        let env = broker.bind_app(&name, "blog").await.is(201).env();
        let (url, prefix) = (env["REDIS_URL"].clone(), env.get("REDIS_PREFIX").cloned().unwrap_or_default());
        fill(&mut Client::login(&url).await.unwrap(), &prefix).await;
        let (answered, wrote, list) = (Arc::default(), Arc::new(Notify::new()), format!("{prefix}log"));
        let writer = tokio::spawn(write_on(url.clone(), list.clone(), Arc::clone(&answered), Arc::clone(&wrote)));
        wrote.notified().await;

        let backup = broker.ask("POST", &format!("/resources/{name}/backups")).await.is(201).value();
        for _ in 0..2 {
            wrote.notified().await;
        }
        let restore = async |id: &serde_json::Value| {
            let path = format!("/resources/{name}/backups/{}/restore", id.as_str().unwrap());
            broker.ask("POST", &path).await.is(200).value()
        };
        let restored = restore(&backup["id"]).await;
        wrote.notified().await;
        wrote.notified().await;
        writer.abort();
        assert!(writer.await.unwrap_err().is_cancelled());

        let read = async || Client::login(&url).await.unwrap().list(&format!("LRANGE {list} 0 -1")).await;
        let in_backup = read().await.iter().map(|n| n.parse::<u64>().unwrap()).collect::<Vec<_>>();
        let answered = answered.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let from_then = in_backup.iter().zip(0..).take_while(|(found, number)| *found == number).count();
        assert!((1..answered.len()).contains(&from_then), "{plan}: the list as it was at one moment");
        assert!(
            in_backup[from_then..].iter().all(|number| *number > answered.len() as u64),
            "{plan}: and then later ones"
        );
        restore(&restored["before"]["id"]).await;
        let before = read().await.iter().map(|n| n.parse::<u64>().unwrap()).collect::<Vec<_>>();
        assert_eq!(before[..answered.len()], answered, "{plan}: the backup before has every write that was answered");
        is_filled(&mut Client::login(&url).await.unwrap(), &prefix).await;
        assert_eq!(
            broker.ask("GET", &format!("/resources/{name}/backups")).await.is(200).value().as_array().unwrap().len(),
            3
        );
        broker.ask("POST", &format!("/resources/{name}/backups/no-such/restore")).await.is(400);
    }
}

#[tokio::test] // SPEC K-15, L-2
async fn a_restore_that_is_interrupted_anywhere_leaves_all_of_the_data_or_a_closed_instance() {
    let grounds = Grounds::new();
    let (broker, given, mut config) = on_given(&grounds).await;
    drop(broker);
    // More than there will be: the backup that is restored is the oldest.
    config.backups.backups_kept = 100;
    for plan in ["shared", "dedicated"] {
        let broker = RedisBroker::start(config.clone()).await.unwrap();
        let (instance, binding, env) = tenancy(&broker, "cache", plan).await;
        let (tenant, prefix) = (tenant(&instance, &[&binding]), prefix_of(&env));
        let mut app = Client::of(&env).await.unwrap();
        fill(&mut app, &prefix).await;
        let made = broker.back_up(&instance).await.unwrap();
        let begun = Instant::now();
        broker.restore_backup(&tenant, &made.id).await.unwrap();
        let takes = begun.elapsed();
        drop(broker);
        let (mut closed, mut whole) = (0, 0);
        let early = (0..6).map(|part| (false, takes * part / 6));
        let late = [0, 1, 2, 4, 8, 16].map(|after| (true, Duration::from_millis(after)));
        for (waits_for_load, after) in early.chain(late) {
            let broker = RedisBroker::start(config.clone()).await.unwrap();
            let cut = async {
                while waits_for_load && Client::of(&env).await.is_ok() {}
                tokio::time::sleep(after).await;
            };
            let cut = tokio::select! {
                done = broker.restore_backup(&tenant, &made.id) => Ok(done.unwrap()),
                () = cut => Err("cut off"),
            };
            drop(broker);

            // The broker after a crash knows nothing of it.
            let broker = RedisBroker::start(config.clone()).await.unwrap();
            look_after(&broker, std::slice::from_ref(&tenant)).await;
            match broker.status(&instance).await.unwrap() {
                Health::Down(why) => {
                    assert!(cut.is_err() && why.contains("restore a backup again"), "{plan}, {after:?}: {why}");
                    assert!(Client::of(&env).await.is_err(), "{plan}, {after:?}: nobody uses half of the data");
                    broker.bind(&instance, &binding).await.unwrap_err();
                    let wanted = if plan == "shared" { "dedicated" } else { "shared" };
                    let refusal = broker.update(&instance, &to(&instance, wanted)).await.unwrap_err().to_string();
                    assert!(refusal.contains("was cut off"), "{refusal}");
                    broker.back_up(&instance).await.unwrap_err();
                    let before = broker.restore_backup(&tenant, &made.id).await.unwrap();
                    assert_eq!(before, None, "half a restore is nothing to keep");
                    closed += 1;
                }
                _ => whole += 1,
            }
            let mut app = Client::of(&env).await.unwrap();
            is_filled(&mut app, &prefix).await;
            app.say(&format!("SET {prefix}s 1")).await.unwrap();
        }
        assert!(closed > 0 && whole > 0, "{plan}: {closed} were closed, {whole} whole");
    }
    drop(given);
}

#[tokio::test] // SPEC K-15
async fn a_restore_that_was_cut_off_before_it_took_accounts_away_is_closed_by_the_next_look() {
    let grounds = Grounds::new();
    let (broker, given, _) = on_given(&grounds).await;
    for plan in ["shared", "dedicated"] {
        let (instance, binding, env) = tenancy(&broker, "cache", plan).await;
        let tenant = tenant(&instance, &[&binding]);
        let mut app = Client::of(&env).await.unwrap();
        app.say(&format!("SET {}k v", prefix_of(&env))).await.unwrap();
        let made = broker.back_up(&instance).await.unwrap();
        let mark = format!("SET broker:{}:restore x", instance.id);
        match plan {
            "shared" => given.admin().await.say(&mark).await.unwrap(),
            // Its owner reaches all of a dedicated server's keys.
            _ => app.say(&mark).await.unwrap(),
        };

        look_after(&broker, std::slice::from_ref(&tenant)).await;

        assert!(app.say("PING").await.is_err() && Client::of(&env).await.is_err(), "{plan}");
        broker.restore_backup(&tenant, &made.id).await.unwrap();
        let held = Client::of(&env).await.unwrap().get(&format!("{}k", prefix_of(&env))).await;
        assert_eq!(held.as_deref(), Some("v"), "{plan}");
    }
}

#[tokio::test] // SPEC K-15, Z-8
async fn a_restore_that_does_not_fit_puts_back_what_was_there() {
    let grounds = Grounds::new();
    let (broker, given, _) = on_given(&grounds).await;
    let (instance, binding, env) = tenancy(&broker, "cache", "shared").await;
    let (prefix, mut app) = (prefix_of(&env), Client::of(&env).await.unwrap());
    let mut admin = given.admin().await;
    for number in 0..10 {
        set(&mut app, format!("{prefix}{number}").as_bytes(), &noise(1 << 20, number)).await;
    }
    let large = broker.back_up(&instance).await.unwrap();
    for number in 1..10 {
        app.say(&format!("DEL {prefix}{number}")).await.unwrap();
    }
    app.say(&format!("SET {prefix}later x")).await.unwrap();
    admin.say("CONFIG SET maxmemory 6mb").await.unwrap();

    let refusal = broker.restore_backup(&tenant(&instance, &[&binding]), &large.id).await.unwrap_err().to_string();

    assert!(refusal.contains("the backup does not fit the instance's plan"), "{refusal}");
    let mut app = Client::of(&env).await.unwrap();
    assert_eq!(app.get(&format!("{prefix}later")).await.as_deref(), Some("x"));
    let value: Vec<u8> = redis::cmd("GET").arg(format!("{prefix}0")).query_async(app.connection()).await.unwrap();
    assert!(value == noise(1 << 20, 0));
    app.say(&format!("SET {prefix}k v")).await.unwrap();
    assert_eq!(admin.list("KEYS *").await.len(), 3);
    assert_eq!(broker.status(&instance).await.unwrap(), Health::Up);

    // A server that is full takes a restore all the same: what is there goes.
    let small = broker.back_up(&instance).await.unwrap();
    for number in 1.. {
        let fill = redis::cmd("SET").arg(format!("{prefix}{number}")).arg(noise(200_000, number)).to_owned();
        if fill.query_async::<()>(app.connection()).await.is_err() {
            break;
        }
    }
    broker.restore_backup(&tenant(&instance, &[&binding]), &small.id).await.unwrap();
    assert_eq!(Client::of(&env).await.unwrap().get(&format!("{prefix}k")).await.as_deref(), Some("v"));
    assert_eq!(admin.list("KEYS *").await.len(), 3);
}
