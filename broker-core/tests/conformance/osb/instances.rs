//! Instances of the scripted broker.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Asked, Reply, World,
    catalog::{SERVICE, VERSION},
    coded, crash, listed, no,
    state::{BodyCases, Inner, Instance, check_ids, pace, parameters, told, work},
};

pub(super) fn serve(world: &World, inner: &mut Inner, asked: &Asked, id: &str) -> Reply {
    let outcome = match asked.method.as_str() {
        "PUT" => provision(world, inner, asked, id),
        "PATCH" => update(world, inner, asked, id),
        "DELETE" => deprovision(world, inner, asked, id),
        "GET" => Ok(fetch(world, inner, id)),
        _ => Err(no(405, "no such method")),
    };
    outcome.unwrap_or_else(|refusal| refusal)
}

/// What is wrong with bodies of provisions and updates.
fn check_body(world: &World, body: &Value, cases: [&str; 3]) -> Result<(), Reply> {
    let [schema, other, same] = cases;
    if world.wrong_in(other, "code") && body["maintenance_info"]["version"] == "0.0.1-conf" {
        return Err(coded("Conflict"));
    }
    let version = &body["maintenance_info"]["version"];
    let differs = !version.is_null() && version != VERSION;
    if (differs && !world.wrong(other)) || (!version.is_null() && world.wrong(same)) {
        return Err(coded("MaintenanceInfoConflict"));
    }
    let size = &body["parameters"]["size"];
    if size.is_null() || size.is_i64() || world.wrong(schema) { Ok(()) } else { Err(no(400, "size is a number")) }
}

fn check_provision(world: &World, body: &Value, id: &str) -> Result<(), Reply> {
    let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
    let (service, plan) = (body["service_id"].as_str(), body["plan_id"].as_str());
    check_ids(world, ["O47", "O48", "O49", "O50"], service, plan)?;
    for (field, case) in [("organization_guid", "O52"), ("space_guid", "O53")] {
        let is_empty = body.get(field).is_some_and(|value| value == "");
        if text(field).is_empty() && !world.wrong(case) && !(is_empty && world.wrong_in(case, "empty")) {
            return Err(no(400, "organization or space is missing"));
        }
    }
    check_body(world, body, ["O61", "O62", "O63"])?;
    let empty = |field: &str| body.get(field).is_some_and(Value::is_null);
    let bare = |field: &str| body.get(field).is_some_and(|value| *value == json!({}));
    let platform = body["context"]["platform"].as_str().unwrap_or("kubernetes");
    let crashes = (world.wrong("O45") && id.contains(' '))
        || (world.wrong("O46") && id.len() > 200)
        || (world.wrong("O59") && empty("context"))
        || (world.wrong("O59 parameters") && empty("parameters"))
        || (world.wrong("O59 maintenance") && empty("maintenance_info"))
        || (world.wrong("O59 empty context") && bare("context"))
        || (world.wrong("O59 empty parameters") && bare("parameters"));
    let refuses = (world.wrong("O43") && id.starts_with('1'))
        || (world.wrong("O58") && body.get("conf-unknown").is_some())
        || (world.wrong("O60") && platform == "conf-platform")
        || (world.wrong_in("O60", platform) && body["context"].is_object());
    match (crashes, refuses) {
        (true, _) => Err(crash()),
        (_, true) => Err(no(400, "not like this")),
        _ => Ok(()),
    }
}

fn provision(world: &World, inner: &mut Inner, asked: &Asked, id: &str) -> Result<Reply, Reply> {
    let body = BodyCases(["O54", "O55", "O56"]).read(world, asked)?;
    if world.wrong("O31 crash") {
        return Err(crash());
    }
    if world.wrong("O41 busy") {
        return Err(coded("ConcurrencyError"));
    }
    if let Err(refusal) = check_provision(world, &body, id) {
        if world.wrong("O64 accepted") {
            return Err((201, json!({})));
        }
        if world.wrong("O64") {
            inner.instances.insert(id.to_owned(), new(&body, String::new()));
        }
        return Err(refusal);
    }
    if world.wrong("O34") && asked.query("accepts_incomplete") == "maybe" {
        return Err(crash());
    }
    if inner.instances.contains_key(id) {
        return Ok(provision_again(world, inner, &body, id));
    }
    if world.wrong("O101") && inner.gone.contains(id) {
        return Err(no(409, "that id is used up"));
    }
    let goes_on = pace(world, asked, &body["plan_id"], "O33")?;
    let operation = inner.operation();
    let mut instance = new(&body, operation.clone());
    instance.work = if goes_on { work("provision", &body) } else { None };
    inner.instances.insert(id.to_owned(), instance);
    Ok(match goes_on {
        true => (202, json!({ "operation": operation })),
        false if world.wrong("O31") => (200, json!({})),
        false if world.wrong("O32") => (201, json!({ "operation": 5 })),
        false if world.wrong("O32 long") => (201, json!({ "operation": "x".repeat(10_001) })),
        false if world.wrong("O32 url") => (201, json!({ "dashboard_url": true })),
        false if world.wrong("O32 list") => listed(201),
        false => (201, json!({ "dashboard_url": null })),
    })
}

