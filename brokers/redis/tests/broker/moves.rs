//! Instances that change their plan between a server of their own and a shared one.

use std::{collections::BTreeMap, time::Duration};

use broker_core::{Binding, Broker as _, EnvVars, Instance, Update};
use redis_broker::RedisBroker;

use crate::support::{Client, Given, Grounds, look_after, tenancy, tenant, update};

const PLANS: &str = r#"
[[plan]]
name = "own"
kind = "dedicated"
maxmemory = "8mb"

[[plan]]
name = "crowd"
kind = "shared"
url-file = "crowd.url"
"#;

/// A broker whose shared plan is on a given server, which is looked into.
async fn broker(grounds: &Grounds) -> (RedisBroker, Given) {
    let given = Given::start(&["--databases", "1", "--maxmemory", "24mb"]).await;
    grounds.write("crowd.url", given.url("default", "admin").expose());
    (grounds.broker_of(PLANS).await, given)
}

pub(crate) fn to(instance: &Instance, plan: &str) -> Update {
    let mut to = Update::of(instance);
    to.plan = plan.parse().unwrap();
    to
}

/// One key of each kind, one of them with an end, under a prefix.
async fn fill(app: &mut Client, prefix: &str) {
    for command in [
        "SET P:s 1",
        "HSET P:h f v",
        "RPUSH P:l a b",
        "SADD P:set a",
        "ZADD P:z 1 a",
        "XADD P:x * f v",
        "PSETEX P:t 900000 v",
    ] {
        app.say(&command.replace("P:", prefix)).await.unwrap();
    }
    for number in 0..2500 {
        app.say(&format!("SET {prefix}{number} {number}")).await.unwrap();
    }
}

async fn is_filled(app: &mut Client, prefix: &str) {
    assert_eq!(app.get(&format!("{prefix}2499")).await.as_deref(), Some("2499"));
    assert_eq!(app.list(&format!("LRANGE {prefix}l 0 -1")).await, ["a", "b"]);
    assert_eq!(app.list(&format!("ZRANGE {prefix}z 0 -1")).await, ["a"]);
    let left: i64 = redis::from_redis_value(app.say(&format!("PTTL {prefix}t")).await.unwrap()).unwrap();
    assert!((1..=900_000).contains(&left), "{left}");
}

/// The app's environment and a connection after a move.
async fn bound_again(broker: &RedisBroker, instance: &Instance, binding: &Binding) -> (EnvVars, Client) {
    look_after(broker, &[tenant(instance, &[binding])]).await;
    let env = broker.bind(instance, binding).await.unwrap();
    let app = Client::of(&env).await.unwrap();
    (env, app)
}

#[tokio::test] // SPEC K-11
async fn an_instance_moves_to_its_own_server_with_its_keys_their_names_and_its_password() {
    let grounds = Grounds::new();
    let (broker, given) = broker(&grounds).await;
    let (other, _, other_env) = tenancy(&broker, "other", "crowd").await;
    Client::of(&other_env).await.unwrap().say(&format!("SET {}:k v", other.id)).await.unwrap();
    let (instance, binding, env) = tenancy(&broker, "cache", "crowd").await;
    let prefix = env.get("REDIS_PREFIX").unwrap().expose().to_owned();
    let mut before = Client::of(&env).await.unwrap();
    fill(&mut before, &prefix).await;

    let moved = update(&broker, &instance, &to(&instance, "own")).await.unwrap();

    let refusal = before.say(&format!("SET {prefix}late x")).await.unwrap_err();
    assert_eq!(refusal.code(), Some("NOPERM"), "what would be lost is refused: {refusal}");
    let (after, mut app) = bound_again(&broker, &moved, &binding).await;
    is_filled(&mut app, &prefix).await;
    assert_eq!(after.get("REDIS_PREFIX").unwrap().expose(), prefix, "the names are the same");
    assert_eq!(after.get("REDIS_PASSWORD").unwrap().expose(), env.get("REDIS_PASSWORD").unwrap().expose());
    app.say("SET anything x").await.unwrap();
    let mut admin = given.admin().await;
    assert_eq!(admin.list("KEYS *").await, [format!("{}:k", other.id)], "the old place is clean");
    assert_eq!(admin.list("ACL USERS").await.len(), 3, "the default user, the other tenant's and its mark");
}

