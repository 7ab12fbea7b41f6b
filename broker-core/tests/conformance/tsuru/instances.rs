//! Instances of the scripted broker.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    Asked, Fields, Inner, Instance, PASSWORD, PLANS, Reply, World,
    binds::{bind, unbind, unbind_job},
    crash,
    fields::field,
    no, ok,
};

pub(super) fn create(world: &World, inner: &mut Inner, asked: &Asked, fields: &Fields) -> Reply {
    let wrong = |id: &str| world.wrong == id;
    let name = match field(fields, "name") {
        None if wrong("A30") => return crash(),
        None => return no(if wrong("A109 name") { "" } else { "no name" }),
        Some("") => return if wrong("A31") { crash() } else { no("empty name") },
        Some("plans") if !wrong("A25") => {
            inner.burnt.push("plans".to_owned());
            return no("that name is taken");
        }
        Some(name) => name.to_owned(),
    };
    let plan = field(fields, "plan").unwrap_or("small").to_owned();
    let has = |key: &str| fields.iter().any(|(name, _)| name == key);
    let (user, is_json) = (asked.headers.get("x-tsuru-user"), asked.is_json());
    let crashes = wrong("A26")
        || (wrong("A13") && user.is_none())
        || (wrong("A14") && user.is_some_and(|user| user.is_empty()))
        || (wrong("A33") && !has("plan"))
        || (wrong("A34") && has("description"))
        || (wrong("A35") && has("no-such-field"))
        || (wrong("A36") && has("parameters."))
        || (wrong("A37") && has("parameters.unknown.deep.0"))
        || ((wrong("A41") || wrong("A42 crash")) && is_json)
        || (wrong("A38 crash") && has("parameters.size"))
        || (wrong("A43") && name.contains('_'))
        || (wrong("A44") && name.len() > 100)
        || (wrong("A46") && inner.burnt.contains(&name));
    if crashes {
        return crash();
    }
    let is_right = PLANS.contains(&plan.as_str());
    if !is_right && !wrong("A32") {
        inner.burnt.push(name.clone());
        if wrong("A32 left") || wrong("A32 state") {
            inner.instances.insert(name, Instance::new(Instant::now(), BTreeMap::new()));
        }
        return match world.wrong.as_str() {
            "A109" | "A32 silent" => no(""),
            "A110" => no(&format!("login with {PASSWORD} failed")),
            "A110 trace" => no("thread 'main' panicked at src/main.rs:1:1"),
            _ => no("no such plan"),
        };
    }
    let known = inner.instances.get_mut(&name);
    if let Some(known) = known.filter(|known| !known.gone || wrong("A104")) {
        known.odd = wrong("A29");
        if wrong("A29 info") {
            known.shown.clear();
        }
        return match world.wrong.as_str() {
            "A28" | "A45" => (201, String::new()),
            "A45 status" => no("it exists"),
            _ => (409, "it exists".to_owned()),
        };
    }
    let mut shown = BTreeMap::from([("plan".to_owned(), plan.clone())]);
    for (key, value) in fields.iter().filter_map(|(key, value)| Some((key.strip_prefix("parameters.")?, value))) {
        let (key, separator) = match key.strip_suffix(".0").or_else(|| key.strip_suffix(".1")) {
            Some(key) => (key, ","),
            None => (key, ""),
        };
        let value = if value == "1e+06" && !wrong("A38") { "1000000" } else { value };
        if wrong("A40") && separator == "," && !is_json {
            continue;
        }
        shown.entry(key.to_owned()).or_default().push_str(&format!("{value}{separator}"));
    }
    shown.remove("");
    let slow = Duration::from_secs(if plan == "slow" { 2 } else { 0 });
    let ready = Instant::now() + if wrong("A62") { Duration::from_secs(60) } else { slow };
    let mut instance = Instance::new(ready, shown);
    let is_odd = user.is_none_or(|user| user.is_empty());
    instance.odd = wrong("A14 state") && is_odd;
    if (wrong("A13 info") && is_odd)
        || (wrong("A35 info") && has("no-such-field"))
        || (wrong("A36 info") && has("parameters."))
    {
        instance.shown.insert("user".to_owned(), "unknown".to_owned());
    }
    inner.instances.insert(name, instance);
    let has_charset = asked.text("content-type").contains("charset");
    let is_ok = wrong("A27") || (wrong("A13 status") && is_odd) || (wrong("A113 status") && has_charset);
    (if is_ok { 200 } else { 201 }, String::new())
}

impl Instance {
    fn new(ready: Instant, shown: BTreeMap<String, String>) -> Self {
        let (bound, unbound) = (BTreeMap::new(), BTreeSet::new());
        Self { ready, shown, bound, unbound, updates: 0, gone: false, odd: false }
    }
}

