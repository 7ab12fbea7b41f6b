//! Instances: create, update, info, status, delete.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use tracing::info;

use super::{
    extract::{Body, InPool, Named},
    respond::{Failure, one_line},
};
use crate::{
    Actor, BrokerError, InfoItem, InstanceName, PlanName, Pool,
    lifecycle::{Ask, Change, Condition, Engine, NewInstance, Outcome, Wishes},
    wire::{ChangeInstance, CreateInstance, RemoveInstance},
};

/// `POST /resources` (SPEC I-1)
pub(super) async fn create(
    State(engine): State<Arc<Engine>>,
    InPool(pool): InPool,
    Body(body): Body<CreateInstance>,
) -> Result<StatusCode, Failure> {
    let CreateInstance { name, team, description, plan, tags, event, user, parameters } = body;
    let name = named(name)?;
    require_cluster(&engine, pool.as_ref())?;
    info!(instance.name = %name, event, user, "asked to create instance `{name}`");
    let wishes = Wishes { team, description, tags, parameters: parameters.unwrap_or_default() };
    engine.create(NewInstance { name, plan: plan_named(plan)?, wishes }, Ask { pool, ..ask(user, event) }).await?;
    Ok(StatusCode::CREATED)
}

/// `PUT /resources/{name}` (SPEC I-5)
pub(super) async fn update(
    State(engine): State<Arc<Engine>>,
    Named(name): Named,
    InPool(pool): InPool,
    Body(body): Body<ChangeInstance>,
) -> Result<StatusCode, Failure> {
    let ChangeInstance { description, team, plan, tags, event, user, parameters } = body;
    info!(instance.name = %name, event, user, "asked to update instance `{name}`");
    let wishes = Wishes { team, description, tags, parameters: parameters.unwrap_or_default() };
    engine
        .update(Change { name, plan: plan_named(plan)?, upgrades: true, wishes }, Ask { pool, ..ask(user, event) })
        .await?;
    Ok(StatusCode::OK)
}

/// `DELETE /resources/{name}` (SPEC I-6)
pub(super) async fn remove(
    State(engine): State<Arc<Engine>>,
    Named(name): Named,
    Body(RemoveInstance { event, user }): Body<RemoveInstance>,
) -> Result<StatusCode, Failure> {
    info!(instance.name = %name, event, user, "asked to remove instance `{name}`");
    engine.remove(name, ask(user, event)).await?;
    Ok(StatusCode::OK)
}

/// `POST /resources/{name}/retry`, by the platform's proxy: another try for an instance that could not be made
/// (SPEC I-10).
pub(super) async fn retry(
    State(engine): State<Arc<Engine>>,
    Named(name): Named,
    Body(RemoveInstance { event, user }): Body<RemoveInstance>,
) -> Result<String, Failure> {
    info!(instance.name = %name, event, user, "asked to try instance `{name}` again");
    let outcome = engine.retry(name.clone(), ask(user, event)).await?;
    let is_made = matches!(outcome, Outcome::Done(()) | Outcome::Already(()));
    Ok(if is_made { format!("instance \"{name}\" is made\n") } else { format!("instance \"{name}\" is tried again\n") })
}

/// `GET /resources/{name}` (SPEC I-8)
pub(super) async fn info(
    State(engine): State<Arc<Engine>>,
    Named(name): Named,
) -> Result<Json<Vec<InfoItem>>, Failure> {
    Ok(Json(engine.info(&name).await?))
}

/// `GET /resources/{name}/status` (SPEC I-9)
pub(super) async fn status(State(engine): State<Arc<Engine>>, Named(name): Named) -> Response {
    match engine.status(&name).await {
        Ok(Condition::Up) => StatusCode::NO_CONTENT.into_response(),
        Ok(Condition::Notice(line)) => (StatusCode::OK, one_line(&line)).into_response(),
        Ok(Condition::Pending(line)) => {
            (StatusCode::ACCEPTED, line.map_or_else(|| "pending".to_owned(), |line| one_line(&line))).into_response()
        }
        Ok(Condition::Down(reason)) => (StatusCode::INTERNAL_SERVER_ERROR, one_line(&reason)).into_response(),
        Err(error @ BrokerError::UnknownInstance(_)) => Failure::from(error).into_response(),
        // Anything but the five statuses is an error for the platform, so trouble of our own is "down".
        Err(error) => {
            let answer = Failure::from(error).into_response();
            (StatusCode::INTERNAL_SERVER_ERROR, answer.into_body()).into_response()
        }
    }
}

/// Some services can't do without a cluster (SPEC T-21).
pub(super) fn require_cluster(engine: &Engine, pool: Option<&Pool>) -> Result<(), Failure> {
    let is_named = pool.is_some_and(|pool| pool.cluster.is_some());
    if engine.catalog().needs_cluster && !is_named { Err(Failure::NeedsCluster) } else { Ok(()) }
}

/// For this dialect, what goes on is a success: the status tells when it is done (contract 4.12).
fn ask(user: String, event: String) -> Ask {
    Ask { actor: Actor::new(user, event), accepts_incomplete: true, ..Ask::default() }
}

/// A new instance's name: what breaks the rule is a bad request here, in a path it is just unknown.
fn named(name: String) -> Result<InstanceName, BrokerError> {
    if name.is_empty() {
        return Err(BrokerError::bad_request("the instance's name is missing"));
    }
    name.parse().map_err(|refusal: crate::InvalidName| BrokerError::bad_request(refusal.to_string()))
}

fn plan_named(plan: String) -> Result<Option<PlanName>, BrokerError> {
    if plan.is_empty() {
        return Ok(None);
    }
    plan.parse().map(Some).map_err(|refusal: crate::InvalidName| BrokerError::bad_request(refusal.to_string()))
}
