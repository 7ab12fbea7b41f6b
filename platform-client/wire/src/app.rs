//! Apps as they travel.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{Plan, Unit, body::body};

/// The answer to `POST /apps`. A map of strings and nothing else: any other value fails the stock client after the
/// app exists (contract section 7.1).
pub type AppCreated = BTreeMap<String, String>;

body! {
    /// `GET /apps/{app}` (contract section 16.1).
    pub struct AppInfo {
        /// Its name.
        pub name: String,
        /// The platform, `python` or `python:v3`; empty for an app that takes only images.
        pub platform: String,
        /// Teams that may use it, the owner among them.
        pub teams: Vec<String>,
        /// The size of its units.
        pub plan: Plan,
        /// Domain names of its own.
        pub cname: Vec<String>,
        /// Its address when `routers` is empty.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub ip: String,
        /// Who created it.
        pub owner: String,
        /// Where its units run.
        pub pool: String,
        /// Free text.
        pub description: String,
        /// Successful deploys so far.
        pub deploys: u64,
        /// The team that owns it.
        pub teamowner: String,
        /// Labels.
        pub tags: Vec<String>,
        /// Labels and annotations for the engine.
        pub metadata: Metadata,
        /// Its units.
        pub units: Vec<Unit>,
        /// The routers that lead to it.
        pub routers: Vec<AppRouter>,
        /// Bound service instances.
        #[serde(rename = "serviceInstanceBinds")]
        pub service_instance_binds: Vec<InstanceBind>,
        /// Its only router, the older way.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub router: String,
        /// Options for that router.
        pub routeropts: BTreeMap<String, String>,
        /// How many units it may have.
        pub quota: Quota,
        /// Its processes.
        pub processes: Vec<AppProcess>,
        /// Where its processes listen inside the platform.
        #[serde(rename = "internalAddresses", skip_serializing_if = "Vec::is_empty")]
        pub internal_addresses: Vec<InternalAddress>,
        /// Autoscale rules, as the API gave them.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub autoscale: Vec<Value>,
        /// What its units use.
        #[serde(rename = "unitsMetrics", skip_serializing_if = "Vec::is_empty")]
        pub units_metrics: Vec<UnitMetrics>,
        /// Bound volumes, as the API gave them.
        #[serde(rename = "volumeBinds", skip_serializing_if = "Vec::is_empty")]
        pub volume_binds: Vec<Value>,
        /// The engine's name.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub provisioner: String,
        /// The engine's cluster.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub cluster: String,
        /// Why parts of this answer are missing.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub error: String,
        /// A page about the app.
        #[serde(rename = "dashboardURL", skip_serializing_if = "String::is_empty")]
        pub dashboard_url: String,
    }

    /// One app of `GET /apps` (contract section 16.3).
    pub struct AppResume {
        /// Its name.
        pub name: String,
        /// Where its units run.
        pub pool: String,
        /// The team that owns it.
        pub teamowner: String,
        /// The size of its units.
        pub plan: Plan,
        /// Its units.
        pub units: Vec<Unit>,
        /// Domain names of its own.
        pub cname: Vec<String>,
        /// Its address when `routers` is empty.
        pub ip: String,
        /// The routers that lead to it.
        pub routers: Vec<AppRouter>,
        /// Labels.
        pub tags: Vec<String>,
        /// Why units are missing.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub error: String,
        /// The platform, with `extended=true`.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub platform: String,
        /// Free text, with `extended=true`.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub description: String,
        /// Labels and annotations, with `extended=true`.
        #[serde(skip_serializing_if = "Metadata::is_empty")]
        pub metadata: Metadata,
    }

    /// A router as an app has it (contract section 16.4).
    pub struct AppRouter {
        /// The router's name.
        pub name: String,
        /// Options given for this app.
        pub opts: BTreeMap<String, String>,
        /// The app's address there.
        pub address: String,
        /// The app's addresses there.
        pub addresses: Vec<String>,
        /// The router's type.
        #[serde(rename = "type")]
        pub kind: String,
        /// `ready`, `not ready`, or empty.
        pub status: String,
        /// Why it is not ready.
        #[serde(rename = "status-detail", skip_serializing_if = "String::is_empty")]
        pub status_detail: String,
    }

    /// How much is allowed and how much is used.
    pub struct Quota {
        /// The most allowed; -1 for no limit.
        pub limit: i64,
        /// How much is used.
        pub inuse: i64,
    }

    /// A process of an app.
    pub struct AppProcess {
        /// Its name, such as `web`.
        pub name: String,
        /// A plan of its own.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub plan: String,
        /// Labels and annotations of its own.
        #[serde(skip_serializing_if = "Metadata::is_empty")]
        pub metadata: Metadata,
    }

    /// A service instance bound to an app.
    pub struct InstanceBind {
        /// The service.
        pub service: String,
        /// The instance.
        pub instance: String,
        /// The instance's plan.
        pub plan: String,
    }

    /// Where a process listens inside the platform.
    pub struct InternalAddress {
        /// Host name.
        #[serde(rename = "Domain")]
        pub domain: String,
        /// Such as `TCP`.
        #[serde(rename = "Protocol")]
        pub protocol: String,
        /// The port to connect to.
        #[serde(rename = "Port")]
        pub port: u32,
        /// The port the process listens on.
        #[serde(rename = "TargetPort")]
        pub target_port: u32,
        /// The version that answers.
        #[serde(rename = "Version")]
        pub version: String,
        /// The process that answers.
        #[serde(rename = "Process")]
        pub process: String,
    }

    /// What a unit uses.
    pub struct UnitMetrics {
        /// The unit.
        #[serde(rename = "ID")]
        pub id: String,
        /// Such as `100m`.
        #[serde(rename = "CPU")]
        pub cpu: String,
        /// Such as `64Mi`.
        #[serde(rename = "Memory")]
        pub memory: String,
    }

    /// Labels and annotations for the engine.
    pub struct Metadata {
        /// Labels.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub labels: Vec<MetadataItem>,
        /// Annotations.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub annotations: Vec<MetadataItem>,
    }

    /// A label or an annotation.
    pub struct MetadataItem {
        /// Its name.
        pub name: String,
        /// Its value.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub value: String,
        /// In an update: take it away.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub delete: bool,
    }

    /// The body of `PUT /apps/{app}` (contract section 7.4): what is absent is left alone.
    pub struct AppUpdate {
        /// New description.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub description: String,
        /// New plan.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub plan: String,
        /// New pool.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub pool: String,
        /// New owner.
        #[serde(rename = "teamOwner", alias = "teamowner", skip_serializing_if = "String::is_empty")]
        pub team_owner: String,
        /// New platform, `python` or `python:v3`.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub platform: String,
        /// New tags, replacing the old ones. A single empty one takes all away.
        #[serde(alias = "tag", skip_serializing_if = "Vec::is_empty")]
        pub tags: Vec<String>,
        /// Leave the units as they are until the next restart.
        #[serde(rename = "noRestart", alias = "norestart", skip_serializing_if = "std::ops::Not::not")]
        pub no_restart: bool,
        /// Build the next version on the platform's image again.
        #[serde(rename = "imageReset", alias = "imagereset", skip_serializing_if = "std::ops::Not::not")]
        pub image_reset: bool,
        /// Changes to the plan for this app only; an explicit 0 takes one away.
        #[serde(alias = "planOverride")]
        pub planoverride: PlanOverride,
        /// Changes to labels and annotations.
        pub metadata: Metadata,
        /// Plans of single processes.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub processes: Vec<ProcessUpdate>,
    }

    /// A process's own plan in an [`AppUpdate`].
    pub struct ProcessUpdate {
        /// The process.
        pub name: String,
        /// Its plan; `$default` for the app's.
        pub plan: String,
    }

    /// What an app has different from its plan, in an [`AppUpdate`]. Absent is left alone.
    pub struct PlanOverride {
        /// Bytes of memory.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub memory: Option<i64>,
        /// Thousandths of a core.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub cpumilli: Option<i64>,
        /// How far above its share a unit may go.
        #[serde(rename = "cpuBurst", alias = "cpuburst", skip_serializing_if = "Option::is_none")]
        pub cpu_burst: Option<f64>,
    }
}

impl Metadata {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.annotations.is_empty()
    }
}
