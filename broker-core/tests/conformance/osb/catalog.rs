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
        Some(_) if world.wrong("O16 list") && !has => super::listed(200),
        Some(_) if has && !world.wrong("O15") => (304, Value::Null),
        _ if world.wrong("O1") => super::listed(200),
        _ if world.wrong("O1 status") => super::crash(),
        _ if world.wrong("O1 services") => (200, json!({ "services": {} })),
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
        "O2 id" => ("/1/id", json!("")),
        "O2 name" => ("/1/name", json!(1)),
        "O2 description" => ("/1/description", Value::Null),
        "O2" => ("/0/bindable", json!("yes")),
        "O3" => ("/1/plans", json!([])),
        "O4" => ("/0/plans/1/description", json!("")),
        "O4 id" => ("/1/plans/0/id", json!("")),
        "O4 name" => ("/1/plans/0/name", json!({})),
        "O5" => ("/1/plans/0/id", json!("plan-small")),
        "O5 service" => ("/1/id", json!(SERVICE)),
        "O5 plan" => ("/1/plans/0/id", json!(SERVICE)),
        "O6" => ("/0/plans/1/name", json!("small")),
        "O6 service" => ("/1/name", json!("scripted")),
        "O7" => ("/0/plans/1/name", json!("rather slow")),
        "O7 service" => ("/1/name", json!("under_score")),
        "O8" => ("/0/tags", json!("a")),
        "O8 tag" => ("/0/tags/0", json!(1)),
        "O9" => ("/0/plans/0/free", json!("yes")),
        "O9 metadata" => ("/0/plans/0/metadata", json!([])),
        "O9 schemas" => ("/0/plans/1/schemas", json!([])),
        "O9 duration" => ("/0/plans/0/maximum_polling_duration", json!(0.5)),
        "O10" => (create, json!({ "type": "object" })),
        "O10 size" => (create, json!({ "$schema": "x", "title": "x".repeat(65_536) })),
        "O10 update" => ("/0/plans/0/schemas/service_instance/update/parameters", json!({ "type": "object" })),
        "O10 bind" => ("/0/plans/0/schemas/service_binding/create/parameters", json!({ "type": "object" })),
        "O11" => (create, json!({ "$schema": "x", "items": [{ "$ref": "http://else.where/schema" }] })),
        "O11 near" => (create, json!({ "$schema": "x", "$ref": "schema" })),
        "O12" => ("/0/plans/0/maintenance_info/version", json!("1.2")),
        "O12 zero" => ("/0/plans/0/maintenance_info/version", json!("1.02.3")),
        "O12 end" => ("/0/plans/0/maintenance_info/version", json!("1.2.3-")),
        "O12 letter" => ("/0/plans/0/maintenance_info/version", json!("1.2.3-r_c")),
        "O12 absent" => ("/0/plans/0/maintenance_info", json!({})),
        "O13" => ("/0/plans/1/id", json!(format!("plan-{asked}"))),
        wrong => return spoil_switch(wrong, services),
    };
    set(services, place, value);
}

/// What is a switch, a list or an object of a service or a plan is something else.
fn spoil_switch(wrong: &str, services: &mut Value) {
    match wrong.split_once(' ') {
        Some(("O8", "requires")) => set(services, "/0/requires", json!("syslog_drain")),
        Some(("O8", "permission")) => set(services, "/0/requires", json!(["everything"])),
        Some(("O8", field)) => set(services, &format!("/0/{field}"), json!("yes")),
        Some(("O9", field)) => set(services, &format!("/0/plans/0/{field}"), json!("yes")),
        _ => {}
    }
}

/// Sets what is at a place, or adds it to an object.
fn set(services: &mut Value, place: &str, value: Value) {
    let (of, field) = place.rsplit_once('/').unwrap();
    match services.pointer_mut(of).unwrap() {
        Value::Array(list) => list[field.parse::<usize>().unwrap()] = value,
        object => object[field] = value,
    }
}