#[tokio::test] // SPEC K-11
async fn an_instance_moves_to_a_shared_server_and_its_keys_get_the_prefix() {
    let grounds = Grounds::new();
    let (broker, _given) = broker(&grounds).await;
    let (instance, binding, env) = tenancy(&broker, "cache", "own").await;
    fill(&mut Client::of(&env).await.unwrap(), "").await;

    let moved = update(&broker, &instance, &to(&instance, "crowd")).await.unwrap();

    let (after, mut app) = bound_again(&broker, &moved, &binding).await;
    let prefix = after.get("REDIS_PREFIX").unwrap().expose();
    is_filled(&mut app, prefix).await;
    assert_eq!(grounds.servers(), [""; 0], "the old server is gone");
    assert!(Client::of(&env).await.is_err());

    let back = update(&broker, &moved, &to(&moved, "own")).await.unwrap();
    let (again, mut app) = bound_again(&broker, &back, &binding).await;
    assert_eq!(again.get("REDIS_PREFIX").unwrap().expose(), prefix);
    is_filled(&mut app, prefix).await;
}

#[tokio::test] // SPEC K-11
async fn data_that_does_not_fit_stays_where_it_is_and_works() {
    let grounds = Grounds::new();
    let (broker, given) = broker(&grounds).await;
    let block = "x".repeat(1 << 20);
    for (plan, wanted) in [("crowd", "own"), ("own", "crowd")] {
        let (instance, binding, env) = tenancy(&broker, "cache", plan).await;
        let prefix = if plan == "crowd" { format!("{}:", instance.id) } else { String::new() };
        let mut app = Client::of(&env).await.unwrap();
        let count = if plan == "crowd" { 11 } else { 4 };
        for number in 0..count {
            app.say(&format!("SET {prefix}{number} {block}")).await.unwrap();
        }
        given
            .admin()
            .await
            .say(&format!("CONFIG SET maxmemory {}", if plan == "own" { "15mb" } else { "24mb" }))
            .await
            .unwrap();

        let refusal = broker.update(&instance, &to(&instance, wanted)).await.unwrap_err().to_string();

        assert!(refusal.contains("does not fit the new plan"), "{plan}: {refusal}");
        look_after(&broker, &[tenant(&instance, &[&binding])]).await;
        app.say(&format!("SET {prefix}k v")).await.unwrap();
        assert_eq!(grounds.servers().len(), usize::from(plan == "own"), "{plan}: nothing is left of the new place");
        let keys = given.admin().await.list("KEYS *").await.len();
        assert_eq!(keys, 12, "of the first tenant alone");
    }
}

#[tokio::test] // SPEC K-11, L-2
async fn a_move_that_is_interrupted_anywhere_and_repeated_arrives_whole() {
    let grounds = Grounds::new();
    let (broker, given) = broker(&grounds).await;
    let (mut instance, binding, env) = tenancy(&broker, "cache", "crowd").await;
    let prefix = env.get("REDIS_PREFIX").unwrap().expose().to_owned();
    fill(&mut Client::of(&env).await.unwrap(), &prefix).await;
    let mut interrupted = 0;
    for (round, after) in [0, 2, 5, 10, 15, 20, 30, 40, 60, 90].into_iter().enumerate() {
        let wanted = to(&instance, if round % 2 == 0 { "own" } else { "crowd" });

        let cut = tokio::time::timeout(Duration::from_millis(after), broker.update(&instance, &wanted)).await;
        interrupted += usize::from(cut.is_err());
        instance = update(&broker, &instance, &wanted).await.unwrap();

        let (_, mut app) = bound_again(&broker, &instance, &binding).await;
        is_filled(&mut app, &prefix).await;
        let (own, keys) = (grounds.servers().len(), given.admin().await.list("KEYS *").await.len());
        assert_eq!((own, keys > 0), if round % 2 == 0 { (1, false) } else { (0, true) }, "one place has it");
    }
    assert!(interrupted >= 3, "only {interrupted} rounds were interrupted");
}