fn new(body: &Value, last: String) -> Instance {
    let plan = body["plan_id"].clone();
    Instance { wishes: body.clone(), plan, work: None, last, updates: 0, bindings: BTreeMap::new() }
}

fn provision_again(world: &World, inner: &mut Inner, body: &Value, id: &str) -> Reply {
    let other = inner.operation();
    let known = &inner.instances[id];
    let same = |field: &str, case: &str| body[field] == known.wishes[field] || world.wrong(case);
    let is_same = same("plan_id", "O36")
        && same("organization_guid", "O37")
        && same("space_guid", "O37 space")
        && (parameters(body) == parameters(&known.wishes) || world.wrong("O38"));
    let renews = world.wrong("O39") || world.wrong("O41 operations");
    let operation = if renews { &other } else { &known.last };
    match (is_same, &known.work) {
        (false, _) if world.wrong("O40") => (202, json!({ "operation": operation })),
        (false, _) if world.wrong("O42") => (201, json!({})),
        (false, _) => no(409, "it is there, and another one"),
        (true, Some(_)) => (202, json!({ "operation": operation })),
        (true, None) if world.wrong("O41 crash") => crash(),
        (true, None) if world.wrong("O35") => no(409, "it is there"),
        (true, None) => (if world.wrong("O41") { 201 } else { 200 }, json!({})),
    }
}

fn fetch(world: &World, inner: &Inner, id: &str) -> Reply {
    let Some(known) = inner.instances.get(id) else {
        let shown = world.wrong("O67") || (world.wrong("O69") && inner.gone.contains(id));
        return if shown { (200, json!({})) } else { no(404, "not there") };
    };
    match known.work.as_ref().map(|work| work.kind) {
        Some("update") if world.wrong("O71") => return crash(),
        Some("update") => return coded("ConcurrencyError"),
        Some(_) if !world.wrong("O68") => return no(404, "not yet"),
        _ => {}
    }
    let mut body = json!({ "service_id": SERVICE, "plan_id": known.plan, "parameters": parameters(&known.wishes) });
    match world.wrong.as_str() {
        "O65" => return crash(),
        "O65 list" => return listed(200),
        "O66" => body["plan_id"] = "plan-large".into(),
        "O66 service" => body["service_id"] = "service-2".into(),
        "O70" => body["parameters"] = json!([]),
        wrong => {
            if let Some(("O70", field)) = wrong.split_once(' ') {
                body[field] = json!([1]);
            }
        }
    }
    (200, body)
}

fn update(world: &World, inner: &mut Inner, asked: &Asked, id: &str) -> Result<Reply, Reply> {
    let body = BodyCases(["O85", "O85", "O85"]).read(world, asked)?;
    let (service, plan) = (body["service_id"].as_str(), body["plan_id"].as_str().unwrap_or("plan-small"));
    let checked = check_ids(world, ["O76", "O77", "", "O78"], service, Some(plan));
    let operation = inner.operation();
    let Some(known) = inner.instances.get_mut(id) else {
        checked?;
        return Err(if world.wrong("O79") { crash() } else { no(404, "not there") });
    };
    if let Err(refusal) = checked {
        if world.wrong("O80") {
            known.plan = json!("plan-large");
        }
        if world.wrong("O80 accepted") {
            return Err((200, json!({})));
        }
        return Err(refusal);
    }
    check_body(world, &body, ["O83", "O84", ""])?;
    if world.wrong("O72 crash") || (world.wrong("O89 crash") && known.plan == "plan-slow") {
        return Err(crash());
    }
    let refused = (world.wrong("O81") && body["context"].is_object())
        || (world.wrong("O82 unknown") && body.get("conf-unknown").is_some())
        || (world.wrong("O82") && body["previous_values"].is_object())
        || (world.wrong("O75") && known.updates > 0);
    if refused {
        return Err(no(400, "not like this"));
    }
    known.updates += 1;
    if world.wrong("O90") && known.updates == 3 {
        return Err(crash());
    }
    if let Some(work) = &known.work {
        return Err(match work.asked == body {
            true if world.wrong("O87") => (202, json!({ "operation": operation })),
            true => (202, json!({ "operation": known.last })),
            false if world.wrong("O88") => crash(),
            false => coded("ConcurrencyError"),
        });
    }
    if pace(world, asked, &known.plan, "O86")? {
        known.work = work("update", &body);
        known.last = operation;
        return Ok((202, json!({ "operation": known.last })));
    }
    if body["plan_id"].is_string() && !world.wrong("O73") {
        known.plan = body["plan_id"].clone();
    }
    if world.wrong("O74") && body["plan_id"].is_null() {
        known.plan = json!("plan-large");
    }
    Ok(match world.wrong.as_str() {
        "O72" => (204, Value::Null),
        "O72 list" => listed(200),
        _ => (200, json!({})),
    })
}

