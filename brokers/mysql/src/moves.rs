//! Changes of an instance: its settings, or its place.
//!
//! A move copies the database to its new place while nobody can use the old one, and compares the two. Nothing of
//! the old place is removed before the framework has written down where the instance is: [`clear_old_place`] does
//! that afterwards. Whatever a move is interrupted by, it begins anew, or is taken back by an update to what was
//! (SPEC M-9).
//!
//! [`clear_old_place`]: MysqlBroker::clear_old_place

use std::time::{Duration, Instant};

use broker_core::{BrokerError, Instance, Notes, Result, Update};
use tracing::info;

use crate::{
    MysqlBroker,
    broker::charset,
    link::Link,
    plans::Kind,
    servers::{is_dedicated, notes_of},
    tenant::Database,
};

impl MysqlBroker {
    /// Makes the instance be as an update wants it.
    pub(crate) async fn change(&self, instance: &Instance, to: &Update) -> Result<Notes> {
        let wanted = wanted(instance, to);
        let Some(offer) = self.plans.find(&to.plan) else {
            // The plan is gone from the file, and the instance stays on it.
            return self.stay(instance, &wanted).await;
        };
        if is_dedicated(instance) == offer.kind.is_shared() {
            self.relocate(instance, &wanted, &offer.kind).await?;
        } else {
            self.stay(instance, &wanted).await?;
        }
        Ok(notes_of(&offer.kind))
    }

    /// Changes settings where the instance is, and takes back a move that came to nothing.
    async fn stay(&self, instance: &Instance, wanted: &Instance) -> Result<Notes> {
        let (database, server) = (Database::of(instance), self.server(wanted)?);
        if is_dedicated(instance) {
            server.settle().await?;
        }
        let link = server.up().await?;
        if self.has_two_places(instance).await? {
            link.thaw(&database).await?;
        }
        if charset(instance) != charset(wanted) {
            link.alter(&database, charset(wanted)).await?;
        }
        self.clear_old_place(instance).await?;
        Ok(wanted.notes.clone())
    }

    async fn relocate(&self, instance: &Instance, wanted: &Instance, kind: &Kind) -> Result<()> {
        // Before anything is touched: a refusal changes nothing.
        let copier = self.copier.as_ref().ok_or_else(|| {
            BrokerError::bad_request("instances of this service cannot move between these plans: create a new instance")
        })?;
        let database = Database::of(instance);
        let (old, new) = (self.server(instance)?.up().await?, self.server_for(wanted, kind)?);
        if self.is_half_restored(instance, &old).await? {
            return Err(BrokerError::bad_request("a restore of this instance was cut off: restore a backup first"));
        }
        instance.progress("making the new place");
        let new = new.up().await?;
        // What an earlier try left there is not trusted.
        new.erase(&database).await?;
        new.create(&database, charset(wanted)).await?;
        let paused = Instant::now();
        let accounts = old.freeze(&database).await?;
        instance.progress("copying the data; the database is closed meanwhile");
        for account in &accounts {
            new.stand_in(account, &database).await?;
        }
        copier.copy(&database, old.opts(), new.opts()).await?;
        compare(&old, &new, &database).await?;
        report(instance, wanted, &new, paused.elapsed()).await
    }

    /// Whether a move was under way, which makes the new place first.
    async fn has_two_places(&self, instance: &Instance) -> Result<bool> {
        if !is_dedicated(instance) {
            return self.servers.has_dedicated(instance);
        }
        match self.servers.shared().if_up().await? {
            Some(link) => Ok(link.has(&Database::of(instance)).await?),
            None => Ok(false),
        }
    }

    /// Removes what a move left in the place that the instance is not in.
    pub(crate) async fn clear_old_place(&self, instance: &Instance) -> Result<()> {
        if !is_dedicated(instance) {
            if self.servers.has_dedicated(instance)? {
                self.servers.remove_dedicated(instance).await?;
                info!(instance.name = %instance.name, "removed the server that `{}` had before", instance.name);
            }
            return Ok(());
        }
        let Some(link) = self.servers.shared().if_up().await? else { return Ok(()) };
        let database = Database::of(instance);
        if self.look(&link).await?.databases.contains(database.as_str()) && link.has(&database).await? {
            link.erase(&database).await?;
            info!(instance.name = %instance.name, "removed the shared database that `{}` had before", instance.name);
        }
        Ok(())
    }
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
    let (before, after) = (old.content(database).await?, new.content(database).await?);
    match before.symmetric_difference(&after).next() {
        None => Ok(()),
        Some(other) => Err(BrokerError::failed(format!("the copy differs from the original: {other}"))),
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
