//! Tenants try to reach each other, the server and the machine.

use broker_core::Broker as _;
use redis_broker::RedisBroker;

use crate::support::{Client, Given, Grounds, instance, tenancy};

/// One of each type, in each tenant's prefix.
const DATA: &[&str] = &[
    "SET P:s 1",
    "HSET P:h f v",
    "RPUSH P:l a b c",
    "SADD P:set a b",
    "ZADD P:z 1 a 2 b",
    "XADD P:x * f v",
    "SETBIT P:bit 1 1",
    "PFADD P:hll a",
    "GEOADD P:geo 1 1 a",
];

/// What apps do in their own prefix `A`.
const ORDINARY: &[&str] = &[
    "GET A:s",
    "MSET A:m1 1 A:m2 2",
    "INCR A:s",
    "APPEND A:s 0",
    "SETEX A:t 100 v",
    "TTL A:t",
    "PERSIST A:t",
    "HGETALL A:h",
    "HSCAN A:h 0",
    "LRANGE A:l 0 -1",
    "BLPOP A:l 1",
    "LMOVE A:l A:l2 LEFT RIGHT",
    "SSCAN A:set 0",
    "SINTERSTORE A:set2 A:set A:set",
    "ZRANGE A:z 0 -1",
    "ZSCAN A:z 0",
    "XRANGE A:x - +",
    "XGROUP CREATE A:x g $",
    "BITCOUNT A:bit",
    "PFCOUNT A:hll",
    "GEOPOS A:geo a",
    "SORT A:l ALPHA",
    "TYPE A:s",
    "EXISTS A:s A:h",
    "COPY A:s A:s2",
    "RENAME A:s2 A:s3",
    "DUMP A:s",
    "OBJECT ENCODING A:s",
    "MEMORY USAGE A:s",
    "UNLINK A:s3",
    "DEL A:m1",
    "PUBLISH A:news hello",
    "SELECT 0",
    "CLIENT ID",
    "CLIENT SETNAME app",
    "ACL WHOAMI",
    "COMMAND COUNT",
    "TIME",
    "ECHO hi",
    "HELLO 2",
];

/// With one key of tenant `B`, or a name that would lead there.
const ACROSS: &[&str] = &[
    "GET B:s",
    "SET B:s 2",
    "MGET A:s B:s",
    "MSET A:s 1 B:s 2",
    "EXISTS B:s",
    "TYPE B:s",
    "TTL B:s",
    "TOUCH B:s",
    "DEL B:s",
    "UNLINK B:s",
    "EXPIRE B:s 1",
    "DUMP B:s",
    "OBJECT ENCODING B:s",
    "MEMORY USAGE B:s",
    "WATCH B:s",
    "COPY B:s A:stolen",
    "COPY A:s B:s REPLACE",
    "RENAME B:s A:stolen",
    "RENAME A:s B:s",
    "HGETALL B:h",
    "HSET B:h f x",
    "LRANGE B:l 0 -1",
    "BLPOP B:l 1",
    "LMOVE B:l A:l LEFT RIGHT",
    "LMPOP 2 A:l B:l LEFT",
    "SMOVE B:set A:set a",
    "SMEMBERS B:set",
    "SINTERSTORE A:stolen B:set",
    "ZUNION 2 A:z B:z",
    "ZRANGESTORE A:stolen B:z 0 -1",
    "XRANGE B:x - +",
    "XREAD STREAMS B:x 0",
    "XINFO STREAM B:x",
    "BITOP OR A:stolen B:bit",
    "PFMERGE A:stolen B:hll",
    "PFCOUNT B:hll",
    "GEOSEARCHSTORE A:stolen B:geo FROMMEMBER a BYRADIUS 1 m",
    "GEORADIUS A:geo 1 1 1 m STORE B:stolen",
    "LCS A:s B:s",
    "SORT A:l ALPHA STORE B:l",
    "SORT A:l BY B:*",
    "SORT A:l GET B:*",
    "SORT B:l ALPHA",
    "GETDEL B:s",
    "SUBSCRIBE B:news",
    "SSUBSCRIBE B:news",
    "PSUBSCRIBE *",
    "PSUBSCRIBE B:*",
    "PUBLISH B:news hello",
    "SPUBLISH B:news hello",
    "SUBSCRIBE __keyspace@0__:B:s",
];

