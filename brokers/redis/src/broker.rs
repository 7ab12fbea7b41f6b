//! The policy: what the plans mean.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use async_trait::async_trait;
use broker_core::{
    Binding, Broker, BrokerError, Catalog, EnvVars, Health, InfoItem, Instance, Notes, OpaqueId, Plan, Result, Secret,
    Tenant, cli::Findings,
};
use broker_hosting::{Host, Hosting, Recent, RunAs, ServerId, addresses_of, kept_secret};
use redis::{ConnectionAddr, ConnectionInfo, ErrorKind, ServerErrorKind};
use tokio::time::timeout;
use tracing::warn;

use crate::{
    Config, Size,
    account::Account,
    link::{self, Link, failure},
    server::{Installed, RedisServer},
    tenants::Tenants,
};

const DEDICATED: &str = "dedicated";
const SHARED: &str = "shared";
/// How long a question about an instance may take.
const ASK_WITHIN: Duration = Duration::from_secs(3);

/// Hands out Redis: a server of its own to each instance, or a part of a shared one.
pub struct RedisBroker {
    config: Config,
    host: Arc<Host>,
    /// None when no `redis-server` is installed: then there is only `shared`, on a server given by URL.
    installed: Option<Installed>,
    dedicated: Mutex<HashMap<OpaqueId, Arc<Tenants>>>,
    /// Dedicated servers that were removed lately: an older list does not bring them back.
    removed: Mutex<Recent<OpaqueId>>,
    shared: Arc<Tenants>,
    /// Where apps find the shared server, when it was given by URL.
    given: Option<(String, u16)>,
}

impl RedisBroker {
    /// A broker that is ready for calls. Servers that an earlier one started go on running.
    ///
    /// # Errors
    /// When the configuration can't work, in one sentence for the operator. A shared server that
    /// is only down at the moment is no error: calls that need it fail until it is back.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let given = config.shared_url()?.map(|url| link::at_url(&url)).transpose()?;
        let installed = match (Installed::find(&config.redis_server).await, &given) {
            (Ok(installed), _) => Some(installed),
            (Err(missing), Some(_)) => {
                warn!("the plan `{DEDICATED}` is not offered: {missing:#}");
                None
            }
            (Err(missing), None) => return Err(missing),
        };
        let hosting = Hosting {
            root: config.servers_dir.clone(),
            ports: config.ports.clone(),
            addresses: addresses_of(&config.advertise_host, &config.bind).await?,
            run_as: config.run_as.clone().unwrap_or(RunAs::Packaged("redis")),
            containers: None,
        };
        let host = Arc::new(Host::open(hosting).await?);
        let shared = match (&given, &installed) {
            (Some(info), _) => {
                examine(info).await?;
                Tenants::on_given(info.clone())?
            }
            (None, Some(installed)) => own_shared(&host, installed, config.shared_maxmemory)?,
            (None, None) => anyhow::bail!("there is no server for the plan `{SHARED}`"),
        };
        let given = given.map(|info| reachable(&info, &config.advertise_host)).transpose()?;
        Ok(Self {
            config,
            host,
            installed,
            dedicated: Mutex::default(),
            removed: Mutex::default(),
            shared: Arc::new(shared),
            given,
        })
    }

    /// What a broker of this configuration offers; no server is started for that.
    ///
    /// # Errors
    /// When the configuration can't work.
    pub async fn offer(config: &Config) -> anyhow::Result<Catalog> {
        let given = config.shared_url()?;
        match Installed::find(&config.redis_server).await {
            Ok(_) => Ok(catalog(config, true)),
            Err(_) if given.is_some() => Ok(catalog(config, false)),
            Err(missing) => Err(missing),
        }
    }

    /// Looks at the program and the server that the configuration names; nothing is started or changed.
    pub async fn check(config: &Config, findings: &mut Findings) {
        let given = match config.shared_url().and_then(|url| url.map(|url| link::at_url(&url)).transpose()) {
            Ok(given) => given,
            Err(problem) => return findings.problem("shared server", format!("{problem:#}")),
        };
        match (Installed::find(&config.redis_server).await, &given) {
            (Ok(_), _) => findings.found("redis-server", &config.redis_server),
            (Err(missing), Some(_)) => {
                findings.found("redis-server", format!("none, the plan `{DEDICATED}` is not offered: {missing:#}"));
            }
            (Err(missing), None) => findings.problem("redis-server", format!("{missing:#}")),
        }
        match &given {
            Some(info) => findings.add_result("shared server", examine(info).await.map(|()| info.addr())),
            None => findings.found("shared server", "the broker starts one"),
        }
        let addresses = addresses_of(&config.advertise_host, &config.bind).await;
        let addresses = addresses.map(|_| &config.advertise_host).map_err(anyhow::Error::from);
        findings.add_result("advertise-host", addresses);
    }

    /// The server that an instance is on.
    fn tenants(&self, instance: &Instance) -> Result<Arc<Tenants>> {
        match (instance.plan.as_str(), &self.installed) {
            (SHARED, _) => Ok(Arc::clone(&self.shared)),
            (DEDICATED, Some(installed)) => {
                let id: ServerId = instance.id.as_str().parse().map_err(|why: String| BrokerError::failed(why))?;
                let settings = RedisServer {
                    installed: installed.clone(),
                    admin: instance.secret.clone(),
                    maxmemory: self.config.maxmemory,
                    databases: 16,
                };
                let mut dedicated = self.dedicated.lock().unwrap_or_else(PoisonError::into_inner);
                let fresh = || Arc::new(Tenants::on_own(Arc::clone(&self.host), id, settings));
                Ok(Arc::clone(dedicated.entry(instance.id.clone()).or_insert_with(fresh)))
            }
            (plan, _) => Err(BrokerError::bad_request(format!("the plan \"{plan}\" is not offered any more"))),
        }
    }

    /// Where apps find an instance's server; none before it was made.
    fn address(&self, instance: &Instance, tenants: &Tenants) -> Result<Option<(String, u16)>> {
        match &self.given {
            Some(given) if is_shared(instance) => Ok(Some(given.clone())),
            _ => Ok(tenants.own_port()?.map(|port| (self.config.advertise_host.clone(), port))),
        }
    }
}

