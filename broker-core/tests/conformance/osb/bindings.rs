//! Bindings of the scripted broker.

use serde_json::{Value, json};

use super::{
    Asked, Reply, World, coded, crash, listed, no,
    state::{Binding, BodyCases, Inner, check_ids, pace, parameters, told, work},
};

pub(super) fn serve(world: &World, inner: &mut Inner, asked: &Asked, of: &str, id: &str) -> Reply {
    let outcome = match asked.method.as_str() {
        "PUT" => bind(world, inner, asked, of, id),
        "DELETE" => unbind(world, inner, asked, of, id),
        "GET" => Ok(fetch(world, inner, of, id)),
        _ => Err(no(405, "no such method")),
    };
    outcome.unwrap_or_else(|refusal| refusal)
}

fn check_bind(world: &World, body: &Value) -> Result<(), Reply> {
    let (service, plan) = (body["service_id"].as_str(), body["plan_id"].as_str());
    check_ids(world, ["O132", "O133", "O134", "O135"], service, plan)?;
    let mode = &body["parameters"]["mode"];
    let is = |field: &str, wanted: Value| body.get(field) == Some(&wanted);
    let has = |field: &str| body.get(field).is_some();
    let refused = (!mode.is_null() && !mode.is_string() && !world.wrong("O141"))
        || (world.wrong("O139") && has("conf-unknown"))
        || (world.wrong("O174") && has("predecessor_binding_id"))
        || (world.wrong("O122") && has("bind_resource") && !has("app_guid"))
        || (world.wrong("O122 guid") && has("app_guid") && !has("bind_resource"));
    let crashes = (world.wrong("O140") && is("context", json!({})))
        || (world.wrong("O140 null context") && is("context", Value::Null))
        || (world.wrong("O140 parameters") && is("parameters", json!({})))
        || (world.wrong("O140 null parameters") && is("parameters", Value::Null))
        || (world.wrong("O121") && !has("app_guid") && !has("bind_resource"));
    match (crashes, refused) {
        (true, _) => Err(crash()),
        (_, true) => Err(no(400, "not like this")),
        _ => Ok(()),
    }
}

fn bind(world: &World, inner: &mut Inner, asked: &Asked, of: &str, id: &str) -> Result<Reply, Reply> {
    let body = BodyCases(["O136", "O137", "O138"]).read(world, asked)?;
    let checked = check_bind(world, &body);
    if world.wrong("O142 accepted") && checked.is_err() {
        return Err((201, json!({})));
    }
    let (operation, is_gone) = (inner.operation(), inner.gone.contains(of));
    let was_bound = inner.gone.contains(&format!("{of}/{id}"));
    let Some(instance) = inner.instances.get_mut(of) else {
        checked?;
        return Err(match world.wrong.as_str() {
            "O103" if is_gone => (201, json!({})),
            "O119" => crash(),
            _ => no(404, "no such instance"),
        });
    };
    let binding = |password: String| Binding {
        wishes: body.clone(),
        password,
        work: None,
        last: operation.clone(),
        was_slow: false,
        is_dead: world.wrong("O153 secret"),
    };
    if let Err(refusal) = checked {
        if world.wrong("O142") {
            instance.bindings.insert(id.to_owned(), binding("left".to_owned()));
        }
        return Err(refusal);
    }
    if instance.work.is_some() {
        return Err(if world.wrong("O127") { crash() } else { coded("ConcurrencyError") });
    }
    if let Some(known) = instance.bindings.get_mut(id) {
        return Ok(bind_again(world, known, &body, &operation));
    }
    let tolerates = ["O134", "O134 empty", "O135"].iter().any(|case| world.wrong(case));
    if body["plan_id"] != instance.plan && !tolerates {
        return Err(no(400, "that is not the plan of the instance"));
    }
    if (world.wrong("O129") && instance.bindings.len() == 2) || (world.wrong("O155") && was_bound) {
        return Err(if was_bound { no(409, "that id is used up") } else { crash() });
    }
    let goes_on = pace(world, asked, &instance.plan, "O126")?;
    let mut made = binding(format!("password of {id}"));
    if world.wrong("O120") {
        "the same for all".clone_into(&mut made.password);
    }
    if let Some(predecessor) = body["predecessor_binding_id"].as_str() {
        match instance.bindings.get_mut(predecessor) {
            Some(_) if world.wrong("O174 secret") => made.is_dead = true,
            Some(old) if world.wrong("O175") => made.password.clone_from(&old.password),
            Some(old) if world.wrong("O176") => "revoked".clone_into(&mut old.password),
            None if !world.wrong("O177") => return Err(no(404, "no such predecessor")),
            _ => {}
        }
    }
    (made.work, made.was_slow) = if goes_on { (work("bind", &body), true) } else { (None, false) };
    let given = given(world, &made);
    instance.bindings.insert(id.to_owned(), made);
    Ok(match goes_on {
        true if world.wrong("O125 list") => listed(202),
        true if world.wrong("O125") => (202, json!({ "operation": operation, "credentials": { "PASSWORD": "x" } })),
        true => (202, json!({ "operation": operation })),
        false if world.wrong("O114 list") || world.wrong("O131 body") => listed(201),
        false => (if world.wrong("O113") { 200 } else { 201 }, given),
    })
}

