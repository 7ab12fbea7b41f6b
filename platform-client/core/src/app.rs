//! An app: what its owner wants to be true. What is true now, the engine knows.

use std::collections::BTreeMap;

use broker_core::{AppName, EnvName};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    Cname, Email, OwnVar, PlanName, PlatformName, PoolName, Process, ProcessName, Release, ServiceVar, TeamName,
};

/// How many units each process type should have.
pub type Formation = BTreeMap<ProcessName, Scale>;

/// The wish for one process type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// Units that should run, or that come back on start when `stopped`.
    pub units: u32,
    /// Whether the process was stopped; its units are remembered.
    pub stopped: bool,
}

impl Scale {
    /// Units that should run now.
    #[must_use]
    pub fn running(self) -> u32 {
        if self.stopped { 0 } else { self.units }
    }
}

/// An app and everything that is wanted of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct App {
    /// Its name: also its default host name's first label.
    pub name: AppName,
    /// The platform its code is built on; none takes only images.
    pub platform: Option<PlatformName>,
    /// The team that owns it.
    pub team: TeamName,
    /// Teams that may use it, the owner among them.
    pub teams: Vec<TeamName>,
    /// Who created it.
    pub owner: Email,
    /// Where its units run.
    pub pool: PoolName,
    /// The size of its units.
    pub plan: PlanName,
    /// Free text.
    pub description: String,
    /// Labels.
    pub tags: Vec<String>,
    /// Variables its owner set.
    pub env: BTreeMap<EnvName, OwnVar>,
    /// Variables that bindings brought, in bind order, by name within a binding (SPEC V-1).
    pub service_env: Vec<ServiceVar>,
    /// Domain names of its own.
    pub cnames: Vec<Cname>,
    /// Versions that were built, oldest first. A version's number is never used again.
    pub releases: Vec<Release>,
    /// The version that serves; none before the first deploy.
    pub current: Option<u32>,
    /// The highest version number used so far, failed builds included.
    pub last_version: u32,
    /// How many units each process should have.
    pub formation: Formation,
    /// Goes up whenever units must be replaced although the version stays: an env change, a restart.
    pub generation: u64,
    /// Successful deploys so far.
    pub deploys: u32,
    /// When it was created.
    pub created_at: DateTime<Utc>,
}

impl App {
    /// The version that serves.
    #[must_use]
    pub fn current_release(&self) -> Option<&Release> {
        self.release(self.current?)
    }

    /// A version by its number.
    #[must_use]
    pub fn release(&self, version: u32) -> Option<&Release> {
        self.releases.iter().find(|release| release.version == version)
    }

    /// The process that answers requests: `web`, or else the first by name (SPEC A-9).
    #[must_use]
    pub fn main_process(&self) -> Option<&Process> {
        let release = self.current_release()?;
        release.main_process()
    }

    /// Units that should run now, over all processes.
    #[must_use]
    pub fn wanted_units(&self) -> u32 {
        self.formation.values().map(|scale| scale.running()).sum()
    }
}
