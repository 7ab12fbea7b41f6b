//! The policy: what the plans mean.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use broker_backup::{Archive, routes};
use broker_core::{
    Binding, Broker, BrokerError, Catalog, Endpoint, EnvVars, Health, InfoItem, Instance, Metric, Notes, OpaqueId,
    PlanName, Result, Routes, Tenant, Update,
};
use broker_hosting::{Certifier, Containers, Host, Hosting, InUse, Recent, RunAs, ServerId, addresses_of};
use redis::ServerErrorKind;
use tokio::time::timeout;
use tracing::warn;

use crate::{
    Config, Size,
    account::Account,
    backups::SERVICE,
    check::{at, examine, given_servers},
    fleet::{Shared, SharedServers},
    link::{Link, failure, product},
    metrics,
    plans::{self, Kind, Offer},
    server::{Installed, RedisServer},
    settings::{Backend, Settings, is_read_only, keeps_prefix},
    tenants::Tenants,
    tls::{Address, Encryption, Tls},
};

/// How long a question about an instance may take.
const ASK_WITHIN: Duration = Duration::from_secs(3);

/// Hands out Redis: a server of its own to each instance, or a part of a shared one.
pub struct RedisBroker {
    pub(crate) offers: Vec<Offer>,
    advertise_host: String,
    certifier: Certifier,
    pub(crate) host: Arc<Host>,
    /// None when no `redis-server` is installed: then no server of a plan is a process of the broker's.
    installed: Option<Installed>,
    pub(crate) dedicated: Mutex<HashMap<OpaqueId, Arc<Tenants>>>,
    /// Dedicated servers that were removed lately: an older list does not bring them back.
    pub(crate) removed: Mutex<Recent<OpaqueId>>,
    pub(crate) shared: SharedServers,
    /// None when no place for backups is configured.
    pub(crate) archive: Option<Archive>,
}

/// Where an instance is.
pub(crate) struct Home {
    pub(crate) tenants: Arc<Tenants>,
    /// Where apps find the server, when it was given by URL.
    given: Option<Address>,
    /// How they reach it, when it was not.
    tls: Tls,
    pub(crate) is_shared: bool,
}

