//! Users (contract 4.4).

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use platform_core::{Email, Platform, Secret, User};
use platform_wire as wire;

use crate::{
    auth::Caller,
    extract::Input,
    path::Segment as _,
    respond::{Answer, Failure},
    view,
};

/// `GET /users/info`
pub(crate) async fn info(Caller(user): Caller) -> Json<wire::User> {
    Json(view::user(&user))
}

/// `GET /users`: a list, never 204.
pub(crate) async fn list(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    input: Input,
) -> Answer<Json<Vec<wire::User>>> {
    let (email, role, context) = (input.text("userEmail"), input.text("role"), input.text("context"));
    let has_role = |known: &wire::User| {
        role.as_ref().is_none_or(|role| {
            known
                .roles
                .iter()
                .any(|held| held.name == *role && context.as_ref().is_none_or(|context| held.context_value == *context))
        })
    };
    let users = platform.users(&user).await?;
    let mut users: Vec<_> = users.iter().map(view::user).collect();
    users.retain(|known| email.as_ref().is_none_or(|email| known.email == *email) && has_role(known));
    Ok(Json(users))
}

/// `POST /users`: by an administrator. Never 401 to others, or clients ask for a login for ever.
pub(crate) async fn create(
    State(platform): State<Arc<Platform>>,
    caller: Answer<Caller>,
    input: Input,
) -> Answer<StatusCode> {
    if !caller.is_ok_and(|Caller(user)| user.admin) {
        return Err(Failure::Refused("User registration is disabled for non-admin users.".to_owned()));
    }
    let email = input.required("email")?;
    let password = input.secret("password").unwrap_or_else(|| Secret::from(""));
    platform.create_user(email, password, false).await?;
    Ok(StatusCode::CREATED)
}

/// `DELETE /users?user=`: the caller, when nobody is named.
pub(crate) async fn remove(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    input: Input,
) -> Answer<StatusCode> {
    platform.remove_user(&user, &named(&user, &input)?).await?;
    Ok(StatusCode::OK)
}

fn named(user: &User, input: &Input) -> Answer<Email> {
    input.text("user").map_or_else(|| Ok(user.email.clone()), |email| Email::read(&email))
}

/// `PUT /users/password`
pub(crate) async fn change_password(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    input: Input,
) -> Answer<StatusCode> {
    let (Some(old), Some(new)) = (input.secret("old"), input.secret("new")) else {
        return Err(Failure::bad("Both the old and the new passwords are required."));
    };
    if input.secret("confirm").is_none_or(|confirm| confirm.expose() != new.expose()) {
        return Err(Failure::bad("New password and password confirmation didn't match."));
    }
    platform.change_password(&user.email, old, new).await?;
    Ok(StatusCode::OK)
}
