//! A unit: one running copy of a process of an app.

use std::{fmt, net::SocketAddr};

use broker_core::AppName;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{ProcessName, UnitEnv};

/// A unit's identifier: names its container too. Deterministic, so that a start can be repeated.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnitId(pub String);

impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a unit is doing, as the engine sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnitState {
    /// Made, not running yet.
    Created,
    /// Running.
    Started,
    /// Ended with a failure.
    Error,
    /// Ended, or was stopped.
    Stopped,
}

impl UnitState {
    /// As the wire spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Started => "started",
            Self::Error => "error",
            Self::Stopped => "stopped",
        }
    }
}

/// What to start.
#[derive(Clone, Debug)]
pub struct UnitSpec {
    /// Its identifier; a unit of that identifier that is already there is adopted.
    pub id: UnitId,
    /// The app it belongs to.
    pub app: AppName,
    /// The process it runs.
    pub process: ProcessName,
    /// The version it runs.
    pub version: u32,
    /// The generation it belongs to, see [`App::generation`](crate::App::generation).
    pub generation: u64,
    /// The engine's image.
    pub image: String,
    /// What it runs.
    pub command: Vec<String>,
    /// What it finds in its environment.
    pub env: UnitEnv,
    /// Bytes of memory it may use; 0 for no limit.
    pub memory: u64,
    /// Thousandths of a core it may use; 0 for no limit.
    pub cpu_milli: u32,
}

/// A unit as the engine reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Its identifier.
    pub id: UnitId,
    /// The app it belongs to.
    pub app: AppName,
    /// The process it runs.
    pub process: ProcessName,
    /// The version it runs.
    pub version: u32,
    /// The generation it belongs to.
    pub generation: u64,
    /// How it is doing.
    pub state: UnitState,
    /// Where it listens; none while it has no address.
    pub address: Option<SocketAddr>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// How often it was started again.
    pub restarts: u32,
}
