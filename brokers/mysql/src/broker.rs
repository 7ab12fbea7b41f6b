//! The policy: what an instance and a binding are.

use std::{
    collections::HashSet,
    net::IpAddr,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use async_trait::async_trait;
use broker_core::{
    Binding, Broker, BrokerError, Catalog, EnvVars, Health, InfoItem, Instance, Notes, OpaqueId, Plan, Result, Secret,
    Tenant, cli::Findings,
};
use broker_hosting::{Host, Hosting, Recent, RunAs, ServerId, addresses_of, kept_secret};
use mysql_async::Opts;
use tokio::{sync::Mutex, time::timeout};
use tracing::{info, warn};

use crate::{
    Config,
    link::{self, Fault, Link},
    server::{Installed, MariaDb},
    tenant::{Account, Database, Limits},
};

/// How long a question about an instance may take.
const ASK_WITHIN: Duration = Duration::from_secs(3);

/// Hands out databases on one server.
pub struct MysqlBroker {
    server: Server,
    advertise_host: String,
    limits: Limits,
    /// Bindings and instances that were taken away lately. The list a reconciliation works from may be older than
    /// that, and must not bring them back.
    gone: Mutex<Recent<OpaqueId>>,
    /// The server as it was last seen.
    look: Mutex<Option<Arc<Look>>>,
}

enum Server {
    Own(Box<OwnServer>),
    /// One that was there.
    Given {
        link: Arc<Link>,
        address: (String, u16),
    },
}

impl MysqlBroker {
    /// A broker that is ready for calls, its own server running unless one is given.
    ///
    /// # Errors
    /// When the configuration can't work or the broker's own server can't be started, in one sentence for the
    /// operator. A given server that is only down at the moment is no error: calls fail until it is back.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let server = match config.shared_url()? {
            Some(url) => Server::given(&link::at_url(&url)?, &config).await?,
            None => Server::Own(Box::new(OwnServer::start(&config).await?)),
        };
        let limits = Limits {
            connections: config.max_user_connections,
            statement_time: config.max_statement_time,
            tls: config.require_tls,
        };
        Ok(Self {
            server,
            advertise_host: config.advertise_host,
            limits,
            gone: Mutex::default(),
            look: Mutex::default(),
        })
    }

    /// What every broker of this kind offers.
    #[must_use]
    pub fn offer() -> Catalog {
        Catalog::new("mysql".parse().expect("a valid name")).plan(Plan::new(
            "shared",
            "A database of its own on a server shared with others: memory, CPU and disk are not isolated",
        ))
    }

    /// Looks at the programs or the server that the configuration names; nothing is started or changed.
    pub async fn check(config: &Config, findings: &mut Findings) {
        match config.shared_url().and_then(|url| url.map(|url| link::at_url(&url)).transpose()) {
            Ok(Some(opts)) => {
                let server = format!("{}:{}", opts.ip_or_hostname(), opts.tcp_port());
                findings.add_result("server", Server::given(&opts, config).await.map(|_| server));
            }
            Ok(None) => {
                findings.found("server", "the broker starts one");
                findings.add_result("mariadbd", Installed::find(config).map(|_| &config.mariadbd));
            }
            Err(problem) => findings.problem("server", format!("{problem:#}")),
        }
        let addresses = addresses_of(&config.advertise_host, &config.bind).await;
        let addresses = addresses.map(|_| &config.advertise_host).map_err(anyhow::Error::from);
        findings.add_result("advertise-host", addresses);
    }

    async fn remember_gone(&self, ids: impl IntoIterator<Item = &OpaqueId>) {
        let mut gone = self.gone.lock().await;
        ids.into_iter().for_each(|id| gone.insert(id.clone()));
    }

    /// Where apps find the server; none before the broker's own was first started.
    fn address(&self) -> Result<Option<(String, u16)>> {
        match &self.server {
            Server::Given { address, .. } => Ok(Some(address.clone())),
            Server::Own(own) => Ok(own.port()?.map(|port| (self.advertise_host.clone(), port))),
        }
    }

    /// The server as it is, or was a moment ago.
    async fn look(&self, link: &Link) -> Result<Arc<Look>> {
        let mut last = self.look.lock().await;
        if let Some(look) = last.as_ref().filter(|look| look.is_fresh()) {
            return Ok(Arc::clone(look));
        }
        let at = Instant::now();
        let look = Arc::new(Look { at, databases: link.databases().await?, accounts: link.accounts().await? });
        *last = Some(Arc::clone(&look));
        Ok(look)
    }

    /// Gives a tenant what it lost. Accounts that nobody remembers are left alone: they may be about to be.
    async fn restore(&self, link: &Link, tenant: &Tenant, look: &Look) -> Result<()> {
        let database = Database::of(&tenant.instance);
        if !look.databases.contains(database.as_str()) {
            // Held while the database is made: an instance that goes meanwhile goes after that.
            let gone = self.gone.lock().await;
            if gone.contains(&tenant.instance.id) {
                return Ok(());
            }
            link.create(&database).await?;
            info!(instance.name = %tenant.instance.name, "made the lost database of `{}` again", tenant.instance.name);
        }
        for binding in &tenant.bindings {
            let account = Account::of(binding);
            let gone = self.gone.lock().await;
            if !look.accounts.contains(account.as_str())
                && !gone.contains(&binding.id)
                && !gone.contains(&tenant.instance.id)
            {
                link.allow(&account, &database, &binding.secret, self.limits).await?;
                info!(instance.name = %tenant.instance.name, "made a lost account of `{}` again", tenant.instance.name);
            }
        }
        Ok(())
    }
}

