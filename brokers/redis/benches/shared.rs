//! `cargo bench -p redis-broker`: what instances of a shared plan cost beside the commands that they need, sent by hand
//! over connections that are open, on a given server and on one that the broker starts. `redis-server` has to be installed.
//! `-- TENANTS` says how many tenants "many" are, and how many lives the memory is measured over (10,000).

#[path = "../tests/broker/support.rs"]
#[allow(dead_code, unused_imports, reason = "the tests need more of it")]
mod support;

use broker_core::Secret;
use broker_hosting::testing::figures::{Call, beside_its_server};
use futures::lock::Mutex;
use support::{Client, Given, Grounds};

const PLAN: &str = "[[plan]]\nname = \"shared\"\nkind = \"shared\"\ncapacity = 100000\n";
const RULE: &str = "on #9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 resetkeys ~TENANT:* resetchannels &TENANT:* \
    -@all +@string +@hash +@list +@set +@sortedset +@stream +@bitmap +@hyperloglog +@geo +subscribe +unsubscribe \
    +psubscribe +punsubscribe +publish +multi +exec +discard +watch +unwatch +del +unlink +exists +expire +ttl +type \
    -@dangerous +ping +echo +hello +auth +select";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let tenants = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(10_000);
    println!("A given server\n");
    let (grounds, server) = (Grounds::new(), Given::start(&["--databases", "1"]).await);
    grounds.write("shared.url", server.url("default", "admin").expose());
    measure(&grounds, &format!("{PLAN}url-file = \"shared.url\"\n"), tenants, || server.url("default", "admin")).await;

    println!("\nThe broker's own\n");
    let grounds = Grounds::new();
    // It is made with the first instance.
    let url = || {
        let password = std::fs::read_to_string(grounds.root().join("shared-admin-password")).expect("a password");
        let port = grounds.port("shared").expect("a server that was started");
        Secret::from(format!("redis://broker:{}@127.0.0.1:{port}", password.trim()))
    };
    measure(&grounds, &format!("{PLAN}maxmemory = \"1gb\"\n"), tenants, url).await;
}

async fn measure(grounds: &Grounds, plans: &str, tenants: usize, url: impl Fn() -> Secret) {
    let clients: Vec<Mutex<Option<Client>>> = (0..32).map(|_| Mutex::default()).collect();
    let client = async |connection: usize| {
        let mut client = clients[connection].lock().await;
        if client.is_none() {
            *client = Some(Client::login(url().expose()).await.expect("the server takes connections"));
        }
        client
    };
    let by_hand = async |call, connection: usize, number: usize| {
        let mut client = client(connection).await;
        for command in commands(call, number) {
            client.as_mut().expect("connected").say(&command).await.expect("the server does what it is told");
        }
    };
    let things = async || {
        let mut client = client(0).await;
        client.as_mut().expect("connected").list("ACL USERS").await.len() as u64
    };
    let broker = grounds.broker_of(plans).await;
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
