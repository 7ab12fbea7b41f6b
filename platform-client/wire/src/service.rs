//! Services and their instances as they travel.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::body::body;

body! {
    /// One service of `GET /services/instances` and `GET /services` (contract section 12.2).
    pub struct ServiceListing {
        /// The service's name.
        pub service: String,
        /// Names of its instances.
        pub instances: Vec<String>,
        /// Names of its plans.
        pub plans: Option<Vec<String>>,
        /// Its instances.
        pub service_instances: Option<Vec<ListedInstance>>,
    }

    /// An instance in a [`ServiceListing`].
    pub struct ListedInstance {
        /// Its name.
        pub name: String,
        /// The service it is of.
        pub service_name: String,
        /// Its plan.
        pub plan_name: String,
        /// Apps bound to it.
        pub apps: Vec<String>,
        /// Jobs bound to it.
        pub jobs: Vec<String>,
        /// Teams that may use it.
        pub teams: Vec<String>,
        /// The team that owns it.
        pub team_owner: String,
        /// Free text.
        pub description: String,
        /// Labels.
        pub tags: Vec<String>,
        /// What it was created with.
        pub parameters: Map<String, Value>,
        /// The pool it lives in; empty when it lives in none.
        pub pool: String,
    }

    /// One instance of `GET /services/{service}`.
    pub struct ServiceInstance {
        /// Its name.
        #[serde(rename = "Name")]
        pub name: String,
        /// The pool it lives in; empty when it lives in none.
        #[serde(rename = "Pool")]
        pub pool: String,
        /// Its plan.
        #[serde(rename = "PlanName")]
        pub plan_name: String,
        /// Apps bound to it.
        #[serde(rename = "Apps")]
        pub apps: Vec<String>,
        /// Jobs bound to it.
        #[serde(rename = "Jobs")]
        pub jobs: Vec<String>,
        /// The service it is of.
        #[serde(rename = "ServiceName")]
        pub service_name: String,
        /// Teams that may use it.
        #[serde(rename = "Teams")]
        pub teams: Vec<String>,
        /// The team that owns it.
        #[serde(rename = "TeamOwner")]
        pub team_owner: String,
        /// What the service tells about it. Strings only.
        #[serde(rename = "Info")]
        pub info: BTreeMap<String, String>,
    }

    /// `GET /services/{service}/instances/{instance}` (contract section 12.3).
    pub struct InstanceInfo {
        /// Apps bound to it.
        #[serde(rename = "Apps")]
        pub apps: Vec<String>,
        /// Jobs bound to it.
        #[serde(rename = "Jobs")]
        pub jobs: Vec<String>,
        /// Teams that may use it.
        #[serde(rename = "Teams")]
        pub teams: Vec<String>,
        /// The team that owns it.
        #[serde(rename = "TeamOwner")]
        pub team_owner: String,
        /// Free text.
        #[serde(rename = "Description")]
        pub description: String,
        /// Its plan.
        #[serde(rename = "PlanName")]
        pub plan_name: String,
        /// What the service says about that plan.
        #[serde(rename = "PlanDescription")]
        pub plan_description: String,
        /// The pool it lives in; empty when it lives in none.
        #[serde(rename = "Pool")]
        pub pool: String,
        /// The cluster it lives in.
        #[serde(rename = "Cluster")]
        pub cluster: String,
        /// What the service tells about it. Strings only.
        #[serde(rename = "CustomInfo")]
        pub custom_info: BTreeMap<String, String>,
        /// Labels.
        #[serde(rename = "Tags")]
        pub tags: Vec<String>,
        /// What it was created with.
        #[serde(rename = "Parameters")]
        pub parameters: Map<String, Value>,
    }

    /// The body of `PUT /services/{service}/instances/{instance}`: the whole instance as it should be.
    pub struct InstanceUpdate {
        /// Free text.
        pub description: String,
        /// The team that owns it.
        #[serde(alias = "teamOwner")]
        pub teamowner: String,
        /// Its plan.
        pub plan: String,
        /// Labels.
        pub tags: Vec<String>,
        /// What it is created with.
        pub parameters: Map<String, Value>,
    }

    /// One plan of `GET /services/{service}/plans`.
    pub struct ServicePlan {
        /// Its name.
        #[serde(rename = "Name", alias = "name")]
        pub name: String,
        /// What it offers.
        #[serde(rename = "Description", alias = "description")]
        pub description: String,
        /// JSON Schemas of its parameters.
        #[serde(rename = "Schemas", alias = "schemas")]
        pub schemas: Value,
    }
}
