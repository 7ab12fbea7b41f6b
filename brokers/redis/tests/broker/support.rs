//! A broker on a folder of its own, and apps that use what it hands out.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering::Relaxed},
    time::Duration,
};

use broker_core::{Binding, Broker as _, Consumer, EnvVars, Instance, Secret, Tenant, Update};
use redis::{RedisResult, Value, aio::MultiplexedConnection};
use redis_broker::{Config, RedisBroker};

/// A folder for a broker's servers, which ends with its test together with what runs there.
pub(crate) struct Grounds {
    folder: tempfile::TempDir,
    ports: String,
}

impl Grounds {
    pub(crate) fn new() -> Self {
        Self::with_ports(60)
    }

    /// With a port for each of so many servers.
    pub(crate) fn with_ports(count: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder, ports: free_ports(count) }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("servers")
    }

    /// Where a broker's binary keeps its records.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn ports(&self) -> &str {
        &self.ports
    }

    pub(crate) fn config(&self) -> Config {
        Config {
            shared_url: None,
            shared_url_file: None,
            advertise_host: "127.0.0.1".to_owned(),
            bind: Vec::new(),
            redis_server: "redis-server".to_owned(),
            servers_dir: self.root(),
            ports: self.ports.parse().unwrap(),
            maxmemory: "16mb".parse().unwrap(),
            shared_maxmemory: "32mb".parse().unwrap(),
            plans: None,
            docker_engine: "unix:///var/run/docker.sock".to_owned(),
            docker_build_network: Some("host".to_owned()),
            run_as: None,
        }
    }

    pub(crate) async fn broker(&self) -> RedisBroker {
        RedisBroker::start(self.config()).await.unwrap()
    }

    /// A file for the operator's settings.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A broker that offers the plans of a file.
    pub(crate) async fn broker_of(&self, plans: &str) -> RedisBroker {
        let plans = Some(self.write("plans.toml", plans));
        RedisBroker::start(Config { plans, ..self.config() }).await.unwrap()
    }

    /// What is in the servers' folder, but for the broker's own files.
    pub(crate) fn servers(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root()).unwrap().map(|entry| entry.unwrap());
        let folders = entries.filter(|entry| entry.file_type().unwrap().is_dir());
        folders.map(|entry| entry.file_name().into_string().unwrap()).collect()
    }

    /// The processes of the servers that were started last, in the order of their folders.
    pub(crate) fn pids(&self) -> Vec<String> {
        let records = self.servers().into_iter().map(|name| self.root().join(name).join("server.json"));
        let records = records.filter_map(|record| fs::read_to_string(record).ok());
        records.filter_map(|record| Some(record.split("\"pid\": ").nth(1)?.split(',').next()?.to_owned())).collect()
    }

    /// Kills all servers, and returns when they are dead.
    pub(crate) async fn kill_servers(&self) {
        for pid in self.pids() {
            kill(&pid);
            eventually("the server ends", async || !is_redis(&pid)).await;
        }
    }
}

impl Drop for Grounds {
    fn drop(&mut self) {
        if self.root().exists() {
            self.pids().iter().filter(|pid| is_redis(pid)).for_each(|pid| kill(pid));
        }
    }
}

fn is_redis(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.contains("(redis-server)") && !stat.contains(") Z ")
}

fn kill(pid: &str) {
    assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success());
}

/// A range of ports, different in each call, and outside of what the system gives to connections.
fn free_ports(count: u16) -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + u16::try_from(std::process::id() % 100).unwrap() * 100 + NEXT.fetch_add(count + 1, Relaxed);
    format!("{first}-{}", first + count)
}

/// A server that was there before the broker.
pub(crate) struct Given {
    pub(crate) port: u16,
    process: Child,
    arguments: Vec<String>,
    folder: tempfile::TempDir,
}

impl Given {
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let arguments: Vec<_> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let process = spawn(port, &folder, &arguments);
        let given = Self { port, process, arguments, folder };
        given.ready().await;
        given
    }

    pub(crate) fn url(&self, user: &str, password: &str) -> Secret {
        Secret::from(format!("redis://{user}:{password}@127.0.0.1:{}", self.port))
    }

    /// Killed and started again: its accounts and keys are lost.
    pub(crate) async fn restart(&mut self) {
        self.stop();
        self.process = spawn(self.port, &self.folder, &self.arguments);
        self.ready().await;
    }

    pub(crate) fn stop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) async fn admin(&self) -> Client {
        Client::login(self.url("default", "admin").expose()).await.unwrap()
    }

    async fn ready(&self) {
        eventually("the given server answers", async || {
            Client::login(self.url("default", "admin").expose()).await.is_ok()
        })
        .await;
    }
}

fn spawn(port: u16, folder: &tempfile::TempDir, arguments: &[String]) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--requirepass", "admin"])
        .arg("--dir")
        .arg(folder.path())
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}

impl Drop for Given {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What an app does with its environment.
pub(crate) struct Client(MultiplexedConnection);

impl Client {
    pub(crate) async fn of(env: &EnvVars) -> RedisResult<Self> {
        Self::login(env.get("REDIS_URL").unwrap().expose()).await
    }

    pub(crate) async fn login(url: &str) -> RedisResult<Self> {
        let mut client = Self(redis::Client::open(url)?.get_multiplexed_async_connection().await?);
        client.say("PING").await?;
        Ok(client)
    }

    /// Sends a command, whose words are separated by spaces.
    pub(crate) async fn say(&mut self, command: &str) -> RedisResult<Value> {
        let mut words = command.split(' ');
        let mut said = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            said.arg(word);
        });
        said.query_async(&mut self.0).await
    }

    /// For commands whose words have spaces.
    pub(crate) fn connection(&mut self) -> &mut MultiplexedConnection {
        &mut self.0
    }

    pub(crate) async fn get(&mut self, key: &str) -> Option<String> {
        redis::cmd("GET").arg(key).query_async(&mut self.0).await.unwrap()
    }

    pub(crate) async fn list(&mut self, command: &str) -> Vec<String> {
        redis::from_redis_value(self.say(command).await.unwrap()).unwrap()
    }
}

pub(crate) fn instance(name: &str, plan: &str) -> Instance {
    Instance::new(name.parse().unwrap(), plan.parse().unwrap())
}

pub(crate) fn binding(app: &str) -> Binding {
    Binding::new(Consumer::App(app.parse().unwrap()))
}

pub(crate) fn tenant(instance: &Instance, bindings: &[&Binding]) -> Tenant {
    Tenant::new(instance.clone(), bindings.iter().copied().cloned().collect())
}

/// What the framework does every few seconds.
pub(crate) async fn look_after(broker: &RedisBroker, tenants: &[Tenant]) {
    for tenant in tenants {
        broker.reconcile(tenant).await.unwrap();
    }
}

/// The instance after an update to another plan or other parameters, as the framework would remember it.
pub(crate) async fn update(broker: &RedisBroker, instance: &Instance, to: &Update) -> broker_core::Result<Instance> {
    let notes = broker.update(instance, to).await?;
    let mut updated = instance.clone();
    (updated.plan, updated.parameters, updated.notes) = (to.plan.clone(), to.parameters.clone(), notes);
    Ok(updated)
}

/// An instance with one binding, both made.
pub(crate) async fn tenancy(broker: &RedisBroker, name: &str, plan: &str) -> (Instance, Binding, EnvVars) {
    let (mut instance, binding) = (instance(name, plan), binding(name));
    instance.notes = broker.provision(&instance).await.unwrap();
    let env = broker.bind(&instance, &binding).await.unwrap();
    (instance, binding, env)
}

pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
