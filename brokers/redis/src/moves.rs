//! Instances that change between a server of their own and a shared one (SPEC K-11).
//!
//! A move is written down in the folder of the instance's own server, which is the new place or the old one. Until it
//! is decided there, the old place is whole and a repeat begins anew; from then on a repeat has nothing to do. The old
//! place is cleaned by [`RedisBroker::tidy`], when the records have the new plan: an interruption at any point
//! leaves the instance on one plan, with its data.

use std::{fs, io, sync::PoisonError, time::Instant};

use broker_core::{BrokerError, Instance, Notes, PlanName, Result, in_time};
use broker_hosting::{Fleet, Place, ServerId};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::{
    RedisBroker, Size,
    copy::{Copied, Copy, Keys, in_words},
    fleet::SharedServers,
    link::{Link, failure},
    plans::{Kind, Offer},
    settings::Settings,
};

/// What is written down of a move, in the folder of the instance's own server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Move {
    /// Data comes here from a shared server, which has it all.
    Coming,
    /// It came; what the shared server has is to be removed.
    Came { plan: PlanName, server: String },
    /// Data goes to a shared server, or to one that is not chosen yet; all of it is here.
    Going { plan: PlanName, server: Option<String> },
    /// It went; what is here is to be removed.
    Went { plan: PlanName, server: String },
}

const FILE: &str = "move.json";

impl Move {
    fn read(place: &Place) -> io::Result<Option<Self>> {
        match fs::read_to_string(place.path().join(FILE)) {
            Ok(text) => Ok(Some(serde_json::from_str(&text)?)),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(other) => Err(other),
        }
    }

    fn write(&self, place: &Place) -> Result<()> {
        let text = serde_json::to_string(self).map_err(BrokerError::failed)?;
        place.write(FILE, &text).map(drop).map_err(BrokerError::unavailable)
    }

    fn forget(place: &Place) -> Result<()> {
        fs::remove_file(place.path().join(FILE)).map_err(BrokerError::unavailable)
    }
}

impl RedisBroker {
    /// Moves an instance from a shared server to one of its own.
    pub(crate) async fn move_out(&self, instance: &Instance, settings: Settings) -> Result<Notes> {
        let notes = Notes::from_iter([("prefix".to_owned(), true.into())]);
        if let Some((_, Move::Came { .. })) = self.written(instance)? {
            return Ok(notes);
        }
        self.removed.lock().unwrap_or_else(PoisonError::into_inner).remove(&instance.id);
        let old = self.home(instance)?.tenants;
        let new = self.own_server(instance, self.server(instance, settings)?)?;
        let from = old.up().await?.link;
        let to = new.up().await?.link;
        let place = self.own_place(instance)?.ok_or_else(|| BrokerError::unavailable("the new server is gone"))?;
        Move::Coming.write(&place)?;
        to.empty().await.map_err(failure)?;
        let keys = Keys { only: Some(format!("{}:", instance.id)), prefix: None };
        let carried = match carry(instance, keys, &from, &to, async || old.fence(&instance.id).await).await {
            Ok(carried) => carried,
            Err(why) => {
                // What stays is removed by the next look.
                left(instance, self.forget_own(instance).await);
                return Err(why);
            }
        };
        let server = self.server_name(instance)?;
        Move::Came { plan: instance.plan.clone(), server }.write(&place)?;
        carried.report(instance);
        Ok(notes)
    }