fn given(world: &World, binding: &Binding) -> Value {
    let is_dead = world.wrong("O115") || binding.is_dead;
    let password = if is_dead { "another" } else { &binding.password };
    let mut given = json!({
        "credentials": { "PASSWORD": password },
        "endpoints": [{ "host": "scripted.test", "ports": ["1"] }],
        "metadata": { "expires_at": "2099-01-31T12:00:00Z" },
    });
    match world.wrong.as_str() {
        "O114" => given["syslog_drain_url"] = "syslog://scripted.test".into(),
        "O114 route" => given["route_service_url"] = "http://scripted.test".into(),
        "O114 volumes" => given["volume_mounts"] = json!([]),
        "O114 credentials" => given["credentials"] = json!(["x"]),
        "O114 endpoints" => given["endpoints"] = json!({}),
        "O114 host" => given["endpoints"][0]["host"] = Value::Null,
        "O114 ports" => given["endpoints"][0]["ports"] = json!([]),
        "O114 port" => given["endpoints"][0]["ports"] = json!([1]),
        "O131" => given["metadata"]["expires_at"] = "tomorrow".into(),
        "O131 renewal" => given["metadata"]["renew_before"] = 5.into(),
        "O131 list" => given["metadata"] = json!([]),
        _ => {}
    }
    given
}

fn bind_again(world: &World, known: &mut Binding, body: &Value, operation: &str) -> Reply {
    let same_parameters = parameters(body) == parameters(&known.wishes);
    let same_plan = body["plan_id"] == known.wishes["plan_id"];
    let refused = (!same_parameters && !world.wrong("O117")) || (!same_plan && !world.wrong("O118"));
    match (refused, &known.work) {
        (true, Some(_)) if world.wrong("O124") => (202, json!({ "operation": known.last })),
        (true, _) => no(409, "it is there, and another one"),
        (false, Some(_)) if world.wrong("O123") => (202, json!({ "operation": operation })),
        (false, Some(_)) => (202, json!({ "operation": known.last })),
        (false, None) if world.wrong("O178") || world.wrong("O176 status") => no(409, "it is there"),
        (false, None) if world.wrong("O128 crash") => crash(),
        (false, None) => {
            let renews = ["O116", "O128 secret", "O176 again", "O179 again"];
            if renews.iter().any(|case| world.wrong(case)) {
                format!("{operation} renewed").clone_into(&mut known.password);
            }
            (if world.wrong("O128") || world.wrong("O116 status") { 201 } else { 200 }, given(world, known))
        }
    }
}

