//! `/openapi.json`: the broker's HTTP interface, both dialects, with its plans' parameters (SPEC T-8).

mod call;
mod open_service_broker;
mod own;
mod schemas;
mod service_api;

use std::sync::Arc;

use axum::{Extension, Json};
use serde_json::{Map, Value, json};

use self::call::Call;
use crate::{Catalog, Routes};

/// The document, in OpenAPI 3.1.
pub(crate) fn document(catalog: &Catalog, own: &Routes) -> Value {
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": format!("Service broker: {}", catalog.service),
            "version": env!("CARGO_PKG_VERSION"),
            "description": "One service in two dialects over one state: tsuru's service API below `/resources`, Open \
                            Service Broker 2.17 below `/v2`. What is made in one is there in the other.",
        },
        "servers": [{ "url": "/" }],
        "tags": [
            { "name": "service API", "description": "tsuru's service API" },
            { "name": "Open Service Broker", "description": "Version 2.17" },
            { "name": "operators", "description": "For those who run the broker" },
            { "name": "own operations", "description": "What this broker offers beside both" },
        ],
        "security": [{ "basic": [] }, { "bearer": [] }],
        "paths": paths(own),
        "components": {
            "securitySchemes": {
                "basic": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "A user name and password that the broker's operator set. Operators have pairs that \
                                    open /metrics and /openapi.json alone.",
                },
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token that the broker's operator set, where there are any, or that the broker's \
                                    own check of callers takes.",
                },
            },
            "schemas": schemas::all(catalog),
        },
    })
}

fn paths(own: &Routes) -> Value {
    let calls = [service_api::calls(), open_service_broker::calls(), operators(), own::calls(own)].concat();
    let mut paths = Map::new();
    for call in calls {
        let path = paths.entry(call.path.into_owned()).or_insert_with(|| json!({}));
        path[call.method] = call.operation;
    }
    Value::Object(paths)
}

fn operators() -> Vec<Call> {
    let call = |path, name, summary| Call::new("operators", "get", path, name, summary);
    vec![
        call("/healthz", "liveness", "Whether the process lives").open().text(200, "It does"),
        call("/readyz", "readiness", "Whether requests can be served")
            .open()
            .text(200, "They can")
            .text(503, "The records cannot be read, or the broker is stopping"),
        call("/metrics", "metrics", "Measurements for Prometheus; without credentials where the operator says so")
            .answer(200, "The measurements", "application/openmetrics-text", json!({ "type": "string" })),
        call("/openapi.json", "document", "This document").json(200, "The document", json!({ "type": "object" })),
    ]
}

/// `GET /openapi.json`
pub(super) async fn show(Extension(document): Extension<Arc<Value>>) -> Json<Arc<Value>> {
    Json(document)
}

#[cfg(test)]
mod tests {
    use axum::{
        http::Method,
        routing::{any, get},
    };

    use super::*;
    use crate::Plan;

    fn example() -> Catalog {
        Catalog::new("fake".parse().unwrap())
            .plan(Plan::new("big one", "with a schema").schema(json!({
                "type": "object",
                "properties": { "memory": { "$ref": "#/$defs/size" } },
                "$defs": { "size": { "type": "integer" } },
            })))
            .plan(Plan::new("small", "without one"))
    }

    #[test] // SPEC T-8
    fn the_document_is_one_of_openapi() {
        let text = document(&example(), &Routes::new()).to_string();

        let read = oas3::from_json(&text).unwrap();

        assert!(read.validate_version().is_ok());
        assert!(read.operations().count() > 20);
        let mut ids: Vec<_> = read.operations().filter_map(|(_, _, call)| call.operation_id.clone()).collect();
        let number = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!((ids.len(), number), (number, read.operations().count()));
    }

    #[test] // SPEC Y-6
    fn operations_of_the_authors_own_are_in_the_document() {
        let own = Routes::new()
            .instance("/files/{*path}", get(async || "").put(async || ""))
            .summary(Method::GET, "A file")
            .instance("/users/{name}", any(async || ""))
            .service("/authenticated-resources/kinds", get(async || ""));

        let document = document(&example(), &own);

        assert!(oas3::from_json(document.to_string()).is_ok());
        let paths = &document["paths"];
        let files = &paths["/resources/{name}/files/{path}"];
        assert_eq!(files.as_object().unwrap().keys().collect::<Vec<_>>(), ["get", "put"]);
        assert_eq!(files["get"]["summary"], "A file");
        let names = |call: &Value| {
            let parameters = call["parameters"].as_array().unwrap().iter();
            parameters.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&files["get"]), ["name", "path"]);
        assert_eq!(names(&files["put"]), ["name", "path", "X-Tsuru-User", "X-Tsuru-Eventid"]);
        assert!(files["put"]["responses"]["409"].is_object() && files["get"]["responses"]["401"].is_object());
        let users = &paths["/resources/{instance}/users/{name}"];
        assert_eq!(users.as_object().unwrap().len(), 5);
        assert_eq!(paths["/authenticated-resources/kinds"]["get"]["responses"]["404"], Value::Null);
    }

    #[test] // SPEC T-8
    fn whatever_the_document_refers_to_is_in_it() {
        let document = document(&example(), &Routes::new());
        let mut left = vec![&document["paths"]];
        let mut found = 0;
        while let Some(value) = left.pop() {
            if let Some(pointer) = value.get("$ref").and_then(Value::as_str) {
                let pointer = pointer.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{pointer}");
                found += 1;
            }
            match value {
                Value::Array(list) => left.extend(list),
                Value::Object(object) => left.extend(object.values()),
                _ => {}
            }
        }
        assert!(found > 10);
    }

    #[test] // SPEC T-8
    fn the_plans_parameters_are_in_the_document_each_for_itself() {
        let document = document(&example(), &Routes::new());

        let plans = document.pointer("/components/schemas/InstanceParameters/anyOf").unwrap();

        assert_eq!(plans[0]["title"], "Plan big one");
        assert_eq!(plans[0]["properties"]["memory"]["$ref"], "#/$defs/size");
        let schema = jsonschema::validator_for(&plans[0]).unwrap();
        assert!(schema.is_valid(&json!({ "memory": 1 })) && !schema.is_valid(&json!({ "memory": "much" })));
        assert!(plans[0]["$id"].is_string() && plans[0]["$id"] != plans[1]["$id"]);
    }
}
