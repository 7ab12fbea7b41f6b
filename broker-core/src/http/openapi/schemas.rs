//! The bodies of both dialects, and the parameters of the plans.

use serde_json::{Map, Value, json};

use super::call::named;
use crate::{Catalog, Plan};

pub(super) fn all(catalog: &Catalog) -> Value {
    let mut all = Map::new();
    for part in [service_api(), answers(), open_service_broker(), parameters(catalog)] {
        if let Value::Object(part) = part {
            all.extend(part);
        }
    }
    Value::Object(all)
}

/// An object of texts, some of which have to be there.
fn texts(required: &[&str], optional: &[&str]) -> Value {
    let properties: Map<String, Value> =
        required.iter().chain(optional).map(|name| ((*name).to_owned(), json!({ "type": "string" }))).collect();
    let mut schema = json!({ "type": "object", "properties": properties });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn with(mut schema: Value, name: &str, property: Value) -> Value {
    schema["properties"][name] = property;
    schema
}

fn list_of_texts() -> Value {
    json!({ "type": "array", "items": { "type": "string" } })
}

/// Names as JSON has them; form encoding has `eventid` for `eventID`, `app-name` for `appName`, and `parameters.a.b=c`.
fn service_api() -> Value {
    let instance = |required: &[&str], optional: &[&str]| {
        let body = with(texts(required, optional), "tags", list_of_texts());
        with(body, "parameters", named("InstanceParameters"))
    };
    let app = |required: &[&str], optional: &[&str]| with(texts(required, optional), "appHosts", list_of_texts());
    let bind = app(
        &["appName"],
        &["user", "eventID", "appPoolName", "appPoolProvisioner", "appClusterName", "appClusterProvisioner"],
    );
    let bind = with(with(bind, "appInternalHosts", list_of_texts()), "appClusterAddresses", list_of_texts());
    json!({
        "CreateInstance": instance(&["name"], &["team", "description", "plan", "user", "eventID"]),
        "ChangeInstance": instance(&[], &["team", "description", "plan", "user", "eventID"]),
        "Who": texts(&[], &["user", "eventID"]),
        "BindApp": with(bind, "parameters", named("BindParameters")),
        "UnbindApp": app(&["appName"], &["user", "eventID"]),
        "BindJob": texts(&[], &["jobName", "user", "eventID", "jobPoolName", "jobClusterName"]),
        "Rotate": texts(&[], &["appName", "jobName", "user", "eventID"]),
    })
}

fn answers() -> Value {
    let operation = texts(&["id", "kind", "instance", "began"], &["ended", "failure"]);
    let operation = with(operation, "actor", texts(&["user", "event"], &[]));
    let account = json!({ "type": "array", "items": named("InfoItem") });
    let replaced = with(texts(&["id", "until"], &[]), "account", account.clone());
    let credentials = with(texts(&["id", "state"], &["made", "rotated", "expires"]), "account", account);
    let credentials = with(credentials, "consumer", json!({ "type": "object" }));
    json!({
        "Credentials": with(credentials, "replaced", json!({ "type": "array", "items": replaced })),
        "Plan": with(texts(&["name", "description"], &[]), "schemas", json!({ "type": "object" })),
        "InfoItem": texts(&["label", "value"], &[]),
        "Operation": with(operation, "consumer", json!({ "description": "Whose access it is about" })),
        "Variables": { "type": "object", "additionalProperties": { "type": "string" } },
    })
}

fn open_service_broker() -> Value {
    let object = json!({ "type": "object" });
    let instance = |required: &[&str], optional: &[&str]| {
        let body = with(texts(required, optional), "context", object.clone());
        with(body, "parameters", named("InstanceParameters"))
    };
    let bind = texts(&["service_id", "plan_id"], &["app_guid", "predecessor_binding_id"]);
    let bind = with(with(bind, "context", object.clone()), "bind_resource", object.clone());
    let endpoint =
        with(texts(&["host"], &["protocol"]), "ports", json!({ "type": "array", "items": { "type": "string" } }));
    let binding = with(texts(&[], &[]), "endpoints", json!({ "type": "array", "items": endpoint }));
    let state = json!({ "enum": ["in progress", "succeeded", "failed"] });
    let last = with(texts(&["state"], &["description"]), "state", state);
    json!({
        "Catalog": with(json!({ "type": "object", "required": ["services"] }), "services", json!({ "type": "array", "items": object })),
        "Provision": instance(&["service_id", "plan_id", "organization_guid", "space_guid"], &[]),
        "Update": with(instance(&["service_id"], &["plan_id"]), "previous_values", object.clone()),
        "Bind": with(bind, "parameters", named("BindParameters")),
        "Instance": with(texts(&[], &["service_id", "plan_id"]), "parameters", named("InstanceParameters")),
        "Binding": with(with(binding, "credentials", named("Variables")), "parameters", named("BindParameters")),
        "Accepted": texts(&[], &["operation"]),
        "LastOperation": with(last, "instance_usable", json!({ "type": "boolean" })),
        "Refusal": with(texts(&["description"], &["error"]), "instance_usable", json!({ "type": "boolean" })),
    })
}

/// What each plan takes. A schema of the author's has an identity of its own, so that what it refers to within itself
/// is found there and not in the document.
fn parameters(catalog: &Catalog) -> Value {
    json!({
        "InstanceParameters": each(catalog, "instance", |plan| plan.schema.as_ref()),
        "BindParameters": each(catalog, "bind", |plan| plan.bind_schema.as_ref()),
    })
}

fn each(catalog: &Catalog, kind: &str, schema_of: impl Fn(&Plan) -> Option<&Value>) -> Value {
    let schemas: Vec<Value> = catalog
        .plans()
        .iter()
        .map(|plan| {
            let mut schema = schema_of(plan).filter(|schema| schema.is_object()).cloned().unwrap_or_else(free);
            let id = super::super::osb::plan_id(catalog, plan);
            let title = format!("Plan {}", plan.name);
            if let Some(schema) = schema.as_object_mut() {
                schema.entry("$id").or_insert_with(|| json!(format!("urn:broker:{id}:{kind}")));
                schema.entry("title").or_insert_with(|| json!(title));
            }
            schema
        })
        .collect();
    if schemas.is_empty() { free() } else { json!({ "anyOf": schemas }) }
}

fn free() -> Value {
    json!({ "type": "object" })
}
