//! What the broker has, and work on it that goes on for a moment.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{Asked, Reply, World, catalog::SERVICE, coded, crash, no};

/// How long work on the slow plan goes on.
const SLOW: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Inner {
    pub(super) instances: BTreeMap<String, Instance>,
    /// Paths of what was removed.
    pub(super) gone: BTreeSet<String>,
    /// Passwords that were not taken away.
    pub(super) leaked: BTreeSet<String>,
    pub(super) catalogs: u32,
    pub(super) operations: u32,
    pub(super) deletes: u32,
}

pub(super) struct Instance {
    pub(super) wishes: Value,
    pub(super) plan: Value,
    pub(super) work: Option<Work>,
    pub(super) last: String,
    pub(super) updates: u32,
    pub(super) bindings: BTreeMap<String, Binding>,
}

pub(super) struct Binding {
    pub(super) wishes: Value,
    pub(super) password: String,
    pub(super) work: Option<Work>,
    pub(super) last: String,
    pub(super) was_slow: bool,
    /// Its credentials do not work.
    pub(super) is_dead: bool,
}

#[derive(Clone)]
pub(super) struct Work {
    pub(super) kind: &'static str,
    pub(super) until: Instant,
    pub(super) asked: Value,
}

impl Work {
    fn is_over(work: Option<&Self>) -> Option<&Self> {
        work.filter(|work| work.until <= Instant::now())
    }
}

impl Inner {
    /// Ends what has gone on long enough.
    pub(super) fn settle(&mut self, world: &World) {
        let mut over = Vec::new();
        for (id, instance) in &mut self.instances {
            for (binding, bound) in &mut instance.bindings {
                match Work::is_over(bound.work.as_ref()).map(|work| work.kind) {
                    Some("unbind") => over.push((id.clone(), Some(binding.clone()))),
                    Some(_) => bound.work = None,
                    None => {}
                }
            }
            match Work::is_over(instance.work.as_ref()).cloned() {
                Some(work) if work.kind == "deprovision" => over.push((id.clone(), None)),
                Some(work) => {
                    instance.work = None;
                    if work.kind == "update" && !world.wrong("O89") && work.asked["plan_id"].is_string() {
                        instance.plan = work.asked["plan_id"].clone();
                    }
                }
                None => {}
            }
        }
        for (id, binding) in over {
            match binding {
                Some(binding) => self.take_binding(&id, &binding),
                None => self.take(&id),
            }
        }
    }

    pub(super) fn take(&mut self, id: &str) {
        self.instances.remove(id);
        self.gone.insert(id.to_owned());
    }

    pub(super) fn take_binding(&mut self, of: &str, id: &str) {
        self.instances.get_mut(of).and_then(|instance| instance.bindings.remove(id));
        self.gone.insert(format!("{of}/{id}"));
    }

    pub(super) fn operation(&mut self) -> String {
        self.operations += 1;
        format!("operation-{}", self.operations)
    }

    pub(super) fn opens(&self, password: &str) -> bool {
        let mut bindings = self.instances.values().flat_map(|instance| instance.bindings.values());
        bindings.any(|binding| binding.password == password) || self.leaked.contains(password)
    }
}

pub(super) fn work(kind: &'static str, asked: &Value) -> Option<Work> {
    Some(Work { kind, until: Instant::now() + SLOW, asked: asked.clone() })
}

/// Whether work on a plan is done at once, goes on, or can't be done like this. `waits` is the case that is about it.
pub(super) fn pace(world: &World, asked: &Asked, plan: &Value, waits: &str) -> Result<bool, Reply> {
    let all_slow = world.wrong("O41 operations") || world.wrong("O115 fetch");
    let query = asked.query("accepts_incomplete");
    let accepts = query == "true" || (world.wrong("O34 false") && query == "false");
    match (plan == "plan-slow", accepts) {
        (false, accepts) => Ok(accepts && all_slow),
        (true, true) => Ok(true),
        (true, false) if world.wrong(waits) => Ok(true),
        (true, false) if world.wrong_in(waits, "code") || (world.wrong("O34 code") && query == "false") => {
            Err(coded("TryAgain"))
        }
        (true, false) if world.wrong_in(waits, "status") => Err((400, json!({ "error": "AsyncRequired" }))),
        (true, false) => Err(coded("AsyncRequired")),
    }
}

/// Cases about a body: one that is cut off, one that is no object, one with wrong types.
pub(super) struct BodyCases(pub(super) [&'static str; 3]);

impl BodyCases {
    pub(super) fn read(&self, world: &World, asked: &Asked) -> Result<Value, Reply> {
        let [cut, no_object, types] = self.0;
        let refuse = |case: &str, what: &str| {
            let crashes = world.wrong(case) || world.wrong_in(case, what);
            Err(if crashes { crash() } else { no(400, "no such body") })
        };
        let is_json = asked.text("content-type") == Some("application/json");
        if world.wrong("O57") && !is_json {
            return Err(crash());
        }
        if asked.body.is_empty() {
            return refuse(no_object, "empty");
        }
        let Ok(body) = serde_json::from_slice::<Value>(&asked.body) else { return refuse(cut, "cut") };
        let text = |field: &str| body[field].is_null() || body[field].is_string();
        match &body {
            Value::Null => refuse(no_object, "null"),
            Value::Array(_) => refuse(no_object, "list"),
            Value::Object(_) if !text("service_id") => refuse(types, "service"),
            Value::Object(_) if !text("plan_id") => refuse(types, "plan"),
            Value::Object(_) if !(body["parameters"].is_null() || body["parameters"].is_object()) => {
                refuse(types, "parameters")
            }
            Value::Object(_) => Ok(body),
            _ => refuse(no_object, "text"),
        }
    }
}

/// Cases about ids: no service, an unknown one, no plan, an unknown one.
pub(super) fn check_ids(
    world: &World,
    cases: [&str; 4],
    service: Option<&str>,
    plan: Option<&str>,
) -> Result<(), Reply> {
    let plans = ["plan-small", "plan-slow", "plan-large"];
    let (service_id, plan_id) = (service.unwrap_or_default(), plan.unwrap_or_default());
    let found = [service_id.is_empty(), service_id != SERVICE, plan_id.is_empty(), !plans.contains(&plan_id)];
    let Some(wrong) = found.iter().position(|found| *found) else { return Ok(()) };
    let what = match wrong {
        0 if service.is_some() => "empty",
        2 if plan.is_some() => "empty",
        3 => "plan",
        _ => "",
    };
    let tolerated = world.wrong(cases[wrong])
        || world.wrong_in(cases[wrong], what)
        || (world.wrong("O51") && plan_id == "plan-foreign");
    if tolerated { Ok(()) } else { Err(no(400, "service_id or plan_id is wrong")) }
}

/// What is said about work that goes on, or that is over.
pub(super) fn told(work: Option<&Work>) -> Value {
    json!({ "state": if work.is_some() { "in progress" } else { "succeeded" }, "description": "as it stands" })
}

/// Parameters as they count: none at all and none in particular are the same.
pub(super) fn parameters(body: &Value) -> Value {
    body.get("parameters").filter(|given| !given.is_null()).cloned().unwrap_or_else(|| json!({}))
}
