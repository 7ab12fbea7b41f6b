//! Bindings: apps, jobs, and what platforms of the past still send.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use tracing::info;

use super::{
    extract::{Body, Named, NamedJob},
    respond::Failure,
};
use crate::{
    AppName, BrokerError, Consumer, EnvVars, InstanceName, InvalidName, JobName, Parameters,
    lifecycle::Engine,
    wire::{BindApp, BindJob, UnbindApp, UnbindJob},
};

/// What a bind answers: never without a body (contract 4.7).
type Bound = (StatusCode, Json<EnvVars>);

/// `POST /resources/{name}/bind-app` (SPEC B-1)
pub(super) async fn bind_app(
    State(engine): State<Arc<Engine>>,
    Named(name): Named,
    Body(body): Body<BindApp>,
) -> Result<Bound, Failure> {
    engine.exists(&name).await?;
    bind(&engine, name, app(body.app)?, body.parameters, &body.user, &body.event).await
}

/// `POST /resources/{name}/bind`: as `bind-app`, or a unit of an app that is bound already (contract 4.16).
pub(super) async fn bind_fallback(
    State(engine): State<Arc<Engine>>,
    Named(name): Named,
    Body(body): Body<BindApp>,
) -> Result<Bound, Failure> {
    engine.exists(&name).await?;
    if !body.unit_host.is_empty() {
        return Ok((StatusCode::CREATED, Json(EnvVars::default())));
    }
    bind(&engine, name, app(body.app)?, body.parameters, &body.user, &body.event).await
}

/// `DELETE /resources/{name}/bind-app` (SPEC B-4)
pub(super) async fn unbind_app(
    State(engine): State<Arc<Engine>>,
    Named(name): Named,
    Body(body): Body<UnbindApp>,
) -> Result<StatusCode, Failure> {
    engine.exists(&name).await?;
    unbind(&engine, name, app(body.app)?, &body.user, &body.event).await
}

/// `DELETE /resources/{name}/bind`: only a unit of the past is meant; there is nothing to do for it.
pub(super) async fn unbind_unit(
    State(engine): State<Arc<Engine>>,
    Named(name): Named,
    Body(body): Body<UnbindApp>,
) -> Result<StatusCode, Failure> {
    engine.exists(&name).await?;
    if body.unit_host.is_empty() {
        return Err(BrokerError::bad_request("unit-host is missing; an app is unbound by DELETE on bind-app").into());
    }
    Ok(StatusCode::OK)
}

/// `PUT /resources/{name}/binds/jobs/{job}` (SPEC B-2)
pub(super) async fn bind_job(
    State(engine): State<Arc<Engine>>,
    NamedJob(name, job): NamedJob,
    Body(body): Body<BindJob>,
) -> Result<Bound, Failure> {
    bind(&engine, name, named_alike(job, &body.job)?, None, &body.user, &body.event).await
}

/// `DELETE /resources/{name}/binds/jobs/{job}` (SPEC B-4)
pub(super) async fn unbind_job(
    State(engine): State<Arc<Engine>>,
    NamedJob(name, job): NamedJob,
    Body(body): Body<UnbindJob>,
) -> Result<StatusCode, Failure> {
    unbind(&engine, name, Consumer::Job(job), &body.user, &body.event).await
}

async fn bind(
    engine: &Arc<Engine>,
    name: InstanceName,
    consumer: Consumer,
    parameters: Option<Parameters>,
    user: &str,
    event: &str,
) -> Result<Bound, Failure> {
    info!(instance.name = %name, event, user, "asked to bind instance `{name}` to {consumer}");
    let env = engine.bind(name, consumer, parameters.unwrap_or_default()).await?;
    Ok((StatusCode::CREATED, Json(env)))
}

async fn unbind(
    engine: &Arc<Engine>,
    name: InstanceName,
    consumer: Consumer,
    user: &str,
    event: &str,
) -> Result<StatusCode, Failure> {
    info!(instance.name = %name, event, user, "asked to unbind instance `{name}` from {consumer}");
    engine.unbind(name, consumer).await?;
    Ok(StatusCode::OK)
}

fn app(name: String) -> Result<Consumer, BrokerError> {
    if name.is_empty() {
        return Err(BrokerError::bad_request("the app's name is missing"));
    }
    let parsed = AppName::try_from(name);
    parsed.map(Consumer::App).map_err(|refusal: InvalidName| BrokerError::bad_request(refusal.to_string()))
}

/// The path names the job; a body that names one must mean the same.
fn named_alike(job: JobName, in_body: &str) -> Result<Consumer, BrokerError> {
    if in_body.is_empty() || in_body == job.as_str() {
        return Ok(Consumer::Job(job));
    }
    Err(BrokerError::bad_request(format!("the path names job \"{job}\", the body names another one")))
}
