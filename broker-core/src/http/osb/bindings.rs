//! Bindings: bind, fetch, unbind, last operation.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use tracing::info;

use super::{
    instances::plan_of,
    request::{self, BindingBody, Body, Caller, Path},
    respond::{Refusal, accepted, done, earlier, state_of},
};
use crate::{
    BindingId, BrokerError, Consumer, EnvVars, InstanceName, Parameters,
    lifecycle::{Ask, BindingState, BindingView, Ends, Engine, OperationKind, Outcome},
};

/// What the path names.
fn named((instance, binding): &(String, String)) -> Result<(InstanceName, Consumer), Refusal> {
    Ok((request::instance(instance)?, consumer(binding)?))
}

fn consumer(id: &str) -> Result<Consumer, Refusal> {
    let id = id.parse::<BindingId>().map_err(|refusal| Refusal::bad_request(refusal.to_string()))?;
    Ok(Consumer::Binding(id))
}

/// The variables that an app of the other dialect would find, under the same names, and where they lead.
async fn credentials(engine: &Engine, name: &InstanceName, env: &EnvVars) -> Result<Value, Refusal> {
    let endpoints = engine.endpoints(name).await?;
    let mut body = json!({ "credentials": env });
    if !endpoints.is_empty() {
        body["endpoints"] = json!(endpoints);
    }
    Ok(body)
}

/// `PUT .../service_bindings/{binding}` (SPEC O-8)
pub(super) async fn bind(
    State(engine): State<Arc<Engine>>,
    Path(path): Path<(String, String)>,
    caller: Caller,
    Body(body): Body<BindingBody>,
) -> Result<Response, Refusal> {
    let (name, consumer) = named(&path)?;
    request::plan(engine.catalog(), &body.service_id, &body.plan_id)?;
    let view = engine.look_at(&name).await?;
    if plan_of(&engine, &view).is_some_and(|plan| plan != body.plan_id) {
        return Err(Refusal::bad_request("plan_id is not the plan that the instance is on"));
    }
    let inherited = match body.predecessor_binding_id.as_deref() {
        None | Some("") => Parameters::new(),
        Some(id) => predecessor(&engine, &name, id, &consumer).await?,
    };
    let ask = Ask { whereabouts: body.whereabouts(), ..caller.ask() };
    let parameters = body.parameters.unwrap_or(inherited);
    info!(instance.name = %name, user = ask.actor.user, "asked to bind instance `{name}` to {consumer}");
    let outcome = engine.bind(name.clone(), consumer.clone(), parameters, ask).await?;
    let (status, env) = match outcome {
        Outcome::Done(env) => (StatusCode::CREATED, env),
        Outcome::Already(env) => {
            let view = engine.look_at_present_binding(&name, &consumer).await?;
            (StatusCode::OK, view.env.unwrap_or(env))
        }
        Outcome::GoesOn(operation) => return Ok(accepted(&operation)),
    };
    let mut body = credentials(&engine, &name, &env).await?;
    if engine.lets_credentials_end() {
        let view = engine.look_at_binding(&name, &consumer).await?;
        body["metadata"] = metadata(&view);
    }
    Ok(done(status, body))
}

/// When credentials end, if they do (SPEC B-9).
fn metadata(view: &BindingView) -> Value {
    let moment = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
    match view.expires {
        Some(Ends { expires_at, renew_before }) => {
            json!({ "expires_at": moment(expires_at), "renew_before": moment(renew_before) })
        }
        None => json!({}),
    }
}

/// A binding that another one takes the place of: that one has its parameters, and credentials of its own (SPEC O-9).
/// A repeat finds the successor there, and the predecessor perhaps no more.
async fn predecessor(
    engine: &Arc<Engine>,
    name: &InstanceName,
    id: &str,
    successor: &Consumer,
) -> Result<Parameters, Refusal> {
    for consumer in [&consumer(id)?, successor] {
        match engine.look_at_binding(name, consumer).await {
            Ok(view) if view.env.is_some() => return Ok(view.binding.parameters),
            Ok(view) if consumer == successor && view.state == BindingState::Binding => {
                return Ok(view.binding.parameters);
            }
            Ok(_) | Err(BrokerError::NotBound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refusal::bad_request("predecessor_binding_id is no binding of this instance"))
}

/// `GET .../service_bindings/{binding}` (SPEC O-6)
pub(super) async fn fetch(
    State(engine): State<Arc<Engine>>,
    Path(path): Path<(String, String)>,
    caller: Caller,
) -> Result<Response, Refusal> {
    let (name, consumer) = named(&path)?;
    caller.check_hints(engine.catalog())?;
    let view = engine.look_at_present_binding(&name, &consumer).await?;
    let is_bound = matches!(view.state, BindingState::Bound | BindingState::Rotating);
    let Some(env) = view.env.as_ref().filter(|_| is_bound) else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "the binding is not there, or not yet"));
    };
    let mut body = credentials(&engine, &name, env).await?;
    if view.expires.is_some() {
        body["metadata"] = metadata(&view);
    }
    body["parameters"] = view.binding.parameters.into();
    Ok(done(StatusCode::OK, body))
}

/// `DELETE .../service_bindings/{binding}`
pub(super) async fn unbind(
    State(engine): State<Arc<Engine>>,
    Path(path): Path<(String, String)>,
    caller: Caller,
) -> Result<Response, Refusal> {
    let (name, consumer) = named(&path)?;
    request::plan(engine.catalog(), &caller.query.service_id, &caller.query.plan_id)?;
    let ask = caller.ask();
    info!(instance.name = %name, user = ask.actor.user, "asked to unbind instance `{name}` from {consumer}");
    let outcome = engine.unbind(name, consumer, ask).await;
    Ok(match outcome.map_err(|error| Refusal::from(error).gone_if_unknown())? {
        Outcome::Done(()) | Outcome::Already(()) => done(StatusCode::OK, json!({})),
        Outcome::GoesOn(operation) => accepted(&operation),
    })
}

/// `GET .../service_bindings/{binding}/last_operation` (SPEC O-7)
pub(super) async fn last_operation(
    State(engine): State<Arc<Engine>>,
    Path(path): Path<(String, String)>,
    caller: Caller,
) -> Result<Response, Refusal> {
    let (name, consumer) = named(&path)?;
    caller.check_hints(engine.catalog())?;
    let asked = &caller.query.operation;
    let view = match engine.look_at_binding(&name, &consumer).await {
        Ok(view) if asked.is_empty() || *asked == view.operation.id.as_str() => view,
        looked => return earlier(&engine, (&name, Some(&consumer)), asked, looked.err()).await,
    };
    let is_unbound = view.state == BindingState::Gone && view.operation.kind != OperationKind::Bind;
    if is_unbound {
        return Err(Refusal::new(StatusCode::GONE, "the binding is gone"));
    }
    Ok(state_of(&view.operation, json!({})))
}
