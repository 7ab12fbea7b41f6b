//! What a service offers.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{PlanName, ServiceName};

/// A named size or flavour of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Plan {
    /// The name that users type.
    pub name: PlanName,
    /// One line for people who choose: what they get, and what is not isolated.
    pub description: String,
    /// JSON Schema of the parameters that create and update take. They are read by it: what does not fit is refused,
    /// and a text from a form becomes what it wants (SPEC Q-1). None: parameters come as they were given.
    pub schema: Option<serde_json::Value>,
    /// As [`schema`](Self::schema), of the parameters that a bind takes.
    pub bind_schema: Option<serde_json::Value>,
    /// Whether it costs money.
    #[serde(default)]
    pub paid: bool,
    /// Whether its instances refuse to be bound.
    #[serde(default)]
    pub unbindable: bool,
    /// Whether its instances stay on it.
    #[serde(default)]
    pub fixed: bool,
    /// How long a platform asks whether slow work has ended; none leaves that to the platform.
    #[serde(default)]
    pub poll_for: Option<Duration>,
    /// What an instance that is made now runs on.
    #[serde(default)]
    pub maintenance: Option<Maintenance>,
    /// What catalogs show beside name and description.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// What the framework does for this plan.
    #[serde(skip)]
    pub(crate) rules: Rules,
}

/// A version of what a plan's instances run on, such as a server's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Maintenance {
    /// By the rules of Semantic Versioning 2.
    pub version: String,
    /// What an update to it brings, and what it interrupts.
    pub description: String,
}

impl Plan {
    /// A plan with a name and a description.
    ///
    /// # Panics
    /// When `name` is not a valid plan name: plans are the author's constants, not input.
    #[must_use]
    pub fn new(name: &str, description: impl Into<String>) -> Self {
        let name = name.parse().unwrap_or_else(|refusal| panic!("{refusal}"));
        Self {
            name,
            description: description.into(),
            schema: None,
            bind_schema: None,
            paid: false,
            unbindable: false,
            fixed: false,
            poll_for: None,
            maintenance: None,
            metadata: Map::new(),
            rules: Rules::default(),
        }
    }

    /// Reads the parameters of create and update by a JSON Schema.
    ///
    /// ```
    /// # use broker_core::Plan;
    /// let plan = Plan::new("small", "256 MB").schema(serde_json::json!({
    ///     "type": "object",
    ///     "properties": { "memory": { "type": "integer", "minimum": 16 } },
    ///     "additionalProperties": false,
    /// }));
    /// ```
    #[must_use]
    pub fn schema(mut self, schema: serde_json::Value) -> Self {
        self.schema = Some(schema);
        self
    }

    /// Reads the parameters of a bind by a JSON Schema.
    #[must_use]
    pub fn bind_schema(mut self, schema: serde_json::Value) -> Self {
        self.bind_schema = Some(schema);
        self
    }

    /// Costs so much per unit of time or use, such as `.cost(4.5, "eur", "MONTHLY")`; several costs add up.
    #[must_use]
    pub fn cost(mut self, amount: f64, currency: &str, unit: &str) -> Self {
        self.paid = true;
        let cost = serde_json::json!({ "amount": { currency: amount }, "unit": unit });
        match self.metadata.entry("costs").or_insert_with(|| Value::Array(Vec::new())) {
            Value::Array(costs) => costs.push(cost),
            other => *other = Value::Array(vec![cost]),
        }
        self
    }

    /// What catalogs show beside name and description, by the names that platforms know: `displayName`, `bullets`.
    #[must_use]
    pub fn metadata(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.metadata.insert(name.to_owned(), value.into());
        self
    }

    /// Has instances that are there to be made and removed, not to be bound: a bind is refused (SPEC B-20).
    #[must_use]
    pub fn unbindable(mut self) -> Self {
        self.unbindable = true;
        self
    }

    /// Has instances that stay on this plan: a change to another one is refused (SPEC I-20).
    #[must_use]
    pub fn fixed(mut self) -> Self {
        self.fixed = true;
        self
    }

    /// Has platforms ask for so long whether slow work has ended; in whole seconds.
    #[must_use]
    pub fn poll_for(mut self, duration: Duration) -> Self {
        self.poll_for = Some(duration);
        self
    }

    /// Names the version of what instances run on. New instances are on it; an update brings older ones there, and
    /// has [`Update::maintenance`](crate::Update::maintenance) say so (SPEC I-21).
    ///
    /// ```
    /// # use broker_core::Plan;
    /// let plan = Plan::new("small", "256 MB").maintenance("7.2.1", "Redis 7.2.1; connections are closed once");
    /// ```
    #[must_use]
    pub fn maintenance(mut self, version: &str, description: &str) -> Self {
        self.maintenance = Some(Maintenance { version: version.to_owned(), description: description.to_owned() });
        self
    }

