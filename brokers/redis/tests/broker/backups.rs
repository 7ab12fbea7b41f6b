//! Backups, and what may come between them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use broker_backup::testing::Moto;
use broker_core::{Broker as _, EnvVars, Instance, Tenant};
use redis_broker::{BackedUp as _, BackupConfig, Config, RedisBroker};

use crate::support::{Client, Given, Grounds, eventually, keeping_backups, look_after, tenancy, tenant};

/// A broker that keeps backups, with its own servers.
pub(crate) async fn broker(grounds: &Grounds) -> RedisBroker {
    RedisBroker::start(keeping_backups(grounds)).await.unwrap()
}

/// A broker that keeps backups, whose shared plan is on a given server, which is looked into.
pub(crate) async fn on_given(grounds: &Grounds) -> (RedisBroker, Given, Config) {
    let given = Given::start(&["--databases", "1", "--maxmemory", "24mb"]).await;
    let config = Config { shared_url: Some(given.url("default", "admin")), ..keeping_backups(grounds) };
    (RedisBroker::start(config.clone()).await.unwrap(), given, config)
}

pub(crate) fn prefix_of(env: &EnvVars) -> String {
    env.get("REDIS_PREFIX").map(|prefix| prefix.expose().to_owned()).unwrap_or_default()
}

/// A key of each kind, one with an end, one with a name and a value that are no text.
pub(crate) async fn fill(app: &mut Client, prefix: &str) {
    for command in [
        "SET P:s 1",
        "HSET P:h f v",
        "RPUSH P:l a b",
        "SADD P:set a",
        "ZADD P:z 1.5 a",
        "XADD P:x 5-1 f v",
        "SET P:t v PXAT 4000000000123",
        "SET P:short v PX 1",
    ] {
        app.say(&command.replace("P:", prefix)).await.unwrap();
    }
    set(app, &[prefix.as_bytes(), b"\xff\0\r\n"].concat(), &[0, 255, 13, 10]).await;
    for number in 0..1500 {
        app.say(&format!("SET {prefix}{number} {number}")).await.unwrap();
    }
}

pub(crate) async fn set(app: &mut Client, key: &[u8], value: &[u8]) {
    let _: () = redis::cmd("SET").arg(key).arg(value).query_async(app.connection()).await.unwrap();
}

/// That there is what was filled in, and no more of the keys that are looked for.
pub(crate) async fn is_filled(app: &mut Client, prefix: &str) {
    assert_eq!(app.get(&format!("{prefix}1499")).await.as_deref(), Some("1499"));
    assert_eq!(app.get(&format!("{prefix}s")).await.as_deref(), Some("1"));
    assert_eq!(app.list(&format!("HGETALL {prefix}h")).await, ["f", "v"]);
    assert_eq!(app.list(&format!("LRANGE {prefix}l 0 -1")).await, ["a", "b"]);
    assert_eq!(app.list(&format!("SMEMBERS {prefix}set")).await, ["a"]);
    assert_eq!(app.list(&format!("ZRANGE {prefix}z 0 -1 WITHSCORES")).await, ["a", "1.5"]);
    assert_eq!(number(app, &format!("XLEN {prefix}x")).await, 1);
    assert_eq!(number(app, &format!("PEXPIRETIME {prefix}t")).await, 4_000_000_000_123, "to the millisecond");
    assert_eq!(app.get(&format!("{prefix}short")).await, None);
    let key = [prefix.as_bytes(), b"\xff\0\r\n"].concat();
    let value: Vec<u8> = redis::cmd("GET").arg(key).query_async(app.connection()).await.unwrap();
    assert_eq!(value, [0, 255, 13, 10]);
    assert_eq!(app.get(&format!("{prefix}later")).await, None);
}

pub(crate) async fn number(app: &mut Client, command: &str) -> i64 {
    redis::from_redis_value(app.say(command).await.unwrap()).unwrap()
}

/// What the app changes after a backup.
pub(crate) async fn change(app: &mut Client, prefix: &str) {
    for command in ["SET P:later x", "SET P:s 2", "DEL P:h", "RPUSH P:l c", "PERSIST P:t"] {
        app.say(&command.replace("P:", prefix)).await.unwrap();
    }
}

/// The files of an instance's backups that end so.
pub(crate) fn files(grounds: &Grounds, instance: &Instance, kind: &str) -> Vec<PathBuf> {
    let folder = grounds.data().join("backups/redis").join(instance.id.as_str());
    let paths = fs::read_dir(folder).into_iter().flatten().map(|file| file.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|ending| ending == kind)).collect()
}

/// Bytes that cannot be compressed.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length.div_ceil(8)).flat_map(step).take(length).collect()
}

#[tokio::test] // SPEC K-14
async fn much_data_and_values_that_are_larger_than_what_clients_may_buffer_are_backed_up() {
    let grounds = Grounds::new();
    let mut config = Config { maxmemory: "64mb".parse().unwrap(), ..keeping_backups(&grounds) };
    config.backups.backup_key = None;
    let broker = RedisBroker::start(config).await.unwrap();
    let (instance, binding, env) = tenancy(&broker, "cache", "dedicated").await;
    let mut app = Client::of(&env).await.unwrap();
    // A fifth of the memory is what all clients' buffers may use.
    for piece in noise(14 << 20, 1).chunks(1 << 20) {
        let append = redis::cmd("APPEND").arg("large").arg(piece).to_owned();
        let _: u64 = append.query_async(app.connection()).await.unwrap();
    }
    for number in 2..202 {
        set(&mut app, format!("k{number}").as_bytes(), &noise(120_000, number)).await;
    }

    let made = broker.back_up(&instance).await.unwrap();
    // A value that is larger than that ends other connections.
    Client::of(&env).await.unwrap().say("FLUSHALL").await.unwrap();
    broker.restore_backup(&tenant(&instance, &[&binding]), &made.id).await.unwrap();

    assert!(made.size > 38_000_000, "{}", made.size);
    let mut app = Client::of(&env).await.unwrap();
    for (number, piece) in noise(14 << 20, 1).chunks(1 << 20).enumerate() {
        let begin = number << 20;
        let part = redis::cmd("GETRANGE").arg("large").arg(begin).arg(begin + piece.len() - 1).to_owned();
        let found: Vec<u8> = part.query_async(app.connection()).await.unwrap();
        assert!(found == piece, "{number}");
    }
    let last: Vec<u8> = redis::cmd("GET").arg("k201").query_async(app.connection()).await.unwrap();
    assert!(last == noise(120_000, 201));
    assert_eq!(number(&mut app, "DBSIZE").await, 201);
}

