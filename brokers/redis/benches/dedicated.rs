//! `cargo bench -p redis-broker --bench dedicated`: how long it takes until an instance with a container of its own
//! answers, beside the same container started by hand, and what a move to a server of its own takes. A Docker engine has
//! to be there, and `redis-server` installed. `-- MEBIBYTES` says how much is moved (256).

#[path = "../tests/broker/support.rs"]
#[allow(dead_code, unused_imports, reason = "the tests need more of it")]
mod support;

use std::{path::Path, time::Duration};

use broker_hosting::{
    Image,
    testing::figures::dedicated::{ByHand, Variables, first_answer, moves, serve},
};
use support::{Client, Grounds};

const PLANS: &str = r#"
[[plan]]
name = "crowd"
kind = "shared"
maxmemory = "2gb"

[[plan]]
name = "own"
kind = "dedicated"
maxmemory = "1gb"

[[plan]]
name = "boxed"
kind = "dedicated"
backend = "container"
maxmemory = "64mb"
memory = "256mb"
processes = 50
"#;
const VALUE: usize = 1024;

#[tokio::main]
async fn main() {
    let mebibytes = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(256);
    let grounds = Grounds::new();
    let served = serve(grounds.broker_of(PLANS).await).await;
    println!("| What | Broker | By hand | To it | Goal |");
    println!("| --- | ---: | ---: | ---: | --- |");
    first_answer(&served, "boxed", answers, async |round| by_hand(&grounds, round).await).await;
    moves(&served, ["crowd", "own"], mebibytes, fill, write, async |env| holds(env, mebibytes).await).await;
    served.stop().await;
}

async fn login(env: &Variables) -> redis::RedisResult<Client> {
    Client::login(&env["REDIS_URL"]).await
}

async fn answers(env: &Variables) -> bool {
    login(env).await.is_ok()
}

fn key(env: &Variables, number: usize) -> String {
    format!("{}k{number}", env.get("REDIS_PREFIX").map_or("", String::as_str))
}

fn keys(bytes: u64) -> usize {
    usize::try_from(bytes).expect("it fits in memory") / VALUE
}

async fn fill(env: &Variables, bytes: u64) {
    let mut client = login(env).await.expect("an app gets in");
    let value = "v".repeat(VALUE);
    let numbers: Vec<usize> = (0..keys(bytes)).collect();
    for some in numbers.chunks(1000) {
        let mut pipe = redis::pipe();
        for number in some {
            pipe.set(key(env, *number), &value).ignore();
        }
        pipe.exec_async(client.connection()).await.expect("there is room");
    }
}

async fn write(env: &Variables) {
    let mut client = login(env).await.expect("an app gets in");
    while client.say(&format!("SET {} v", key(env, 0))).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn holds(env: &Variables, mebibytes: u32) -> bool {
    let mut client = login(env).await.expect("an app gets in");
    let last = key(env, keys(u64::from(mebibytes) << 20) - 1);
    client.get(&last).await.is_some_and(|value| value.len() == VALUE)
}

async fn by_hand(grounds: &Grounds, round: usize) -> ByHand {
    let answers = async |port: &str| Client::login(&format!("redis://:hand@127.0.0.1:{port}")).await.is_ok();
    ByHand::start(grounds, round, |folder, name, port| vec![run(folder, name, port)], answers).await
}

fn run(folder: &Path, name: &str, port: &str) -> String {
    let image = Image::new("redis-broker/server", include_str!("../image/Dockerfile")).reference();
    let folder = folder.display();
    format!(
        "run --detach --name {name} --network {name} --publish 127.0.0.1:{port}:{port} --volume {folder}:{folder} \
         --memory 256m --memory-swap 256m --pids-limit 50 --read-only --tmpfs /tmp --tmpfs /run --cap-drop ALL \
         --security-opt no-new-privileges --init --restart unless-stopped --entrypoint /usr/bin/redis-server {image} \
         --port {port} --dir {folder} --requirepass hand --appendonly yes --maxmemory 64mb"
    )
}