impl RedisBroker {
    /// A broker that is ready for calls. Servers that an earlier one started go on running.
    ///
    /// # Errors
    /// When the configuration can't work, in one sentence for the operator. A shared server that
    /// is only down at the moment is no error: calls that need it fail until it is back.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let (offers, installed) = offers(&config).await?;
        let archive = Archive::open(SERVICE, &config.backups)?;
        for member in given_servers(&offers) {
            for doubt in examine(&at(&member)?).await? {
                warn!("{doubt}");
            }
        }
        let addresses = addresses_of(&config.advertise_host, &config.bind).await?;
        let host = Host::open(hosting(&config, &offers, addresses)).await?;
        let certifier = Certifier::open(&config.servers_dir, "redis-broker", &config.advertise_host)?;
        Ok(Self { archive, ..Self::with(&config, offers, installed, host, certifier) })
    }

    /// Without backups.
    pub(crate) fn with(
        config: &Config,
        offers: Vec<Offer>,
        installed: Option<Installed>,
        host: Host,
        certifier: Certifier,
    ) -> Self {
        let (host, advertise_host) = (Arc::new(host), config.advertise_host.clone());
        let shared = SharedServers {
            host: Arc::clone(&host),
            installed: installed.clone(),
            advertise_host: advertise_host.clone(),
            certifier: certifier.clone(),
            in_use: InUse::default(),
        };
        let (dedicated, removed) = (Mutex::default(), Mutex::default());
        Self { offers, advertise_host, certifier, host, installed, dedicated, removed, shared, archive: None }
    }

    /// What a broker of this configuration offers; no server is started for that.
    ///
    /// # Errors
    /// When the configuration can't work.
    pub async fn offer(config: &Config) -> anyhow::Result<Catalog> {
        Ok(catalog(&offers(config).await?.0))
    }

    pub(crate) fn find(&self, plan: &PlanName) -> Result<&Offer> {
        let found = self.offers.iter().find(|offer| offer.plan.name == *plan);
        found.ok_or_else(|| BrokerError::bad_request(format!("the plan \"{plan}\" is not offered any more")))
    }

    pub(crate) fn home(&self, instance: &Instance) -> Result<Home> {
        match &self.find(&instance.plan)?.kind {
            Kind::Shared { servers, settings } => {
                let Shared { tenants, given, .. } = self.shared.of(instance, servers, settings)?;
                Ok(Home { tenants, given, tls: settings.tls, is_shared: true })
            }
            Kind::Dedicated { settings, choices } => {
                let settings = settings.clone().chosen(choices, &instance.parameters);
                let tls = settings.tls;
                let tenants = self.own_server(instance, self.server(instance, settings)?)?;
                Ok(Home { tenants, given: None, tls, is_shared: false })
            }
        }
    }

    /// An instance's own server, which is set up as its record says from its next start on.
    pub(crate) fn own_server(&self, instance: &Instance, setup: RedisServer) -> Result<Arc<Tenants>> {
        let id: ServerId = instance.id.as_str().parse().map_err(|why: String| BrokerError::failed(why))?;
        let mut dedicated = self.dedicated.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = dedicated.get(&instance.id) {
            known.set_up(setup);
            return Ok(Arc::clone(known));
        }
        let fresh = Arc::new(Tenants::on_own(Arc::clone(&self.host), id, setup));
        dedicated.insert(instance.id.clone(), Arc::clone(&fresh));
        Ok(fresh)
    }

    pub(crate) fn server(&self, instance: &Instance, settings: Settings) -> Result<RedisServer> {
        let (admin, certifier) = (instance.secret.clone(), self.certifier.clone());
        let server = RedisServer::new(self.installed.as_ref(), admin, certifier, settings, 16);
        server.map_err(|why| BrokerError::failed(format!("{why:#}")))
    }

    /// Where apps find an instance's server; none before it was made.
    fn address(&self, home: &Home) -> Result<Option<Address>> {
        if let Some(given) = &home.given {
            return Ok(Some(given.clone()));
        }
        let encryption = match home.tls {
            Tls::Off => None,
            Tls::Required => Some(Encryption { ca: Some(self.certifier.ca().to_owned()) }),
        };
        let address = |port| Address { host: self.advertise_host.clone(), port, encryption };
        Ok(home.tenants.own_port()?.map(address))
    }
}

/// What can be offered with what is installed.
pub(crate) async fn offers(config: &Config) -> anyhow::Result<(Vec<Offer>, Option<Installed>)> {
    let mut offers = plans::read(config)?;
    let installed = Installed::find(&config.redis_server).await;
    let is_missing = |offer: &Offer| offer.starts() == Some(Backend::Process);
    match installed {
        Ok(installed) => Ok((offers, Some(installed))),
        Err(_) if !offers.iter().any(is_missing) => Ok((offers, None)),
        Err(missing) if config.plans.is_none() && !offers.iter().all(is_missing) => {
            warn!("the plan `{}` is not offered: {missing:#}", plans::DEDICATED);
            offers.retain(|offer| !is_missing(offer));
            Ok((offers, None))
        }
        Err(missing) => Err(missing),
    }
}

/// Where and how the broker's own servers run.
pub(crate) fn hosting(config: &Config, offers: &[Offer], addresses: Vec<IpAddr>) -> Hosting {
    let is_contained = offers.iter().any(|offer| offer.starts() == Some(Backend::Container));
    let containers = Containers {
        engine: config.docker_engine.clone(),
        build_network: config.docker_build_network.clone(),
        ..Containers::new("redis-broker")
    };
    Hosting {
        root: config.servers_dir.clone(),
        ports: config.ports.clone(),
        addresses,
        run_as: config.run_as.clone().unwrap_or(RunAs::Packaged(packaged_user(&config.redis_server))),
        containers: is_contained.then_some(containers),
    }
}

/// The user that the package of a program, by name or path, made.
fn packaged_user(program: &str) -> &'static str {
    let name = program.rsplit('/').next().unwrap_or_default();
    if name.starts_with("valkey") { "valkey" } else { "redis" }
}

