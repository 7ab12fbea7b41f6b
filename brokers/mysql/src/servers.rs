//! The servers: those that are shared, given or the broker's own, and those of dedicated plans.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use anyhow::Context as _;
use broker_core::{BrokerError, Instance, Notes, Result, Secret};
use broker_hosting::{
    Certifier, Containers, Fleet, Given, Host, Hosting, InUse, Limits, Member, RunAs, ServerId, Site, addresses_of,
    kept_secret, seen_by_apps, wrong_with_tls,
};
use futures::future::join_all;
use tracing::warn;

use crate::{
    Config,
    link::{self, Fault, Link, Reach},
    plans::{Dedicated, Plans, SHARED, SQL_MODE},
    server::{Installed, MariaDb},
    tls::{Address, Encryption},
};

/// What an instance remembers of where it is. One without it was made when all were shared.
const PLACE: &str = "place";
const DEDICATED: &str = "dedicated";
/// The shared server that it is on. One without it was made when there was but one.
const SERVER: &str = "server";

/// Whether an instance has a server of its own, as it remembers, whatever its plan says by now.
pub(crate) fn is_dedicated(instance: &Instance) -> bool {
    instance.notes.get(PLACE).is_some_and(|place| place == DEDICATED)
}

/// The shared server that an instance remembers.
pub(crate) fn placed_on(instance: &Instance) -> Option<&str> {
    instance.notes.get(SERVER).and_then(|server| server.as_str())
}

/// What an instance with a server of its own remembers.
pub(crate) fn on_its_own() -> Notes {
    Notes::from_iter([(PLACE.to_owned(), DEDICATED.into())])
}

/// What an instance on a shared server remembers.
pub(crate) fn on_shared(server: &ServerId) -> Notes {
    Notes::from_iter([(PLACE.to_owned(), SHARED.into()), (SERVER.to_owned(), server.as_str().into())])
}

/// All servers that the broker works with.
pub(crate) struct Servers {
    config: Config,
    /// That of shared plans that name none.
    pub(crate) usual: Arc<Fleet>,
    /// Those of the shared plans.
    pub(crate) fleets: Vec<Arc<Fleet>>,
    /// Whether those of the broker's own have certificates.
    speak_tls: bool,
    in_use: InUse<Server>,
    pub(crate) own: Option<Arc<Own>>,
}

/// One server.
#[derive(Clone)]
pub(crate) enum Server {
    /// One that the broker starts.
    Own { own: Arc<Own>, id: ServerId, settings: Box<MariaDb> },
    /// One that was there.
    Given { link: Arc<Link>, address: Address },
}

impl Servers {
    pub(crate) async fn start(config: &Config, plans: &Plans) -> anyhow::Result<Self> {
        let given = given(plans);
        let examined = join_all(given.iter().map(|(_, given)| examine(given))).await;
        for ((id, _), examined) in given.iter().zip(examined) {
            for doubt in examined.with_context(|| format!("the server \"{id}\" cannot be used"))?.1 {
                warn!("{doubt}");
            }
        }
        let own = if plans.starts_servers() { Some(Own::start(config).await?) } else { None };
        let servers = Self::with(config, plans, own);
        // One that is down is waited for; the only one, of the broker's own, is the operator's to mend.
        if let [only] = &plans.servers()[..]
            && let Server::Own { own, id, settings } = servers.at(only)?
        {
            own.host.ensure(&id, &*settings).await?;
        }
        Ok(servers)
    }

    /// Beside the broker that uses them: no folder is taken into use, and no server started.
    pub(crate) async fn to_look(config: &Config, plans: &Plans) -> anyhow::Result<Self> {
        let own = if plans.starts_servers() { Some(Own::to_look(config).await?) } else { None };
        Ok(Self::with(config, plans, own))
    }