fn catalog(config: &Config, has_dedicated: bool) -> Catalog {
    let catalog = Catalog::new("redis".parse().expect("a valid name"));
    let catalog = match has_dedicated {
        true => catalog.plan(Plan::new(DEDICATED, dedicated_description(config.maxmemory)).fixed()),
        false => catalog,
    };
    catalog.plan(Plan::new(SHARED, SHARED_DESCRIPTION).fixed())
}

#[async_trait]
impl Broker for RedisBroker {
    fn catalog(&self) -> Catalog {
        catalog(&self.config, self.installed.is_some())
    }

    async fn provision(&self, instance: &Instance) -> Result<Notes> {
        let up = self.tenants(instance)?.up().await?;
        up.link.ping().await.map_err(failure)?;
        Ok(Notes::new())
    }

    async fn bind(&self, instance: &Instance, binding: &Binding) -> Result<EnvVars> {
        let tenants = self.tenants(instance)?;
        tenants.allow(&account(instance, binding)).await?;
        let (host, port) = self
            .address(instance, &tenants)?
            .ok_or_else(|| BrokerError::unavailable(format!("the server of {} has no port", instance.id)))?;
        Ok(env(&host, port, instance, binding))
    }

    async fn unbind(&self, instance: &Instance, binding: &Binding) -> Result<()> {
        self.tenants(instance)?.forbid(std::slice::from_ref(&binding.id)).await
    }

    async fn deprovision(&self, instance: &Instance) -> Result<()> {
        let tenants = self.tenants(instance)?;
        if is_shared(instance) {
            return tenants.erase(&instance.id).await;
        }
        self.removed.lock().unwrap_or_else(PoisonError::into_inner).insert(instance.id.clone());
        tenants.remove(&instance.id).await?;
        self.dedicated.lock().unwrap_or_else(PoisonError::into_inner).remove(&instance.id);
        Ok(())
    }

    async fn status(&self, instance: &Instance) -> Result<Health> {
        let Some(link) = self.tenants(instance)?.if_up().await? else {
            return Ok(Health::Down("its server is down and will be started again".to_owned()));
        };
        Ok(match timeout(ASK_WITHIN, link.ping()).await {
            Ok(Ok(())) => Health::Up,
            Ok(Err(busy)) if busy.kind() == ServerErrorKind::BusyLoading.into() => {
                Health::Down("its server is loading its data".to_owned())
            }
            _ => Health::Down("its server does not answer".to_owned()),
        })
    }

    async fn info(&self, instance: &Instance) -> Result<Vec<InfoItem>> {
        let tenants = self.tenants(instance)?;
        let mut items = Vec::new();
        if let Some((host, port)) = self.address(instance, &tenants)? {
            items.push(InfoItem::new("Address", format!("{}:{port}", bracketed(&host))));
        }
        if is_shared(instance) {
            items.push(InfoItem::new("Key prefix", format!("{}:", instance.id)));
        } else if let Some(link) = tenants.if_up().await? {
            items.extend(usage(&link).await);
        }
        Ok(items)
    }

    async fn reconcile(&self, Tenant { instance, bindings, .. }: &Tenant) -> Result<()> {
        if self.removed.lock().unwrap_or_else(PoisonError::into_inner).contains(&instance.id) {
            return Ok(());
        }
        let accounts = bindings.iter().map(|binding| account(instance, binding)).collect();
        self.tenants(instance)?.restore(&instance.id, accounts).await
    }
}

const SHARED_DESCRIPTION: &str = "Keys under a prefix on a server shared with others: memory and CPU are not isolated, \
    and EVAL, KEYS, SCAN, INFO and FLUSHDB are missing";

fn dedicated_description(memory: Size) -> String {
    format!("A Redis server of its own with {memory} of memory and all commands, written to disk every second")
}

fn is_shared(instance: &Instance) -> bool {
    instance.plan.as_str() == SHARED
}

fn account(instance: &Instance, binding: &Binding) -> Account {
    if is_shared(instance) { Account::on_prefix(binding, instance) } else { Account::on_server(binding) }
}

