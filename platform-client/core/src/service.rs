//! Services, and instances of them, as the platform remembers them.

use std::collections::BTreeMap;

use broker_core::{AppName, InstanceName, JobName, Parameters, Secret, ServiceName};
use serde::{Deserialize, Serialize};

use crate::TeamName;

/// A catalogue entry: where a broker is and how to talk to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// User name for basic auth; empty means the service's name.
    pub username: String,
    /// Password for basic auth.
    pub password: Secret,
    /// Base URLs by key; `production` is the one used without clusters.
    pub endpoints: BTreeMap<String, String>,
    /// Bodies as forms unless true.
    pub json: bool,
    /// The team that provides it.
    pub team: TeamName,
    /// Documentation for its users.
    pub doc: String,
}

impl Service {
    /// The user name that is presented.
    #[must_use]
    pub fn presented_username(&self) -> &str {
        if self.username.is_empty() { self.name.as_str() } else { &self.username }
    }
}

/// One provisioned resource of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceInstance {
    /// Its service.
    pub service: ServiceName,
    /// Its name, unique within the service.
    pub name: InstanceName,
    /// The plan as the user typed it; empty for the broker's default.
    pub plan: String,
    /// The team that owns it.
    pub team: TeamName,
    /// Teams that may use it, the owner among them.
    pub teams: Vec<TeamName>,
    /// Free text.
    pub description: String,
    /// Labels.
    pub tags: Vec<String>,
    /// Parameters of create, or of the last update.
    pub parameters: Parameters,
    /// Apps bound to it, in bind order.
    pub apps: Vec<AppName>,
    /// Jobs bound to it, in bind order.
    pub jobs: Vec<JobName>,
}
