//! `cargo bench -p mysql-broker`: what instances of a shared plan cost beside the statements that they need, sent by hand
//! over connections that are open. `mariadbd` has to be installed. `-- TENANTS` says how many tenants "many" are, and how
//! many lives the memory is measured over (10,000).

#[path = "../tests/broker/support.rs"]
#[allow(dead_code, unused_imports, reason = "the tests need more of it")]
mod support;

use broker_hosting::testing::figures::{Call, beside_its_server};
use futures::{future::join_all, lock::Mutex};
use support::{Client, Shared};

const PRIVILEGES: &str = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, INDEX, ALTER, REFERENCES, \
    CREATE TEMPORARY TABLES, LOCK TABLES, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, EXECUTE, EVENT, TRIGGER";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let tenants = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(10_000);
    let shared = Shared::server().await;
    let clients = join_all((0..32).map(async |_| Mutex::new(shared.admin().await))).await;

    let by_hand = async |call, connection: usize, number| {
        let mut client = clients[connection].lock().await;
        for statement in statements(call, number) {
            client.run(&statement).await.expect("the server does what it is told");
        }
    };
    let things = async || {
        let mut client: futures::lock::MutexGuard<'_, Client> = clients[0].lock().await;
        client.number("SELECT COUNT(*) FROM mysql.global_priv").await
            + client.number("SELECT COUNT(*) FROM information_schema.SCHEMATA").await
    };
    let broker = mysql_broker::MysqlBroker::start(shared.config()).await.expect("the broker starts");
    beside_its_server(broker, tenants, by_hand, things).await;
}

fn statements(call: Call, number: usize) -> Vec<String> {
    let (user, terms) =
        (format!("'uh{number}'@'%'"), "IDENTIFIED BY 'Uh1nGcM2Dk8' REQUIRE NONE WITH MAX_USER_CONNECTIONS 5");
    match call {
        Call::Create => vec![format!("CREATE DATABASE `tbh{number}` CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")],
        Call::Bind => {
            vec![format!("CREATE USER {user} {terms}"), format!("GRANT {PRIVILEGES} ON `tbh{number}`.* TO {user}")]
        }
        Call::Unbind => vec![
            format!("ALTER USER {user} ACCOUNT LOCK"),
            format!("KILL USER 'uh{number}'"),
            format!("DROP USER {user}"),
        ],
        Call::Delete => vec![format!("DROP DATABASE `tbh{number}`")],
    }
}