fn fetch(world: &World, inner: &Inner, of: &str, id: &str) -> Reply {
    let Some(known) = inner.instances.get(of).and_then(|instance| instance.bindings.get(id)) else {
        let shown = world.wrong("O158") || (world.wrong("O159") && inner.gone.contains(&format!("{of}/{id}")));
        return if shown { (200, json!({})) } else { no(404, "not there") };
    };
    if known.work.is_some() && !world.wrong("O160") {
        return no(404, "not yet");
    }
    let mut body = given(world, known);
    body["parameters"] = parameters(&known.wishes);
    match world.wrong.as_str() {
        "O115 fetch" | "O157 status" | "O161 status" | "O162 status" => return crash(),
        "O157 list" | "O161 list" | "O162 list" => return listed(200),
        "O161 secret" => body["credentials"]["PASSWORD"] = "another".into(),
        "O162 credentials" => body["credentials"] = json!([]),
        "O162 metadata" => body["metadata"] = json!("x"),
        "O162 endpoints" => body["endpoints"] = json!([1]),
        "O157" => body["credentials"]["PASSWORD"] = "another".into(),
        "O161" if known.was_slow => body["credentials"] = Value::Null,
        "O162" => body["parameters"] = json!([]),
        _ => {}
    }
    (200, body)
}

fn unbind(world: &World, inner: &mut Inner, asked: &Asked, of: &str, id: &str) -> Result<Reply, Reply> {
    let ids = check_ids(world, ["O144", "O146", "O145", "O146"], asked.asks("service_id"), asked.asks("plan_id"));
    if ids.is_err() && world.wrong("O147") {
        inner.take_binding(of, id);
    }
    if ids.is_err() && world.wrong("O147 accepted") {
        return Err((200, json!({})));
    }
    ids?;
    inner.deletes += 1;
    if world.wrong("O156") && inner.deletes > 1 {
        return Err(crash());
    }
    let (operation, was_bound) = (inner.operation(), inner.gone.contains(&format!("{of}/{id}")));
    let Some(instance) = inner.instances.get_mut(of) else {
        return Err(if world.wrong("O150") { crash() } else { no(410, "gone") });
    };
    let Some(known) = instance.bindings.get_mut(id) else {
        return Err(match world.wrong.as_str() {
            "O148" => no(404, "not there"),
            "O149" | "O171 again" if was_bound => (200, json!({})),
            "O173" => (200, json!({})),
            _ => no(410, "gone"),
        });
    };
    match known.work.as_ref().map(|work| work.kind) {
        Some("unbind") if world.wrong("O152") => return Ok((200, json!({}))),
        Some("unbind") => return Ok((202, json!({ "operation": known.last }))),
        Some("bind") if world.wrong("O171") => return Err(crash()),
        _ => {}
    }
    if pace(world, asked, &instance.plan, "O151")? {
        known.work = work("unbind", &Value::Null);
        known.last = operation;
        return Ok((202, json!({ "operation": known.last })));
    }
    if world.wrong("O153") {
        inner.leaked.insert(known.password.clone());
    }
    if world.wrong("O154") || world.wrong("O179") {
        instance.bindings.clear();
    }
    inner.take_binding(of, id);
    Ok(match world.wrong.as_str() {
        "O143" => (204, Value::Null),
        "O143 list" => listed(200),
        _ => (200, json!({})),
    })
}

pub(super) fn last_operation(world: &World, inner: &mut Inner, asked: &Asked, of: &str, id: &str) -> Reply {
    let Some(known) = inner.instances.get(of).and_then(|instance| instance.bindings.get(id)) else {
        return match (inner.gone.contains(&format!("{of}/{id}")), world.wrong.as_str()) {
            (true, "O168") => (200, json!({ "state": "failed" })),
            (true, "O169") | (false, "O165") => crash(),
            (true, _) => no(410, "gone"),
            (false, _) => no(404, "not there"),
        };
    };
    let operation = asked.query("operation");
    if (!operation.is_empty() && operation != known.last && !world.wrong("O166"))
        || (world.wrong("O167") && !asked.query("service_id").is_empty())
    {
        return no(400, "not that one");
    }
    let mut body = told(known.work.as_ref());
    match (world.wrong.as_str(), &known.work) {
        ("O163", Some(_)) => body["state"] = "working".into(),
        ("O163 early", Some(_)) => body["state"] = "succeeded".into(),
        ("O163 end", None) => body["state"] = "failed".into(),
        ("O164 list", _) => return listed(200),
        ("O164", None) => body["state"] = "failed".into(),
        _ => {}
    }
    (200, body)
}
