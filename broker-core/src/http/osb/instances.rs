//! Instances: provision, fetch, update, deprovision, last operation.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use serde_json::{Value, json};
use tracing::info;

use super::{
    catalog,
    request::{self, Body, Caller, InstanceBody, Path},
    respond::{Refusal, accepted, done, earlier, state_of},
};
use crate::{
    BrokerError, InstanceName, OpaqueId, Plan,
    lifecycle::{Ask, Change, Engine, InstanceState, InstanceView, NewInstance, OperationKind, Outcome, Wishes},
};

/// `PUT /v2/service_instances/{instance}` (SPEC O-3, O-4)
pub(super) async fn provision(
    State(engine): State<Arc<Engine>>,
    Path(name): Path<String>,
    caller: Caller,
    Body(body): Body<InstanceBody>,
) -> Result<Response, Refusal> {
    let name = request::instance(&name)?;
    let plan = request::plan(engine.catalog(), &body.service_id, &body.plan_id)?;
    names_version(plan, body.maintenance_info.as_ref())?;
    let plan = plan.name.clone();
    if engine.catalog().needs_cluster {
        return Err(Refusal::bad_request("this service needs a cluster, which only tsuru can name"));
    }
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
    let ask = Ask { context: body.context.unwrap_or_default(), ..caller.ask() };
    info!(instance.name = %name, user = ask.actor.user, "asked to create instance `{name}`");
    Ok(match engine.create(NewInstance { name: name.clone(), plan: Some(plan), wishes }, ask).await? {
        Outcome::Done(()) => done(StatusCode::CREATED, with_dashboard(&engine, &name).await?),
        Outcome::Already(()) => done(StatusCode::OK, with_dashboard(&engine, &name).await?),
        Outcome::GoesOn(operation) => goes_on(&engine, &name, &operation).await?,
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
    let mut body = json!({
        "service_id": catalog::service_id(engine.catalog()),
        "plan_id": plan_of(&engine, &view),
        "parameters": view.instance.parameters,
    });
    if let Some(url) = engine.dashboard(&view.instance) {
        body["dashboard_url"] = url.into();
    }
    if let Some(version) = view.instance.maintenance {
        body["maintenance_info"] = json!({ "version": version });
    }
    Ok(done(StatusCode::OK, body))
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
    let plan = match body.plan_id.as_str() {
        "" => None,
        id => Some(request::plan(engine.catalog(), &body.service_id, id)?.name.clone()),
    };
    let present = engine.look_at(&name).await?.instance;
    let upgrades = match engine.catalog().find(plan.as_ref().unwrap_or(&present.plan)) {
        Some(plan) => names_version(plan, body.maintenance_info.as_ref())?,
        None => false,
    };
    let team = body.team_of_context().unwrap_or(present.team);
    let description = body.instance_name().map_or(present.description, str::to_owned);
    let mut parameters = present.parameters;
    parameters.extend(body.parameters.unwrap_or_default());
    let wishes = Wishes { team, description, tags: present.tags, parameters };
    let ask = Ask { context: body.context.unwrap_or_default(), ..caller.ask() };
    info!(instance.name = %name, user = ask.actor.user, "asked to update instance `{name}`");
    Ok(match engine.update(Change { name: name.clone(), plan, upgrades, wishes }, ask).await? {
        Outcome::Done(()) | Outcome::Already(()) => done(StatusCode::OK, with_dashboard(&engine, &name).await?),
        Outcome::GoesOn(operation) => goes_on(&engine, &name, &operation).await?,
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
    Ok(match outcome.map_err(|error| Refusal::from(error).gone_if_unknown().leaves_unusable())? {
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
    let asked = &caller.query.operation;
    let view = match engine.look_at(&name).await {
        Ok(view) if asked.is_empty() || *asked == view.operation.id.as_str() => view,
        looked => return earlier(&engine, (&name, None), asked, looked.err()).await,
    };
    let is_usable = view.state == InstanceState::Ready;
    let more = match view.operation.kind {
        OperationKind::Update => json!({ "instance_usable": is_usable, "update_repeatable": true }),
        OperationKind::Remove => json!({ "instance_usable": is_usable }),
        // Of others, the specification wants neither.
        _ => json!({}),
    };
    Ok(state_of(&view.operation, more))
}

pub(super) fn plan_of(engine: &Engine, view: &InstanceView) -> Option<String> {
    let catalog = engine.catalog();
    catalog.find(&view.instance.plan).map(|plan| catalog::plan_id(catalog, plan))
}

async fn goes_on(engine: &Arc<Engine>, name: &InstanceName, operation: &OpaqueId) -> Result<Response, Refusal> {
    let mut body = with_dashboard(engine, name).await?;
    body["operation"] = json!(operation);
    Ok(done(StatusCode::ACCEPTED, body))
}

/// What a platform may keep of an instance that is there: where its owner looks after it.
async fn with_dashboard(engine: &Arc<Engine>, name: &InstanceName) -> Result<Value, Refusal> {
    let url = match engine.look_at(name).await {
        Ok(view) => engine.dashboard(&view.instance),
        // Removed in this very moment.
        Err(BrokerError::UnknownInstance(_)) => None,
        Err(error) => return Err(error.into()),
    };
    Ok(url.map_or_else(|| json!({}), |url| json!({ "dashboard_url": url })))
}

/// Whether the platform names a maintenance version; it has to be the one in the catalog (SPEC O-20).
fn names_version(plan: &Plan, named: Option<&Value>) -> Result<bool, Refusal> {
    let Some(named) = named.filter(|named| !named.is_null()) else { return Ok(false) };
    let version = named["version"].as_str();
    let version = version.ok_or_else(|| Refusal::bad_request("maintenance_info has no version"))?;
    if plan.version() == Some(version) {
        return Ok(true);
    }
    let sentence = "maintenance_info is not the one that the plan has now, read the catalog again";
    Err(Refusal::coded("MaintenanceInfoConflict", sentence))
}
