//! The catalog as this dialect has it.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Catalog, Plan, lifecycle::Engine};

/// What all identifiers are derived from: the same names have the same identifiers everywhere and for ever (SPEC O-2).
const NAMESPACE: Uuid = Uuid::from_u128(0x6f0c_7c1e_8a1b_4c3d_8e5f_6a7b_2b9d_4d11);

/// The service's identifier, from its name.
pub(super) fn service_id(catalog: &Catalog) -> String {
    Uuid::new_v5(&NAMESPACE, catalog.service.as_str().as_bytes()).to_string()
}

/// A plan's identifier, from the service's name and its own.
pub(super) fn plan_id(catalog: &Catalog, plan: &Plan) -> String {
    let service = Uuid::new_v5(&NAMESPACE, catalog.service.as_str().as_bytes());
    Uuid::new_v5(&service, plan.name.as_str().as_bytes()).to_string()
}

/// `GET /v2/catalog`
pub(super) async fn show(State(engine): State<Arc<Engine>>) -> Json<Value> {
    let catalog = engine.catalog();
    let plans: Vec<Value> = catalog.plans().iter().map(|plan| offered(catalog, plan)).collect();
    Json(json!({ "services": [{
        "id": service_id(catalog),
        "name": catalog.service,
        "description": format!("{} by plan", catalog.service),
        "bindable": true,
        "instances_retrievable": true,
        "bindings_retrievable": true,
        "allow_context_updates": false,
        "plan_updateable": true,
        "plans": plans,
    }] }))
}

fn offered(catalog: &Catalog, plan: &Plan) -> Value {
    let mut offered = json!({
        "id": plan_id(catalog, plan),
        "name": plan.name,
        "description": plan.description,
        "free": true,
        "bindable": true,
        "binding_rotatable": true,
    });
    if let Some(schema) = &plan.schema {
        let parameters = json!({ "parameters": schema });
        offered["schemas"] = json!({ "service_instance": { "create": parameters, "update": parameters } });
    }
    offered
}
