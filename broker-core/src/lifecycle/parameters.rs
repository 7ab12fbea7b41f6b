//! Parameters, read by the plan's schemas before anything is begun.

use std::collections::HashMap;

use super::engine::Engine;
use crate::{Catalog, InstanceName, Parameters, Plan, PlanName, Result, schema::ParameterSchema};

/// The schemas of a catalog's plans, compiled once.
pub(crate) struct Schemas(HashMap<PlanName, PlanSchemas>);

struct PlanSchemas {
    instance: Option<ParameterSchema>,
    binding: Option<ParameterSchema>,
}

impl Schemas {
    /// Compiles what a catalog has.
    ///
    /// # Errors
    /// Which plan's schema can't be used, and why, in a sentence for the author.
    pub(crate) fn of(catalog: &Catalog) -> std::result::Result<Self, String> {
        let plans = catalog.plans().iter().map(|plan| Ok((plan.name.clone(), PlanSchemas::of(plan)?)));
        plans.collect::<std::result::Result<_, _>>().map(Self)
    }
}

impl PlanSchemas {
    fn of(plan: &Plan) -> std::result::Result<Self, String> {
        let compile = |schema: &Option<serde_json::Value>| schema.as_ref().map(ParameterSchema::compile).transpose();
        let wrong = |what: &str, why| format!("the {what} schema of plan \"{}\" cannot be used: {why}", plan.name);
        Ok(Self {
            instance: compile(&plan.schema).map_err(|why| wrong("parameter", why))?,
            binding: compile(&plan.bind_schema).map_err(|why| wrong("bind parameter", why))?,
        })
    }
}

impl Engine {
    /// An instance's parameters, as the plan wants them.
    pub(super) fn instance_parameters(&self, plan: &PlanName, given: Parameters) -> Result<Parameters> {
        let schema = self.schemas.0.get(plan).and_then(|plan| plan.instance.as_ref());
        schema.map_or(Ok(given.clone()), |schema| schema.read(given))
    }

    /// A bind's parameters, as the instance's plan wants them. Of an instance that is not there, they are not looked at.
    pub(super) async fn bind_parameters(&self, name: &InstanceName, given: Parameters) -> Result<Parameters> {
        if given.is_empty() && self.schemas.0.values().all(|plan| plan.binding.is_none()) {
            return Ok(given);
        }
        let plan = self.known(name).await?.instance.plan;
        let schema = self.schemas.0.get(&plan).and_then(|plan| plan.binding.as_ref());
        schema.map_or(Ok(given.clone()), |schema| schema.read(given))
    }
}