fn deprovision(world: &World, inner: &mut Inner, asked: &Asked, id: &str) -> Result<Reply, Reply> {
    let ids = check_ids(world, ["O92", "O94", "O93", "O94"], asked.asks("service_id"), asked.asks("plan_id"));
    if ids.is_err() && world.wrong("O95") {
        inner.take(id);
    }
    if ids.is_err() && world.wrong("O95 accepted") {
        return Err((200, json!({})));
    }
    ids?;
    inner.deletes += 1;
    if world.wrong("O102") && inner.deletes > 1 {
        return Err(crash());
    }
    let (is_gone, operation) = (inner.gone.contains(id), inner.operation());
    let Some(known) = inner.instances.get_mut(id) else {
        return Err(match world.wrong.as_str() {
            "O96" => no(404, "not there"),
            "O97" | "O41 again" | "O170 again" if is_gone => (200, json!({})),
            "O172" => (200, json!({})),
            _ => no(410, "gone"),
        });
    };
    if world.wrong("O100") && !known.bindings.is_empty() {
        return Err(crash());
    }
    match known.work.as_ref().map(|work| work.kind) {
        Some("deprovision") if world.wrong("O99") => return Ok((200, json!({}))),
        Some("deprovision") => return Ok((202, json!({ "operation": known.last }))),
        Some("provision") if world.wrong("O170") => return Err(crash()),
        _ => {}
    }
    if pace(world, asked, &known.plan, "O98")? {
        known.work = work("deprovision", &Value::Null);
        known.last = operation;
        return Ok((202, json!({ "operation": known.last })));
    }
    inner.take(id);
    Ok(match world.wrong.as_str() {
        "O91" => (204, Value::Null),
        "O91 list" => listed(200),
        _ => (200, json!({})),
    })
}

pub(super) fn last_operation(world: &World, inner: &mut Inner, asked: &Asked, id: &str) -> Reply {
    let is_second = inner.instances.len() > 1;
    let Some(known) = inner.instances.get(id) else {
        return match (inner.gone.contains(id), world.wrong.as_str()) {
            (true, "O111" | "O170 failed") => (200, json!({ "state": "failed" })),
            (true, "O112") | (false, "O107") => crash(),
            (true, _) => no(410, "gone"),
            (false, _) => no(404, "not there"),
        };
    };
    let operation = asked.query("operation");
    if (!operation.is_empty() && operation != known.last && !world.wrong("O108"))
        || (world.wrong("O109") && !asked.query("service_id").is_empty())
    {
        return no(400, "not that one");
    }
    let mut body = told(known.work.as_ref());
    match (world.wrong.as_str(), &known.work) {
        ("O104", Some(_)) => body["state"] = "succeeded".into(),
        // The first one is made to find out whether work goes on.
        (wrong, _) if wrong.starts_with("O104 ") && !is_second => {}
        ("O104 status", _) => return crash(),
        ("O104 list", _) => return listed(200),
        ("O104 word", Some(_)) => body["state"] = "working".into(),
        ("O104 description", Some(_)) => body["description"] = 7.into(),
        ("O104 end", None) => body["state"] = "failed".into(),
        ("O105", None) => body["state"] = "failed".into(),
        ("O106", None) if known.updates == 0 => {
            if let Some(known) = inner.instances.get_mut(id) {
                known.updates = 1;
            }
        }
        ("O106", None) => body["state"] = "failed".into(),
        _ => {}
    }
    (200, body)
}