/// Commands that show or change more than a prefix.
const BEYOND: &[&str] = &[
    "KEYS *",
    "SCAN 0",
    "RANDOMKEY",
    "DBSIZE",
    "FLUSHDB",
    "FLUSHALL",
    "SWAPDB 0 1",
    "MOVE A:s 1",
    "SELECT 1",
    "COPY A:s A:hidden DB 5",
    "INFO",
    "MEMORY STATS",
    "MEMORY DOCTOR",
    "LASTSAVE",
    "ROLE",
    "SLOWLOG GET",
    "LATENCY LATEST",
    "CLUSTER INFO",
    "CONFIG GET *",
    "CONFIG SET maxmemory 0",
    "ACL LIST",
    "ACL USERS",
    "ACL GETUSER default",
    "ACL SETUSER mallory on nopass ~* +@all",
    "ACL CAT",
    "MODULE LIST",
    "DEBUG SLEEP 0",
    "SHUTDOWN NOSAVE",
    "SAVE",
    "BGSAVE",
    "BGREWRITEAOF",
    "REPLICAOF NO ONE",
    "PSYNC ? -1",
    "MIGRATE 127.0.0.1 1 A:s 0 10",
    "RESTORE A:r 0 x",
    "FAILOVER",
    "MONITOR",
    "CLIENT LIST",
    "CLIENT KILL TYPE normal",
    "CLIENT PAUSE 10",
    "CLIENT UNBLOCK 1",
    "CLIENT NO-EVICT on",
    "CLIENT TRACKING ON BCAST",
    "PUBSUB CHANNELS",
    "PUBSUB NUMSUB B:news",
    "PUBSUB SHARDCHANNELS",
    "EVAL return(1) 0",
    "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0",
    "SCRIPT FLUSH",
    "FUNCTION LIST",
    "FCALL f 0",
    "READONLY",
];

/// What the owner of a whole server may not do: it would reach the machine, others, or the broker's account.
const BEYOND_A_SERVER: &[&str] = &[
    "CONFIG GET *",
    "CONFIG SET dir /tmp",
    "ACL SETUSER mallory on nopass ~* +@all",
    "ACL LIST",
    "ACL DELUSER broker",
    "ACL LOAD",
    "MODULE LOAD /tmp/x.so",
    "DEBUG SLEEP 0",
    "SHUTDOWN NOSAVE",
    "SAVE",
    "BGSAVE",
    "REPLICAOF 127.0.0.1 1",
    "MIGRATE 127.0.0.1 1 k 0 10",
    "PSYNC ? -1",
    "MONITOR",
    "CLIENT KILL TYPE normal",
    "CLIENT PAUSE 10",
    "FAILOVER",
];

/// What only the owner of a whole server may do.
const WHOLE_SERVER: &[&str] = &[
    "SET k v",
    "EVAL return(1) 0",
    "FUNCTION LIST",
    "SCAN 0",
    "KEYS *",
    "INFO",
    "SELECT 3",
    "CLIENT LIST",
    "CLIENT TRACKING OFF",
    "ROLE",
    "SLOWLOG GET",
    "FLUSHDB",
    "FLUSHALL",
    "ACL WHOAMI",
];

/// Two tenants on one server, with data in both prefixes.
struct Neighbours {
    ids: [String; 2],
    clients: [Client; 2],
}

