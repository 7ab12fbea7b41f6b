//! Platforms (contract 6.2).

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use platform_core::{Platform, PlatformImage, PlatformName};
use platform_wire as wire;

use crate::{
    auth::Caller,
    extract::Input,
    path::Path,
    respond::{self, Answer, Failure},
    stream, view,
};

fn shown(platform: &PlatformImage) -> wire::Platform {
    wire::Platform { name: platform.name.to_string(), disabled: platform.disabled }
}

/// `GET /platforms`
pub(crate) async fn list(State(platform): State<Arc<Platform>>, Caller(user): Caller) -> Answer {
    Ok(respond::list(platform.platforms(&user).await?.iter().map(shown).collect()))
}

/// `GET /platforms/{platform}`
pub(crate) async fn info(
    State(platform): State<Arc<Platform>>,
    _: Caller,
    Path(name): Path<PlatformName>,
) -> Answer<Json<wire::PlatformInfo>> {
    let found = platform.platform(&name).await?;
    Ok(Json(wire::PlatformInfo { platform: shown(&found), images: view::strings(&found.images) }))
}

/// `POST /platforms`
pub(crate) async fn add(State(platform): State<Arc<Platform>>, Caller(user): Caller, input: Input) -> Answer {
    let name: PlatformName = input.required("name")?;
    let dockerfile = input.text("dockerfile_content").ok_or_else(|| {
        Failure::bad("you must provide the platform's Dockerfile, or an image, in the part dockerfile_content")
    })?;
    stream::messages(&platform, |platform, progress| async move {
        platform.add_platform(&user, name, &dockerfile, &progress).await
    })
    .await
}

/// `PUT /platforms/{platform}`
pub(crate) async fn update(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(name): Path<PlatformName>,
    input: Input,
) -> Answer {
    let (dockerfile, disabled) = (input.text("dockerfile_content"), input.flag_if_given("disabled"));
    stream::messages(&platform, |platform, progress| async move {
        platform.update_platform(&user, &name, dockerfile.as_deref(), disabled, &progress).await
    })
    .await
}

/// `DELETE /platforms/{platform}`
pub(crate) async fn remove(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(name): Path<PlatformName>,
) -> Answer<StatusCode> {
    stream::finish(&platform, |platform| async move { platform.remove_platform(&user, &name).await }).await?;
    Ok(StatusCode::OK)
}
