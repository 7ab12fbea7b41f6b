//! Teams (contract 5.1).

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use platform_core::{Platform, TeamName};
use platform_wire as wire;

use super::apps;
use crate::{
    auth::Caller,
    extract::Input,
    path::Path,
    respond::{self, Answer},
    view,
};

/// What members of a team may do with what it owns.
const MEMBERS_MAY: [&str; 3] = ["app", "service", "service-instance"];

/// `GET /teams`
pub(crate) async fn list(State(platform): State<Arc<Platform>>, Caller(user): Caller) -> Answer {
    let permissions: Vec<String> =
        MEMBERS_MAY.iter().chain(user.admin.then_some(&"team")).map(ToString::to_string).collect();
    let teams = platform.teams(&user).await?.into_iter().map(|team| wire::Team {
        name: team.name.to_string(),
        tags: team.tags,
        permissions: permissions.clone(),
    });
    Ok(respond::list(teams.collect()))
}

/// `POST /teams`
pub(crate) async fn create(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    input: Input,
) -> Answer<StatusCode> {
    let tags = [input.texts("tags"), input.texts("tag")].concat();
    platform.create_team(&user, input.required("name")?, tags).await?;
    Ok(StatusCode::CREATED)
}

/// `GET /teams/{team}`
pub(crate) async fn info(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(name): Path<TeamName>,
) -> Answer<Json<wire::TeamInfo>> {
    let (team, members) = platform.team_members(&user, &name).await?;
    let pools = platform.pools().await?;
    let mut apps = platform.apps(&user).await?;
    apps.retain(|app| app.teams.contains(&name));
    Ok(Json(wire::TeamInfo {
        name: team.name.to_string(),
        tags: team.tags,
        users: members.iter().map(view::user).collect(),
        pools: pools.iter().filter(|pool| pool.teams.contains(&name)).map(view::pool).collect(),
        apps: apps::resumes(&platform, &apps, apps::Detail::WithUnits).await?,
    }))
}

/// `DELETE /teams/{team}`
pub(crate) async fn remove(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(name): Path<TeamName>,
) -> Answer<StatusCode> {
    platform.remove_team(&user, &name).await?;
    Ok(StatusCode::OK)
}