    fn with(config: &Config, plans: &Plans, own: Option<Own>) -> Self {
        let fleets = plans.fleets().into_iter().cloned().collect();
        let (config, usual, own) = (config.clone(), Arc::clone(plans.usual()), own.map(Arc::new));
        Self { config, usual, fleets, speak_tls: plans.shared_speak_tls(), in_use: InUse::default(), own }
    }

    /// A shared server, as its plan's file has it now.
    pub(crate) fn at(&self, member: &Member) -> Result<Server> {
        let opened = self.in_use.at(member, |member| match &member.site {
            Site::Own => {
                let own = self.own.as_ref().context("restart the broker, it was started without servers of its own")?;
                Server::own_shared(own, &member.id, &self.config, self.speak_tls)
            }
            Site::Given(given) => Server::given(given, &self.config),
        });
        opened.map_err(|why| BrokerError::failed(format!("the server \"{}\" cannot be used: {why:#}", member.id)))
    }

    /// The server of an instance's own, with the settings of a plan.
    pub(crate) fn dedicated(&self, instance: &Instance, plan: &Dedicated) -> Result<Server> {
        let own = self.own()?;
        let sql_mode = instance.parameters.get(SQL_MODE).and_then(|modes| modes.as_str()).map(str::to_owned);
        let settings = MariaDb {
            installed: own.installed.clone(),
            admin: instance.secret.clone(),
            buffer_pool: plan.buffer_pool,
            max_connections: plan.max_connections,
            is_contained: plan.is_contained,
            limits: plan.limits.clone(),
            runs_events: true,
            certifier: plan.speaks_tls.then(|| own.certifier.clone()),
            sql_mode,
        };
        Ok(Server::Own { own: Arc::clone(own), id: server_id(instance)?, settings: Box::new(settings) })
    }

    /// Whether there is a server of the instance's own, running or not.
    pub(crate) fn has_dedicated(&self, instance: &Instance) -> Result<bool> {
        let id = server_id(instance)?;
        Ok(self.own.as_ref().is_some_and(|own| own.host.knows(&id)))
    }

    /// Removes the server of an instance's own with all it has. Nothing to do is a success.
    pub(crate) async fn remove_dedicated(&self, instance: &Instance) -> Result<()> {
        let own = match &self.own {
            Some(own) => own,
            None if is_dedicated(instance) => {
                return Err(BrokerError::failed(
                    "a dedicated server can only be removed with a dedicated plan in the file",
                ));
            }
            None => return Ok(()),
        };
        let id = server_id(instance)?;
        own.host.remove(&id).await.map_err(BrokerError::unavailable)?;
        own.links.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        Ok(())
    }

    fn own(&self) -> Result<&Arc<Own>> {
        self.own.as_ref().ok_or_else(|| BrokerError::bad_request("dedicated servers are not offered any more"))
    }
}

pub(crate) fn server_id(instance: &Instance) -> Result<ServerId> {
    instance.id.as_str().parse().map_err(|why: String| BrokerError::failed(why))
}

impl Server {
    fn given(given: &Given, config: &Config) -> anyhow::Result<Self> {
        let reach = link::at_given(given)?;
        let host = seen_by_apps(reach.opts.ip_or_hostname(), &config.advertise_host);
        let address = Address { host, port: reach.opts.tcp_port(), encryption: reach.encryption.clone() };
        Ok(Self::Given { link: Arc::new(Link::new(reach)), address })
    }

    fn own_shared(own: &Arc<Own>, id: &ServerId, config: &Config, speaks_tls: bool) -> anyhow::Result<Self> {
        // The file of the first one has its name from when there was no other.
        let secret = if id.as_str() == SHARED { "admin-password".to_owned() } else { format!("{id}-admin-password") };
        let settings = MariaDb {
            installed: own.installed.clone(),
            admin: Secret::from(kept_secret(&own.host.file(&secret))?),
            buffer_pool: config.buffer_pool,
            max_connections: config.max_connections,
            is_contained: false,
            limits: Limits::default(),
            runs_events: false,
            certifier: speaks_tls.then(|| own.certifier.clone()),
            sql_mode: None,
        };
        Ok(Self::Own { own: Arc::clone(own), id: id.clone(), settings: Box::new(settings) })
    }

