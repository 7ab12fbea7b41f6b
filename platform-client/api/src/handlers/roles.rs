//! Roles and permissions (contract 5.2). There are two roles: `AllowAll` of administrators, which
//! only the machine that runs the platform hands out, and `team-member`, which any member of a team does.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use platform_core::{Email, Error, Platform, TeamName};
use serde::Serialize;

use crate::{
    auth::Caller,
    extract::Input,
    path::{Path, Segment as _},
    respond::{Answer, Failure},
};

/// A role as it travels.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Role {
    name: &'static str,
    context: &'static str,
    #[serde(rename = "Description")]
    description: &'static str,
    scheme_names: &'static [&'static str],
    events: &'static [&'static str],
}

const MEMBER: &str = "team-member";

const ROLES: [Role; 2] = [
    Role { name: "AllowAll", context: "global", description: "Administrators.", scheme_names: &[""], events: &[] },
    Role {
        name: MEMBER,
        context: "team",
        description: "Members of a team.",
        scheme_names: &["app", "service", "service-instance"],
        events: &["team-create"],
    },
];

/// A permission as it travels.
#[derive(Debug, Serialize)]
pub(crate) struct Permission {
    #[serde(rename = "Name")]
    name: &'static str,
    #[serde(rename = "Contexts")]
    contexts: &'static [&'static str],
}

const GLOBAL: &[&str] = &["global"];
const OF_TEAMS: &[&str] = &["global", "team"];
const OF_APPS: &[&str] = &["global", "app", "team", "pool"];
const OF_SERVICES: &[&str] = &["global", "service", "team"];
const OF_INSTANCES: &[&str] = &["global", "service-instance", "team"];
const OF_POOLS: &[&str] = &["global", "pool"];
const OF_USERS: &[&str] = &["global", "user"];

/// What operations of this platform are known by, the root first: clients take the first for the root
/// without a look at it.
const PERMISSIONS: &[(&str, &[&str])] = &[
    ("", GLOBAL),
    ("app", OF_APPS),
    ("app.create", OF_TEAMS),
    ("app.delete", OF_APPS),
    ("app.deploy", OF_APPS),
    ("app.deploy.git", OF_APPS),
    ("app.deploy.image", OF_APPS),
    ("app.deploy.rollback", OF_APPS),
    ("app.deploy.upload", OF_APPS),
    ("app.read", OF_APPS),
    ("app.run", OF_APPS),
    ("app.update", OF_APPS),
    ("app.update.bind", OF_APPS),
    ("app.update.cname.add", OF_APPS),
    ("app.update.cname.remove", OF_APPS),
    ("app.update.env.set", OF_APPS),
    ("app.update.env.unset", OF_APPS),
    ("app.update.restart", OF_APPS),
    ("app.update.start", OF_APPS),
    ("app.update.stop", OF_APPS),
    ("app.update.unbind", OF_APPS),
    ("app.update.unit.add", OF_APPS),
    ("app.update.unit.kill", OF_APPS),
    ("app.update.unit.remove", OF_APPS),
    ("plan", GLOBAL),
    ("platform", GLOBAL),
    ("platform.create", GLOBAL),
    ("platform.delete", GLOBAL),
    ("platform.update", GLOBAL),
    ("pool", OF_POOLS),
    ("service", OF_SERVICES),
    ("service.create", OF_TEAMS),
    ("service.delete", OF_SERVICES),
    ("service.update", OF_SERVICES),
    ("service-instance", OF_INSTANCES),
    ("service-instance.create", OF_TEAMS),
    ("service-instance.delete", OF_INSTANCES),
    ("service-instance.update", OF_INSTANCES),
    ("team", OF_TEAMS),
    ("user", OF_USERS),
];

/// Kinds of events: permissions that no other one is below.
pub(crate) fn event_kinds() -> impl Iterator<Item = &'static str> {
    let has_child = |name: &str| PERMISSIONS.iter().any(|(other, _)| other.starts_with(&format!("{name}.")));
    let is_kind = move |name: &&str| name.contains('.') && (!has_child(name) || name.ends_with(".update"));
    PERMISSIONS.iter().map(|(name, _)| *name).filter(is_kind)
}

/// `GET /permissions`
pub(crate) async fn permissions(_: Caller) -> Json<Vec<Permission>> {
    Json(PERMISSIONS.iter().map(|(name, contexts)| Permission { name, contexts }).collect())
}

/// `GET /roles`
pub(crate) async fn list(_: Caller) -> Json<[Role; 2]> {
    Json(ROLES)
}

/// `GET /roles/{role}`
pub(crate) async fn info(_: Caller, Path(name): Path<String>) -> Answer<Json<Role>> {
    let role = ROLES.into_iter().find(|role| role.name == name);
    role.map(Json).ok_or_else(|| Failure::NotFound("role not found".to_owned()))
}

/// `GET /role/default`: a team's maker becomes its member.
pub(crate) async fn defaults(_: Caller) -> Json<Vec<Role>> {
    Json(ROLES.into_iter().filter(|role| !role.events.is_empty()).collect())
}

/// `POST /roles/{role}/user`
pub(crate) async fn assign(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Path(role): Path<String>,
    input: Input,
) -> Answer<StatusCode> {
    let email = input.text("email").unwrap_or_default();
    set_member(&platform, caller, &role, &email, &input, true).await
}

/// `DELETE /roles/{role}/user/{email}`
pub(crate) async fn dissociate(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Path((role, email)): Path<(String, String)>,
    input: Input,
) -> Answer<StatusCode> {
    set_member(&platform, caller, &role, &email, &input, false).await
}

/// Whoever is in a team says who else is.
async fn set_member(
    platform: &Platform,
    Caller(user): Caller,
    role: &str,
    email: &str,
    input: &Input,
    member: bool,
) -> Answer<StatusCode> {
    match role {
        MEMBER => {}
        "AllowAll" => {
            let sentence = "administrators are made on the machine that runs the platform, not over its API";
            return Err(Failure::Refused(sentence.to_owned()));
        }
        _ => return Err(Failure::NotFound("role not found".to_owned())),
    }
    let team: TeamName = input.text("context").map_or_else(
        || Err(Failure::bad(format!("the role {MEMBER} needs a context: the team's name"))),
        |team| TeamName::read(&team),
    )?;
    platform.team_members(&user, &team).await.map_err(|error| match error {
        Error::Forbidden => Failure::Refused(format!("only members of team \"{team}\" can change who is in it")),
        other => other.into(),
    })?;
    platform.set_member(&Email::read(email)?, &team, member).await?;
    Ok(StatusCode::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // contract 5.2: an empty list, or one without the root in front, crashes clients.
    fn the_root_comes_first() {
        assert_eq!(PERMISSIONS[0].0, "");
        assert!(event_kinds().any(|kind| kind == "app.deploy.upload"));
        assert!(event_kinds().all(|kind| kind != "app.deploy"));
    }
}