pub(super) fn serve(
    world: &World,
    instance: &mut Instance,
    asked: &Asked,
    name: &str,
    rest: &[&str],
    fields: &Fields,
    nth: u32,
) -> Reply {
    let wrong = |id: &str| world.wrong == id;
    let has = |key: &str| fields.iter().any(|(field, _)| field == key);
    if name.contains('_') && world.wrong_in("A43", &asked.place()) {
        return (404, "no such instance".to_owned());
    }
    match (asked.method.as_str(), rest) {
        ("PUT", ["binds", "jobs", _]) if name.contains('_') && wrong("A43 job") => crash(),
        ("GET", []) => info(world, instance),
        ("GET", ["status"]) => status(world, instance, nth),
        ("PUT", []) => update(world, instance, asked, fields),
        ("DELETE", []) => remove(world, instance, asked),
        ("POST", ["bind-app"]) => bind(world, instance, asked, (name, "app"), fields),
        ("POST", ["bind"]) if has("unit-host") => {
            if wrong("A83") {
                crash()
            } else {
                ok()
            }
        }
        ("POST", ["bind"]) if wrong("A85") => crash(),
        ("POST", ["bind"]) => bind(world, instance, asked, (name, "app"), fields),
        ("DELETE", ["bind"]) => {
            if wrong("A84") {
                crash()
            } else {
                ok()
            }
        }
        ("DELETE", ["bind-app"]) => unbind(world, instance, asked, fields),
        ("PUT", ["binds", "jobs", _]) if wrong("A95") || (wrong("A100") && asked.is_json()) => crash(),
        ("PUT", ["binds", "jobs", job]) => {
            let fields = vec![("app-name".to_owned(), (*job).to_owned())];
            bind(world, instance, asked, (name, "job"), &fields)
        }
        ("DELETE", ["binds", "jobs", job]) => unbind_job(world, instance, job),
        (_, [] | ["bind-app"]) => {
            if wrong("A17") {
                crash()
            } else {
                (405, String::new())
            }
        }
        _ => {
            if wrong("A16") {
                ok()
            } else {
                (404, String::new())
            }
        }
    }
}

fn status(world: &World, instance: &mut Instance, nth: u32) -> Reply {
    let is_ready = Instant::now() >= instance.ready;
    match world.wrong.as_str() {
        "A59" => return (503, String::new()),
        "A62 failed" => return crash(),
        "A63" if nth % 4 == 3 => return (200, "busy".to_owned()),
        "A63 info" => drop(instance.shown.insert(format!("asked {nth}"), "yes".to_owned())),
        _ => {}
    }
    let text = match world.wrong.as_str() {
        "A60" => "up\n",
        "A60 lines" => "up\nand well",
        "A60 silent" => "",
        _ => "up",
    };
    match (instance.odd, is_ready) {
        (true, _) => (204, String::new()),
        (false, false) => (202, String::new()),
        (false, true) => (200, text.to_owned()),
    }
}

fn update(world: &World, instance: &mut Instance, asked: &Asked, fields: &Fields) -> Reply {
    let wrong = |id: &str| world.wrong == id;
    let plan = field(fields, "plan").unwrap_or_default();
    let tags = fields.iter().filter(|(key, _)| key == "tags").count();
    instance.updates += 1;
    if wrong("A47")
        || (wrong("A49") && plan.is_empty())
        || (wrong("A51") && instance.updates > 1)
        || (wrong("A52") && asked.is_json())
        || (wrong("A53") && tags == 3)
    {
        return crash();
    }
    if wrong("A52 refused") && asked.is_json() {
        return no("a form, please");
    }
    if plan.is_empty() || PLANS.contains(&plan) {
        return ok();
    }
    if wrong("A50 plan") {
        instance.shown.insert("plan".to_owned(), plan.to_owned());
    }
    match world.wrong.as_str() {
        "A50" => ok(),
        "A50 silent" => no(""),
        _ => no("no such plan"),
    }
}

fn remove(world: &World, instance: &mut Instance, asked: &Asked) -> Reply {
    let wrong = |id: &str| world.wrong == id;
    let has = |kind: &str| instance.bound.keys().any(|key| key.starts_with(kind));
    let is_ready = Instant::now() >= instance.ready;
    if wrong("A101")
        || (wrong("A105") && has("app "))
        || (wrong("A105 job") && has("job "))
        || (wrong("A106") && asked.is_json())
        || (wrong("A107 crash") && !is_ready)
        || (wrong("A108") && asked.body.is_empty())
    {
        return crash();
    }
    instance.gone = !wrong("A107") || is_ready;
    if instance.gone {
        instance.bound.clear();
    }
    ok()
}

fn info(world: &World, instance: &Instance) -> Reply {
    let mut items: Vec<_> =
        instance.shown.iter().map(|(label, value)| json!({"label": label, "value": value})).collect();
    match world.wrong.as_str() {
        "A32 state" if instance.shown.is_empty() => return (404, "nothing to tell".to_owned()),
        "A54" => items.push(json!({"label": "n", "value": 1})),
        "A54 object" => return (200, "{}".to_owned()),
        "A55" => items.push(json!({"label": "n"})),
        "A55 label" => items.push(json!({"value": "n"})),
        "A56" => items.push(json!({"label": "plan", "value": "again"})),
        "A56 empty" => items.push(json!({"label": "", "value": "n"})),
        _ => {}
    }
    (200, Value::from(items).to_string())
}