#[tokio::test] // SPEC K-11
async fn a_move_that_is_given_up_leaves_the_instance_where_it_was_and_nothing_elsewhere() {
    let grounds = Grounds::new();
    let (broker, given) = broker(&grounds).await;
    for (plan, wanted) in [("crowd", "own"), ("own", "crowd")] {
        for after in [1, 10, 20, 30, 45] {
            let (instance, binding, env) = tenancy(&broker, "cache", plan).await;
            let prefix = if plan == "crowd" { format!("{}:", instance.id) } else { String::new() };
            let mut app = Client::of(&env).await.unwrap();
            fill(&mut app, &prefix).await;

            let wanted = to(&instance, wanted);
            let cut = tokio::time::timeout(Duration::from_millis(after), broker.update(&instance, &wanted)).await;

            if cut.is_err() {
                look_after(&broker, &[tenant(&instance, &[&binding])]).await;
                app.say(&format!("SET {prefix}k v")).await.unwrap();
                is_filled(&mut app, &prefix).await;
            }
            broker.unbind(&instance, &binding).await.unwrap();
            broker.deprovision(&instance).await.unwrap();
            assert_eq!(grounds.servers(), [""; 0], "{plan} after {after} ms");
            assert_eq!(given.admin().await.list("KEYS *").await, [""; 0], "{plan} after {after} ms");
            assert_eq!(given.admin().await.list("ACL USERS").await, ["default"], "{plan} after {after} ms");
        }
    }
}

#[tokio::test] // SPEC K-11
async fn no_write_that_was_answered_is_lost_by_a_move() {
    let grounds = Grounds::new();
    let (broker, _given) = broker(&grounds).await;
    let (instance, binding, env) = tenancy(&broker, "cache", "crowd").await;
    let prefix = env.get("REDIS_PREFIX").unwrap().expose().to_owned();
    let mut writer = Client::of(&env).await.unwrap();
    fill(&mut writer, &prefix).await;
    let key = format!("{prefix}written");
    let writing = async {
        let mut answered = 0_u32;
        while writer.say(&format!("RPUSH {key} x")).await.is_ok() {
            answered += 1;
        }
        answered
    };

    let wanted = to(&instance, "own");
    let (answered, moved) = tokio::join!(writing, update(&broker, &instance, &wanted));

    let (_, mut app) = bound_again(&broker, &moved.unwrap(), &binding).await;
    let there: u32 = redis::from_redis_value(app.say(&format!("LLEN {key}")).await.unwrap()).unwrap();
    assert!(answered > 0);
    assert_eq!(there, answered);
}

/// What an app wrote, as it was answered: the values of its keys, and how long its list is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Written {
    keys: BTreeMap<String, String>,
    pushed: usize,
    is_flushed: bool,
}

/// Writes, overwrites, renames and removes until it is refused; all at once where that is allowed.
async fn write(app: &mut Client, prefix: &str, may_flush: bool) -> Written {
    let mut written = Written::default();
    let key = |number: usize| format!("{prefix}w{number}");
    for number in 0.. {
        let name = key(number);
        if app.say(&format!("SET {name} {number}")).await.is_err() {
            break;
        }
        written.keys.insert(name.clone(), number.to_string());
        if app.say(&format!("RPUSH {prefix}pushed x")).await.is_err() {
            break;
        }
        written.pushed += 1;
        if number % 3 == 2 {
            if app.say(&format!("DEL {}", key(number - 1))).await.is_err() {
                break;
            }
            written.keys.remove(&key(number - 1));
        }
        if number % 5 == 4 {
            let other = format!("{name}r");
            if app.say(&format!("RENAME {name} {other}")).await.is_err() {
                break;
            }
            written.keys.remove(&name);
            written.keys.insert(other, number.to_string());
        }
        if may_flush && number == 15 {
            app.say("FLUSHALL").await.unwrap();
            written = Written { is_flushed: true, ..Written::default() };
        }
    }
    written
}

