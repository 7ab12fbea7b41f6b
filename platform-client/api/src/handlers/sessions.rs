//! Logging in and out (contract 4.2).

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use platform_core::{Email, Platform};
use platform_wire as wire;

use crate::{
    auth::{Bearer, Caller},
    extract::Input,
    path::{Path, Segment as _},
    respond::{Answer, Failure},
};

fn native() -> wire::AuthScheme {
    wire::AuthScheme { name: "native".to_owned(), default: true, ..wire::AuthScheme::default() }
}

/// `GET /auth/schemes`
pub(crate) async fn schemes() -> Json<[wire::AuthScheme; 1]> {
    Json([native()])
}

/// `GET /auth/scheme`, for clients before 1.20.
pub(crate) async fn scheme() -> Json<wire::AuthScheme> {
    Json(native())
}

/// `POST /users/{email}/tokens`: 200 exactly, clients take nothing else.
pub(crate) async fn login(
    State(platform): State<Arc<Platform>>,
    Path(email): Path<Email>,
    input: Input,
) -> Answer<Json<wire::Token>> {
    let password = input.secret("password").ok_or_else(|| Failure::bad("you must provide a password to login"))?;
    let token = platform.login(&email, password).await?;
    Ok(Json(wire::Token { token: token.expose().to_owned() }))
}

/// `POST /auth/login`: the same with the address in the form.
pub(crate) async fn login_by_form(platform: State<Arc<Platform>>, input: Input) -> Answer<Json<wire::Token>> {
    let email = input.text("email").ok_or_else(|| Failure::bad("you must provide an email to login"))?;
    login(platform, Path(Email::read(&email)?), input).await
}

/// `DELETE /users/tokens`: ends this session and no other.
pub(crate) async fn logout(
    State(platform): State<Arc<Platform>>,
    _: Caller,
    Bearer(token): Bearer,
) -> Answer<StatusCode> {
    platform.logout(&token).await?;
    Ok(StatusCode::OK)
}