impl Neighbours {
    async fn on(broker: &RedisBroker) -> Self {
        let (a, _, a_env) = tenancy(broker, "one", "shared").await;
        let (b, _, b_env) = tenancy(broker, "two", "shared").await;
        let clients = [Client::of(&a_env).await.unwrap(), Client::of(&b_env).await.unwrap()];
        let mut neighbours = Self { ids: [a.id.to_string(), b.id.to_string()], clients };
        for (id, client) in neighbours.ids.iter().zip(&mut neighbours.clients) {
            for command in DATA {
                client.say(&command.replace("P:", &format!("{id}:"))).await.unwrap();
            }
        }
        neighbours
    }

    /// As tenant A.
    async fn try_to(&mut self, command: &str) -> redis::RedisResult<redis::Value> {
        let [a, b] = &self.ids;
        self.clients[0].say(&command.replace("A:", &format!("{a}:")).replace("B:", &format!("{b}:"))).await
    }

    /// The commands that were not refused. A connection that was lost counts as refused only when the server lives.
    async fn not_refused(&mut self, commands: &[&'static str]) -> Vec<&'static str> {
        let mut allowed = Vec::new();
        for command in commands {
            if self.try_to(command).await.is_ok() {
                allowed.push(*command);
            }
        }
        self.clients[1].say("PING").await.expect("the server lives");
        allowed
    }
}

#[tokio::test] // SPEC K-2
async fn tenants_of_a_shared_server_use_their_own_prefix_freely() {
    let grounds = Grounds::new();
    let mut neighbours = Neighbours::on(&grounds.broker().await).await;

    for command in ORDINARY {
        let answer = neighbours.try_to(command).await;
        assert!(answer.is_ok(), "{command}: {answer:?}");
    }
}

#[tokio::test] // SPEC K-2
async fn tenants_of_a_shared_server_cannot_reach_each_other() {
    let grounds = Grounds::new();
    let mut neighbours = Neighbours::on(&grounds.broker().await).await;

    assert_eq!(neighbours.not_refused(ACROSS).await, [""; 0]);
}

#[tokio::test] // SPEC K-2
async fn tenants_of_a_shared_server_see_and_change_nothing_beyond_their_prefix() {
    let grounds = Grounds::new();
    let mut neighbours = Neighbours::on(&grounds.broker().await).await;

    assert_eq!(neighbours.not_refused(BEYOND).await, [""; 0]);
}

#[tokio::test] // SPEC K-2
async fn tenants_of_a_given_server_with_many_databases_stay_in_the_first() {
    let grounds = Grounds::new();
    let given = Given::start(&["--databases", "16"]).await;
    let broker = grounds.broker_on(&given).await;
    let mut neighbours = Neighbours::on(&broker).await;

    assert_eq!(neighbours.not_refused(ACROSS).await, [""; 0]);
    assert_eq!(neighbours.not_refused(BEYOND).await, [""; 0]);
}

#[tokio::test] // SPEC K-2
async fn the_owner_of_a_server_may_do_all_but_leave_it() {
    let grounds = Grounds::new();
    let broker = grounds.broker().await;
    let (_, _, env) = tenancy(&broker, "cache", "dedicated").await;
    let mut owner = Client::of(&env).await.unwrap();

    for command in WHOLE_SERVER {
        let answer = owner.say(command).await;
        assert!(answer.is_ok(), "{command}: {answer:?}");
    }
    for command in BEYOND_A_SERVER {
        assert!(owner.say(command).await.is_err(), "{command}");
    }
}

#[tokio::test] // SPEC K-2
async fn nobody_gets_in_without_an_account() {
    let grounds = Grounds::new();
    let broker = grounds.broker().await;
    let (_, _, env) = tenancy(&broker, "cache", "dedicated").await;
    let (other, _, other_env) = tenancy(&broker, "other", "dedicated").await;
    let port = env.get("REDIS_PORT").unwrap().expose();
    let other_user = other_env.get("REDIS_USERNAME").unwrap().expose();
    let other_password = other_env.get("REDIS_PASSWORD").unwrap().expose();

    for login in ["", "default:@", "broker:@", &format!("{other_user}:{other_password}@")] {
        assert!(Client::login(&format!("redis://{login}127.0.0.1:{port}")).await.is_err(), "{login}");
    }
    let missing = instance("cache", "shared");
    assert_ne!(missing.id, other.id);
    assert!(broker.unbind(&missing, &crate::support::binding("nobody")).await.is_ok());
}

/// What is refused to credentials that only read, in a tenant's own prefix or on its own server.
const WRITES: &[&str] = &[
    "SET A:s 2",
    "GETSET A:s 2",
    "GETDEL A:s",
    "GETEX A:s EX 1",
    "DEL A:s",
    "UNLINK A:s",
    "EXPIRE A:s 1",
    "PERSIST A:s",
    "RENAME A:s A:s2",
    "COPY A:s A:s2",
    "LPOP A:l",
    "BLPOP A:l 1",
    "SORT A:l ALPHA STORE A:l2",
    "SPOP A:set",
    "ZADD A:z 1 c",
    "XADD A:x * f v",
    "XGROUP CREATE A:x g $",
    "XREADGROUP GROUP g c STREAMS A:x >",
    "SETBIT A:bit 1 0",
    "PFADD A:hll b",
    "PUBLISH A:news hello",
    "SPUBLISH A:news hello",
    "FLUSHDB",
    "FLUSHALL",
    "SWAPDB 0 1",
    "RESTORE A:r 0 x",
    "EVAL return(redis.call('SET',KEYS[1],'x')) 1 A:s",
    "SCRIPT FLUSH",
    "FUNCTION FLUSH",
    "CLIENT UNBLOCK 1",
];

/// What credentials that only read are for.
const READS: &[&str] =
    &["GET A:s", "MGET A:s", "HGETALL A:h", "LRANGE A:l 0 -1", "SMEMBERS A:set", "XRANGE A:x - +", "TTL A:s", "PING"];

#[tokio::test] // SPEC K-9
async fn read_only_credentials_read_and_never_write() {
    let grounds = Grounds::new();
    let broker = grounds.broker().await;
    for plan in ["dedicated", "shared"] {
        let (instance, _, env) = tenancy(&broker, "cache", plan).await;
        let (id, mut writer) = (instance.id.to_string(), Client::of(&env).await.unwrap());
        for command in DATA {
            writer.say(&command.replace("P:", &format!("{id}:"))).await.unwrap();
        }
        let mut looking = crate::support::binding("looking");
        looking.parameters.insert("read-only".to_owned(), true.into());

        let mut reader = Client::of(&broker.bind(&instance, &looking).await.unwrap()).await.unwrap();

        for command in READS {
            let answer = reader.say(&command.replace("A:", &format!("{id}:"))).await;
            assert!(answer.is_ok(), "{plan}: {command}: {answer:?}");
        }
        for command in WRITES.iter().chain(BEYOND_A_SERVER) {
            let answer = reader.say(&command.replace("A:", &format!("{id}:"))).await;
            assert!(answer.is_err(), "{plan}: {command}: {answer:?}");
        }
    }
}

#[tokio::test] // SPEC K-9, K-6
async fn read_only_credentials_stay_so_when_their_server_starts_anew() {
    let grounds = Grounds::new();
    let broker = grounds.broker().await;
    for plan in ["dedicated", "shared"] {
        let (instance, ..) = tenancy(&broker, "cache", plan).await;
        let mut looking = crate::support::binding("looking");
        looking.parameters.insert("read-only".to_owned(), true.into());
        let env = broker.bind(&instance, &looking).await.unwrap();

        grounds.kill_all().await;
        crate::support::look_after(&broker, &[crate::support::tenant(&instance, &[&looking])]).await;

        let mut reader = Client::of(&env).await.unwrap();
        let refusal = reader.say(&format!("SET {}:s 2", instance.id)).await.unwrap_err();
        assert_eq!(refusal.code(), Some("NOPERM"), "{refusal}");
    }
}
