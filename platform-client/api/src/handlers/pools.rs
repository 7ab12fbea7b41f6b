//! Pools, and the one router (contract 6.3, 6.4).

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State, http::StatusCode};
use platform_core::{Platform, Pool, PoolChange, PoolName, User};
use platform_wire as wire;
use serde::Serialize;

use crate::{
    auth::Caller,
    extract::Input,
    path::Path,
    respond::{self, Answer, Failure},
    view,
};

/// A team reaches a pool when it is the default, or public, or lists the team.
fn reaches(user: &User, pool: &Pool) -> bool {
    pool.public || pool.default || user.reaches(&pool.teams)
}

/// `GET /pools`
pub(crate) async fn list(State(platform): State<Arc<Platform>>, Caller(user): Caller) -> Answer {
    let pools = platform.pools().await?;
    Ok(respond::list(pools.iter().filter(|pool| reaches(&user, pool)).map(view::pool).collect()))
}

/// `GET /pools/{pool}`
pub(crate) async fn info(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(name): Path<PoolName>,
) -> Answer<Json<wire::Pool>> {
    let pools = platform.pools().await?;
    let pool = pools.iter().find(|pool| pool.name == name && reaches(&user, pool));
    pool.map(|pool| Json(view::pool(pool))).ok_or_else(|| Failure::NotFound("Pool does not exist.".to_owned()))
}

/// `POST /pools`. With force it takes the place of the default pool there is.
pub(crate) async fn add(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    input: Input,
) -> Answer<StatusCode> {
    let name: PoolName = input.required("name")?;
    if input.text("provisioner").is_some() {
        return Err(Failure::bad("this platform has one engine: leave the provisioner out"));
    }
    let (default, force) = (input.flag("default"), input.flag("force"));
    let pool = Pool { name: name.clone(), default: default && !force, public: input.flag("public"), teams: Vec::new() };
    platform.create_pool(&user, pool).await?;
    if default && force {
        let change = PoolChange { default: Some(true), force, ..PoolChange::default() };
        platform.update_pool(&user, &name, change).await?;
    }
    Ok(StatusCode::CREATED)
}

/// `PUT /pools/{pool}`
pub(crate) async fn update(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(name): Path<PoolName>,
    input: Input,
) -> Answer<StatusCode> {
    let change = PoolChange {
        public: input.flag_if_given("public"),
        default: input.flag_if_given("default"),
        teams: None,
        force: input.flag("force"),
    };
    platform.update_pool(&user, &name, change).await?;
    Ok(StatusCode::OK)
}

/// A constraint as it travels.
#[derive(Debug, Serialize)]
pub(crate) struct Constraint {
    #[serde(rename = "PoolExpr")]
    pool: String,
    #[serde(rename = "Field")]
    field: &'static str,
    #[serde(rename = "Values")]
    values: Vec<String>,
    #[serde(rename = "Blacklist")]
    denied: bool,
}

/// `GET /constraints`: pools that only some teams may use. A list, never 204.
pub(crate) async fn constraints(State(platform): State<Arc<Platform>>, _: Caller) -> Answer<Json<Vec<Constraint>>> {
    let pools = platform.pools().await?.into_iter().filter(|pool| !pool.teams.is_empty());
    let constraint = |pool: Pool| Constraint {
        pool: pool.name.to_string(),
        field: "team",
        values: view::strings(&pool.teams),
        denied: false,
    };
    Ok(Json(pools.map(constraint).collect()))
}

/// `PUT /constraints`: which teams may use a pool. Other constraints are not kept here.
pub(crate) async fn constrain(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    input: Input,
) -> Answer<StatusCode> {
    let name: PoolName = input.required("PoolExpr")?;
    if input.text("Field").as_deref() != Some("team") || input.flag("Blacklist") {
        let sentence =
            "only the constraint team, a list of the teams that may use a pool, is supported by this platform";
        return Err(Failure::NotOffered(sentence.to_owned()));
    }
    let everyone = input.texts("Values") == ["*"];
    let mut teams = if everyone { Vec::new() } else { input.names("Values")? };
    if input.flag("append") {
        let known = platform.pools().await?.into_iter().find(|pool| pool.name == name);
        teams.extend(known.into_iter().flat_map(|pool| pool.teams));
        teams.sort();
        teams.dedup();
    }
    let change = PoolChange { public: Some(everyone), teams: Some(teams), ..PoolChange::default() };
    platform.update_pool(&user, &name, change).await?;
    Ok(StatusCode::OK)
}

/// `DELETE /pools/{pool}`
pub(crate) async fn remove(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(name): Path<PoolName>,
) -> Answer<StatusCode> {
    platform.remove_pool(&user, &name).await?;
    Ok(StatusCode::OK)
}

/// `GET /routers`, `GET /plans/routers`: a list, never 204.
pub(crate) async fn routers(State(platform): State<Arc<Platform>>, _: Caller) -> Json<[wire::Router; 1]> {
    let settings = platform.settings();
    Json([wire::Router {
        name: view::ROUTER.to_owned(),
        kind: view::ROUTER_KIND.to_owned(),
        info: BTreeMap::from([
            ("domain".to_owned(), settings.domain.clone()),
            ("port".to_owned(), settings.router_port.to_string()),
        ]),
        default: true,
        ..wire::Router::default()
    }])
}
