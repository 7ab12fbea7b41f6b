//! Events: audit record, lock and undo log of one operation.

use std::fmt;

use broker_core::checked_name;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

checked_name! {
    /// An event's identifier: 24 lower-case hex digits that sort by time (SPEC P-3).
    EventId, |raw: &str| raw.len() == 24 && raw.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
    |_: &str| "uuid parameter is not ObjectId: it has 24 hexadecimal digits"
}

impl EventId {
    /// A new identifier: seconds since 1970, nanoseconds in the second, then 32 random bits.
    #[must_use]
    pub fn generate() -> Self {
        let now = Utc::now();
        let seconds = u32::try_from(now.timestamp()).unwrap_or(u32::MAX);
        Self(format!("{seconds:08x}{:08x}{:08x}", now.timestamp_subsec_nanos(), rand::random::<u32>()).into())
    }
}

/// What kind of thing an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetType {
    /// An app.
    App,
    /// A service.
    Service,
    /// A service instance: value `service/instance`.
    ServiceInstance,
    /// A platform.
    Platform,
    /// A team.
    Team,
    /// A user.
    User,
    /// A pool.
    Pool,
    /// An app plan.
    Plan,
}

impl TargetType {
    /// As the wire spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Service => "service",
            Self::ServiceInstance => "service-instance",
            Self::Platform => "platform",
            Self::Team => "team",
            Self::User => "user",
            Self::Pool => "pool",
            Self::Plan => "plan",
        }
    }

    /// The kind that the wire spells so; none for a kind that this platform has no events about.
    #[must_use]
    pub fn from_wire(text: &str) -> Option<Self> {
        [
            Self::App,
            Self::Service,
            Self::ServiceInstance,
            Self::Platform,
            Self::Team,
            Self::User,
            Self::Pool,
            Self::Plan,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == text)
    }
}

/// What an event is about, and what it locks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The kind of thing.
    pub kind: TargetType,
    /// Which one.
    pub value: String,
}

impl Target {
    /// A target.
    #[must_use]
    pub fn new(kind: TargetType, value: impl fmt::Display) -> Self {
        Self { kind, value: value.to_string() }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.kind.as_str(), self.value)
    }
}

/// A permission's name, such as `app.deploy`: what an event did.
pub type Kind = String;

/// One operation: who did what to which target, and how it ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Its identifier.
    pub id: EventId,
    /// What was done.
    pub kind: Kind,
    /// What it was done to, all of it locked while the event runs.
    pub targets: Vec<Target>,
    /// Who did it: an e-mail address.
    pub owner: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended; none while it runs.
    pub ended_at: Option<DateTime<Utc>>,
    /// Why it failed; empty when it succeeded or still runs.
    pub error: String,
    /// What it told its user.
    pub log: String,
    /// What a restart needs to finish or undo it; `null` when there is nothing to do.
    pub journal: serde_json::Value,
    /// Facts for listings: a deploy's version, image, commit, origin.
    pub data: serde_json::Value,
}

impl Event {
    /// Whether it still runs, and so holds its locks.
    #[must_use]
    pub fn running(&self) -> bool {
        self.ended_at.is_none()
    }

    /// Whether something is left to be done by its journal.
    pub(crate) fn unfinished(&self) -> bool {
        self.running() || !self.journal.is_null()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // SPEC P-3
    fn identifiers_sort_by_time_even_within_a_second() {
        let made: Vec<EventId> = (0..100)
            .map(|_| {
                std::thread::yield_now();
                EventId::generate()
            })
            .collect();
        assert!(made.iter().all(|id| id.as_str().parse::<EventId>().is_ok()));
        assert!(made.windows(2).all(|pair| pair[0].as_str()[..16] <= pair[1].as_str()[..16]));
    }
}
