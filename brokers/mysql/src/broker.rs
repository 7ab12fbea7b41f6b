//! The policy: what an instance and a binding are.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use async_trait::async_trait;
use broker_backup::{Archive, routes};
use broker_core::{
    Binding, Broker, BrokerError, Catalog, Endpoint, EnvVars, Health, InfoItem, Instance, Metric, Notes, OpaqueId,
    PlanName, Result, Routes, Secret, Tenant, Update, cli::Findings,
};
use broker_hosting::{Fleet, Recent, Size, Turns, addresses_of};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::{
    Config,
    backups::SERVICE,
    copy::Copier,
    link::Link,
    look::Look,
    metrics,
    plans::{CHARACTER_SET, Dedicated, Kind, Offer, Plans, READ_ONLY},
    quota,
    server::Installed,
    servers::{Server, Servers, examine, given, is_dedicated, on_its_own, on_shared},
    tenant::{Access, Account, Charset, Database, Limits},
    tls::{Address, Encryption, Tls},
    usage::Watched,
};

/// How long a question about an instance may take.
const ASK_WITHIN: Duration = Duration::from_secs(3);

/// Hands out databases: on a server that is shared, or on one of the instance's own.
pub struct MysqlBroker {
    pub(crate) servers: Servers,
    pub(crate) plans: Plans,
    /// None when its programs are not installed: then nothing moves.
    pub(crate) copier: Option<Copier>,
    /// None when no place for backups is configured.
    pub(crate) archive: Option<Archive>,
    usual: (Limits, Dedicated),
    /// Bindings and instances that were taken away lately. The list a reconciliation works from may be older than
    /// that, and must not bring them back.
    gone: Mutex<Recent<OpaqueId>>,
    /// Held while an instance is given what it lost.
    turns: Turns<OpaqueId>,
    pub(crate) watched: Watched,
}