    /// Whether it is the broker's own and was not started yet: then nobody has anything there.
    pub(crate) fn was_never_made(&self) -> bool {
        matches!(self, Self::Own { own, id, .. } if !own.host.knows(id))
    }

    /// The server, started when it is the broker's own and down.
    pub(crate) async fn up(&self) -> Result<Arc<Link>> {
        match self {
            Self::Given { link, .. } => Ok(Arc::clone(link)),
            Self::Own { own, id, settings } => {
                let running = own.host.ensure(id, &**settings).await.map_err(BrokerError::unavailable)?;
                Ok(own.link(id, running.port, settings))
            }
        }
    }

    /// The server as it is; none when it is the broker's own and down.
    pub(crate) async fn if_up(&self) -> Result<Option<Arc<Link>>> {
        match self {
            Self::Given { link, .. } => Ok(Some(Arc::clone(link))),
            Self::Own { own, id, settings } => {
                if !own.host.is_running(id).await.map_err(BrokerError::unavailable)? {
                    return Ok(None);
                }
                Ok(self.port()?.map(|port| own.link(id, port, settings)))
            }
        }
    }

    /// Has the server run with its settings as they are now.
    pub(crate) async fn settle(&self) -> Result<()> {
        let Self::Own { own, id, settings } = self else { return Ok(()) };
        own.host.update(id, &**settings).await.map_err(BrokerError::unavailable)?;
        let link = self.up().await?;
        let place = own.host.find(id).map_err(BrokerError::unavailable)?;
        let is_elsewhere = place.is_some_and(|place| place.is_contained() != settings.is_contained);
        if is_elsewhere || !link.fits(settings).await? {
            own.host.restart(id, &**settings).await.map_err(BrokerError::unavailable)?;
        }
        Ok(())
    }

    /// Sees to it that a server of the broker's own that runs has a certificate that is valid (SPEC M-18). One that was
    /// started without is left alone.
    pub(crate) async fn certify(&self) -> Result<()> {
        let Self::Own { own, id, settings } = self else { return Ok(()) };
        let (Some(certifier), Some(place)) =
            (&settings.certifier, own.host.find(id).map_err(BrokerError::unavailable)?)
        else {
            return Ok(());
        };
        let certificate = certifier.certify(&place).map_err(BrokerError::unavailable)?;
        let told = own.told.lock().unwrap_or_else(PoisonError::into_inner).get(id).copied();
        if !certificate.is_new && told == Some(certificate.expires) {
            return Ok(());
        }
        let link = self.up().await?;
        own.told.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        if link.speaks_tls().await? {
            link.read_certificate().await?;
            own.told.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), certificate.expires);
        }
        Ok(())
    }

    /// Has a server of the broker's own that was started before its plan had TLS speak it: it is started again.
    pub(crate) async fn speak_tls(&self) -> Result<()> {
        let Self::Own { own, id, settings } = self else { return Ok(()) };
        if settings.certifier.is_some() && !self.up().await?.speaks_tls().await? {
            own.host.restart(id, &**settings).await.map_err(BrokerError::unavailable)?;
        }
        Ok(())
    }

    /// Where apps find the server; none before the broker's own was first started.
    pub(crate) fn address(&self) -> Result<Option<Address>> {
        match self {
            Self::Given { address, .. } => Ok(Some(address.clone())),
            Self::Own { own, settings, .. } => {
                let ca = settings.certifier.as_ref().map(|certifier| certifier.ca().to_owned());
                let encryption = ca.map(|ca| Encryption { ca: Some(ca) });
                Ok(self.port()?.map(|port| Address { host: own.advertise_host.clone(), port, encryption }))
            }
        }
    }

    /// Its port, also while it is down.
    fn port(&self) -> Result<Option<u16>> {
        let Self::Own { own, id, .. } = self else { return Ok(None) };
        Ok(own.host.find(id).map_err(BrokerError::unavailable)?.map(|place| place.port))
    }
}

