//! On which of the shared servers an instance is (SPEC M-14).
//!
//! An instance with a server of its own may have a database on a shared one, too, while it moves. That server's name is
//! written into the folder of its own one before anything is made there, and stays until it is removed there: no crash
//! loses sight of it.

use std::{error::Error, fs, io, time::Duration};

use async_trait::async_trait;
use broker_core::{BrokerError, Instance, OpaqueId, Result};
use broker_hosting::{Census, Fleet, FleetError, Member, Place, Placement, ServerId};
use futures::future::join_all;
use tokio::time::timeout;
use tracing::warn;

use crate::{
    plans::SHARED,
    servers::{Server, Servers, placed_on, server_id},
    tenant::Database,
};

/// How long a server that an instance is not on may take to say so.
const ASK_WITHIN: Duration = Duration::from_secs(3);
/// In the folder of an instance's own server: the shared ones that may have its database, a line for each.
const FILE: &str = "shared-servers";

impl Servers {
    /// The shared server that an instance is on. `plan` has those of its plan, if it is a shared one by now.
    pub(crate) fn home(&self, instance: &Instance, plan: Option<&Fleet>) -> Result<Member> {
        let name = placed_on(instance);
        let plan = plan.unwrap_or(&self.usual);
        let found = plan
            .home(name, &[])
            .or_else(|gone| name.and_then(|name| self.named(name)).ok_or(gone))
            .or_else(|_| plan.home(name, &[SHARED, instance.plan.as_str()]));
        found.map_err(|why| BrokerError::failed(format!("{}: {why}", instance.id)))
    }

    /// Takes room for an instance on the server that has it already, else on the least used one.
    pub(crate) async fn place(&self, instance: &Instance, servers: &Fleet) -> Result<(Placement, Server)> {
        let placement = servers.place(instance.id.as_str(), self).await.map_err(|why| match why {
            FleetError::Full { .. } | FleetError::NoServer => BrokerError::bad_request(why.to_string()),
            // Servers that are down are the operator's business.
            other => BrokerError::unavailable(other),
        })?;
        let server = self.at(&placement.member)?;
        Ok((placement, server))
    }

    /// Removes what shared servers have of an instance. One that is half-made may be on any, and all of them have to
    /// say; else those that it is not on are asked only for what a create left that went on elsewhere.
    pub(crate) async fn erase(&self, instance: &Instance, plan: Option<&Fleet>) -> Result<()> {
        let all = match plan {
            Some(plan) => plan.members().to_vec(),
            None => self.fleets.iter().flat_map(|fleet| fleet.members().to_vec()).collect(),
        };
        if instance.notes.is_empty() {
            let erased = join_all(all.iter().map(|member| self.erase_at(instance, member))).await;
            return erased.into_iter().collect();
        }
        let home = self.home(instance, plan)?;
        let others = all.iter().filter(|member| member.id != home.id).map(|member| self.clear(instance, member));
        let (erased, cleared) = tokio::join!(self.erase_at(instance, &home), join_all(others));
        cleared.into_iter().fold(erased, Result::and)
    }

    /// Removes what a server has of an instance, if it answers.
    async fn clear(&self, instance: &Instance, member: &Member) -> Result<()> {
        match timeout(ASK_WITHIN, self.has(member, instance.id.as_str())).await {
            Ok(Ok(true)) => self.erase_at(instance, member).await,
            Ok(Ok(false)) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                warn!(instance.id = %instance.id, "the server \"{}\" does not say whether it has a removed instance", member.id);
                Ok(())
            }
        }
    }

    async fn erase_at(&self, instance: &Instance, member: &Member) -> Result<()> {
        let server = self.at(member)?;
        if server.was_never_made() {
            return Ok(());
        }
        Ok(server.up().await?.erase(&Database::of(instance)).await?)
    }

    /// A server of the shared plans, by its name.
    fn named(&self, name: &str) -> Option<Member> {
        self.fleets.iter().find_map(|fleet| fleet.home(Some(name), &[]).ok())
    }
}

impl Servers {
    /// Remembers that a shared server may have a database of an instance with a server of its own.
    pub(crate) fn remember(&self, instance: &Instance, server: &ServerId) -> Result<()> {
        let place =
            self.place_of(instance)?.ok_or_else(|| BrokerError::unavailable("the instance's server is gone"))?;
        let mut names = names(&place)?;
        if !names.iter().any(|name| name == server.as_str()) {
            names.push(server.to_string());
        }
        place.write(FILE, &names.join("\n")).map(drop).map_err(BrokerError::unavailable)
    }

    /// Whether a shared server may have something of an instance with a server of its own.
    pub(crate) fn remembers(&self, instance: &Instance) -> Result<bool> {
        Ok(self.place_of(instance)?.is_some_and(|place| place.path().join(FILE).exists()))
    }

    /// Removes what shared servers have of an instance with a server of its own, but for the one that it is on by now.
    /// Returns whether there was any.
    pub(crate) async fn forget(&self, instance: &Instance, home: Option<&ServerId>) -> Result<bool> {
        let Some(place) = self.place_of(instance)? else { return Ok(false) };
        let names = names(&place)?;
        if names.is_empty() {
            return Ok(false);
        }
        for name in names.iter().filter(|name| home.is_none_or(|home| home.as_str() != *name)) {
            let member = self.named(name).map_or_else(|| self.usual.home(Some(name), &[]), Ok);
            self.erase_at(instance, &member.map_err(BrokerError::failed)?).await?;
        }
        fs::remove_file(place.path().join(FILE)).map_err(BrokerError::unavailable)?;
        Ok(true)
    }

    fn place_of(&self, instance: &Instance) -> Result<Option<Place>> {
        let Some(own) = &self.own else { return Ok(None) };
        own.host.find(&server_id(instance)?).map_err(BrokerError::unavailable)
    }
}

fn names(place: &Place) -> Result<Vec<String>> {
    match fs::read_to_string(place.path().join(FILE)) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(other) => Err(BrokerError::unavailable(other)),
    }
}

/// An instance is on a server that has its database.
#[async_trait]
impl Census for Servers {
    async fn count(&self, member: &Member) -> Result<u64, Box<dyn Error + Send + Sync>> {
        let server = self.at(member)?;
        if server.was_never_made() { Ok(0) } else { Ok(server.up().await?.count().await?) }
    }

    async fn has(&self, member: &Member, instance: &str) -> Result<bool, Box<dyn Error + Send + Sync>> {
        let (server, id) = (self.at(member)?, instance.parse::<OpaqueId>()?);
        if server.was_never_made() { Ok(false) } else { Ok(server.up().await?.has(&Database::with(&id)).await?) }
    }
}