#[tokio::test] // SPEC K-14, Z-1
async fn a_server_that_goes_away_in_the_middle_leaves_no_backup() {
    let grounds = Grounds::new();
    let (broker, mut given, _) = on_given(&grounds).await;
    let (instance, _, env) = tenancy(&broker, "cache", "shared").await;
    let mut app = Client::of(&env).await.unwrap();
    for number in 0..150 {
        set(&mut app, format!("{}:{number}", instance.id).as_bytes(), &noise(100_000, number)).await;
    }
    let folder = grounds.data().join("backups/redis").join(instance.id.as_str());

    let stop = async {
        // As soon as some of it is written.
        eventually("the backup is begun", async || folder.exists() && fs::read_dir(&folder).unwrap().count() > 0).await;
        given.stop();
    };
    let (made, ()) = tokio::join!(broker.back_up(&instance), stop);

    made.unwrap_err();
    assert!(broker.list_backups(&instance).await.unwrap().is_empty());
}

#[tokio::test] // SPEC K-14
async fn a_removal_or_restart_in_the_middle_leaves_no_half_backup() {
    let grounds = Grounds::new();
    let (broker, mut given, _) = on_given(&grounds).await;
    for round in 0..2 {
        let (instance, binding, env) = tenancy(&broker, "cache", "shared").await;
        let mut app = Client::of(&env).await.unwrap();
        for number in 0..100 {
            set(&mut app, format!("{}:{number}", instance.id).as_bytes(), &noise(100_000, number)).await;
        }
        let folder = grounds.data().join("backups/redis").join(instance.id.as_str());
        let disturb = async {
            eventually("the backup is begun", async || folder.exists() && fs::read_dir(&folder).unwrap().count() > 0)
                .await;
            if round == 0 {
                broker.unbind(&instance, &binding).await.unwrap();
                broker.deprovision(&instance).await.unwrap();
            } else {
                given.restart().await;
            }
        };

        let (made, ()) = tokio::join!(broker.back_up(&instance), disturb);

        made.unwrap_err();
        assert!(broker.list_backups(&instance).await.unwrap().is_empty(), "round {round}");
    }
}

#[tokio::test] // SPEC K-14, Z-4
async fn instances_are_backed_up_by_the_schedule_and_the_newest_are_kept() {
    let grounds = Grounds::new();
    let mut config = keeping_backups(&grounds);
    (config.backups.backup_every, config.backups.backups_kept) = (Some(24), 2);
    let broker = RedisBroker::start(config).await.unwrap();
    let (instance, binding, _) = tenancy(&broker, "cache", "shared").await;
    let tenants = [tenant(&instance, &[&binding])];
    let count = async || broker.list_backups(&instance).await.unwrap().len();

    look_after(&broker, &tenants).await;
    eventually("the first backup is there", async || count().await == 1).await;
    look_after(&broker, &tenants).await;
    for _ in 0..2 {
        broker.back_up(&instance).await.unwrap();
    }

    assert_eq!(count().await, 2);
}

#[tokio::test] // SPEC K-14, K-15
async fn backups_are_kept_in_a_bucket() {
    let grounds = Grounds::new();
    fs::create_dir_all(grounds.data()).unwrap();
    let moto = Moto::start(&grounds.data(), Path::new(env!("CARGO_TARGET_TMPDIR")));
    let bucket = moto.bucket();
    let file = grounds.write(
        "bucket.toml",
        &format!("endpoint = \"{}\"\nbucket = \"backups\"\naccess-key = \"k\"\nsecret-key = \"s\"\n", bucket.endpoint),
    );
    let mode = std::os::unix::fs::PermissionsExt::from_mode;
    fs::set_permissions(&file, mode(0o600)).unwrap();
    let backups = BackupConfig { backups_s3: Some(file.clone()), ..BackupConfig::default() };
    let config = Config { backups, ..grounds.config() };
    let broker = RedisBroker::start(config.clone()).await.unwrap();
    let (instance, binding, env) = tenancy(&broker, "cache", "shared").await;
    let (prefix, mut app) = (prefix_of(&env), Client::of(&env).await.unwrap());
    fill(&mut app, &prefix).await;

    let made = broker.back_up(&instance).await.unwrap();
    change(&mut app, &prefix).await;
    broker.restore_backup(&Tenant::new(instance.clone(), vec![binding]), &made.id).await.unwrap();

    is_filled(&mut Client::of(&env).await.unwrap(), &prefix).await;
    assert_eq!(moto.objects().len(), 4, "two backups");
    fs::set_permissions(&file, mode(0o644)).unwrap();
    let refusal = RedisBroker::start(config).await.err().unwrap().to_string();
    assert!(refusal.contains("give it mode 0600"), "{refusal}");
}
