//! `cargo bench -p mysql-broker --bench dedicated`: how long it takes until an instance with a container of its own
//! answers, beside the same container started by hand, and what a move to a server of its own takes. A Docker engine has
//! to be there, and `mariadbd` installed. `-- MEBIBYTES` says how much is moved (256).

#[path = "../tests/broker/support.rs"]
#[allow(dead_code, unused_imports, reason = "the tests need more of it")]
mod support;

use std::{fs, path::Path, time::Duration};

use broker_hosting::{
    Image,
    testing::figures::dedicated::{ByHand, Variables, first_answer, moves, serve},
};
use mysql_broker::{Config, MysqlBroker};
use support::{Client, Grounds};

const PLANS: &str = r#"
[[plan]]
name = "crowd"
kind = "shared"
storage = "4gb"

[[plan]]
name = "own"
kind = "dedicated"
buffer-pool = "128mb"

[[plan]]
name = "boxed"
kind = "dedicated"
backend = "container"
memory = "256mb"
buffer-pool = "16mb"
"#;
/// Of a row.
const TEXT: usize = 1024;
/// Of a statement.
const ROWS: usize = 512;

#[tokio::main]
async fn main() {
    let mebibytes = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(256);
    let grounds = Grounds::new();
    // Steps of builds reach a proxy on this machine by its own network.
    let config = Config { build_network: Some("host".to_owned()), ..grounds.with_plans(PLANS) };
    let broker = MysqlBroker::start(config).await.expect("the broker starts");
    let served = serve(broker).await;
    println!("| What | Broker | By hand | To it | Goal |");
    println!("| --- | ---: | ---: | ---: | --- |");
    first_answer(&served, "boxed", answers, async |round| by_hand(&grounds, round).await).await;
    moves(&served, ["crowd", "own"], mebibytes, fill, write, async |env| holds(env, mebibytes).await).await;
    served.stop().await;
}

async fn login(env: &Variables) -> mysql_async::Result<Client> {
    Client::login(&env["DATABASE_URL"]).await
}

async fn answers(env: &Variables) -> bool {
    login(env).await.is_ok()
}

fn rows(bytes: u64) -> u64 {
    bytes / TEXT as u64
}

async fn fill(env: &Variables, bytes: u64) {
    let mut client = login(env).await.expect("an app gets in");
    client.run("CREATE TABLE writes (a INT)").await.expect("a table");
    client.run("CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, a TEXT)").await.expect("a table");
    let row = format!("(REPEAT('v', {TEXT}))");
    let insert = format!("INSERT INTO t (a) VALUES {}", vec![row; ROWS].join(","));
    for _ in 0..rows(bytes) / ROWS as u64 {
        client.run(&insert).await.expect("there is room");
    }
}

async fn write(env: &Variables) {
    let mut client = login(env).await.expect("an app gets in");
    while client.run("INSERT INTO writes VALUES (1)").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn holds(env: &Variables, mebibytes: u32) -> bool {
    let mut client = login(env).await.expect("an app gets in");
    client.number("SELECT COUNT(*) FROM t").await == rows(u64::from(mebibytes) << 20)
}

async fn by_hand(grounds: &Grounds, round: usize) -> ByHand {
    let commands = |folder: &Path, name: &str, port: &str| {
        let init = "CREATE USER 'hand'@'%' IDENTIFIED BY 'hand';\n";
        fs::write(folder.join("init.sql"), init).expect("a file");
        vec![install(folder), run(folder, name, port)]
    };
    let answers = async |port: &str| Client::login(&format!("mysql://hand:hand@127.0.0.1:{port}")).await.is_ok();
    ByHand::start(grounds, round, commands, answers).await
}

const RESTRICTED: &str =
    "--read-only --tmpfs /tmp --tmpfs /run --cap-drop ALL --security-opt no-new-privileges --init --user 65534:65534";

fn image() -> String {
    Image::new("mysql-broker/server", include_str!("../image/Dockerfile")).reference()
}

fn install(folder: &Path) -> String {
    let (folder, image) = (folder.display(), image());
    format!(
        "run --rm --network none --volume {folder}:{folder} {RESTRICTED} --entrypoint /usr/bin/mariadb-install-db {image} \
         --no-defaults --auth-root-authentication-method=socket --skip-test-db --skip-name-resolve \
         --datadir={folder}/data"
    )
}

fn run(folder: &Path, name: &str, port: &str) -> String {
    let (folder, image) = (folder.display(), image());
    format!(
        "run --detach --name {name} --network {name} --publish 127.0.0.1:{port}:{port} --volume {folder}:{folder} \
         --memory 256m --memory-swap 256m --pids-limit 256 {RESTRICTED} --restart unless-stopped \
         --entrypoint /usr/sbin/mariadbd {image} --no-defaults --datadir={folder}/data --port={port} \
         --socket=hand.sock --init-file={folder}/init.sql --skip-name-resolve --performance-schema=OFF \
         --innodb-buffer-pool-size=16M --innodb-log-file-size=32M --innodb-log-buffer-size=4M"
    )
}
