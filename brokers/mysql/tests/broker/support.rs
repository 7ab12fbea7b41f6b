//! Brokers on servers of the tests' own, and apps that use what they hand out.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::Command,
    sync::{
        Arc, Weak,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
    time::Duration,
};

use broker_core::{Binding, Broker as _, Consumer, EnvVars, Instance, Secret, Tenant};
use mysql_async::{Conn, Row, prelude::Queryable as _};
use mysql_broker::{BackupConfig, Config, MysqlBroker};

/// A folder for a broker's server, which ends with its test together with what runs there.
pub(crate) struct Grounds {
    folder: tempfile::TempDir,
    ports: String,
}

impl Grounds {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder, ports: free_ports(15) }
    }

    /// Where a broker's binary keeps its records.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn ports(&self) -> &str {
        &self.ports
    }

    /// The broker's own account on its own server.
    pub(crate) async fn admin(&self) -> Client {
        Client::login(given(self).shared_url.unwrap().expose()).await.unwrap()
    }

    pub(crate) fn config(&self) -> Config {
        Config {
            plans: None,
            mariadb_dump: "mariadb-dump".to_owned(),
            mariadb: "mariadb".to_owned(),
            docker: "unix:///var/run/docker.sock".to_owned(),
            build_network: None,
            shared_url: None,
            shared_url_file: None,
            advertise_host: "127.0.0.1".to_owned(),
            bind: Vec::new(),
            mariadbd: "mariadbd".to_owned(),
            mariadb_install_db: "mariadb-install-db".to_owned(),
            servers_dir: self.root(),
            ports: self.ports.parse().unwrap(),
            run_as: None,
            buffer_pool: 16,
            max_connections: 100,
            max_user_connections: 5,
            max_statement_time: 60,
            require_tls: false,
            backups: BackupConfig { backups: None, backup_key: None, backup_every: None, backups_kept: 7 },
        }
    }

    pub(crate) async fn broker(&self) -> MysqlBroker {
        MysqlBroker::start(self.config()).await.unwrap()
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("servers")
    }

    /// A broker with the plans of a file.
    pub(crate) fn with_plans(&self, plans: &str) -> Config {
        let file = self.folder.path().join("plans.toml");
        fs::write(&file, plans).unwrap();
        Config { plans: Some(file), ..self.config() }
    }

    fn record(&self, field: &str) -> Option<String> {
        self.record_of("shared", field)
    }

    fn record_of(&self, server: &str, field: &str) -> Option<String> {
        let record = fs::read_to_string(self.root().join(server).join("server.json")).ok()?;
        Some(record.split(&format!("\"{field}\": ")).nth(1)?.split([',', '\n']).next()?.to_owned())
    }

    /// The servers that were made and not removed.
    pub(crate) fn servers(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root()).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut servers: Vec<_> = names.filter(|name| self.record_of(name, "port").is_some()).collect();
        servers.sort();
        servers
    }

    /// Kills an instance's own server, and returns when it is dead.
    pub(crate) async fn kill_dedicated(&self, instance: &Instance) {
        let pid = self.record_of(instance.id.as_str(), "pid").unwrap();
        kill(&pid);
        eventually("the server ends", async || !is_mariadb(&pid)).await;
    }

    pub(crate) fn pid(&self) -> String {
        self.record("pid").unwrap()
    }

    /// Kills the server, and returns when it is dead.
    pub(crate) async fn kill_server(&self) {
        let pid = self.pid();
        kill(&pid);
        eventually("the server ends", async || !is_mariadb(&pid)).await;
    }
}

impl Drop for Grounds {
    fn drop(&mut self) {
        let pids = self.servers().into_iter().filter_map(|server| self.record_of(&server, "pid"));
        pids.filter(|pid| is_mariadb(pid)).for_each(|pid| kill(&pid));
    }
}

fn is_mariadb(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.contains("(mariadbd)") && !stat.contains(") Z ")
}

fn kill(pid: &str) {
    assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success());
}

