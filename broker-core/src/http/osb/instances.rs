//! Instances: provision, fetch, update, deprovision, last operation.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use serde_json::{Value, json};
use tracing::info;

use super::{
    catalog,
    request::{self, Body, Caller, InstanceBody, Path},
    respond::{Refusal, accepted, done, state_of},
};
use crate::{
    InstanceName,
    lifecycle::{Change, Engine, InstanceState, InstanceView, NewInstance, OperationKind, Outcome, Wishes},
};

/// `PUT /v2/service_instances/{instance}` (SPEC O-3, O-4)
pub(super) async fn provision(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    caller: Caller,
    Body(body): Body<InstanceBody>,
) -> Result<Response, Refusal> {
    let name = request::instance(&name)?;
    let plan = request::plan(engine.catalog(), &body.service_id, &body.plan_id)?.name.clone();
    refuse_maintenance_info(body.maintenance_info.as_ref())?;
    for (field, value) in [("organization_guid", &body.organization_guid), ("space_guid", &body.space_guid)] {
        if value.is_empty() {
            return Err(Refusal::bad_request(format!("{field} is missing")));
        }
    }
    let wishes = Wishes {
        team: format!("{}/{}", body.organization_guid, body.space_guid),
        description: body.instance_name().unwrap_or_default().to_owned(),
        tags: Vec::new(),
        parameters: body.parameters.unwrap_or_default(),
    };
    let ask = caller.ask();
    info!(instance.name = %name, user = ask.actor.user, "asked to create instance `{name}`");
    Ok(match engine.create(NewInstance { name, plan: Some(plan), wishes }, ask).await? {
        Outcome::Done(()) => done(StatusCode::CREATED, json!({})),
        Outcome::Already(()) => done(StatusCode::OK, json!({})),
        Outcome::GoesOn(operation) => accepted(&operation),
    })
}

/// `GET /v2/service_instances/{instance}` (SPEC O-6)
pub(super) async fn fetch(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    caller: Caller,
) -> Result<Response, Refusal> {
    caller.check_hints(engine.catalog())?;
    let view = engine.look_at(&request::instance(&name)?).await?;
    match view.state {
        InstanceState::Ready => {}
        InstanceState::Updating => {
            return Err(Refusal::coded("ConcurrencyError", "the instance is being updated, try again in a moment"));
        }
        InstanceState::Provisioning | InstanceState::Deprovisioning | InstanceState::Failed | InstanceState::Gone => {
            return Err(Refusal::new(StatusCode::NOT_FOUND, "the instance is not there, or not yet"));
        }
    }
    Ok(done(
        StatusCode::OK,
        json!({
            "service_id": catalog::service_id(engine.catalog()),
            "plan_id": plan_of(&engine, &view),
            "parameters": view.instance.parameters,
        }),
    ))
}

/// `PATCH /v2/service_instances/{instance}`: what is not named stays as it is; of parameters, each by itself (SPEC O-5).
pub(super) async fn update(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    caller: Caller,
    Body(body): Body<InstanceBody>,
) -> Result<Response, Refusal> {
    let name = request::instance(&name)?;
    request::service(engine.catalog(), &body.service_id)?;
    refuse_maintenance_info(body.maintenance_info.as_ref())?;
    let plan = match body.plan_id.as_str() {
        "" => None,
        id => Some(request::plan(engine.catalog(), &body.service_id, id)?.name.clone()),
    };
    let present = engine.look_at(&name).await?.instance;
    let team = body.team_of_context().unwrap_or(present.team);
    let description = body.instance_name().map_or(present.description, str::to_owned);
    let mut parameters = present.parameters;
    parameters.extend(body.parameters.unwrap_or_default());
    let wishes = Wishes { team, description, tags: present.tags, parameters };
    let ask = caller.ask();
    info!(instance.name = %name, user = ask.actor.user, "asked to update instance `{name}`");
    Ok(match engine.update(Change { name, plan, wishes }, ask).await? {
        Outcome::Done(()) | Outcome::Already(()) => done(StatusCode::OK, json!({})),
        Outcome::GoesOn(operation) => accepted(&operation),
    })
}

/// `DELETE /v2/service_instances/{instance}`: stops what runs, and takes bindings down that are left (SPEC O-4).
pub(super) async fn remove(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    caller: Caller,
) -> Result<Response, Refusal> {
    let name = request::instance(&name)?;
    request::plan(engine.catalog(), &caller.query.service_id, &caller.query.plan_id)?;
    let ask = caller.ask();
    info!(instance.name = %name, user = ask.actor.user, "asked to remove instance `{name}`");
    let outcome = engine.remove(name, ask).await;
    Ok(match outcome.map_err(|error| Refusal::from(error).gone_if_unknown())? {
        Outcome::Done(()) | Outcome::Already(()) => done(StatusCode::OK, json!({})),
        Outcome::GoesOn(operation) => accepted(&operation),
    })
}

/// `GET /v2/service_instances/{instance}/last_operation` (SPEC O-7)
pub(super) async fn last_operation(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    caller: Caller,
) -> Result<Response, Refusal> {
    let name: InstanceName = request::instance(&name)?;
    caller.check_hints(engine.catalog())?;
    let view = engine.look_at(&name).await.map_err(|error| Refusal::from(error).gone_if_unknown())?;
    let asked = &caller.query.operation;
    if !asked.is_empty() && *asked != view.operation.id.as_str() {
        return Err(Refusal::bad_request("operation is not the last one of this instance"));
    }
    let was_made = !matches!(view.operation.kind, OperationKind::Create | OperationKind::Retry)
        && view.state != InstanceState::Failed;
    Ok(state_of(&view.operation, json!({ "instance_usable": was_made, "update_repeatable": was_made })))
}

pub(super) fn plan_of(engine: &Engine, view: &InstanceView) -> Option<String> {
    let catalog = engine.catalog();
    catalog.find(&view.instance.plan).map(|plan| catalog::plan_id(catalog, plan))
}

/// The catalog names no maintenance version, so that no platform can want one.
fn refuse_maintenance_info(named: Option<&Value>) -> Result<(), Refusal> {
    match named {
        None | Some(Value::Null) => Ok(()),
        Some(_) => {
            let sentence = "the plan has no maintenance_info, read the catalog again";
            Err(Refusal::coded("MaintenanceInfoConflict", sentence))
        }
    }
}