fn catalog(offers: &[Offer]) -> Catalog {
    let catalog = Catalog::new("redis".parse().expect("a valid name"));
    offers.iter().fold(catalog, |catalog, offer| {
        // From a shared plan an instance moves to a dedicated one, from there to any.
        let is_way = |other: &Offer| match offer.kind {
            Kind::Shared { .. } => matches!(other.kind, Kind::Dedicated { .. }),
            Kind::Dedicated { .. } => other.plan.name != offer.plan.name,
        };
        let plan = offer.plan.clone();
        catalog.plan(if offers.iter().any(is_way) { plan } else { plan.fixed() })
    })
}

#[async_trait]
impl Broker for RedisBroker {
    fn catalog(&self) -> Catalog {
        catalog(&self.offers)
    }

    async fn provision(&self, instance: &Instance) -> Result<Notes> {
        if let Kind::Shared { servers, settings } = &self.find(&instance.plan)?.kind {
            let server = self.shared.place(instance, servers, settings).await?;
            return Ok(Notes::from_iter([("server".to_owned(), server.as_str().into())]));
        }
        let up = self.home(instance)?.tenants.up().await?;
        up.link.ping().await.map_err(failure)?;
        Ok(Notes::new())
    }

    async fn bind(&self, instance: &Instance, binding: &Binding) -> Result<EnvVars> {
        let home = self.home(instance)?;
        if self.is_half_restored(instance).await? {
            return Err(BrokerError::unavailable("a restore was cut off"));
        }
        home.tenants.allow(&instance.id, &account(&home, instance, binding)).await?;
        let address = self
            .address(&home)?
            .ok_or_else(|| BrokerError::unavailable(format!("the server of {} has no port", instance.id)))?;
        let prefixed = home.is_shared || keeps_prefix(instance);
        Ok(env(&address, prefixed.then_some(instance), binding))
    }

    fn endpoints(&self, instance: &Instance) -> Vec<Endpoint> {
        let address = self.home(instance).and_then(|home| self.address(&home));
        address.ok().flatten().map(|Address { host, port, .. }| Endpoint::tcp(host, port)).into_iter().collect()
    }

    async fn unbind(&self, instance: &Instance, binding: &Binding) -> Result<()> {
        self.home(instance)?.tenants.forbid(&instance.id, std::slice::from_ref(&binding.id)).await
    }

    async fn update(&self, instance: &Instance, to: &Update) -> Result<Notes> {
        let (from, wanted) = (self.find(&instance.plan)?, self.find(&to.plan)?);
        if from.plan.name != wanted.plan.name && self.is_half_restored(instance).await? {
            return Err(BrokerError::bad_request("a restore of this instance was cut off: restore a backup first"));
        }
        match (&from.kind, &wanted.kind) {
            (Kind::Dedicated { .. }, Kind::Dedicated { settings, choices }) => {
                let tenants = self.home(instance)?.tenants;
                let settings = settings.clone().chosen(choices, &to.parameters);
                tenants.reshape(self.server(instance, settings)?).await?;
                Ok(instance.notes.clone())
            }
            (Kind::Shared { .. }, Kind::Dedicated { settings, choices }) => {
                self.move_out(instance, settings.clone().chosen(choices, &to.parameters)).await
            }
            (Kind::Dedicated { .. }, Kind::Shared { servers, settings }) => {
                self.move_in(instance, wanted, servers, settings).await
            }
            (Kind::Shared { .. }, Kind::Shared { .. }) if from.plan.name == wanted.plan.name => {
                Ok(instance.notes.clone())
            }
            (Kind::Shared { .. }, Kind::Shared { .. }) => Err(BrokerError::bad_request(
                "an instance does not move from one shared plan to another: move it to a dedicated plan first",
            )),
        }
    }

    async fn deprovision(&self, instance: &Instance) -> Result<()> {
        let kind = &self.find(&instance.plan)?.kind;
        if let Some(archive) = &self.archive {
            archive.keep_last(self, instance).await?;
        }
        self.clean(instance, matches!(kind, Kind::Shared { .. })).await?;
        if let Kind::Shared { servers, settings } = kind {
            for server in self.shared.all_of(instance, servers, settings)? {
                server.tenants.erase(&instance.id).await?;
            }
            return Ok(());
        }
        self.removed.lock().unwrap_or_else(PoisonError::into_inner).insert(instance.id.clone());
        self.home(instance)?.tenants.remove(&instance.id).await?;
        self.dedicated.lock().unwrap_or_else(PoisonError::into_inner).remove(&instance.id);
        Ok(())
    }

