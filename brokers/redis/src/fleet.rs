//! The servers of shared plans, and on which of them an instance is.

use std::{
    collections::HashMap,
    error::Error,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use async_trait::async_trait;
use broker_core::{BrokerError, Instance, Result, Secret};
use broker_hosting::{Counts, Fleet, FleetError, Host, Member, ServerId, Site, kept_secret};
use futures::future::join_all;
use redis::{ConnectionAddr, ConnectionInfo};
use secrecy::ExposeSecret as _;

use crate::{
    link,
    server::{Installed, RedisServer},
    settings::{Settings, placed_on},
    tenants::Tenants,
};

/// A server of a shared plan, in use.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) tenants: Arc<Tenants>,
    /// Where apps find it, when it was given by URL.
    pub(crate) given: Option<(String, u16)>,
    url: Option<Secret>,
}

/// All servers of shared plans that were used so far.
pub(crate) struct SharedServers {
    pub(crate) host: Arc<Host>,
    pub(crate) installed: Option<Installed>,
    pub(crate) advertise_host: String,
    pub(crate) open: Mutex<HashMap<ServerId, Shared>>,
}

impl SharedServers {
    /// A server, as its plan's file has it now.
    pub(crate) fn at(&self, member: &Member, settings: &Settings) -> Result<Shared> {
        let url = match &member.site {
            Site::Own => None,
            Site::Given(url) => Some(Secret::from(url.expose_secret())),
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = open.get(&member.id).filter(|known| same(known.url.as_ref(), url.as_ref())) {
            return Ok(known.clone());
        }
        let fresh = self.open(member, url, settings).map_err(|why| BrokerError::failed(format!("{why:#}")))?;
        open.insert(member.id.clone(), fresh.clone());
        Ok(fresh)
    }

    fn open(&self, member: &Member, url: Option<Secret>, settings: &Settings) -> anyhow::Result<Shared> {
        if let Some(url) = url {
            let info = link::at_url(&url)?;
            let given = Some(reachable(&info, &self.advertise_host)?);
            return Ok(Shared { tenants: Arc::new(Tenants::on_given(info)?), given, url: Some(url) });
        }
        let admin = Secret::from(kept_secret(&self.host.file(&format!("{}-admin-password", member.id)))?);
        let server = RedisServer::new(self.installed.as_ref(), admin, settings.clone(), 1)?;
        let tenants = Tenants::on_shared(Arc::clone(&self.host), member.id.clone(), server);
        Ok(Shared { tenants: Arc::new(tenants), given: None, url: None })
    }

    /// The server that an instance was placed on.
    pub(crate) fn of(&self, instance: &Instance, servers: &Fleet, settings: &Settings) -> Result<Shared> {
        let members = servers.members();
        let member = match placed_on(instance) {
            Some(name) => members.iter().find(|member| member.id.as_str() == name),
            // Made when there was but one server.
            None => members.first(),
        };
        let member = member.ok_or_else(|| {
            let name = placed_on(instance).unwrap_or_default();
            BrokerError::failed(format!(
                "the server \"{name}\" that {} is on is not among its plan's servers any more: put it back, as draining",
                instance.id
            ))
        })?;
        self.at(member, settings)
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
    /// there (SPEC K-10). Returns the server's name.
    pub(crate) async fn place(&self, instance: &Instance, servers: &Fleet, settings: &Settings) -> Result<ServerId> {
        let members = servers.members();
        if let [only] = &*members
            && only.capacity == u64::MAX
            && !only.draining
        {
            self.at(only, settings)?.tenants.mark(&instance.id).await?;
            return Ok(only.id.clone());
        }
        let looks = members.iter().map(async |member| {
            // One that does not answer takes nothing now; what it may have is found when the instance is removed.
            let has = self.at(member, settings).ok()?.tenants.has(&instance.id).await.unwrap_or(false);
            has.then(|| member.id.clone())
        });
        if let Some(found) = join_all(looks).await.into_iter().flatten().next() {
            return Ok(found);
        }
        let counts = TenantCounts { servers: self, settings };
        let placement = servers.place(instance.id.as_str(), &counts).await.map_err(no_place)?;
        self.at(&placement.member, settings)?.tenants.mark(&instance.id).await?;
        Ok(placement.member.id.clone())
    }
}

struct TenantCounts<'a> {
    servers: &'a SharedServers,
    settings: &'a Settings,
}

#[async_trait]
impl Counts for TenantCounts<'_> {
    async fn tenants(&self, member: &Member) -> std::result::Result<u64, Box<dyn Error + Send + Sync>> {
        Ok(self.servers.at(member, self.settings)?.tenants.count().await?)
    }
}

/// A full plan is told to its user; servers that are down are the operator's business.
fn no_place(why: FleetError) -> BrokerError {
    match why {
        FleetError::Full { .. } | FleetError::NoServer => BrokerError::bad_request(why.to_string()),
        other => BrokerError::unavailable(other),
    }
}

fn same(one: Option<&Secret>, other: Option<&Secret>) -> bool {
    one.map(Secret::expose) == other.map(Secret::expose)
}

/// The address under which apps reach the server of a URL: what is this machine for us is not for them.
fn reachable(info: &ConnectionInfo, advertised: &str) -> anyhow::Result<(String, u16)> {
    let ConnectionAddr::Tcp(host, port) = info.addr() else {
        return None.context("the shared server's URL has no host");
    };
    Ok((if is_this_machine(host) { advertised.to_owned() } else { host.clone() }, *port))
}

/// Whether a host is this machine itself.
pub(crate) fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apps_reach_a_server_on_this_machine_under_the_advertised_host() {
        let at = |url: &str| reachable(&link::at_url(&Secret::from(url)).unwrap(), "172.17.0.1").unwrap();
        assert_eq!(at("redis://:pw@127.0.0.1:7000"), ("172.17.0.1".to_owned(), 7000));
        assert_eq!(at("redis://:pw@localhost"), ("172.17.0.1".to_owned(), 6379));
        assert_eq!(at("redis://:pw@cache.example:7000"), ("cache.example".to_owned(), 7000));
    }
}
