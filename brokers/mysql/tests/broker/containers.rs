//! Servers of an instance's own in containers: a Docker engine has to be there.

use std::process::Command;

use broker_core::{Broker as _, Health, Instance, Update};
use mysql_broker::{Config, MysqlBroker};

use crate::support::{Client, Grounds, binding, look_after, on_plan, tenant};

const PLANS: &str = r#"
    [[plan]]
    name = "process"
    kind = "dedicated"
    buffer-pool = "16mb"

    [[plan]]
    name = "container"
    kind = "dedicated"
    backend = "container"
    memory = "256mb"
    cpu-milli = 1000
    buffer-pool = "16mb"
"#;

/// What `docker` says; nothing when there is none, which the test that needs it then tells.
fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// Removes what a test that failed leaves in the engine.
struct Leftovers(String);

impl Leftovers {
    fn of(instance: &Instance) -> Self {
        Self(format!("name={}", instance.id))
    }

    fn containers(&self) -> Vec<String> {
        docker(&["ps", "--all", "--quiet", "--filter", &self.0]).lines().map(str::to_owned).collect()
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        for container in self.containers() {
            docker(&["rm", "--force", "--volumes", &container]);
        }
        for network in docker(&["network", "ls", "--quiet", "--filter", &self.0]).lines() {
            docker(&["network", "rm", network]);
        }
    }
}

/// Steps of builds reach a proxy on this machine's loopback by its own network.
fn build_network() -> Option<String> {
    let proxies =
        ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"].map(|name| std::env::var(name).unwrap_or_default());
    proxies.iter().any(|proxy| proxy.contains("127.") || proxy.contains("localhost")).then(|| "host".to_owned())
}

#[tokio::test] // SPEC M-8
async fn a_server_of_ones_own_moves_into_a_container_with_its_data_and_its_port() {
    let grounds = Grounds::new();
    let config = Config { build_network: build_network(), ..grounds.with_plans(PLANS) };
    let broker = MysqlBroker::start(config).await.unwrap();
    let (mut instance, binding) = (on_plan("process"), binding("blog"));
    let leftovers = Leftovers::of(&instance);
    instance.notes = broker.provision(&instance).await.unwrap();
    let env = broker.bind(&instance, &binding).await.unwrap();
    Client::of(&env).await.unwrap().run("CREATE TABLE t AS SELECT 7 AS a").await.unwrap();

    let mut to = Update::of(&instance);
    to.plan = "container".parse().unwrap();
    instance.notes = broker.update(&instance, &to).await.unwrap();
    instance.plan = to.plan;
    look_after(&broker, &[tenant(&instance, &[&binding])]).await;

    assert_eq!(leftovers.containers().len(), 1);
    assert_eq!(broker.bind(&instance, &binding).await.unwrap(), env);
    assert_eq!(Client::of(&env).await.unwrap().number("SELECT a FROM t").await, 7);
    assert_eq!(broker.status(&instance).await.unwrap(), Health::Up);
    broker.deprovision(&instance).await.unwrap();
    assert!(leftovers.containers().is_empty());
    assert!(grounds.servers().is_empty());
}

#[tokio::test] // SPEC M-17, H-8
async fn a_server_in_a_container_speaks_tls() {
    let grounds = Grounds::new();
    let plans = PLANS.replace("kind = \"dedicated\"", "kind = \"dedicated\"\ntls = \"required\"");
    let config = Config { build_network: build_network(), ..grounds.with_plans(&plans) };
    let broker = MysqlBroker::start(config).await.unwrap();
    let (mut instance, binding) = (on_plan("container"), binding("blog"));
    let _leftovers = Leftovers::of(&instance);
    instance.notes = broker.provision(&instance).await.unwrap();

    let env = broker.bind(&instance, &binding).await.unwrap();
    look_after(&broker, &[tenant(&instance, &[&binding])]).await;

    Client::by_tls(&env, env.get("MYSQL_CA").unwrap().expose()).await.unwrap();
    assert!(Client::of(&env).await.is_err());
    broker.deprovision(&instance).await.unwrap();
}