    async fn status(&self, instance: &Instance) -> Result<Health> {
        let Some(link) = self.home(instance)?.tenants.if_up().await? else {
            return Ok(Health::Down("its server is down and will be started again".to_owned()));
        };
        Ok(match timeout(ASK_WITHIN, link.ping()).await {
            Ok(Ok(())) if self.is_half_restored(instance).await? => {
                Health::Down("a restore was cut off: restore a backup again".to_owned())
            }
            Ok(Ok(())) => Health::Up,
            Ok(Err(busy)) if busy.kind() == ServerErrorKind::BusyLoading.into() => {
                Health::Down("its server is loading its data".to_owned())
            }
            _ => Health::Down("its server does not answer".to_owned()),
        })
    }

    async fn info(&self, instance: &Instance) -> Result<Vec<InfoItem>> {
        let home = self.home(instance)?;
        let mut items = Vec::new();
        if let Some(Address { host, port, encryption }) = self.address(&home)? {
            items.push(InfoItem::new("Address", format!("{}:{port}", bracketed(&host))));
            items.extend(encryption.map(|_| InfoItem::new("TLS", "required")));
        }
        items.push(InfoItem::new("Plan", instance.plan.as_str()));
        if home.is_shared {
            items.push(InfoItem::new("Key prefix", format!("{}:", instance.id)));
        }
        if let Some(link) = home.tenants.if_up().await? {
            items.extend(usage(&link, &home, instance).await);
        }
        Ok(items)
    }

    fn account(&self, _: &Instance, binding: &Binding) -> Vec<InfoItem> {
        let may = if is_read_only(&binding.parameters) { "reads" } else { "reads and writes" };
        vec![InfoItem::new("User", binding.id.as_str()), InfoItem::new("Access", may)]
    }

    async fn metrics(&self) -> Result<Vec<Metric>> {
        let mut servers = Vec::new();
        for (id, server) in self.shared.in_use.all() {
            servers.push(("shared", id.to_string(), server.tenants));
        }
        for (id, tenants) in self.dedicated.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            servers.push(("dedicated", id.to_string(), Arc::clone(tenants)));
        }
        // An unbind that is repeated may be of an instance that is gone.
        servers.retain(|(_, _, tenants)| !tenants.was_never_made());
        Ok(metrics::of(servers).await)
    }

    async fn instance_metrics(&self, tenant: &Tenant) -> Result<Option<Vec<Metric>>> {
        let instance = &tenant.instance;
        let tenants = self.home(instance)?.tenants;
        let server = match tenants.is_shared() {
            true => ("shared", self.server_name(instance)?, tenants),
            false => ("dedicated", instance.id.to_string(), tenants),
        };
        metrics::of_instance(tenant, server).await.map(Some)
    }

    async fn reconcile(&self, Tenant { instance, bindings, .. }: &Tenant) -> Result<()> {
        let is_shared = matches!(self.find(&instance.plan)?.kind, Kind::Shared { .. });
        let removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner).contains(&instance.id);
        if (removed && !is_shared) || !self.tidy(instance, is_shared).await? {
            return Ok(());
        }
        let home = self.home(instance)?;
        if self.is_half_restored(instance).await? {
            let users: Vec<OpaqueId> = bindings.iter().map(|binding| binding.id.clone()).collect();
            return home.tenants.keep_closed(&instance.id, &users).await;
        }
        let accounts = bindings.iter().map(|binding| account(&home, instance, binding)).collect();
        home.tenants.restore(instance, accounts).await?;
        match &self.archive {
            Some(archive) => archive.keep_up(self, instance).await,
            None => Ok(()),
        }
    }

    fn routes(self: Arc<Self>) -> Routes {
        routes(&self)
    }
}

pub(crate) fn account(home: &Home, instance: &Instance, binding: &Binding) -> Account {
    if home.is_shared { Account::on_prefix(binding, instance) } else { Account::on_server(binding) }
}