/// For how long a look at the server is good, for each account on it.
const LOOK_FOR_EACH: Duration = Duration::from_millis(1);

/// The server's databases and accounts at a moment.
struct Look {
    at: Instant,
    databases: HashSet<String>,
    accounts: HashSet<String>,
}

impl Look {
    /// Tenants are looked after one by one, and a look lists everything: on a server with many of them it serves for
    /// many tenants.
    fn is_fresh(&self) -> bool {
        self.at.elapsed() < LOOK_FOR_EACH * u32::try_from(self.accounts.len()).unwrap_or(u32::MAX)
    }
}

impl Server {
    async fn given(opts: &Opts, config: &Config) -> anyhow::Result<Self> {
        let link = Link::new(opts.clone());
        examine(&link, opts).await?;
        let host = opts.ip_or_hostname();
        let loopback = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        let host = if loopback { config.advertise_host.clone() } else { host.to_owned() };
        Ok(Self::Given { link: Arc::new(link), address: (host, opts.tcp_port()) })
    }

    /// The server, started when it is the broker's own and down.
    async fn up(&self) -> Result<Arc<Link>> {
        match self {
            Self::Given { link, .. } => Ok(Arc::clone(link)),
            Self::Own(own) => own.up().await,
        }
    }

    /// The server as it is; none when it is the broker's own and down.
    async fn if_up(&self) -> Result<Option<Arc<Link>>> {
        match self {
            Self::Given { link, .. } => Ok(Some(Arc::clone(link))),
            Self::Own(own) => own.if_up().await,
        }
    }
}

/// The server that the broker starts.
struct OwnServer {
    host: Host,
    id: ServerId,
    settings: MariaDb,
    link: std::sync::Mutex<Option<(u16, Arc<Link>)>>,
}

impl OwnServer {
    async fn start(config: &Config) -> anyhow::Result<Self> {
        anyhow::ensure!(
            !config.require_tls,
            "the broker's own server has no TLS: leave --require-tls out, or give a server that has it with --shared-url"
        );
        let hosting = Hosting {
            root: config.servers_dir.clone(),
            ports: config.ports.clone(),
            addresses: addresses_of(&config.advertise_host, &config.bind).await?,
            run_as: config.run_as.clone().unwrap_or(RunAs::Packaged("mysql")),
            containers: None,
        };
        let installed = Installed::find(config)?;
        let host = Host::open(hosting).await?;
        let admin = Secret::from(kept_secret(&host.file("admin-password"))?);
        let settings = installed.with(config, admin);
        let id = "shared".parse().map_err(anyhow::Error::msg)?;
        host.ensure(&id, &settings).await?;
        Ok(Self { host, id, settings, link: std::sync::Mutex::default() })
    }

    async fn up(&self) -> Result<Arc<Link>> {
        let running = self.host.ensure(&self.id, &self.settings).await.map_err(BrokerError::unavailable)?;
        Ok(self.link(running.port))
    }

    async fn if_up(&self) -> Result<Option<Arc<Link>>> {
        if self.host.is_running(&self.id).await.map_err(BrokerError::unavailable)? {
            Ok(self.port()?.map(|port| self.link(port)))
        } else {
            Ok(None)
        }
    }

    /// Its port, also while it is down.
    fn port(&self) -> Result<Option<u16>> {
        Ok(self.host.find(&self.id).map_err(BrokerError::unavailable)?.map(|place| place.port))
    }

    fn link(&self, port: u16) -> Arc<Link> {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        match &*link {
            Some((known, link)) if *known == port => Arc::clone(link),
            _ => {
                let fresh = Arc::new(self.settings.link(port));
                *link = Some((port, Arc::clone(&fresh)));
                fresh
            }
        }
    }
}