/// What the broker's own servers have in common.
pub(crate) struct Own {
    pub(crate) host: Host,
    installed: Installed,
    advertise_host: String,
    certifier: Certifier,
    /// When the certificates end that the servers were told to read.
    told: Mutex<HashMap<ServerId, SystemTime>>,
    links: Mutex<HashMap<ServerId, (u16, Arc<Link>)>>,
}

impl Own {
    async fn start(config: &Config) -> anyhow::Result<Self> {
        let installed = Installed::find(config)?;
        let addresses = addresses_of(&config.advertise_host, &config.bind).await?;
        let host = Host::open(hosting(config, addresses)).await?;
        let certifier = Certifier::open(&config.servers_dir, "mysql-broker", &config.advertise_host)?;
        Ok(Self::with(config, installed, host, certifier))
    }

    async fn to_look(config: &Config) -> anyhow::Result<Self> {
        let installed = Installed::find(config)?;
        let addresses = addresses_of(&config.advertise_host, &config.bind).await?;
        let certifier = Certifier::look(&config.servers_dir, "mysql-broker", &config.advertise_host)?;
        Ok(Self::with(config, installed, Host::look(hosting(config, addresses))?, certifier))
    }

    fn with(config: &Config, installed: Installed, host: Host, certifier: Certifier) -> Self {
        let (told, links) = (Mutex::default(), Mutex::default());
        Self { host, installed, advertise_host: config.advertise_host.clone(), certifier, told, links }
    }

    fn link(&self, id: &ServerId, port: u16, settings: &MariaDb) -> Arc<Link> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        match links.get(id) {
            Some((known, link)) if *known == port => Arc::clone(link),
            _ => {
                let fresh = Arc::new(settings.link(port));
                links.insert(id.clone(), (port, Arc::clone(&fresh)));
                fresh
            }
        }
    }
}

/// Where and how the broker's own servers run.
pub(crate) fn hosting(config: &Config, addresses: Vec<IpAddr>) -> Hosting {
    let containers = Containers {
        engine: config.docker.clone(),
        build_network: config.build_network.clone(),
        ..Containers::new("mysql")
    };
    Hosting {
        root: config.servers_dir.clone(),
        ports: config.ports.clone(),
        addresses,
        run_as: config.run_as.clone().unwrap_or(RunAs::Packaged("mysql")),
        containers: Some(containers),
    }
}

/// The servers of shared plans that are given by URL.
pub(crate) fn given(plans: &Plans) -> Vec<(ServerId, Given)> {
    let of = |member: Member| match member.site {
        Site::Own => None,
        Site::Given(given) => Some((member.id, given)),
    };
    plans.servers().into_iter().filter_map(of).collect()
}

/// Looks whether the broker can work on a server given by URL. Returns its address, and what is doubtful and lets it
/// start.
pub(crate) async fn examine(given: &Given) -> anyhow::Result<(String, Vec<String>)> {
    let reach = link::at_given(given)?;
    let Reach { opts, .. } = &reach;
    let (server, link) = (format!("{}:{}", opts.ip_or_hostname(), opts.tcp_port()), Link::new(reach));
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
            if let Fault::Unreachable(cause) = &down
                && let Some(wrong) = wrong_with_tls(cause)
            {
                anyhow::bail!("the server {server} cannot be used: {wrong}");
            }
            let doubt = format!("the server {server} does not answer, calls will fail until it does: {down}");
            return Ok((server, vec![doubt]));
        }
    }
    let weaknesses = link.weaknesses().await?;
    let doubts = weaknesses.into_iter().map(|weakness| format!("on the server {server} {weakness}")).collect();
    Ok((server, doubts))
}
