//! What a service offers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

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
    /// What the framework does for this plan.
    #[serde(skip)]
    pub(crate) rules: Rules,
}

impl Plan {
    /// A plan with a name and a description.
    ///
    /// # Panics
    /// When `name` is not a valid plan name: plans are the author's constants, not input.
    #[must_use]
    pub fn new(name: &str, description: impl Into<String>) -> Self {
        let name = name.parse().unwrap_or_else(|refusal| panic!("{refusal}"));
        Self { name, description: description.into(), schema: None, bind_schema: None, rules: Rules::default() }
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

    /// The schemas where Open Service Broker puts them, if there are any.
    #[cfg(feature = "server")]
    pub(crate) fn schemas(&self) -> Option<serde_json::Value> {
        let parameters = |schema: &serde_json::Value| serde_json::json!({ "parameters": schema });
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
    plans: Vec<Plan>,
}

impl Catalog {
    /// A service that has no plans yet.
    #[must_use]
    pub fn new(service: ServiceName) -> Self {
        Self { service, plans: Vec::new() }
    }

    /// Adds a plan. The first one is the default.
    #[must_use]
    pub fn plan(mut self, plan: Plan) -> Self {
        self.plans.push(plan);
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
