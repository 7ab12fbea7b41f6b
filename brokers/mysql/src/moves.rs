//! Changes of an instance: its settings, or its place.
//!
//! A move copies the database to its new place while the old one is read and not written, closes the old one, and compares
//! the two. Nothing of the old place is removed before the framework has written down where the instance is:
//! [`clear_old_place`] does that afterwards. Whatever a move is interrupted by, it begins anew, or is taken back by an
//! update to what was (SPEC M-9).
//!
//! [`clear_old_place`]: MysqlBroker::clear_old_place

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use broker_core::{BrokerError, Instance, Notes, Result, Update, in_time};
use broker_hosting::{Fleet, ServerId};
use tracing::{info, warn};

use crate::{
    MysqlBroker,
    broker::charset,
    copy::Copier,
    link::{Link, Rows},
    plans::{Dedicated, Kind},
    servers::{Server, is_dedicated, on_its_own, on_shared},
    tenant::Database,
};

impl MysqlBroker {
    /// Makes the instance be as an update wants it.
    pub(crate) async fn change(&self, instance: &Instance, to: &Update) -> Result<Notes> {
        let wanted = wanted(instance, to);
        self.fits(instance, to).await?;
        let Some(offer) = self.plans.find(&to.plan) else {
            // The plan is gone from the file, and the instance stays on it.
            self.stay(instance, &wanted, &self.server(&wanted)?).await?;
            return Ok(wanted.notes);
        };
        match (&offer.kind, is_dedicated(instance)) {
            (Kind::Dedicated(plan), true) => {
                self.stay(instance, &wanted, &self.servers.dedicated(&wanted, plan)?).await?;
                Ok(on_its_own())
            }
            (Kind::Dedicated(plan), false) => {
                self.move_out(instance, &wanted, plan).await?;
                Ok(on_its_own())
            }
            (Kind::Shared(servers), true) => Ok(on_shared(&self.move_in(instance, &wanted, servers).await?)),
            (Kind::Shared(servers), false) => {
                let home = self.servers.home(instance, self.fleet(instance))?;
                if to.plan != instance.plan && !servers.members().iter().any(|server| server.id == home.id) {
                    return Err(BrokerError::bad_request(
                        "an instance does not move to the servers of another shared plan: move it to a dedicated plan first",
                    ));
                }
                self.stay(instance, &wanted, &self.servers.at(&home)?).await?;
                Ok(on_shared(&home.id))
            }
        }
    }

    /// Changes settings where the instance is, and takes back a move that came to nothing.
    async fn stay(&self, instance: &Instance, wanted: &Instance, server: &Server) -> Result<()> {
        let database = Database::of(instance);
        if is_dedicated(instance) {
            server.settle().await?;
            server.certify().await?;
        }
        let link = server.up().await?;
        if self.has_two_places(instance)? {
            link.thaw(&database).await?;
        }
        if let Some(offer) = self.plans.find(&wanted.plan) {
            link.require_tls(&database, offer.limits.tls).await?;
        }
        if charset(instance) != charset(wanted) {
            link.alter(&database, charset(wanted)).await?;
        }
        self.clear_old_place(instance).await
    }

    /// Moves an instance from a shared server to one of its own.
    async fn move_out(&self, instance: &Instance, wanted: &Instance, plan: &Dedicated) -> Result<()> {
        let (copier, old) = self.before_move(instance).await?;
        let home = self.servers.home(instance, self.fleet(instance))?;
        let new = self.servers.dedicated(wanted, plan)?.up().await?;
        self.servers.remember(instance, &home.id)?;
        make_anew(wanted, &new).await?;
        relocate(copier, instance, wanted, (&old, &new)).await
    }

    /// Moves an instance from a server of its own to a shared one, and returns that one's name.
    async fn move_in(&self, instance: &Instance, wanted: &Instance, servers: &Fleet) -> Result<ServerId> {
        let (copier, old) = self.before_move(instance).await?;
        let (placement, server) = self.servers.place(instance, servers).await?;
        let name = placement.member.id.clone();
        self.servers.remember(instance, &name)?;
        let new = server.up().await?;
        make_anew(wanted, &new).await?;
        // From now on the server counts it.
        drop(placement);
        relocate(copier, instance, wanted, (&old, &new)).await?;
        Ok(name)
    }

    /// What a move needs, before anything is touched: a refusal changes nothing.
    async fn before_move(&self, instance: &Instance) -> Result<(&Copier, Arc<Link>)> {
        let copier = self.copier.as_ref().ok_or_else(|| {
            BrokerError::bad_request("instances of this service cannot move between these plans: create a new instance")
        })?;
        let old = self.server(instance)?.up().await?;
        if self.is_half_restored(instance, &old).await? {
            return Err(BrokerError::bad_request("a restore of this instance was cut off: restore a backup first"));
        }
        if let Some(view) = old.broken_views(&Database::of(instance)).await?.first() {
            return Err(BrokerError::bad_request(format!(
                "the view \"{view}\" refers to what is gone and cannot be moved: drop it, or make it work again"
            )));
        }
        instance.progress("making the new place");
        Ok((copier, old))
    }

