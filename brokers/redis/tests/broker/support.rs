//! A broker on a folder of its own, and apps that use what it hands out.

use std::{
    net::{TcpListener, TcpStream},
    ops::Deref,
    path::Path,
    process::{Child, Command, Stdio},
    sync::LazyLock,
};

use broker_core::{Binding, Broker as _, Consumer, EnvVars, Instance, Secret, Tenant, Update};
use broker_hosting::testing;
pub(crate) use broker_hosting::testing::eventually;
use redis::{RedisResult, Value, aio::MultiplexedConnection};
use redis_broker::{BackupConfig, Config, RedisBroker, SharedTrust};

/// The server that tests run against, by name or path. The broker's binary reads the same variable.
static REDIS_SERVER: LazyLock<String> =
    LazyLock::new(|| std::env::var("REDIS_BROKER_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned()));

/// A folder for a broker's servers, which ends with its test together with what runs there.
pub(crate) struct Grounds(testing::Grounds);

impl Deref for Grounds {
    type Target = testing::Grounds;

    fn deref(&self) -> &testing::Grounds {
        &self.0
    }
}

impl Grounds {
    pub(crate) fn new() -> Self {
        Self::with_ports(60)
    }

    /// With a port for each of so many servers.
    pub(crate) fn with_ports(count: u16) -> Self {
        let program = Path::new(REDIS_SERVER.as_str()).file_name().and_then(|name| name.to_str());
        Self(testing::Grounds::new(program.expect("a program"), count))
    }

    pub(crate) fn config(&self) -> Config {
        Config {
            shared_url: None,
            shared_url_file: None,
            shared_trust: SharedTrust::default(),
            advertise_host: "127.0.0.1".to_owned(),
            bind: Vec::new(),
            redis_server: REDIS_SERVER.clone(),
            servers_dir: self.root(),
            ports: self.ports().parse().unwrap(),
            maxmemory: "16mb".parse().unwrap(),
            shared_maxmemory: "32mb".parse().unwrap(),
            plans: None,
            docker_engine: "unix:///var/run/docker.sock".to_owned(),
            docker_build_network: Some("host".to_owned()),
            run_as: None,
            backups: BackupConfig::default(),
        }
    }

    pub(crate) async fn broker(&self) -> RedisBroker {
        RedisBroker::start(self.config()).await.unwrap()
    }

    /// A broker whose shared plan is on a given server.
    pub(crate) async fn broker_on(&self, given: &Given) -> RedisBroker {
        let shared_url = Some(given.url("default", "admin"));
        RedisBroker::start(Config { shared_url, ..self.config() }).await.unwrap()
    }

    /// A broker that offers the plans of a file.
    pub(crate) async fn broker_of(&self, plans: &str) -> RedisBroker {
        let plans = Some(self.write("plans.toml", plans));
        RedisBroker::start(Config { plans, ..self.config() }).await.unwrap()
    }
}

/// Settings of a broker that keeps backups, sealed.
pub(crate) fn keeping_backups(grounds: &Grounds) -> Config {
    std::fs::create_dir_all(grounds.data()).unwrap();
    let backups = BackupConfig {
        backups: Some(grounds.data().join("backups")),
        backup_key: Some(grounds.data().join("backup-key")),
        ..BackupConfig::default()
    };
    Config { backups, ..grounds.config() }
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
        let given = Self::spawn(arguments, "--port");
        given.ready().await;
        given
    }

    /// One whose only port speaks TLS.
    pub(crate) async fn by_tls(arguments: &[&str]) -> Self {
        let given = Self::spawn(arguments, "--tls-port");
        eventually("the given server listens", async || TcpStream::connect(("127.0.0.1", given.port)).is_ok()).await;
        given
    }

    fn spawn(arguments: &[&str], port_option: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let mut given = vec!["--port".to_owned(), "0".to_owned(), port_option.to_owned(), port.to_string()];
        given.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let process = spawn(&folder, &given);
        Self { port, process, arguments: given, folder }
    }

    pub(crate) fn url(&self, user: &str, password: &str) -> Secret {
        Secret::from(format!("redis://{user}:{password}@127.0.0.1:{}", self.port))
    }

    pub(crate) fn tls_url(&self, user: &str, password: &str) -> Secret {
        Secret::from(self.url(user, password).expose().replace("redis://", "rediss://"))
    }

    /// Killed and started again: its accounts and keys are lost.
    pub(crate) async fn restart(&mut self) {
        self.stop();
        self.process = spawn(&self.folder, &self.arguments);
        self.ready().await;
    }

    /// The same, with this of its arguments as another.
    pub(crate) async fn restart_with(&mut self, argument: &str, other: &str) {
        self.arguments.iter_mut().filter(|given| *given == argument).for_each(|given| other.clone_into(given));
        self.restart().await;
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

fn spawn(folder: &tempfile::TempDir, arguments: &[String]) -> Child {
    Command::new(REDIS_SERVER.as_str())
        .args(["--bind", "127.0.0.1", "--save", "", "--requirepass", "admin"])
        .arg("--dir")
        .arg(folder.path())
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()
        .expect("the server is installed")
}

impl Drop for Given {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The broker's own account on an instance's own server.
pub(crate) async fn admin(instance: &Instance, env: &EnvVars) -> Client {
    let (password, port) = (instance.secret.expose(), env.get("REDIS_PORT").unwrap().expose());
    Client::login(&format!("redis://broker:{password}@127.0.0.1:{port}")).await.unwrap()
}

/// What an app does with its environment.
pub(crate) struct Client(MultiplexedConnection);

impl Client {
    pub(crate) async fn of(env: &EnvVars) -> RedisResult<Self> {
        let url = env.get("REDIS_URL").unwrap().expose();
        match env.get("REDIS_CA") {
            Some(ca) => Self::trusting(url, ca.expose()).await,
            None => Self::login(url).await,
        }
    }

    pub(crate) async fn login(url: &str) -> RedisResult<Self> {
        Self::through(redis::Client::open(url)?).await
    }

    /// By TLS, with these authorities and no others.
    pub(crate) async fn trusting(url: &str, ca: &str) -> RedisResult<Self> {
        let root_cert = Some(ca.as_bytes().to_vec());
        let certificates = redis::TlsCertificates { client_tls: None, root_cert };
        Self::through(redis::Client::build_with_tls(url, certificates)?).await
    }

    async fn through(client: redis::Client) -> RedisResult<Self> {
        let mut client = Self(client.get_multiplexed_async_connection().await?);
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

/// Whether this is what a server is called, with its version.
pub(crate) fn is_product(text: &str) -> bool {
    ["Redis ", "Valkey "].iter().any(|product| text.starts_with(product))
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