/// Looks whether the broker can work on a server given by URL.
async fn examine(link: &Link, opts: &Opts) -> anyhow::Result<()> {
    let server = format!("{}:{}", opts.ip_or_hostname(), opts.tcp_port());
    let asked = match link.dialect().await {
        Ok(_) => link.accounts().await,
        Err(fault) => Err(fault),
    };
    match asked {
        Ok(_) => {}
        Err(refused @ Fault::Refused { code: 1045 | 1698 | 1130, .. }) => {
            return Err(refused)
                .with_context(|| format!("the server {server} refuses the user and password of its URL"));
        }
        Err(refused @ Fault::Refused { code: 1044 | 1142 | 1227, .. }) => {
            return Err(refused).with_context(|| {
                format!(
                    "the user in the URL of the server {server} may not manage its accounts: give an administrator's"
                )
            });
        }
        Err(down) => {
            warn!("the server {server} does not answer, calls will fail until it does: {down}");
            return Ok(());
        }
    }
    for weakness in link.weaknesses().await? {
        warn!("on the server {server} {weakness}");
    }
    Ok(())
}

#[async_trait]
impl Broker for MysqlBroker {
    fn catalog(&self) -> Catalog {
        Self::offer()
    }

    async fn provision(&self, instance: &Instance) -> Result<Notes> {
        self.gone.lock().await.remove(&instance.id);
        self.server.up().await?.create(&Database::of(instance)).await?;
        Ok(Notes::new())
    }

    async fn bind(&self, instance: &Instance, binding: &Binding) -> Result<EnvVars> {
        self.gone.lock().await.remove(&binding.id);
        let (account, database) = (Account::of(binding), Database::of(instance));
        let link = self.server.up().await?;
        link.allow(&account, &database, &binding.secret, self.limits).await?;
        let (host, port) = self.address()?.ok_or_else(|| BrokerError::unavailable("the server has no port"))?;
        Ok(env(&host, port, &account, &database, &binding.secret))
    }

    async fn unbind(&self, instance: &Instance, binding: &Binding) -> Result<()> {
        self.remember_gone([&binding.id]).await;
        Ok(self.server.up().await?.forbid(&Account::of(binding), &Database::of(instance)).await?)
    }

    async fn deprovision(&self, instance: &Instance) -> Result<()> {
        self.remember_gone([&instance.id]).await;
        Ok(self.server.up().await?.erase(&Database::of(instance)).await?)
    }

    async fn status(&self, instance: &Instance) -> Result<Health> {
        let Some(link) = self.server.if_up().await? else {
            return Ok(Health::Down("its server is down and will be started again".to_owned()));
        };
        Ok(match timeout(ASK_WITHIN, link.has(&Database::of(instance))).await {
            Ok(Ok(true)) => Health::Up,
            Ok(Ok(false)) => Health::Down("its database is missing and will be made again".to_owned()),
            _ => Health::Down("its server does not answer".to_owned()),
        })
    }

    async fn info(&self, instance: &Instance) -> Result<Vec<InfoItem>> {
        let database = Database::of(instance);
        let mut items = Vec::new();
        if let Some((host, port)) = self.address()? {
            items.push(InfoItem::new("Address", format!("{}:{port}", bracketed(&host))));
        }
        items.push(InfoItem::new("Database", database.as_str()));
        if let Some(link) = self.server.if_up().await?
            && let Ok(Ok(bytes)) = timeout(ASK_WITHIN, link.size(&database)).await
        {
            items.push(InfoItem::new("Size", mebibytes(bytes)));
        }
        Ok(items)
    }

    async fn reconcile(&self, tenant: &Tenant) -> Result<()> {
        let link = self.server.up().await?;
        let look = self.look(&link).await?;
        self.restore(&link, tenant, &look).await
    }
}

/// What an app finds in its environment (SPEC M-1).
fn env(host: &str, port: u16, account: &Account, database: &Database, password: &Secret) -> EnvVars {
    let (user, database) = (account.as_str(), database.as_str());
    let url = format!("mysql://{user}:{}@{}:{port}/{database}", password.expose(), bracketed(host));
    EnvVars::default()
        .with("MYSQL_HOST", host)
        .with("MYSQL_PORT", port.to_string())
        .with("MYSQL_DATABASE_NAME", database)
        .with("MYSQL_USER", user)
        .with("MYSQL_PASSWORD", password.clone())
        .with("DATABASE_URL", url)
}

/// An IPv6 address as it is written before a port.
fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

fn mebibytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
    let bytes = bytes as f64;
    format!("{:.1} MiB", bytes / 1_048_576.0)
}

#[cfg(test)]
mod tests {
    use broker_core::Consumer;

    use super::*;

    #[test] // SPEC M-1
    fn an_apps_environment_has_the_parts_and_the_whole() {
        let instance = Instance::new("db".parse().unwrap(), "shared".parse().unwrap());
        let binding = Binding::new(Consumer::App("blog".parse().unwrap()));

        let env = env("fd00::1", 21_000, &Account::of(&binding), &Database::of(&instance), &binding.secret);

        let (id, user, password) = (&instance.id, &binding.id, binding.secret.expose());
        assert_eq!(
            env.get("DATABASE_URL").unwrap().expose(),
            format!("mysql://ub{user}:{password}@[fd00::1]:21000/tb{id}")
        );
        assert_eq!(env.get("MYSQL_HOST").unwrap().expose(), "fd00::1");
        assert_eq!(env.len(), 6);
    }
}