    /// Whether a move was under way, which makes the new place first.
    pub(crate) fn has_two_places(&self, instance: &Instance) -> Result<bool> {
        if is_dedicated(instance) { self.servers.remembers(instance) } else { self.servers.has_dedicated(instance) }
    }

    /// Removes what a move left in the places that the instance is not in. A server that is down keeps nobody waiting:
    /// it is asked again with the next look.
    pub(crate) async fn clear_old_place(&self, instance: &Instance) -> Result<()> {
        if !self.has_two_places(instance)? {
            return Ok(());
        }
        let home = match is_dedicated(instance) {
            true => None,
            false => Some(self.servers.home(instance, self.fleet(instance))?.id),
        };
        match self.servers.forget(instance, home.as_ref()).await {
            Ok(false) => {}
            Ok(true) => {
                info!(instance.name = %instance.name, "removed the shared database that `{}` had before", instance.name)
            }
            Err(why) => {
                let cause = &why as &dyn std::error::Error;
                warn!(instance.name = %instance.name, error = cause, "what a move of `{}` left stays for now", instance.name);
                return Ok(());
            }
        }
        if !is_dedicated(instance) {
            self.servers.remove_dedicated(instance).await?;
            info!(instance.name = %instance.name, "removed the server that `{}` had before", instance.name);
        }
        Ok(())
    }
}

/// Makes an empty database in the new place: what an earlier try left there is not trusted.
async fn make_anew(wanted: &Instance, new: &Link) -> Result<()> {
    let database = Database::of(wanted);
    new.erase(&database).await?;
    Ok(new.create(&database, charset(wanted)).await?)
}

/// Copies the database to its new place, while nobody writes to the old one.
async fn relocate(copier: &Copier, instance: &Instance, wanted: &Instance, (old, new): (&Link, &Link)) -> Result<()> {
    let database = Database::of(instance);
    let paused = Instant::now();
    let work = async {
        let accounts = old.fence(&database).await?;
        instance.progress("copying the data; the database is read and not written meanwhile");
        for account in &accounts {
            new.stand_in(account, &database).await?;
        }
        copier.copy(&database, old.reach(), new.reach()).await?;
        // From now on nobody reads what is not kept up any more. What changed in spite of the fence, such as by a
        // transaction that was prepared before it, is found.
        old.freeze(&database).await?;
        compare(old, new, &database).await?;
        copier.copy_events(&database, old.reach(), new.reach()).await?;
        compare_events(old, new, &database).await
    };
    if let Err(why) = in_time(0.9, "copying the data", work).await {
        // A move that is repeated begins anew: apps write meanwhile.
        if let Err(cause) = old.thaw(&database).await {
            let cause = &cause as &dyn std::error::Error;
            warn!(instance.name = %instance.name, error = cause, "`{}` is not written yet after its move failed", instance.name);
        }
        return Err(why);
    }
    report(instance, wanted, new, paused.elapsed()).await
}

/// The instance as it will be.
fn wanted(instance: &Instance, to: &Update) -> Instance {
    let mut wanted = instance.clone();
    wanted.plan.clone_from(&to.plan);
    wanted.parameters.clone_from(&to.parameters);
    wanted
}

/// The copy holds what the original does, or is none.
async fn compare(old: &Link, new: &Link, database: &Database) -> Result<()> {
    // MySQL and MariaDB have other checksums for the same row.
    let rows = if old.dialect().await? == new.dialect().await? { Rows::Checksum } else { Rows::Count };
    let (before, after) = tokio::try_join!(old.content(database, rows), new.content(database, rows))?;
    match before.symmetric_difference(&after).next() {
        None => Ok(()),
        Some(other) => Err(BrokerError::failed(format!("the copy differs from the original: {other}"))),
    }
}

/// Events are compared by their names: when they run next is their own business.
async fn compare_events(old: &Link, new: &Link, database: &Database) -> Result<()> {
    let (before, after) = tokio::try_join!(old.events(database), new.events(database))?;
    match before.symmetric_difference(&after).next() {
        None => Ok(()),
        Some(other) => Err(BrokerError::failed(format!("the copy differs from the original: event {other}"))),
    }
}

async fn report(instance: &Instance, wanted: &Instance, new: &Link, paused: Duration) -> Result<()> {
    let size = broker_hosting::Size(new.size(&Database::of(instance)).await?);
    let line = format!("moved {size} to plan \"{}\", writes paused for {:.1}s", wanted.plan, paused.as_secs_f64());
    instance.progress(&line);
    let paused_ms = u64::try_from(paused.as_millis()).unwrap_or(u64::MAX);
    info!(instance.name = %instance.name, plan.name = %wanted.plan, paused_ms, bytes = size.0, "`{}`: {line}", instance.name);
    Ok(())
}
