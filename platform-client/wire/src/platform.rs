//! What the platform offers, as it travels: plans, platforms, pools, routers.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::body::body;

body! {
    /// A size of units (contract section 16.5).
    pub struct Plan {
        /// Its name.
        pub name: String,
        /// Bytes of memory; 0 for no limit.
        pub memory: i64,
        /// Thousandths of a core; 0 for no limit.
        pub cpumilli: i64,
        /// Whether apps get it that ask for none.
        pub default: bool,
        /// How far above its share a unit may go.
        #[serde(rename = "cpuBurst", skip_serializing_if = "Option::is_none")]
        pub cpu_burst: Option<CpuBurst>,
        /// What an app has different from the plan.
        #[serde(rename = "override")]
        pub over: Overrides,
    }

    /// How far above its share of the processor a unit may go, as factors.
    pub struct CpuBurst {
        /// Used when an app asks for none.
        pub default: f64,
        /// The most an app may ask for.
        #[serde(rename = "maxAllowed")]
        pub max_allowed: f64,
    }

    /// What an app has different from its plan. `null` for nothing.
    pub struct Overrides {
        /// Bytes of memory.
        pub memory: Option<i64>,
        /// Thousandths of a core.
        pub cpumilli: Option<i64>,
        /// How far above its share a unit may go.
        #[serde(rename = "cpuBurst")]
        pub cpu_burst: Option<f64>,
    }

    /// What code is built on (contract section 6.2).
    pub struct Platform {
        /// Its name.
        #[serde(rename = "Name", alias = "name")]
        pub name: String,
        /// Whether new apps may not choose it.
        #[serde(rename = "Disabled", alias = "disabled")]
        pub disabled: bool,
    }

    /// `GET /platforms/{platform}`.
    pub struct PlatformInfo {
        /// The platform.
        pub platform: Platform,
        /// Its images, oldest first.
        pub images: Vec<String>,
    }

    /// Where units run (contract section 16.6).
    pub struct Pool {
        /// Its name.
        pub name: String,
        /// Whether apps get it that ask for none.
        pub default: bool,
        /// The engine; empty for the default one.
        pub provisioner: String,
        /// Labels for the engine.
        pub labels: BTreeMap<String, String>,
        /// Whether every team may use it.
        pub public: bool,
        /// Teams that may use it.
        pub teams: Vec<String>,
        /// What may be used in it, by kind: `team`, `router`, `service`, `plan`, ...
        pub allowed: BTreeMap<String, Vec<String>>,
    }

    /// A router apps may have (contract section 6.4).
    pub struct Router {
        /// Its name.
        pub name: String,
        /// Its type.
        #[serde(rename = "type")]
        pub kind: String,
        /// What it tells about itself.
        pub info: BTreeMap<String, String>,
        /// How it is set up.
        pub config: Map<String, Value>,
        /// Whether it was added while the platform ran.
        pub dynamic: bool,
        /// Whether apps get it that ask for none.
        pub default: bool,
        /// What a unit waits for before it counts as ready.
        #[serde(rename = "readinessGates")]
        pub readiness_gates: Vec<String>,
    }
}