    /// The version that an instance made now is on.
    #[cfg(feature = "server")]
    pub(crate) fn version(&self) -> Option<&str> {
        self.maintenance.as_ref().map(|maintenance| maintenance.version.as_str())
    }

    /// The schemas where Open Service Broker puts them, if there are any. It wants each to name its version (SPEC O-14).
    #[cfg(feature = "server")]
    pub(crate) fn schemas(&self) -> Option<serde_json::Value> {
        let parameters = |schema: &serde_json::Value| serde_json::json!({ "parameters": versioned(schema) });
        let mut schemas = serde_json::Map::new();
        if let Some(schema) = self.schema.as_ref().map(parameters) {
            schemas.insert("service_instance".to_owned(), serde_json::json!({ "create": schema, "update": schema }));
        }
        if let Some(schema) = self.bind_schema.as_ref().map(parameters) {
            schemas.insert("service_binding".to_owned(), serde_json::json!({ "create": schema }));
        }
        (!schemas.is_empty()).then_some(serde_json::Value::Object(schemas))
    }
}

/// A schema that names its version; the newest one unless its author says otherwise.
#[cfg(feature = "server")]
fn versioned(schema: &serde_json::Value) -> serde_json::Value {
    let mut schema = schema.clone();
    if let Some(members) = schema.as_object_mut() {
        members.entry("$schema").or_insert_with(|| "https://json-schema.org/draft/2020-12/schema".into());
    }
    schema
}

/// A service and its plans.
///
/// ```
/// # use broker_core::{Catalog, Plan};
/// let catalog = Catalog::new("motd".parse()?)
///     .plan(Plan::new("kind", "one kind word a day"))
///     .plan(Plan::new("stern", "one stern word a day"));
/// assert_eq!(catalog.default_plan().unwrap().name.as_str(), "kind");
/// # Ok::<(), broker_core::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Catalog {
    /// The service's name; also the user name that a platform presents when its manifest names none.
    pub service: ServiceName,
    /// What the service is, in a sentence.
    pub description: String,
    /// Words by which apps find services of its kind.
    pub tags: Vec<String>,
    /// What catalogs show beside that.
    pub metadata: Map<String, Value>,
    /// Whether an instance needs a cluster of the platform's, see [`needs_cluster`](Self::needs_cluster).
    pub(crate) needs_cluster: bool,
    plans: Vec<Plan>,
}

impl Catalog {
    /// A service that has no plans yet.
    #[must_use]
    pub fn new(service: ServiceName) -> Self {
        let description = format!("{service} by plan");
        Self { service, description, tags: Vec::new(), metadata: Map::new(), needs_cluster: false, plans: Vec::new() }
    }

    /// Adds a plan. The first one is the default.
    #[must_use]
    pub fn plan(mut self, plan: Plan) -> Self {
        self.plans.push(plan);
        self
    }

    /// What the service is, in a sentence for those who choose one.
    #[must_use]
    pub fn description(mut self, sentence: impl Into<String>) -> Self {
        self.description = sentence.into();
        self
    }

    /// A word by which apps find services of its kind, such as `redis` or `cache`.
    #[must_use]
    pub fn tag(mut self, word: impl Into<String>) -> Self {
        self.tags.push(word.into());
        self
    }

    /// What catalogs show beside that, by the names that platforms know: `displayName`, `longDescription`,
    /// `documentationUrl`, `supportUrl`, `imageUrl`, `providerDisplayName`.
    #[must_use]
    pub fn metadata(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.metadata.insert(name.to_owned(), value.into());
        self
    }

    /// Why it can't be served, in a sentence for the author.
    #[cfg(feature = "server")]
    pub(crate) fn refusal(&self) -> Option<String> {
        self.plans.iter().enumerate().find_map(|(place, plan)| {
            let name = &plan.name;
            if self.plans[..place].iter().any(|other| other.name == *name) {
                return Some(format!("there are two plans named \"{name}\""));
            }
            let version = plan.version().filter(|version| semver::Version::parse(version).is_err())?;
            Some(format!("the maintenance version \"{version}\" of plan \"{name}\" is not of the form 1.2.3"))
        })
    }

    /// Says that every instance needs a cluster of the platform's, which is then in
    /// [`Instance::pool`](crate::Instance::pool): creates and the list of plans without one are refused so that the
    /// platform asks its user for a pool (SPEC T-21). Only tsuru names clusters.
    #[must_use]
    pub fn needs_cluster(mut self) -> Self {
        self.needs_cluster = true;
        self
    }

