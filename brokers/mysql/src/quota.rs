//! How much an instance may take on disk, and what becomes of one that takes more (SPEC M-16).
//!
//! What counts is the size of its files, which no statistics of the server delay. An instance that is full reads and
//! removes; files don't get smaller by that, so the broker has the server give back what rows left. Whether an instance
//! is full is written in the rights of its accounts and nowhere else: whatever a crash interrupts, the next look goes on.

use broker_core::{BrokerError, Instance, Result, Update};
use broker_hosting::Size;
use tracing::{info, warn};

use crate::{
    MysqlBroker,
    link::{Fault, Link},
    look::Look,
    tenant::Database,
};

/// A full instance has to get below so many percent of its room before it may grow again: at the edge it would be closed
/// and opened with each statement.
const OPEN_BELOW: u64 = 90;

impl MysqlBroker {
    /// How much an instance may take.
    pub(crate) fn room(&self, instance: &Instance) -> Option<Size> {
        self.plans.find(&instance.plan)?.storage
    }

    /// Closes an instance that has outgrown its room, and opens one that has room again.
    pub(crate) async fn keep_within_room(&self, instance: &Instance, link: &Link, look: &Look) -> Result<()> {
        let (database, room) = (Database::of(instance), self.room(instance));
        let grows = look.writable.growing.contains(database.as_str());
        let is_bounded = look.writable.bounded.contains(database.as_str());
        let Some(room) = room else {
            return if is_bounded { open(instance, link, &database).await } else { Ok(()) };
        };
        if !grows && !is_bounded {
            return Ok(());
        }
        let size = look.size(link, &database).await?;
        if is_bounded {
            if grows {
                // A binding that was made in the moment before.
                link.bound(&database).await?;
            }
            if size < below(room) || self.shrink(link, &database, room).await? {
                open(instance, link, &database).await?;
            }
        } else if size >= room.0 {
            // The look may be some seconds old.
            let size = Size(link.size(&database).await?);
            if size >= room {
                link.bound(&database).await?;
                warn!(instance.name = %instance.name, bytes = size.0, "`{}` is full: it takes {size} of {room}", instance.name);
            }
        }
        Ok(())
    }

    /// Has the server give back what rows left, where that is enough to open the instance.
    async fn shrink(&self, link: &Link, database: &Database, room: Size) -> Result<bool> {
        let size = link.size(database).await?;
        let slack = link.slack(database).await?;
        if size.saturating_sub(slack.iter().map(|(_, bytes)| bytes).sum()) >= below(room) {
            return Ok(false);
        }
        for (table, _) in slack {
            match link.shrink(database, &table).await {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                // In use by a long transaction, or gone meanwhile; the others may be enough.
                Err(Fault::Refused { .. }) => {}
                Err(other) => return Err(other.into()),
            }
        }
        Ok(link.size(database).await? < below(room))
    }

    /// Refuses a plan that the instance does not fit in.
    pub(crate) async fn fits(&self, instance: &Instance, to: &Update) -> Result<()> {
        let room = self.plans.find(&to.plan).and_then(|offer| offer.storage);
        let Some(room) = room.filter(|_| to.plan != instance.plan) else { return Ok(()) };
        let size = Size(self.server(instance)?.up().await?.size(&Database::of(instance)).await?);
        if size < room {
            return Ok(());
        }
        Err(BrokerError::bad_request(format!(
            "the database takes {size}, and plan \"{}\" has room for {room}: remove some of it first, or choose a larger plan",
            to.plan
        )))
    }
}

async fn open(instance: &Instance, link: &Link, database: &Database) -> Result<()> {
    if link.unbound(database).await? {
        info!(instance.name = %instance.name, "`{}` has room again", instance.name);
    }
    Ok(())
}

/// The bytes that an instance has to be below before it is opened.
pub(crate) fn below(room: Size) -> u64 {
    room.0 / 100 * OPEN_BELOW
}

/// What the owner of a full instance reads.
pub(crate) fn notice(room: Size) -> String {
    format!(
        "it is full: it can be read and made smaller, and written again once it takes less than {}",
        Size(below(room))
    )
}
