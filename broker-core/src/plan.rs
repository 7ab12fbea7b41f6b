//! What a service offers.

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
}

impl Plan {
    /// A plan with a name and a description.
    ///
    /// # Panics
    /// When `name` is not a valid plan name: plans are the author's constants, not input.
    #[must_use]
    pub fn new(name: &str, description: impl Into<String>) -> Self {
        let name = name.parse().unwrap_or_else(|refusal| panic!("{refusal}"));
        Self { name, description: description.into(), schema: None, bind_schema: None }
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