    /// All plans, in the order they were added.
    #[must_use]
    pub fn plans(&self) -> &[Plan] {
        &self.plans
    }

    /// The plan an instance gets when its owner names none (SPEC I-4).
    #[must_use]
    pub fn default_plan(&self) -> Option<&Plan> {
        self.plans.first()
    }

    /// The plan of that name.
    #[must_use]
    pub fn find(&self, name: &PlanName) -> Option<&Plan> {
        self.plans.iter().find(|plan| plan.name == *name)
    }
}

/// What the framework does for a plan, beyond calling the author.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rules {
    /// How long credentials work after a rotation replaced them.
    pub(crate) rotation_grace: Option<Duration>,
    /// How long credentials work, and how long before their end they should be replaced.
    pub(crate) expiry: Option<Expiry>,
    /// How many instances there may be.
    pub(crate) at_most: Option<u32>,
    /// How many instances each team may have.
    pub(crate) at_most_per_team: Option<u32>,
}

/// How long credentials work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Expiry {
    pub(crate) lifetime: Duration,
    pub(crate) renew_before: Duration,
}

/// What the framework does for a plan.
impl Plan {
    /// How long replaced credentials go on working after a rotation; without it, as long as the
    /// [server](crate::BrokerServer::rotation_grace) says (SPEC B-8).
    ///
    /// ```
    /// # use {broker_core::Plan, std::time::Duration};
    /// let plan = Plan::new("strict", "old passwords are over at once").rotation_grace(Duration::ZERO);
    /// ```
    #[must_use]
    pub fn rotation_grace(mut self, grace: Duration) -> Self {
        self.rules.rotation_grace = Some(grace);
        self
    }

    /// Lets credentials end: `lifetime` after they were given, access is taken away from them without anybody asking.
    /// A platform is told when that is, and that it should get new ones `renew_before` that (SPEC B-9).
    ///
    /// That is for bindings of Open Service Broker, whose platforms are told. An app or a job of tsuru's is bound once
    /// and never asks again, so its credentials don't end by themselves: rotate them.
    ///
    /// # Panics
    /// When `renew_before` is not shorter than `lifetime`.
    ///
    /// ```
    /// # use {broker_core::Plan, std::time::Duration};
    /// const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    /// let plan = Plan::new("short", "passwords of a month").bindings_expire_after(30 * DAY, 7 * DAY);
    /// ```
    #[must_use]
    pub fn bindings_expire_after(mut self, lifetime: Duration, renew_before: Duration) -> Self {
        assert!(renew_before < lifetime, "plan \"{}\": credentials are to be renewed while they work", self.name);
        self.rules.expiry = Some(Expiry { lifetime, renew_before });
        self
    }

    /// How many instances of the plan there may be at once, made and half-made ones, over all replicas. Further ones
    /// are refused until one is removed (SPEC I-11).
    ///
    /// ```
    /// # use broker_core::Plan;
    /// let plan = Plan::new("dedicated", "a server of your own").at_most(20).at_most_per_team(2);
    /// ```
    #[must_use]
    pub fn at_most(mut self, instances: u32) -> Self {
        self.rules.at_most = Some(instances);
        self
    }

    /// How many instances of the plan each team may have at once (SPEC I-11). For Open Service Broker, a team is an
    /// organization's space.
    #[must_use]
    pub fn at_most_per_team(mut self, instances: u32) -> Self {
        self.rules.at_most_per_team = Some(instances);
        self
    }
}

#[cfg(all(test, feature = "server"))]
mod tests {
    use super::*;

    #[test] // SPEC O-20
    fn only_semantic_versions_are_versions() {
        let refusal = |version| {
            Catalog::new("motd".parse().unwrap()).plan(Plan::new("kind", "kind").maintenance(version, "")).refusal()
        };
        for version in ["1.2.3", "7.2.1-rc.1+build.05"] {
            assert_eq!(refusal(version), None);
        }
        for version in ["", "1.2", "01.2.3", "v1.2.3", "1.2.3-01"] {
            assert!(refusal(version).unwrap().contains(version), "{version}");
        }
    }

    #[test]
    fn a_catalog_that_contradicts_itself_is_refused() {
        let catalog = || Catalog::new("motd".parse().unwrap()).plan(Plan::new("kind", "kind"));
        assert_eq!(catalog().refusal(), None);
        assert!(catalog().plan(Plan::new("kind", "again")).refusal().unwrap().contains("two plans"));
        assert!(catalog().plan(Plan::new("new", "new").maintenance("7.2", "")).refusal().unwrap().contains("7.2"));
    }
}