/// What an app finds in its environment (SPEC K-1, K-17); `prefixed` is its instance when its keys have a prefix.
fn env(address: &Address, prefixed: Option<&Instance>, binding: &Binding) -> EnvVars {
    let (user, password) = (binding.id.as_str(), binding.secret.expose());
    let Address { host, port, encryption } = address;
    let scheme = if encryption.is_some() { "rediss" } else { "redis" };
    let mut env = EnvVars::default()
        .with("REDIS_URL", format!("{scheme}://{user}:{password}@{}:{port}/0", bracketed(host)))
        .with("REDIS_HOST", host.as_str())
        .with("REDIS_PORT", port.to_string())
        .with("REDIS_USERNAME", user)
        .with("REDIS_PASSWORD", binding.secret.clone());
    if let Some(Encryption { ca }) = encryption {
        env = env.with("REDIS_TLS", "true");
        if let Some(ca) = ca {
            env = env.with("REDIS_CA", ca.as_str());
        }
    }
    match prefixed {
        Some(instance) => env.with("REDIS_PREFIX", format!("{}:", instance.id)),
        None => env,
    }
}

/// An IPv6 address as it is written before a port.
fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

/// What an instance uses, as far as its server tells that at once, and what that server is; nothing when it does not
/// answer (SPEC K-21).
async fn usage(link: &Link, home: &Home, instance: &Instance) -> Vec<InfoItem> {
    let Ok(Ok(figures)) = timeout(ASK_WITHIN, link.info("everything")).await else { return Vec::new() };
    let number = |name: &str| figures.get(name).and_then(|number| number.parse::<u64>().ok());
    let mut items = Vec::new();
    if home.is_shared {
        items.extend(connections(link, home, instance, &figures).await);
    } else {
        let memory = number("used_memory").zip(number("maxmemory"));
        items.extend(memory.map(|(used, most)| InfoItem::new("Memory", format!("{} of {}", Size(used), Size(most)))));
        let clients = number("connected_clients").zip(number("maxclients"));
        items.extend(clients.map(|(open, most)| InfoItem::new("Connections", format!("{open} of {most}"))));
        items.extend(figures.get("maxmemory_policy").map(|policy| InfoItem::new("When full", policy.as_str())));
    }
    items.extend(product(&figures).map(|product| InfoItem::new("Version", product)));
    items
}

/// How many connections an instance has on a shared server.
async fn connections(
    link: &Link,
    home: &Home,
    instance: &Instance,
    figures: &HashMap<String, String>,
) -> Option<InfoItem> {
    let asked = timeout(ASK_WITHIN, metrics::connections(&home.tenants, link, figures)).await;
    let (_, open) = asked.ok()?.remove(&instance.id)?;
    Some(InfoItem::new("Connections", open.to_string()))
}

#[cfg(test)]
mod tests {
    use broker_core::Consumer;

    use super::*;

    #[test] // SPEC H-5
    fn a_server_runs_as_the_user_that_its_package_made() {
        assert_eq!(packaged_user("redis-server"), "redis");
        assert_eq!(packaged_user("/usr/bin/valkey-server"), "valkey");
    }

    #[test] // SPEC K-1
    fn an_apps_environment_has_the_parts_and_the_whole() {
        let instance = Instance::new("cache".parse().unwrap(), "shared".parse().unwrap());
        let binding = Binding::new(Consumer::App("blog".parse().unwrap()));

        let address = |encryption| Address { host: "fd00::1".to_owned(), port: 20_000, encryption };
        let env = |encryption| super::env(&address(encryption), Some(&instance), &binding);
        let (by_tls, public) =
            (env(Some(Encryption { ca: Some("PEM".to_owned()) })), env(Some(Encryption { ca: None })));
        let env = env(None);

        let (user, password) = (&binding.id, binding.secret.expose());
        assert_eq!(env.get("REDIS_URL").unwrap().expose(), format!("redis://{user}:{password}@[fd00::1]:20000/0"));
        assert_eq!(env.get("REDIS_HOST").unwrap().expose(), "fd00::1");
        assert_eq!(env.get("REDIS_PREFIX").unwrap().expose(), format!("{}:", instance.id));
        assert_eq!(env.len(), 6);
        assert_eq!(by_tls.get("REDIS_URL").unwrap().expose(), format!("rediss://{user}:{password}@[fd00::1]:20000/0"));
        assert_eq!(
            (by_tls.get("REDIS_TLS").unwrap().expose(), by_tls.get("REDIS_CA").unwrap().expose()),
            ("true", "PEM")
        );
        assert_eq!((by_tls.len(), public.len()), (8, 7));
    }
}
