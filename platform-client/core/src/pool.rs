//! What a sysadmin prepares: platforms, pools, plans.

use serde::{Deserialize, Serialize};

use crate::{PlanName, PlatformName, PoolName, TeamName};

/// A prepared base for apps: its images, newest last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformImage {
    /// Its name.
    pub name: PlatformName,
    /// Whether new apps may not choose it.
    pub disabled: bool,
    /// Its images, newest last.
    pub images: Vec<String>,
}

/// Where apps run, and whose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Its name.
    pub name: PoolName,
    /// Whether apps that name no pool go there.
    pub default: bool,
    /// Whether every team may use it.
    pub public: bool,
    /// Teams that may use it.
    pub teams: Vec<TeamName>,
}

/// A change of a pool: what is left out stays.
#[derive(Clone, Debug, Default)]
pub struct PoolChange {
    /// Whether every team may use it from now on.
    pub public: Option<bool>,
    /// Whether apps that name no pool go there from now on.
    pub default: Option<bool>,
    /// The teams that may use it from now on.
    pub teams: Option<Vec<TeamName>>,
    /// Whether it takes the place of the default pool there is.
    pub force: bool,
}

/// The size of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its name.
    pub name: PlanName,
    /// Bytes of memory; 0 for no limit.
    pub memory: u64,
    /// Thousandths of a core; 0 for no limit.
    pub cpu_milli: u32,
    /// Whether apps that name no plan get it.
    pub default: bool,
}