    /// Moves an instance from a server of its own to a shared one.
    pub(crate) async fn move_in(
        &self,
        instance: &Instance,
        wanted: &Offer,
        servers: &Fleet,
        settings: &Settings,
    ) -> Result<Notes> {
        let on = |server: &str| Notes::from_iter([("server".to_owned(), server.into())]);
        match self.written(instance)? {
            Some((_, Move::Went { server, .. })) => return Ok(on(&server)),
            // Nobody would know of that any more.
            Some((_, Move::Came { plan, server })) => self.erase_if_known(instance, &plan, Some(server)).await?,
            Some((_, Move::Going { plan, server })) => self.erase_if_known(instance, &plan, server).await?,
            Some((_, Move::Coming)) | None => {}
        }
        let old = self.home(instance)?.tenants;
        let from = old.up().await?.link;
        can_share(&from).await?;
        let place = self.own_place(instance)?.ok_or_else(|| BrokerError::unavailable("the old server is gone"))?;
        let mut there = instance.clone();
        there.notes = Notes::new();
        let plan = wanted.plan.name.clone();
        Move::Going { plan: plan.clone(), server: None }.write(&place)?;
        let name = match self.shared.place(&there, servers, settings).await {
            Ok(name) => name.to_string(),
            Err(full @ BrokerError::BadRequest(_)) => {
                left(instance, Move::forget(&place));
                return Err(full);
            }
            Err(other) => return Err(other),
        };
        Move::Going { plan: plan.clone(), server: Some(name.clone()) }.write(&place)?;
        there.notes = on(&name);
        let new = self.shared.of(&there, servers, settings)?.tenants;
        let to = new.up().await?.link;
        to.erase(&instance.id).await.map_err(failure)?;
        let keys = Keys { only: None, prefix: Some(format!("{}:", instance.id)) };
        let fence = async || {
            old.fence(&instance.id).await?;
            // Apps may have made some while the data was copied.
            can_share(&from).await
        };
        match carry(instance, keys, &from, &to, fence).await {
            Ok(carried) => {
                Move::Went { plan, server: name.clone() }.write(&place)?;
                carried.report(instance);
                Ok(on(&name))
            }
            Err(why) => {
                // What is too much for the rest of the time is removed by the next look, too.
                let undone = in_time(0.8, "removing the copy", new.erase(&instance.id)).await;
                left(instance, undone.and_then(|()| Move::forget(&place)));
                Err(why)
            }
        }
    }

