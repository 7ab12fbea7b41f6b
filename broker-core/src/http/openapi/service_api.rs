//! tsuru's service API (contract, chapters 3 and 4).

use serde_json::json;

use super::call::{Call, named};

/// Bodies come in either.
const KINDS: [&str; 2] = ["application/x-www-form-urlencoded", "application/json"];

fn call(method: &'static str, path: &'static str, name: &'static str, summary: &'static str) -> Call {
    Call::new("service API", method, path, name, summary)
        .text(500, "It failed, and trying again won't help; one line says why")
        .text(503, "The service or the records are unavailable, or there are too many requests")
}

/// One with a body, which may be wrong.
fn change(method: &'static str, path: &'static str, name: &'static str, summary: &'static str, body: &str) -> Call {
    call(method, path, name, summary)
        .body(&KINDS, body)
        .text(400, "The request is wrong; one line says how")
        .text(408, "The body did not arrive in time")
        .text(409, "It contradicts what is there, or something else is running")
        .text(413, "The body is larger than 1 MiB")
        .text(415, "The body is of another type")
}

pub(super) fn calls() -> Vec<Call> {
    [instances(), bindings()].concat()
}

fn instances() -> Vec<Call> {
    let unknown = "There is no such instance";
    vec![
        call("get", "/resources/plans", "plans", "The plans, the default one first").json(
            200,
            "The plans",
            json!({ "type": "array", "items": named("Plan") }),
        ),
        change("post", "/resources", "create", "Make an instance", "CreateInstance")
            .empty(201, "It is made, or being made: its status tells"),
        call("get", "/resources/{name}", "info", "Labels and values for its users")
            .json(200, "Empty until the instance is ready", json!({ "type": "array", "items": named("InfoItem") }))
            .text(404, unknown),
        change(
            "put",
            "/resources/{name}",
            "update",
            "Replace plan, parameters, team, description, tags",
            "ChangeInstance",
        )
        .empty(200, "They are replaced, or being replaced")
        .text(404, unknown),
        change("delete", "/resources/{name}", "remove", "Remove an instance and every access to it", "Who")
            .empty(200, "It is removed, or will be")
            .text(404, unknown),
        call("get", "/resources/{name}/status", "status", "Whether it works")
            .text(200, "It does, with a notice")
            .text(202, "It is being made or changed")
            .empty(204, "It does")
            .text(404, unknown),
        change("post", "/resources/{name}/retry", "retry", "Try an instance again that could not be made", "Who")
            .text(200, "It is made, or tried again")
            .text(404, unknown),
        call("get", "/resources/{name}/operations", "operations", "What was done to instances of that name").json(
            200,
            "The latest first",
            json!({ "type": "array", "items": named("Operation") }),
        ),
    ]
}

fn bindings() -> Vec<Call> {
    let unknown = "There is no such instance or binding";
    let bind = |method, path, name, summary, body| {
        change(method, path, name, summary, body)
            .json(201, "The variables that the app or job finds in its environment", named("Variables"))
            .text(404, "There is no such instance")
            .text(412, "The instance is not ready yet, or the bind goes on: ask again")
    };
    let unbind = |path, name, summary, body| {
        change("delete", path, name, summary, body).empty(200, "It is taken away, or will be").text(404, unknown)
    };
    vec![
        bind("post", "/resources/{name}/bind-app", "bindApp", "Give an app access", "BindApp"),
        unbind("/resources/{name}/bind-app", "unbindApp", "Take an app's access away", "UnbindApp"),
        bind("post", "/resources/{name}/bind", "bindUnit", "As bind-app; nothing for a unit of a bound app", "BindApp"),
        unbind("/resources/{name}/bind", "unbindUnit", "Nothing, for a unit of an app", "UnbindApp"),
        bind("put", "/resources/{name}/binds/jobs/{job}", "bindJob", "Give a job access", "BindJob"),
        unbind("/resources/{name}/binds/jobs/{job}", "unbindJob", "Take a job's access away", "Who"),
        change("post", "/resources/{name}/rotate", "rotate", "Give an app or job new credentials", "Rotate")
            .text(200, "Its next bind is answered with them")
            .text(404, unknown),
        call("get", "/resources/{name}/credentials", "credentials", "Who has access, without passwords")
            .json(200, "One for each consumer", json!({ "type": "array", "items": named("Credentials") }))
            .text(404, "There is no such instance"),
        call("get", "/resources/{name}/metrics", "instanceMetrics", "What is measured of an instance, for Prometheus")
            .answer(200, "The measurements", "application/openmetrics-text", json!({ "type": "string" }))
            .text(404, "There is no such instance"),
    ]
}