#[tokio::test] // SPEC K-11
async fn apps_write_while_their_data_is_copied_and_all_that_was_answered_arrives() {
    let grounds = Grounds::new();
    let (broker, given) = broker(&grounds).await;
    for (plan, wanted, may_flush) in [("crowd", "own", false), ("own", "crowd", false), ("own", "crowd", true)] {
        let (instance, binding, env) = tenancy(&broker, "cache", plan).await;
        let prefix = if plan == "crowd" { format!("{}:", instance.id) } else { String::new() };
        let (mut app, mut many) = (Client::of(&env).await.unwrap(), redis::pipe());
        for number in 0..15_000 {
            many.cmd("SET").arg(format!("{prefix}{number}")).arg("x".repeat(100)).ignore();
        }
        let () = many.query_async(app.connection()).await.unwrap();

        let to = to(&instance, wanted);
        let (written, moved) = tokio::join!(write(&mut app, &prefix, may_flush), update(&broker, &instance, &to));

        let moved = moved.unwrap();
        let (_, app) = bound_again(&broker, &moved, &binding).await;
        let arrived = format!("{}:", moved.id);
        let prefix = if wanted == "crowd" || plan == "crowd" { arrived } else { prefix };
        let mut found = Written { is_flushed: may_flush, ..Written::default() };
        let mut admin = if wanted == "crowd" { given.admin().await } else { app };
        for name in admin.list("KEYS *").await {
            let name = name.strip_prefix(&prefix).unwrap();
            let key = if plan == "crowd" { format!("{prefix}{name}") } else { name.to_owned() };
            if name == "pushed" {
                found.pushed = admin.list(&format!("LRANGE {prefix}pushed 0 -1")).await.len();
            } else if name.starts_with('w') {
                found.keys.insert(key, admin.get(&format!("{prefix}{name}")).await.unwrap());
            } else {
                assert!(!may_flush, "{name} was removed with all others");
            }
        }
        assert_eq!(found, written, "{plan} to {wanted}");
        assert!(
            may_flush || written.keys.len() > 20,
            "it wrote only {} keys while its data was copied",
            written.keys.len()
        );
        broker.unbind(&moved, &binding).await.unwrap();
        broker.deprovision(&moved).await.unwrap();
    }
}

#[tokio::test] // SPEC K-11
async fn what_a_move_left_on_a_plan_that_is_away_is_not_forgotten_and_keeps_no_removal_waiting() {
    let grounds = Grounds::new();
    let (broker, mut given) = broker(&grounds).await;
    let (crowd, binding, _) = tenancy(&broker, "cache", "crowd").await;
    let own = update(&broker, &crowd, &to(&crowd, "own")).await.unwrap();
    let marks = async |given: &Given| given.admin().await.list("ACL USERS").await.len() - 1;
    given.stop();
    look_after(&broker, &[tenant(&own, &[&binding])]).await;
    drop(broker);
    let only_own = grounds.broker_of(&PLANS[..PLANS.find("[[plan]]\nname = \"crowd\"").unwrap()]).await;
    look_after(&only_own, &[tenant(&own, &[&binding])]).await;
    drop(only_own);

    given.restart().await;
    given.admin().await.say(&format!("ACL SETUSER tenant-{} off", own.id)).await.unwrap();
    let broker = grounds.broker_of(PLANS).await;
    look_after(&broker, &[tenant(&own, &[&binding])]).await;
    assert_eq!(marks(&given).await, 0, "it is cleaned once the plan is back");

    let (again, ..) = tenancy(&broker, "other", "crowd").await;
    let own_again = update(&broker, &again, &to(&again, "own")).await.unwrap();
    given.stop();
    drop(broker);
    let only_own = grounds.broker_of(&PLANS[..PLANS.find("[[plan]]\nname = \"crowd\"").unwrap()]).await;
    only_own.deprovision(&own_again).await.unwrap();
    only_own.deprovision(&own).await.unwrap();
    assert_eq!(grounds.servers(), [""; 0]);
}

#[tokio::test] // SPEC K-11
async fn what_a_shared_server_cannot_have_is_not_left_behind_by_a_move() {
    let grounds = Grounds::new();
    let (broker, _given) = broker(&grounds).await;
    let (instance, _, env) = tenancy(&broker, "cache", "own").await;
    let mut app = Client::of(&env).await.unwrap();
    let refused = async || broker.update(&instance, &to(&instance, "crowd")).await.unwrap_err().to_string();

    app.say("SELECT 3").await.unwrap();
    app.say("SET k v").await.unwrap();
    assert!(refused().await.contains("databases other than 0"));
    app.say("SET k w").await.unwrap();
    app.say("FLUSHALL").await.unwrap();

    let library = "#!lua name=lib\nredis.register_function('f', function() return 1 end)";
    let _: String = redis::cmd("FUNCTION").arg("LOAD").arg(library).query_async(app.connection()).await.unwrap();
    assert!(refused().await.contains("has functions"));
    app.say("FCALL f 0").await.unwrap();
}
