//! The catalog: two services, the first with a quick and a slow plan.

use serde_json::{Value, json};

use super::{Asked, Reply, World, state::Inner};

pub(super) const TAG: &str = "\"scripted\"";
pub(super) const SERVICE: &str = "service-1";
pub(super) const VERSION: &str = "1.2.3";

pub(super) fn show(world: &World, inner: &mut Inner, asked: &Asked) -> Reply {
    inner.catalogs += 1;
    let has = asked.text("if-none-match") == Some(TAG);
    match asked.text("if-none-match") {
        Some(_) if world.wrong("O16") => (304, Value::Null),
        Some(_) if has && !world.wrong("O15") => (304, Value::Null),
        _ if world.wrong("O1") => (200, json!([])),
        _ => (200, json!({ "services": services(world, inner.catalogs) })),
    }
}

fn services(world: &World, asked: u32) -> Value {
    let schema = |name: &str, kind: &str| {
        json!({ "parameters": {
            "$schema": "http://json-schema.org/draft-04/schema#", "type": "object",
            "properties": { name: { "type": kind } },
        } })
    };
    let quick = json!({
        "id": "plan-small", "name": "small", "description": "quick", "free": true, "binding_rotatable": true,
        "maximum_polling_duration": 60, "maintenance_info": { "version": VERSION },
        "schemas": {
            "service_instance": { "create": schema("size", "integer"), "update": schema("size", "integer") },
            "service_binding": { "create": schema("mode", "string") },
        },
    });
    let plan = |id: &str, name: &str| json!({ "id": id, "name": name, "description": "a plan" });
    let mut services = json!([
        {
            "id": SERVICE, "name": "scripted", "description": "a service", "bindable": true, "tags": ["a"],
            "instances_retrievable": true, "bindings_retrievable": true, "allow_context_updates": true,
            "plan_updateable": true,
            "plans": [quick, plan("plan-slow", "slow"), plan("plan-large", "large")],
        },
        {
            "id": "service-2", "name": "another", "description": "a service", "bindable": false,
            "plans": [plan("plan-foreign", "small")],
        },
    ]);
    spoil(world, asked, &mut services);
    services
}

fn spoil(world: &World, asked: u32, services: &mut Value) {
    let create = "/0/plans/0/schemas/service_instance/create/parameters";
    let (place, value) = match world.wrong.as_str() {
        "O2" => ("/0/bindable", json!("yes")),
        "O3" => ("/1/plans", json!([])),
        "O4" => ("/0/plans/1/description", json!("")),
        "O5" => ("/1/plans/0/id", json!("plan-small")),
        "O6" => ("/0/plans/1/name", json!("small")),
        "O7" => ("/0/plans/1/name", json!("rather slow")),
        "O8" => ("/0/tags", json!("a")),
        "O9" => ("/0/plans/0/free", json!("yes")),
        "O10" => (create, json!({ "type": "object" })),
        "O11" => (create, json!({ "$schema": "x", "items": [{ "$ref": "http://else.where/schema" }] })),
        "O12" => ("/0/plans/0/maintenance_info/version", json!("1.2")),
        "O13" => ("/0/plans/1/id", json!(format!("plan-{asked}"))),
        _ => return,
    };
    *services.pointer_mut(place).unwrap() = value;
}
