//! App plans (contract 6.1).

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use platform_core::{Plan, PlanName, Platform};

use crate::{
    auth::Caller,
    extract::Input,
    path::Path,
    respond::{self, Answer},
    view,
};

/// `GET /plans`
pub(crate) async fn list(State(platform): State<Arc<Platform>>, _: Caller) -> Answer {
    Ok(respond::list(platform.plans().await?.iter().map(view::plan).collect()))
}

/// `POST /plans`
pub(crate) async fn create(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    input: Input,
) -> Answer<StatusCode> {
    let plan = Plan {
        name: input.required("name")?,
        memory: input.number("memory")?.unwrap_or(0),
        cpu_milli: input.number("cpumilli")?.unwrap_or(0),
        default: input.flag("default"),
    };
    platform.create_plan(&user, plan).await?;
    Ok(StatusCode::CREATED)
}

/// `DELETE /plans/{plan}`
pub(crate) async fn remove(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(name): Path<PlanName>,
) -> Answer<StatusCode> {
    platform.remove_plan(&user, &name).await?;
    Ok(StatusCode::OK)
}
