//! Open Service Broker 2.17 (SPEC chapter O).

use serde_json::json;

use super::call::{Call, named};

const INSTANCE: &str = "/v2/service_instances/{instance}";
const BINDING: &str = "/v2/service_instances/{instance}/service_bindings/{binding}";

fn call(method: &'static str, path: &'static str, name: &'static str, summary: &'static str) -> Call {
    let refused = |call: Call, status, about| call.json(status, about, named("Refusal"));
    let call = Call::new("Open Service Broker", method, path, name, summary)
        .parameter("header", "X-Broker-API-Version", true, "Version 2 with any minor version")
        .parameter("header", "X-Broker-API-Request-Identity", false, "Given back");
    let call = refused(call, 400, "The request is wrong");
    let call = refused(call, 412, "Another version, or none");
    refused(call, 503, "The service or the records are unavailable, or there are too many requests")
}

/// One that changes something, perhaps after its answer.
fn change(method: &'static str, path: &'static str, name: &'static str, summary: &'static str) -> Call {
    call(method, path, name, summary)
        .parameter("header", "X-Broker-API-Originating-Identity", false, "Goes into the operation log")
        .parameter("query", "accepts_incomplete", false, "`true`: the caller can wait for the rest")
        .json(202, "It goes on: last_operation tells when it is done", named("Accepted"))
        .json(
            422,
            "Something else is running (`ConcurrencyError`), or it takes long (`AsyncRequired`), or another way",
            named("Refusal"),
        )
        .json(500, "It failed, and trying again won't help", named("Refusal"))
}

/// With the identifiers of service and plan.
fn identified(call: Call, is_required: bool) -> Call {
    call.parameter("query", "service_id", is_required, "As in the catalog").parameter(
        "query",
        "plan_id",
        is_required,
        "As in the catalog",
    )
}

pub(super) fn calls() -> Vec<Call> {
    let catalog = call("get", "/v2/catalog", "osbCatalog", "The service and its plans")
        .parameter("header", "If-None-Match", false, "The ETag of the catalog that the caller has")
        .parameter("header", "If-Modified-Since", false, "Its Last-Modified, as it came")
        .json(200, "The catalog", named("Catalog"))
        .empty(304, "The catalog is the same");
    [vec![catalog], instances(), bindings()].concat()
}

fn instances() -> Vec<Call> {
    let none = json!({ "type": "object" });
    vec![
        identified(call("get", INSTANCE, "osbFetchInstance", "What an instance was made with"), false)
            .json(200, "The instance", named("Instance"))
            .json(404, "It is not there, or not yet", named("Refusal"))
            .json(422, "It is being updated", named("Refusal")),
        change("put", INSTANCE, "osbProvision", "Make an instance")
            .body(&["application/json"], "Provision")
            .json(200, "It is there already, with the same wishes", none.clone())
            .json(201, "It is made", none.clone())
            .json(409, "It is there already, with other wishes", named("Refusal")),
        change("patch", INSTANCE, "osbUpdate", "Change what is named, leave the rest")
            .body(&["application/json"], "Update")
            .json(200, "It is changed", none.clone())
            .json(404, "It is not there", named("Refusal")),
        identified(change("delete", INSTANCE, "osbDeprovision", "Remove an instance and every access to it"), true)
            .json(200, "It is removed", none)
            .json(410, "It is not there", named("Refusal")),
        last_operation("/v2/service_instances/{instance}/last_operation", "osbInstanceOperation"),
    ]
}

fn bindings() -> Vec<Call> {
    vec![
        identified(call("get", BINDING, "osbFetchBinding", "A binding's credentials"), false)
            .json(200, "The binding", named("Binding"))
            .json(404, "It is not there, or not yet", named("Refusal")),
        change("put", BINDING, "osbBind", "Give access")
            .body(&["application/json"], "Bind")
            .json(200, "It is there already, with the same wishes", named("Binding"))
            .json(201, "It is made", named("Binding"))
            .json(404, "There is no such instance", named("Refusal"))
            .json(409, "It is there already, with other wishes", named("Refusal")),
        identified(change("delete", BINDING, "osbUnbind", "Take access away"), true)
            .json(200, "It is taken away", json!({ "type": "object" }))
            .json(410, "It is not there", named("Refusal")),
        last_operation(
            "/v2/service_instances/{instance}/service_bindings/{binding}/last_operation",
            "osbBindingOperation",
        ),
    ]
}

fn last_operation(path: &'static str, name: &'static str) -> Call {
    identified(call("get", path, name, "How what was begun last stands"), false)
        .parameter("query", "operation", false, "Its identifier, as the answer that it goes on had it")
        .json(200, "How it stands", named("LastOperation"))
        .json(404, "It is not there", named("Refusal"))
        .json(410, "It is gone", named("Refusal"))
}
