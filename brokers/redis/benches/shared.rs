//! `cargo bench -p redis-broker`: what instances of a shared plan cost beside the commands that they need, sent by hand
//! over connections that are open, on a given server. `redis-server` has to be installed. `-- TENANTS` says how many tenants "many" are, and
//! how many lives the memory is measured over (10,000).

#[path = "../tests/broker/support.rs"]
#[allow(dead_code, unused_imports, reason = "the tests need more of it")]
mod support;

use broker_hosting::testing::figures::{Call, beside_its_server};
use futures::{future::join_all, lock::Mutex};
use redis_broker::{Config, RedisBroker};
use support::{Given, Grounds};

const PLANS: &str = "[[plan]]\nname = \"shared\"\nkind = \"shared\"\nurl-file = \"shared.url\"\ncapacity = 100000\n";
const RULE: &str = "on #9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 resetkeys ~TENANT:* resetchannels &TENANT:* \
    -@all +@string +@hash +@list +@set +@sortedset +@stream +@bitmap +@hyperloglog +@geo +subscribe +unsubscribe \
    +psubscribe +punsubscribe +publish +multi +exec +discard +watch +unwatch +del +unlink +exists +expire +ttl +type \
    -@dangerous +ping +echo +hello +auth +select";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let tenants = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(10_000);
    let (grounds, server) = (Grounds::new(), Given::start(&["--databases", "1"]).await);
    let clients = join_all((0..32).map(async |_| Mutex::new(server.admin().await))).await;

    let by_hand = async |call, connection: usize, number: usize| {
        let mut client = clients[connection].lock().await;
        for command in commands(call, number) {
            client.say(&command).await.expect("the server does what it is told");
        }
    };
    let things = async || clients[0].lock().await.list("ACL USERS").await.len() as u64;
    grounds.write("shared.url", server.url("default", "admin").expose());
    let config = Config { plans: Some(grounds.write("plans.toml", PLANS)), ..grounds.config() };
    let broker = RedisBroker::start(config).await.expect("the broker starts");
    beside_its_server(broker, tenants, by_hand, things).await;
}

fn commands(call: Call, number: usize) -> Vec<String> {
    let (mark, user) = (format!("hand-{number}"), format!("hand{number}"));
    match call {
        Call::Create => vec![format!("ACL SETUSER {mark} reset")],
        Call::Bind => vec![format!("ACL SETUSER {user} reset {}", RULE.replace("TENANT", &mark))],
        Call::Unbind => vec![format!("ACL DELUSER {user}")],
        Call::Delete => vec![format!("SCAN 0 MATCH {mark}:* COUNT 1000"), format!("ACL DELUSER {mark}")],
    }
}
