//! The author's own operations (SPEC Y-6).

use axum::http::Method;

use super::call::Call;
use crate::{
    Routes,
    routes::{Operation, Place, changes_something},
};

/// Of a handler that takes any method: those that platforms pass on.
const PASSED_ON: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
/// Those that the document has a place for.
const KNOWN: [&str; 8] = ["delete", "get", "head", "options", "patch", "post", "put", "trace"];

pub(super) fn calls(routes: &Routes) -> Vec<Call> {
    let each = |operation: &Operation| {
        let methods = operation.methods().unwrap_or_else(|| PASSED_ON.to_vec());
        methods.iter().filter_map(|method| call(operation, method)).collect::<Vec<_>>()
    };
    routes.operations.iter().flat_map(each).collect()
}

fn call(operation: &Operation, method: &Method) -> Option<Call> {
    let name = method.as_str().to_ascii_lowercase();
    let name = *KNOWN.iter().find(|known| **known == name)?;
    let summary = operation.summary(method).unwrap_or("An operation of this broker's own");
    let call = Call::unnamed("own operations", name, path(operation), summary)
        .otherwise("What the broker's author says")
        .text(500, "It failed, and trying again won't help; one line says why")
        .text(503, "The service or the records are unavailable, or there are too many requests");
    let call = if changes_something(method) { of_user(call) } else { call };
    Some(match operation.place {
        Place::Instance => on_instance(call, method),
        Place::Service => call,
    })
}

/// As its author wrote it, where a parameter that takes the rest of the path is one like the others.
fn path(operation: &Operation) -> String {
    let path = operation.path.replace("{*", "{");
    match operation.place {
        // The author's path may have a name in it, too.
        Place::Instance if path.contains("{name}") => format!("/resources/{{instance}}{path}"),
        Place::Instance => format!("/resources/{{name}}{path}"),
        Place::Service => path,
    }
}

fn of_user(call: Call) -> Call {
    call.any_body()
        .parameter("header", "X-Tsuru-User", false, "The user who asks, as the platform vouches for one")
        .parameter("header", "X-Tsuru-Eventid", false, "The platform's event of the request")
        .text(408, "The body did not arrive in time")
        .text(413, "The body is larger than the broker takes it")
}

fn on_instance(call: Call, method: &Method) -> Call {
    let call = call.text(404, "There is no such instance").text(412, "The instance is not ready yet");
    if changes_something(method) { call.text(409, "Something else is running on the instance") } else { call }
}
