//! Brokers on servers of the tests' own, and apps that use what they hand out.

use std::{
    fs,
    ops::Deref,
    sync::{Arc, LazyLock, Weak},
};

use broker_core::{Binding, Broker as _, Consumer, EnvVars, Instance, Secret, Tenant};
use broker_hosting::testing;
pub(crate) use broker_hosting::testing::eventually;
use mysql_async::{Conn, Opts, OptsBuilder, Row, SslOpts, prelude::Queryable as _};
use mysql_broker::{BackupConfig, Config, MysqlBroker, SharedTrust};

/// A server that tests share, in place of one that the broker starts: the URL of an administrator's account.
static GIVEN: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("MYSQL_BROKER_TESTS_URL").ok());

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
        Self(testing::Grounds::new("mariadbd", 15))
    }

    /// The broker's own account on its own server.
    pub(crate) async fn admin(&self) -> Client {
        self.admin_of("shared").await
    }

    /// The broker's own account on one of its own servers.
    pub(crate) async fn admin_of(&self, server: &str) -> Client {
        Client::login(&self.url_of(server)).await.unwrap()
    }

    /// The URL of one of the broker's own shared servers.
    pub(crate) fn url_of(&self, server: &str) -> String {
        let file = if server == "shared" { "admin-password".to_owned() } else { format!("{server}-admin-password") };
        let password = fs::read_to_string(self.root().join(file)).unwrap();
        format!("mysql://broker:{password}@127.0.0.1:{}", self.port(server).unwrap())
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
            shared_trust: SharedTrust::default(),
            advertise_host: "127.0.0.1".to_owned(),
            bind: Vec::new(),
            mariadbd: "mariadbd".to_owned(),
            mariadb_install_db: "mariadb-install-db".to_owned(),
            servers_dir: self.root(),
            ports: self.ports().parse().unwrap(),
            run_as: None,
            buffer_pool: 16,
            max_connections: 100,
            max_user_connections: 5,
            max_statement_time: 60,
            max_storage: None,
            require_tls: false,
            backups: BackupConfig::default(),
        }
    }

    pub(crate) async fn broker(&self) -> MysqlBroker {
        MysqlBroker::start(self.config()).await.unwrap()
    }

    /// A broker with the plans of a file.
    pub(crate) fn with_plans(&self, plans: &str) -> Config {
        Config { plans: Some(self.write("plans.toml", plans)), ..self.config() }
    }
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
                if GIVEN.is_none() {
                    drop(grounds.broker().await);
                }
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
    let url = GIVEN.clone().unwrap_or_else(|| grounds.url_of("shared"));
    Config { shared_url: Some(Secret::from(url)), ..grounds.config() }
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

    /// By TLS, with these authorities and no others.
    pub(crate) async fn by_tls(env: &EnvVars, ca: &str) -> mysql_async::Result<Self> {
        let opts = Opts::from_url(env.get("DATABASE_URL").unwrap().expose())?;
        let ssl =
            SslOpts::default().with_disable_built_in_roots(true).with_root_certs(vec![ca.as_bytes().to_vec().into()]);
        Ok(Self(Conn::new(OptsBuilder::from_opts(opts).ssl_opts(ssl)).await?))
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

    pub(crate) async fn is_on_mariadb(&mut self) -> bool {
        self.texts("SELECT VERSION()").await[0].contains("MariaDB")
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
