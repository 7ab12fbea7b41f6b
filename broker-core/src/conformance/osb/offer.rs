//! What a catalog offers, and which plans of it the cases use.

use serde_json::{Map, Value, json};

use crate::conformance::Options;

/// A service with the plans that cases use. Every one of them has an id.
#[derive(Clone, Debug)]
pub(in crate::conformance) struct Offer {
    pub(super) service: Value,
    pub(super) plan: Value,
    /// Another one of the same service.
    pub(super) other_plan: Option<Value>,
    /// One whose work takes a while.
    pub(super) slow_plan: Option<Value>,
    /// One of another service.
    pub(super) foreign_plan: Option<Value>,
}

impl Offer {
    /// The service and the plans that the options name, else the first that there are.
    pub(in crate::conformance) fn of(catalog: &Value, options: &Options) -> Option<Self> {
        let services: Vec<_> = items(&catalog["services"]).filter(|service| service["id"].is_string()).collect();
        let named = |wanted: &str| services.iter().find_map(|service| Some((*service, plan_of(service, wanted)?)));
        let first = || services.iter().find_map(|service| Some((*service, plans(service).next()?)));
        let (service, plan) = options.plan.as_deref().map_or_else(first, named)?;
        let slow_plan = options.slow_plan.as_deref().and_then(|wanted| plan_of(service, wanted));
        let others = || plans(service).filter(|other| other["id"] != plan["id"]);
        let quick = others().find(|other| slow_plan.is_none_or(|slow| slow["id"] != other["id"]));
        let foreign = services.iter().filter(|other| other["id"] != service["id"]).flat_map(|service| plans(service));
        Some(Self {
            service: service.clone(),
            plan: plan.clone(),
            other_plan: quick.or_else(|| others().next()).cloned(),
            slow_plan: slow_plan.cloned(),
            foreign_plan: { foreign }.next().cloned(),
        })
    }

    /// The name of a plan that is given by name or id.
    pub(in crate::conformance) fn name_of(&self, wanted: &str) -> Option<String> {
        plan_of(&self.service, wanted)?["name"].as_str().map(str::to_owned)
    }

    /// All plans of the service.
    pub(super) fn plans(&self) -> impl Iterator<Item = &Value> {
        plans(&self.service)
    }

    /// A plan with a schema at this place, and parameters that break it.
    pub(super) fn breaking(&self, of: &str, action: &str) -> Option<(&Value, Value)> {
        let breaking = |plan: &Value| breaking(&plan["schemas"][of][action]["parameters"]);
        self.plans().find_map(|plan| Some((plan, breaking(plan)?)))
    }

    /// Whether the service claims a feature.
    pub(super) fn claims(&self, feature: &str) -> bool {
        self.service[feature] == true
    }
}

/// The items of a list; none when it is something else.
pub(super) fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn plans(service: &Value) -> impl Iterator<Item = &Value> {
    items(&service["plans"]).filter(|plan| plan["id"].is_string())
}

fn plan_of<'a>(service: &'a Value, wanted: &str) -> Option<&'a Value> {
    plans(service).find(|plan| plan["name"] == wanted || plan["id"] == wanted)
}

/// Parameters that break a schema: a property of another type, or one that may not be there.
fn breaking(schema: &Value) -> Option<Value> {
    let typed = |(name, rule): (&String, &Value)| {
        let wrong = if rule["type"].as_str()? == "object" { json!(1) } else { json!({}) };
        Some(Value::from(Map::from_iter([(name.clone(), wrong)])))
    };
    let closed = || (schema["additionalProperties"] == false).then(|| json!({ "conf-unknown": 1 }));
    schema["properties"].as_object().and_then(|properties| properties.iter().find_map(typed)).or_else(closed)
}