/// A range of ports, different in each call, and outside of what the system gives to connections.
fn free_ports(count: u16) -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 22_000 + u16::try_from(std::process::id() % 14).unwrap() * 700 + NEXT.fetch_add(count + 1, Relaxed);
    format!("{first}-{}", first + count)
}

/// One server for all tests that run at the same time, and a broker that was given its URL.
pub(crate) struct Shared {
    grounds: Arc<Grounds>,
    pub(crate) broker: MysqlBroker,
}

impl Shared {
    pub(crate) async fn server() -> Self {
        static RUNNING: tokio::sync::Mutex<Weak<Grounds>> = tokio::sync::Mutex::const_new(Weak::new());
        let mut running = RUNNING.lock().await;
        let grounds = match running.upgrade() {
            Some(grounds) => grounds,
            None => {
                // The server outlives the broker that starts it.
                let grounds = Arc::new(Grounds::new());
                drop(grounds.broker().await);
                *running = Arc::downgrade(&grounds);
                grounds
            }
        };
        drop(running);
        let broker = MysqlBroker::start(given(&grounds)).await.unwrap();
        Self { grounds, broker }
    }

    /// Settings of a broker on this server.
    pub(crate) fn config(&self) -> Config {
        given(&self.grounds)
    }

    /// The broker's own account.
    pub(crate) async fn admin(&self) -> Client {
        Client::login(self.config().shared_url.unwrap().expose()).await.unwrap()
    }
}

fn given(grounds: &Grounds) -> Config {
    let password = fs::read_to_string(grounds.root().join("admin-password")).unwrap();
    let port = grounds.record("port").unwrap();
    Config { shared_url: Some(Secret::from(format!("mysql://broker:{password}@127.0.0.1:{port}"))), ..grounds.config() }
}

/// What an app does with its environment.
pub(crate) struct Client(Conn);

impl Client {
    pub(crate) async fn of(env: &EnvVars) -> mysql_async::Result<Self> {
        Self::login(env.get("DATABASE_URL").unwrap().expose()).await
    }

    pub(crate) async fn login(url: &str) -> mysql_async::Result<Self> {
        Ok(Self(Conn::from_url(url).await?))
    }

    /// Runs a statement, to the end of its answer.
    pub(crate) async fn run(&mut self, statement: &str) -> mysql_async::Result<()> {
        let _: Vec<Row> = self.0.query(statement).await?;
        Ok(())
    }

    pub(crate) async fn texts(&mut self, select: &str) -> Vec<String> {
        self.0.query(select).await.unwrap()
    }

    pub(crate) async fn number(&mut self, select: &str) -> u64 {
        self.0.query_first(select).await.unwrap().unwrap()
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

pub(crate) fn instance(name: &str) -> Instance {
    Instance::new(name.parse().unwrap(), "shared".parse().unwrap())
}

pub(crate) fn on_plan(plan: &str) -> Instance {
    Instance::new("db".parse().unwrap(), plan.parse().unwrap())
}

/// The same binding, for reading.
pub(crate) fn read_only(app: &str) -> Binding {
    let mut binding = binding(app);
    binding.parameters.insert("read-only".to_owned(), true.into());
    binding
}

pub(crate) fn binding(app: &str) -> Binding {
    Binding::new(Consumer::App(app.parse().unwrap()))
}

pub(crate) fn tenant(instance: &Instance, bindings: &[&Binding]) -> Tenant {
    Tenant::new(instance.clone(), bindings.iter().copied().cloned().collect())
}

/// What the framework does every few seconds.
pub(crate) async fn look_after(broker: &MysqlBroker, tenants: &[Tenant]) {
    for tenant in tenants {
        broker.reconcile(tenant).await.unwrap();
    }
}

/// An instance with one binding, both made.
pub(crate) async fn tenancy(broker: &MysqlBroker) -> (Instance, Binding, EnvVars) {
    let (instance, binding) = (instance("db"), binding("blog"));
    broker.provision(&instance).await.unwrap();
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
