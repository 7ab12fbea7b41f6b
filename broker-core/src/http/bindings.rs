//! Bindings: apps, jobs, and what platforms of the past still send.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use tracing::info;

use super::{
    extract::{Body, InPool, Named, NamedJob},
    respond::Failure,
};
use crate::{
    Actor, AppName, BrokerError, Cluster, Consumer, EnvVars, InstanceName, InvalidName, JobName, Parameters, Pool,
    Whereabouts,
    lifecycle::{Ask, Credentials, Engine, Outcome},
    wire::{BindApp, BindJob, Rotate, UnbindApp, UnbindJob},
};

/// What a bind answers: never without a body (contract 4.7).
type Bound = (StatusCode, Json<EnvVars>);

/// `POST /resources/{name}/bind-app` (SPEC B-1)
pub(super) async fn bind_app(
    State(engine): State<Arc<Engine>>,
    Named(name): Named,
    InPool(pool): InPool,
    Body(body): Body<BindApp>,
) -> Result<Bound, Failure> {
    engine.exists(&name).await?;
    bind_body(&engine, name, pool, body).await
}

/// `POST /resources/{name}/bind`: as `bind-app`, or a unit of an app that is bound already (contract 4.16).
pub(super) async fn bind_fallback(
    State(engine): State<Arc<Engine>>,
    Named(name): Named,
    InPool(pool): InPool,
    Body(body): Body<BindApp>,
) -> Result<Bound, Failure> {
    if body.unit_host.is_empty() {
        return bind_app(State(engine), Named(name), InPool(pool), Body(body)).await;
    }
    engine.exists(&name).await?;
    Ok((StatusCode::CREATED, Json(EnvVars::default())))
}

/// `DELETE /resources/{name}/bind-app` (SPEC B-4)
pub(super) async fn unbind_app(
    State(engine): State<Arc<Engine>>,
    Named(name): Named,
    Body(body): Body<UnbindApp>,
) -> Result<StatusCode, Failure> {
    engine.exists(&name).await?;
    unbind(&engine, name, app(body.app)?, Actor::new(body.user, body.event)).await
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
    let actor = Actor::new(body.user, body.event);
    let at = Cluster::named(body.cluster, String::new(), Vec::new());
    let whereabouts = Whereabouts { pool: Pool::named(body.pool, String::new(), at), ..Whereabouts::default() };
    bind(&engine, name, named_alike(job, &body.job)?, None, Ask { actor, whereabouts, ..Ask::default() }).await
}

/// `DELETE /resources/{name}/binds/jobs/{job}` (SPEC B-4)
pub(super) async fn unbind_job(
    State(engine): State<Arc<Engine>>,
    NamedJob(name, job): NamedJob,
    Body(body): Body<UnbindJob>,
) -> Result<StatusCode, Failure> {
    unbind(&engine, name, Consumer::Job(job), Actor::new(body.user, body.event)).await
}

/// `POST /resources/{name}/rotate`, by the platform's proxy: new credentials for the app or job that the body names
/// (SPEC B-8). They are in the answer to its next bind, not here: whoever may use the proxy need not see them.
/// While two earlier ones still work, it is 409.
pub(super) async fn rotate(
    State(engine): State<Arc<Engine>>,
    Named(name): Named,
    Body(body): Body<Rotate>,
) -> Result<String, Failure> {
    engine.exists(&name).await?;
    let Rotate { app: app_name, job, user, event } = body;
    let consumer = if job.is_empty() { app(app_name)? } else { named_alike(job.parse().map_err(bad_name)?, "")? };
    let actor = Actor::new(user, event);
    bound(engine.rotate(name, consumer.clone(), Ask { actor, ..Ask::default() }).await?)?;
    Ok(format!("{consumer} has new credentials: bind it again to get them, the old ones work for a while\n"))
}

/// `GET /resources/{name}/credentials`, by the platform's proxy: who has access, never with which password (SPEC Y-7).
pub(super) async fn credentials(
    State(engine): State<Arc<Engine>>,
    Named(name): Named,
) -> Result<Json<Vec<Credentials>>, Failure> {
    Ok(Json(engine.credentials(&name).await?))
}

/// The bind of an app, with all that its body says.
async fn bind_body(
    engine: &Arc<Engine>,
    name: InstanceName,
    pool: Option<Pool>,
    body: BindApp,
) -> Result<Bound, Failure> {
    let at = Cluster::named(body.cluster, body.cluster_provisioner, body.cluster_addresses);
    let whereabouts = Whereabouts {
        hosts: body.hosts,
        internal_hosts: body.internal_hosts,
        pool: Pool::named(body.pool, body.pool_provisioner, at),
        ..Whereabouts::default()
    };
    let actor = Actor::new(body.user, body.event);
    bind(engine, name, app(body.app)?, body.parameters, Ask { actor, pool, whereabouts, ..Ask::default() }).await
}

async fn bind(
    engine: &Arc<Engine>,
    name: InstanceName,
    consumer: Consumer,
    parameters: Option<Parameters>,
    ask: Ask,
) -> Result<Bound, Failure> {
    let Actor { user, event } = &ask.actor;
    info!(instance.name = %name, event, user, "asked to bind instance `{name}` to {consumer}");
    let env = bound(engine.bind(name, consumer, parameters.unwrap_or_default(), ask).await?)?;
    Ok((StatusCode::CREATED, Json(env)))
}

async fn unbind(
    engine: &Arc<Engine>,
    name: InstanceName,
    consumer: Consumer,
    actor: Actor,
) -> Result<StatusCode, Failure> {
    let Actor { user, event } = &actor;
    info!(instance.name = %name, event, user, "asked to unbind instance `{name}` from {consumer}");
    engine.unbind(name, consumer, Ask { actor, accepts_incomplete: true, ..Ask::default() }).await?;
    Ok(StatusCode::OK)
}

/// What a bind or rotation gave. A platform that can't wait was answered by an error.
fn bound(outcome: Outcome<EnvVars>) -> Result<EnvVars, BrokerError> {
    match outcome {
        Outcome::Done(env) | Outcome::Already(env) => Ok(env),
        Outcome::GoesOn(_) => Err(BrokerError::NotReady("it goes on, try again in a moment".to_owned())),
    }
}

fn app(name: String) -> Result<Consumer, BrokerError> {
    if name.is_empty() {
        return Err(BrokerError::bad_request("the app's name is missing"));
    }
    let parsed = AppName::try_from(name);
    parsed.map(Consumer::App).map_err(bad_name)
}

/// In a body, what breaks a name's rule is a bad request.
fn bad_name(refusal: InvalidName) -> BrokerError {
    BrokerError::bad_request(refusal.to_string())
}

/// The path names the job; a body that names one must mean the same.
fn named_alike(job: JobName, in_body: &str) -> Result<Consumer, BrokerError> {
    if in_body.is_empty() || in_body == job.as_str() {
        return Ok(Consumer::Job(job));
    }
    Err(BrokerError::bad_request(format!("the path names job \"{job}\", the body names another one")))
}