impl MysqlBroker {
    /// A broker that is ready for calls; the shared server runs where it is the broker's own, and the only one.
    ///
    /// # Errors
    /// When the configuration can't work or the broker's own server can't be started, in one sentence for the
    /// operator. A given server that is only down at the moment is no error: calls fail until it is back.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let plans = Plans::of(&config)?;
        let servers = Servers::start(&config, &plans).await?;
        let copier = match Copier::find(&config) {
            Ok(copier) => Some(copier),
            Err(missing) => {
                warn!("instances cannot move between shared and dedicated plans: {missing:#}");
                None
            }
        };
        let archive = Archive::open(SERVICE, &config.backups)?;
        if archive.is_some() {
            copier.as_ref().context("backups need the programs mariadb-dump and mariadb: install mariadb-client")?;
        }
        Ok(Self::with(&config, plans, servers, copier, archive))
    }

    pub(crate) fn with(
        config: &Config,
        plans: Plans,
        servers: Servers,
        copier: Option<Copier>,
        archive: Option<Archive>,
    ) -> Self {
        let usual = (config.limits(), Dedicated::usual(config));
        Self {
            servers,
            plans,
            copier,
            archive,
            usual,
            gone: Mutex::default(),
            turns: Turns::default(),
            watched: Watched::default(),
        }
    }

    /// What a broker of this configuration offers; no server is started for that.
    ///
    /// # Errors
    /// When the plans can't be used.
    pub fn offer(config: &Config) -> anyhow::Result<Catalog> {
        Ok(Plans::of(config)?.catalog())
    }

    /// Looks at the programs and the servers that the configuration names; nothing is started or changed.
    pub async fn check(config: &Config, findings: &mut Findings) {
        // What is wrong with the plans the catalog says.
        let plans = Plans::of(config).ok();
        for (server, given) in plans.iter().flat_map(given) {
            let what = format!("shared server {server}");
            match examine(&given).await {
                Ok((address, doubts)) if doubts.is_empty() => findings.found(what, address),
                Ok((_, doubts)) => doubts.iter().for_each(|doubt| findings.warning(&what, doubt)),
                Err(problem) => findings.problem(what, format!("{problem:#}")),
            }
        }
        if plans.is_some_and(|plans| plans.starts_servers()) {
            findings.add_result("mariadbd", Installed::find(config).map(|_| &config.mariadbd));
        }
        match Copier::find(config) {
            Ok(_) => findings.found("mariadb-dump", &config.mariadb_dump),
            Err(missing) if config.backups.is_wanted() => {
                findings.problem("mariadb-dump", format!("there can be no backups: {missing:#}"));
            }
            Err(missing) => findings.warning("mariadb-dump", format!("no moves between plans: {missing:#}")),
        }
        config.backups.check(SERVICE, findings).await;
        let addresses = addresses_of(&config.advertise_host, &config.bind).await;
        let addresses = addresses.map(|_| &config.advertise_host).map_err(anyhow::Error::from);
        findings.add_result("advertise-host", addresses);
    }

    pub(crate) fn plan(&self, name: &PlanName) -> Result<&Offer> {
        self.plans
            .find(name)
            .ok_or_else(|| BrokerError::bad_request(format!("the plan \"{name}\" is not offered any more")))
    }

    /// The servers of an instance's plan, if it is a shared one by now.
    pub(crate) fn fleet(&self, instance: &Instance) -> Option<&Fleet> {
        match &self.plans.find(&instance.plan)?.kind {
            Kind::Shared(servers) => Some(servers),
            Kind::Dedicated(_) => None,
        }
    }

    /// The server that an instance is on. Its place is what it remembers; its plan may be gone from the file since,
    /// or mean another place by now, which an update moves it to.
    pub(crate) fn server(&self, instance: &Instance) -> Result<Server> {
        if !is_dedicated(instance) {
            return self.servers.at(&self.servers.home(instance, self.fleet(instance))?);
        }
        match self.plans.find(&instance.plan).map(|offer| &offer.kind) {
            Some(Kind::Dedicated(plan)) => self.servers.dedicated(instance, plan),
            Some(Kind::Shared(_)) | None => self.servers.dedicated(instance, &self.usual.1),
        }
    }

    /// Whether an instance was never made, and if it was begun, with a server of its own.
    pub(crate) fn is_half_made_dedicated(&self, instance: &Instance) -> bool {
        let kind = self.plans.find(&instance.plan).map(|offer| &offer.kind);
        instance.notes.is_empty() && kind.is_some_and(|kind| !kind.is_shared())
    }

    /// What a binding may do and use.
    pub(crate) fn terms(&self, instance: &Instance, binding: &Binding) -> (Access, Limits) {
        let is_read_only = binding.parameters.get(READ_ONLY).is_some_and(|wish| wish == true);
        let access = if is_read_only { Access::ReadOnly } else { Access::Full };
        (access, self.limits(instance))
    }

    /// What each binding of an instance may use.
    pub(crate) fn limits(&self, instance: &Instance) -> Limits {
        self.plans.find(&instance.plan).map_or(self.usual.0, |offer| offer.limits)
    }

    /// The same as long as its instance has no room to grow (SPEC M-16).
    pub(crate) async fn present_terms(
        &self,
        instance: &Instance,
        binding: &Binding,
        link: &Link,
    ) -> Result<(Access, Limits)> {
        let (access, limits) = self.terms(instance, binding);
        let may_be_full = access == Access::Full && self.room(instance).is_some();
        let is_full = may_be_full && link.is_bounded(&Database::of(instance)).await?;
        Ok((if is_full { Access::NoGrowth } else { access }, limits))
    }

    /// Where apps of an instance find a server, as its plan wants it.
    fn told(&self, instance: &Instance, address: Address) -> Address {
        let tls = self.plans.find(&instance.plan).and_then(|offer| offer.tls);
        let encryption = match tls {
            Some(Tls::Off) => None,
            Some(Tls::Offered | Tls::Required) => Some(address.encryption.unwrap_or_default()),
            None => address.encryption,
        };
        Address { encryption, ..address }
    }

    fn gone(&self) -> MutexGuard<'_, Recent<OpaqueId>> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From then on nobody gives it back: what is being given to the instance is there before.
    async fn remember_gone(&self, instance: &Instance, id: &OpaqueId) {
        let _turn = self.turns.of(&instance.id).await;
        self.gone().insert(id.clone());
    }

    /// What the server has, or had a moment ago and then all that the tenant should have.
    async fn look(&self, link: &Link, tenant: &Tenant) -> Result<Arc<Look>> {
        let (asked, look) = (Instant::now(), link.look().await?);
        let has_all = look.has_database(&Database::of(&tenant.instance))
            && tenant.bindings.iter().all(|binding| look.has_account(&Account::of(binding)));
        if has_all { Ok(look) } else { Ok(link.look_since(asked).await?) }
    }

    /// Gives a tenant what it lost. Accounts that nobody remembers are left alone: they may be about to be.
    async fn restore(&self, link: &Link, tenant: &Tenant, look: &Look) -> Result<()> {
        let (instance, database) = (&tenant.instance, Database::of(&tenant.instance));
        let _turn = self.turns.of(&instance.id).await;
        if self.gone().contains(&instance.id) {
            return Ok(());
        }
        if !look.has_database(&database) {
            link.create(&database, charset(instance)).await?;
            info!(instance.name = %instance.name, "made the lost database of `{}` again", instance.name);
        }
        for binding in &tenant.bindings {
            let account = Account::of(binding);
            if !look.has_account(&account) && !self.gone().contains(&binding.id) {
                let terms = self.terms(instance, binding);
                link.allow(&account, &database, &binding.secret, terms).await?;
                info!(instance.name = %instance.name, "made a lost account of `{}` again", instance.name);
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Broker for MysqlBroker {
    fn catalog(&self) -> Catalog {
        self.plans.catalog()
    }

    async fn provision(&self, instance: &Instance) -> Result<Notes> {
        let kind = &self.plan(&instance.plan)?.kind;
        self.gone().remove(&instance.id);
        let database = Database::of(instance);
        match kind {
            Kind::Shared(servers) => {
                let (placement, server) = self.servers.place(instance, servers).await?;
                server.up().await?.create(&database, charset(instance)).await?;
                Ok(on_shared(&placement.member.id))
            }
            Kind::Dedicated(plan) => {
                let server = self.servers.dedicated(instance, plan)?;
                server.up().await?.create(&database, charset(instance)).await?;
                Ok(on_its_own())
            }
        }
    }

    async fn bind(&self, instance: &Instance, binding: &Binding) -> Result<EnvVars> {
        self.gone().remove(&binding.id);
        let (account, database) = (Account::of(binding), Database::of(instance));
        let server = self.server(instance)?;
        server.speak_tls().await?;
        let link = server.up().await?;
        if self.is_half_restored(instance, &link).await? {
            return Err(BrokerError::unavailable("a restore was cut off"));
        }
        let terms = self.present_terms(instance, binding, &link).await?;
        link.allow(&account, &database, &binding.secret, terms).await?;
        let address = server.address()?.ok_or_else(|| BrokerError::unavailable("the server has no port"))?;
        Ok(env(&self.told(instance, address), &account, &database, &binding.secret))
    }

    fn endpoints(&self, instance: &Instance) -> Vec<Endpoint> {
        let address = self.server(instance).and_then(|server| server.address());
        address.ok().flatten().map(|Address { host, port, .. }| Endpoint::tcp(host, port)).into_iter().collect()
    }

    async fn unbind(&self, instance: &Instance, binding: &Binding) -> Result<()> {
        self.remember_gone(instance, &binding.id).await;
        if is_dedicated(instance) && !self.servers.has_dedicated(instance)? {
            return Ok(());
        }
        Ok(self.server(instance)?.up().await?.forbid(&Account::of(binding), &Database::of(instance)).await?)
    }

    async fn update(&self, instance: &Instance, to: &Update) -> Result<Notes> {
        self.change(instance, to).await
    }

    /// Removes both places: a move may have been under way.
    async fn deprovision(&self, instance: &Instance) -> Result<()> {
        self.remember_gone(instance, &instance.id).await;
        self.watched.forget(instance);
        if let Some(archive) = &self.archive {
            archive.keep_last(self, instance).await?;
        }
        self.servers.forget(instance, None).await?;
        self.servers.remove_dedicated(instance).await?;
        if self.is_half_made_dedicated(instance) || is_dedicated(instance) {
            return Ok(());
        }
        self.servers.erase(instance, self.fleet(instance)).await
    }

    async fn status(&self, instance: &Instance) -> Result<Health> {
        let Some(link) = self.server(instance)?.if_up().await? else {
            return Ok(Health::Down("its server is down and will be started again".to_owned()));
        };
        Ok(match timeout(ASK_WITHIN, link.has(&Database::of(instance))).await {
            Ok(Ok(true)) if self.is_half_restored(instance, &link).await? => {
                Health::Down("a restore was cut off: restore a backup again".to_owned())
            }
            Ok(Ok(true)) => match self.room(instance) {
                Some(room) if link.is_bounded(&Database::of(instance)).await? => Health::Notice(quota::notice(room)),
                _ => Health::Up,
            },
            Ok(Ok(false)) => Health::Down("its database is missing and will be made again".to_owned()),
            _ => Health::Down("its server does not answer".to_owned()),
        })
    }

    async fn info(&self, instance: &Instance) -> Result<Vec<InfoItem>> {
        let (database, server) = (Database::of(instance), self.server(instance)?);
        let mut items = Vec::new();
        if let Some(address) = server.address()? {
            let Address { host, port, encryption } = self.told(instance, address);
            items.push(InfoItem::new("Address", format!("{}:{port}", bracketed(&host))));
            let is_required = self.plans.find(&instance.plan).is_some_and(|offer| offer.limits.tls);
            let word = if is_required { "required" } else { "offered" };
            items.extend(encryption.map(|_| InfoItem::new("TLS", word)));
        }
        items.push(InfoItem::new("Plan", instance.plan.as_str()));
        items.push(InfoItem::new("Database", database.as_str()));
        let Some(link) = server.if_up().await? else { return Ok(items) };
        if let Ok(Ok(bytes)) = timeout(ASK_WITHIN, link.size(&database)).await {
            let size = Size(bytes);
            let size = self.room(instance).map_or_else(|| size.to_string(), |room| format!("{size} of {room}"));
            items.push(InfoItem::new("Size", size));
        }
        if let Ok(Ok(open)) = timeout(ASK_WITHIN, link.connections_of(&database)).await {
            let open =
                self.server_connections(instance).map_or_else(|| open.to_string(), |most| format!("{open} of {most}"));
            let of_each = self.limits(instance).connections;
            items.push(InfoItem::new("Connections", format!("{open}, at most {of_each} of each binding")));
        }
        if let Ok(Ok(version)) = timeout(ASK_WITHIN, link.version()).await {
            items.push(InfoItem::new("Server", version));
        }
        Ok(items)
    }

    fn account(&self, instance: &Instance, binding: &Binding) -> Vec<InfoItem> {
        let (access, _) = self.terms(instance, binding);
        let may = if access == Access::ReadOnly { "reads" } else { "reads and writes" };
        vec![InfoItem::new("User", Account::of(binding).as_str()), InfoItem::new("Access", may)]
    }

    async fn metrics(&self) -> Result<Vec<Metric>> {
        let servers = self.plans.servers();
        let (of_servers, of_instances) = tokio::join!(metrics::of(&self.servers, &servers), self.usage());
        Ok([of_servers, of_instances].concat())
    }

    async fn instance_metrics(&self, tenant: &Tenant) -> Result<Option<Vec<Metric>>> {
        self.usage_of_one(tenant).await.map(Some)
    }

    async fn reconcile(&self, tenant: &Tenant) -> Result<()> {
        let instance = &tenant.instance;
        if self.gone().contains(&instance.id) {
            return Ok(());
        }
        self.watched.note(tenant);
        let server = self.server(instance)?;
        let link = server.up().await?;
        server.certify().await?;
        let look = self.look(&link, tenant).await?;
        if look.has_database(&Database::of(instance).mark()) {
            return Ok(());
        }
        if look.writable.fenced.contains(Database::of(instance).as_str()) {
            // A move failed, and so did taking it back.
            link.thaw(&Database::of(instance)).await?;
        }
        // What is made here only now is not known to hold the data.
        let was_there = look.has_database(&Database::of(instance));
        self.restore(&link, tenant, &look).await?;
        self.keep_within_room(instance, &link, &look).await?;
        if was_there {
            self.clear_old_place(instance).await?;
        }
        match &self.archive {
            Some(archive) => archive.keep_up(self, instance).await,
            None => Ok(()),
        }
    }

    fn routes(self: Arc<Self>) -> Routes {
        routes(&self)
    }
}

/// The character set that an instance asks for.
pub(crate) fn charset(instance: &Instance) -> Charset {
    let name = instance.parameters.get(CHARACTER_SET).and_then(|name| name.as_str());
    name.and_then(Charset::named).unwrap_or_default()
}

/// What an app finds in its environment (SPEC M-1, M-17).
fn env(address: &Address, account: &Account, database: &Database, password: &Secret) -> EnvVars {
    let Address { host, port, encryption } = address;
    let (user, database) = (account.as_str(), database.as_str());
    let url = format!("mysql://{user}:{}@{}:{port}/{database}", password.expose(), bracketed(host));
    let env = EnvVars::default()
        .with("MYSQL_HOST", host.as_str())
        .with("MYSQL_PORT", port.to_string())
        .with("MYSQL_DATABASE_NAME", database)
        .with("MYSQL_USER", user)
        .with("MYSQL_PASSWORD", password.clone())
        .with("DATABASE_URL", url);
    match encryption {
        Some(Encryption { ca: Some(ca) }) => env.with("MYSQL_TLS", "true").with("MYSQL_CA", ca.as_str()),
        Some(Encryption { ca: None }) => env.with("MYSQL_TLS", "true"),
        None => env,
    }
}

/// An IPv6 address as it is written before a port.
fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use broker_core::Consumer;

    use super::*;

    #[test] // SPEC M-1
    fn an_apps_environment_has_the_parts_and_the_whole() {
        let instance = Instance::new("db".parse().unwrap(), "shared".parse().unwrap());
        let binding = Binding::new(Consumer::App("blog".parse().unwrap()));

        let address = |encryption| Address { host: "fd00::1".to_owned(), port: 21_000, encryption };
        let env = |encryption| {
            super::env(&address(encryption), &Account::of(&binding), &Database::of(&instance), &binding.secret)
        };
        let by_tls = env(Some(Encryption { ca: Some("PEM".to_owned()) }));
        let public = env(Some(Encryption::default()));
        let env = env(None);

        let (id, user, password) = (&instance.id, &binding.id, binding.secret.expose());
        assert_eq!(
            env.get("DATABASE_URL").unwrap().expose(),
            format!("mysql://ub{user}:{password}@[fd00::1]:21000/tb{id}")
        );
        assert_eq!(env.get("MYSQL_HOST").unwrap().expose(), "fd00::1");
        assert_eq!((env.len(), public.len(), by_tls.len()), (6, 7, 8));
        assert_eq!(
            (by_tls.get("MYSQL_TLS").unwrap().expose(), by_tls.get("MYSQL_CA").unwrap().expose()),
            ("true", "PEM")
        );
    }
}