    /// Cleans what a move left, as the records have the instance now. Whether the instance may be looked after: a list
    /// that is older than a move is not to be followed.
    pub(crate) async fn tidy(&self, instance: &Instance, is_shared: bool) -> Result<bool> {
        let Some((place, found)) = self.written(instance)? else { return Ok(true) };
        match found {
            Move::Coming | Move::Went { .. } if is_shared => left(instance, self.forget_own(instance).await),
            Move::Came { plan, server } if !is_shared => self.sweep(instance, &place, &plan, Some(server)).await?,
            Move::Going { plan, server } if !is_shared => self.sweep(instance, &place, &plan, server).await?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Removes what a shared server has of an instance that is not there. One that is down keeps nobody waiting: it is
    /// asked again with the next look.
    async fn sweep(&self, instance: &Instance, place: &Place, plan: &PlanName, server: Option<String>) -> Result<()> {
        match self.erase_at(instance, plan, server).await {
            Ok(()) => Move::forget(place),
            Err(why) => {
                left(instance, Err(why));
                Ok(())
            }
        }
    }

    /// Removes what a move left elsewhere than the records say, of an instance that is removed.
    pub(crate) async fn clean(&self, instance: &Instance, is_shared: bool) -> Result<()> {
        match self.written(instance)? {
            Some((_, Move::Came { plan, server } | Move::Went { plan, server })) => {
                self.erase_if_known(instance, &plan, Some(server)).await?;
            }
            Some((_, Move::Going { plan, server })) => self.erase_if_known(instance, &plan, server).await?,
            Some((_, Move::Coming)) | None => {}
        }
        if is_shared && self.own_place(instance)?.is_some() { self.forget_own(instance).await } else { Ok(()) }
    }

    /// Removes what the server of a shared plan has of an instance; when it is not known which server, from all.
    async fn erase_at(&self, instance: &Instance, plan: &PlanName, server: Option<String>) -> Result<()> {
        let Kind::Shared { servers, settings } = &self.find(plan)?.kind else {
            return Err(BrokerError::failed(format!("the plan \"{plan}\" is not a shared one any more")));
        };
        let mut there = instance.clone();
        there.notes = server.into_iter().map(|server| ("server".to_owned(), server.into())).collect();
        for server in self.shared.all_of(&there, servers, settings)? {
            server.tenants.erase_with_accounts(&instance.id).await?;
        }
        Ok(())
    }

    /// The same, but for a server that its operator took out of use: who waited for that one would wait for good.
    async fn erase_if_known(&self, instance: &Instance, plan: &PlanName, server: Option<String>) -> Result<()> {
        let is_known = match self.find(plan).map(|offer| &offer.kind) {
            Ok(Kind::Shared { servers, .. }) => {
                server.as_deref().is_none_or(|server| servers.home(Some(server), &[plan.as_str()]).is_ok())
            }
            Ok(Kind::Dedicated { .. }) | Err(_) => false,
        };
        if is_known {
            return self.erase_at(instance, plan, server).await;
        }
        let server = server.unwrap_or_default();
        warn!(
            instance.id = %instance.id,
            "what a move left on server \"{server}\" of plan \"{plan}\" stays there: it is not in use any more"
        );
        Ok(())
    }

    /// Removes the instance's own server.
    async fn forget_own(&self, instance: &Instance) -> Result<()> {
        let id: ServerId = instance.id.as_str().parse().map_err(|why: String| BrokerError::failed(why))?;
        self.removed.lock().unwrap_or_else(PoisonError::into_inner).insert(instance.id.clone());
        self.host.remove(&id).await.map_err(BrokerError::unavailable)?;
        self.dedicated.lock().unwrap_or_else(PoisonError::into_inner).remove(&instance.id);
        Ok(())
    }
}

impl RedisBroker {
    /// The folder of the instance's own server, and what of a move is written there.
    fn written(&self, instance: &Instance) -> Result<Option<(Place, Move)>> {
        let Some(place) = self.own_place(instance)? else { return Ok(None) };
        let found = Move::read(&place).map_err(BrokerError::unavailable)?;
        Ok(found.map(|found| (place, found)))
    }

    /// Whether a move left something where the records don't have the instance.
    pub(crate) fn has_moved(&self, instance: &Instance) -> bool {
        !matches!(self.written(instance), Ok(None))
    }

    pub(crate) fn own_place(&self, instance: &Instance) -> Result<Option<Place>> {
        let id: ServerId = instance.id.as_str().parse().map_err(|why: String| BrokerError::failed(why))?;
        self.host.find(&id).map_err(BrokerError::unavailable)
    }

    /// The name of the shared server that an instance is on.
    pub(crate) fn server_name(&self, instance: &Instance) -> Result<String> {
        let Kind::Shared { servers, .. } = &self.find(&instance.plan)?.kind else {
            return Err(BrokerError::failed("the plan is not a shared one any more"));
        };
        Ok(SharedServers::home(instance, servers)?.id.to_string())
    }
}

/// What a move left is removed, or stays for the next look.
fn left(instance: &Instance, removed: Result<()>) {
    if let Err(why) = removed {
        warn!(instance.id = %instance.id, "what a move of the instance left stays for now: {why}");
    }
}

/// Whether all that a server has can be on a shared one.
async fn can_share(link: &Link) -> Result<()> {
    let has_more = link.databases_in_use().await.map_err(failure)?.iter().any(|number| *number != 0);
    let what = match has_more {
        true => "data in databases other than 0",
        false if link.has_functions().await.map_err(failure)? => "functions",
        false => return Ok(()),
    };
    let sentence = format!("the instance has {what}, which a shared plan does not have: remove them first");
    Err(BrokerError::bad_request(sentence))
}

/// A move of data that is done.
struct Carried {
    copied: Copied,
    /// Since when the instance's apps cannot write.
    paused: Instant,
}

/// Copies the data while apps use it, then what they changed while they can't.
async fn carry(
    instance: &Instance,
    keys: Keys,
    from: &Link,
    to: &Link,
    fence: impl AsyncFnOnce() -> Result<()>,
) -> Result<Carried> {
    let work = async {
        let mut copy = Copy::begin(keys, from, to).await?;
        let say = |copied: Copied| instance.progress(format!("copied {} keys, {}", copied.keys, Size(copied.bytes)));
        copy.run(say).await?;
        let paused = Instant::now();
        fence().await?;
        Ok(Carried { copied: copy.finish().await?, paused })
    };
    in_time(0.8, "copying the data", work).await
}

impl Carried {
    /// Says what a move did, and for how long the instance's apps could not write.
    fn report(&self, instance: &Instance) {
        let Copied { keys, bytes } = self.copied;
        let pause = in_words(self.paused.elapsed());
        let line = format!("moved {keys} keys, {}; writes paused for {pause}", Size(bytes));
        instance.progress(&line);
        info!(instance.id = %instance.id, "{line}");
    }
}
