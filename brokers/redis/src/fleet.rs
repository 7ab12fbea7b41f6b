//! The servers of shared plans, and on which of them an instance is.

use std::{error::Error, sync::Arc};

use async_trait::async_trait;
use broker_core::{BrokerError, Instance, OpaqueId, Result, Secret};
use broker_hosting::{
    Census, Certifier, Fleet, FleetError, Host, InUse, Member, ServerId, Site, kept_secret, seen_by_apps,
};
use secrecy::ExposeSecret as _;

use crate::{
    link::{self, Reach},
    server::{Installed, RedisServer},
    settings::{Settings, placed_on},
    tenants::Tenants,
    tls::{Address, Tls},
};

/// A server of a shared plan, in use.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) tenants: Arc<Tenants>,
    /// Where apps find it, when it was given by URL.
    pub(crate) given: Option<Address>,
}

/// All servers of shared plans that were used so far.
pub(crate) struct SharedServers {
    pub(crate) host: Arc<Host>,
    pub(crate) installed: Option<Installed>,
    pub(crate) advertise_host: String,
    pub(crate) certifier: Certifier,
    pub(crate) in_use: InUse<Shared>,
}

impl SharedServers {
    /// A server, as its plan's file has it now.
    pub(crate) fn at(&self, member: &Member, settings: &Settings) -> Result<Shared> {
        let opened = self.in_use.at(member, |member| self.open(member, settings));
        opened.map_err(|why| BrokerError::failed(format!("{why:#}")))
    }

    /// Whether a server is the broker's own and was not started yet: then nobody has anything there.
    pub(crate) fn was_never_made(&self, member: &Member) -> bool {
        matches!(member.site, Site::Own) && !self.host.knows(&member.id)
    }

    fn open(&self, member: &Member, settings: &Settings) -> anyhow::Result<Shared> {
        if let Site::Given(given) = &member.site {
            keeps_promise(member, settings)?;
            let reach = link::at_given(given)?;
            let address = reachable(&reach, &self.advertise_host);
            return Ok(Shared { tenants: Arc::new(Tenants::on_given(reach.info)?), given: Some(address) });
        }
        let admin = Secret::from(kept_secret(&self.host.file(&format!("{}-admin-password", member.id)))?);
        let server = RedisServer::new(self.installed.as_ref(), admin, self.certifier.clone(), settings.clone(), 1)?;
        let tenants = Tenants::on_shared(Arc::clone(&self.host), member.id.clone(), server);
        Ok(Shared { tenants: Arc::new(tenants), given: None })
    }

    /// The server that an instance was placed on.
    pub(crate) fn of(&self, instance: &Instance, servers: &Fleet, settings: &Settings) -> Result<Shared> {
        self.at(&Self::home(instance, servers)?, settings)
    }

    /// The server that an instance was placed on, by its name as its file has it now.
    pub(crate) fn home(instance: &Instance, servers: &Fleet) -> Result<Member> {
        let home = servers.home(placed_on(instance), &[instance.plan.as_str()]);
        home.map_err(|why| BrokerError::failed(format!("{}: {why}", instance.id)))
    }

    /// The servers that may have something of an instance.
    pub(crate) fn all_of(&self, instance: &Instance, servers: &Fleet, settings: &Settings) -> Result<Vec<Shared>> {
        match placed_on(instance) {
            Some(_) => Ok(vec![self.of(instance, servers, settings)?]),
            // Half-made: where, nobody remembers.
            None => servers.members().iter().map(|member| self.at(member, settings)).collect(),
        }
    }

    /// Places an instance on the server that has it already, else on the least used one with room, and marks it
    /// there (SPEC K-10). Returns the server's name. What one that does not answer may have of it is found when the
    /// instance is removed.
    pub(crate) async fn place(&self, instance: &Instance, servers: &Fleet, settings: &Settings) -> Result<ServerId> {
        let marks = Marks { servers: self, settings };
        let placement = servers.place(instance.id.as_str(), &marks).await.map_err(no_place)?;
        self.at(&placement.member, settings)?.tenants.mark(&instance.id).await?;
        Ok(placement.member.id.clone())
    }
}

/// By their marks instances are found and counted.
struct Marks<'a> {
    servers: &'a SharedServers,
    settings: &'a Settings,
}

#[async_trait]
impl Census for Marks<'_> {
    async fn count(&self, member: &Member) -> std::result::Result<u64, Box<dyn Error + Send + Sync>> {
        Ok(self.servers.at(member, self.settings)?.tenants.count().await?)
    }

    async fn has(&self, member: &Member, instance: &str) -> std::result::Result<bool, Box<dyn Error + Send + Sync>> {
        let id: OpaqueId = instance.parse()?;
        Ok(self.servers.at(member, self.settings)?.tenants.has(&id).await?)
    }
}

/// A full plan is told to its user; servers that are down are the operator's business.
fn no_place(why: FleetError) -> BrokerError {
    match why {
        FleetError::Full { .. } | FleetError::NoServer => BrokerError::bad_request(why.to_string()),
        other => BrokerError::unavailable(other),
    }
}

/// Refuses a server that is reached in clear for a plan that promises TLS (SPEC K-17).
pub(crate) fn keeps_promise(member: &Member, settings: &Settings) -> anyhow::Result<()> {
    if let (Site::Given(given), Tls::Required) = (&member.site, settings.tls) {
        anyhow::ensure!(
            given.url.expose_secret().starts_with("rediss://"),
            "the server \"{}\" is reached without TLS, which the plan promises: give a URL like \
             rediss://USER:PASSWORD@HOST:PORT",
            member.id
        );
    }
    Ok(())
}

/// The address under which apps reach the server of a URL.
fn reachable(reach: &Reach, advertised: &str) -> Address {
    let encryption = reach.encryption.clone();
    Address { host: seen_by_apps(&reach.host, advertised), port: reach.port, encryption }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apps_reach_a_server_on_this_machine_under_the_advertised_host() {
        let at = |url: &str| {
            let Address { host, port, encryption } = reachable(&link::at_given(&url.into()).unwrap(), "172.17.0.1");
            (host, port, encryption.is_some())
        };
        assert_eq!(at("redis://:pw@127.0.0.1:7000"), ("172.17.0.1".to_owned(), 7000, false));
        assert_eq!(at("redis://:pw@localhost"), ("172.17.0.1".to_owned(), 6379, false));
        assert_eq!(at("rediss://:pw@cache.example:7000"), ("cache.example".to_owned(), 7000, true));
    }
}
