//! Binds of the scripted broker.

use std::time::Instant;

use serde_json::json;

use super::{Asked, Fields, Instance, Reply, World, crash, fields::field, no, ok};

/// Binds an app or a job to the instance of this name.
pub(super) fn bind(
    world: &World,
    instance: &mut Instance,
    asked: &Asked,
    (name, kind): (&str, &str),
    fields: &Fields,
) -> Reply {
    let wrong = |id: &str| world.wrong == id;
    let is_pending = Instant::now() < instance.ready;
    if is_pending && !wrong("A71") && !(wrong("A99 pending") && kind == "job") {
        return (412, "not ready".to_owned());
    }
    let Some(app) = field(fields, "app-name") else {
        instance.odd = true;
        let crashes = wrong("A77") || (wrong("A77 form") && !asked.body.is_empty());
        return if crashes { crash() } else { no("no app") };
    };
    let hosts = fields.iter().filter(|(key, _)| key == "app-hosts").count();
    let has = |key: &str| fields.iter().any(|(field, _)| field == key);
    if (wrong("A75") && hosts == 0)
        || (wrong("A76") && hosts == 3)
        || (wrong("A78") && asked.is_json())
        || (wrong("A79") && has("parameters.unknown"))
        || (wrong("A80") && instance.odd)
        || wrong("A81 status")
        || (wrong("A82") && instance.bound.len() == 2)
        || ((wrong("A49 bind") || wrong("A50 bind")) && instance.updates > 0)
    {
        return crash();
    }
    let key = format!("{kind} {app}");
    let again = instance.bound.contains_key(&key);
    let is_back = instance.unbound.contains(&key);
    if (wrong("A89") && is_back) || (again && (wrong("A72 status") || (wrong("A96 status") && kind == "job"))) {
        return (409, "it was bound once".to_owned());
    }
    if again && wrong("A73") {
        instance.bound.insert(key.clone(), "another".to_owned());
    }
    let is_dead = (wrong("A82 secret") && instance.bound.len() == 2) || (wrong("A89 secret") && is_back);
    let secret = instance.bound.entry(key).or_insert_with(|| format!("{name} {kind} {app}")).clone();
    let secret = if is_dead { "dead".to_owned() } else { secret };
    let other = (again && (wrong("A72") || (wrong("A96") && kind == "job"))) || (is_back && wrong("A89 names"));
    let given = json!({if other { "OTHER" } else { "SECRET" }: secret});
    let more = match world.wrong.as_str() {
        "A64" => return (201, "[]".to_owned()),
        "A64 status" => return (302, given.to_string()),
        "A65" => ("PORT_NUMBER", json!(1)),
        "A66" => ("TSURU_X", json!("1")),
        "A66 letters" => ("A-B", json!("1")),
        "A66 digit" => ("1A", json!("1")),
        "A66 port" => ("PORT", json!("1")),
        "A66 small" => ("port", json!("1")),
        "A67" => return (204, String::new()),
        "A67 status" => return (201, String::new()),
        "A68" => return (202, given.to_string()),
        "A94" if kind == "job" => return (201, "[1]".to_owned()),
        "A96 first" if kind == "job" && !again => return (201, "[1]".to_owned()),
        _ => return (201, given.to_string()),
    };
    (201, json!({"SECRET": secret, more.0: more.1}).to_string())
}

pub(super) fn unbind(world: &World, instance: &mut Instance, asked: &Asked, fields: &Fields) -> Reply {
    let wrong = |id: &str| world.wrong == id;
    let Some(app) = field(fields, "app-name") else {
        return if wrong("A90") { crash() } else { no("no app") };
    };
    let has = |key: &str| fields.iter().any(|(field, _)| field == key);
    if wrong("A86")
        || (wrong("A91") && !has("app-hosts"))
        || (wrong("A92") && asked.is_json())
        || (wrong("A92 null") && has("appHosts"))
    {
        return crash();
    }
    let key = format!("app {app}");
    let known = if wrong("A93") { instance.bound.get(&key).cloned() } else { instance.bound.remove(&key) };
    instance.unbound.insert(key);
    if wrong("A74") {
        instance.bound.clear();
    }
    match known {
        Some(_) => ok(),
        None if wrong("A87") => crash(),
        None => (404, "not bound".to_owned()),
    }
}

pub(super) fn unbind_job(world: &World, instance: &mut Instance, job: &str) -> Reply {
    if world.wrong("A98 first") {
        return crash();
    }
    if world.wrong("A97") {
        instance.bound.remove(&format!("app {job}"));
    }
    match instance.bound.remove(&format!("job {job}")) {
        Some(_) => ok(),
        None if world.wrong("A98") => crash(),
        None => (404, "not bound".to_owned()),
    }
}