/// What an app finds in its environment (SPEC K-1).
fn env(host: &str, port: u16, instance: &Instance, binding: &Binding) -> EnvVars {
    let (user, password) = (binding.id.as_str(), binding.secret.expose());
    let env = EnvVars::default()
        .with("REDIS_URL", format!("redis://{user}:{password}@{}:{port}/0", bracketed(host)))
        .with("REDIS_HOST", host)
        .with("REDIS_PORT", port.to_string())
        .with("REDIS_USERNAME", user)
        .with("REDIS_PASSWORD", binding.secret.clone());
    if is_shared(instance) { env.with("REDIS_PREFIX", format!("{}:", instance.id)) } else { env }
}

/// An IPv6 address as it is written before a port.
fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

/// What a dedicated server uses; nothing when it does not answer.
async fn usage(link: &Link) -> Vec<InfoItem> {
    let Ok(Ok(memory)) = timeout(ASK_WITHIN, link.info("memory")).await else { return Vec::new() };
    let bytes = |name: &str| memory.get(name).and_then(|number| number.parse().ok()).map(Size);
    let used = bytes("used_memory").zip(bytes("maxmemory"));
    used.map(|(used, limit)| InfoItem::new("Memory", format!("{used} of {limit}"))).into_iter().collect()
}

/// The server that the broker starts for the plan `shared`, when an instance first needs it.
fn own_shared(host: &Arc<Host>, installed: &Installed, maxmemory: Size) -> anyhow::Result<Tenants> {
    let admin = Secret::from(kept_secret(&host.file("shared-admin-password"))?);
    let settings = RedisServer { installed: installed.clone(), admin, maxmemory, databases: 1 };
    let id = SHARED.parse().map_err(anyhow::Error::msg)?;
    Ok(Tenants::on_own(Arc::clone(host), id, settings))
}

/// The address under which apps reach the server of a URL: what is this machine for us is not for them.
fn reachable(info: &ConnectionInfo, advertised: &str) -> anyhow::Result<(String, u16)> {
    let ConnectionAddr::Tcp(host, port) = info.addr() else { anyhow::bail!("the shared server's URL has no host") };
    let loopback = host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    Ok((if loopback { advertised.to_owned() } else { host.clone() }, *port))
}

/// Looks whether tenants can be kept apart on a server given by URL.
async fn examine(info: &ConnectionInfo) -> anyhow::Result<()> {
    let server = info.addr();
    let link = Link::new(info.clone())?;
    let asked = match link.users().await {
        Ok(_) => link.about().await,
        Err(refused) => Err(refused),
    };
    let about = match asked {
        Ok(about) => about,
        Err(refused) if refused.kind() == ErrorKind::AuthenticationFailed || refused.code() == Some("NOAUTH") => {
            return Err(refused)
                .with_context(|| format!("the shared server {server} refuses the user and password of its URL"));
        }
        Err(refused) if refused.kind() == ServerErrorKind::NoPerm.into() => {
            return Err(refused).with_context(|| {
                format!("the user in the URL of the shared server {server} may not manage its accounts: give an administrator's")
            });
        }
        Err(down) => {
            warn!("the shared server {server} does not answer, calls that need it will fail until it does: {down}");
            return Ok(());
        }
    };
    let (major, minor) = about.dialect.version;
    anyhow::ensure!(
        about.dialect.version >= (7, 0),
        "the shared server {server} is version {major}.{minor}, and 7.0 is the oldest that keeps tenants apart"
    );
    if about.dialect.many_databases {
        warn!(
            "the shared server {server} has several databases: its tenants get no SELECT and COPY, `databases 1` would allow them"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use broker_core::Consumer;

    use super::*;

    #[test] // SPEC K-1
    fn an_apps_environment_has_the_parts_and_the_whole() {
        let instance = Instance::new("cache".parse().unwrap(), SHARED.parse().unwrap());
        let binding = Binding::new(Consumer::App("blog".parse().unwrap()));

        let env = env("fd00::1", 20_000, &instance, &binding);

        let (user, password) = (&binding.id, binding.secret.expose());
        assert_eq!(env.get("REDIS_URL").unwrap().expose(), format!("redis://{user}:{password}@[fd00::1]:20000/0"));
        assert_eq!(env.get("REDIS_HOST").unwrap().expose(), "fd00::1");
        assert_eq!(env.get("REDIS_PREFIX").unwrap().expose(), format!("{}:", instance.id));
        assert_eq!(env.len(), 6);
    }

    #[test]
    fn apps_reach_a_server_on_this_machine_under_the_advertised_host() {
        let at = |url: &str| reachable(&link::at_url(&Secret::from(url)).unwrap(), "172.17.0.1").unwrap();
        assert_eq!(at("redis://:pw@127.0.0.1:7000"), ("172.17.0.1".to_owned(), 7000));
        assert_eq!(at("redis://:pw@localhost"), ("172.17.0.1".to_owned(), 6379));
        assert_eq!(at("redis://:pw@cache.example:7000"), ("cache.example".to_owned(), 7000));
    }
}
