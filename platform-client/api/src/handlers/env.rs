//! Environment variables (contract 10).

use std::sync::Arc;

use axum::{Json, extract::State};
use platform_core::{AppName, EnvName, OwnVar, Platform};
use platform_wire as wire;

use crate::{
    auth::Caller,
    extract::Input,
    path::Path,
    respond::{Answer, Failure},
    stream,
};

/// `GET /apps/{app}/env`: all of them, or those named. Private values too: clients mask them.
pub(crate) async fn get(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(name): Path<AppName>,
    input: Input,
) -> Answer<Json<Vec<wire::EnvVar>>> {
    let wanted = input.texts("env");
    let vars = platform.app(&user, &name).await?.merged_env().into_iter();
    let vars = vars.filter(|(name, _)| wanted.is_empty() || wanted.contains(name)).map(|(name, var)| wire::EnvVar {
        name,
        value: var.value.expose().to_owned(),
        alias: var.alias,
        public: var.public,
        managed_by: var.managed_by,
    });
    Ok(Json(vars.collect()))
}

/// `POST /apps/{app}/env`
pub(crate) async fn set(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(name): Path<AppName>,
    input: Input,
) -> Answer {
    platform.app(&user, &name).await?;
    let vars = variables(&input)?;
    let no_restart = input.flag("norestart");
    stream::messages(&platform, |platform, progress| async move {
        platform.set_env(&user, &name, vars, no_restart, &progress).await
    })
    .await
}

fn variables(input: &Input) -> Answer<Vec<(EnvName, OwnVar)>> {
    if input.text("managedBy").is_some() || input.flag("pruneUnused") {
        return Err(Failure::bad(
            "variables managed by other tools are not supported by this platform: leave managedBy out",
        ));
    }
    let all_private = input.flag("private");
    let variable = |env: &Input| -> Answer<(EnvName, OwnVar)> {
        let value = env.text("value").unwrap_or_default().into();
        let public = !(all_private || env.flag("private"));
        Ok((env.required("name")?, OwnVar { value, public, alias: env.text("alias").unwrap_or_default() }))
    };
    input.items("envs").iter().map(variable).collect()
}

/// `DELETE /apps/{app}/env`: names that are not set are no error.
pub(crate) async fn unset(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(name): Path<AppName>,
    input: Input,
) -> Answer {
    platform.app(&user, &name).await?;
    let (names, no_restart) = (input.names("env")?, input.flag("noRestart"));
    stream::messages(&platform, |platform, progress| async move {
        platform.unset_env(&user, &name, names, no_restart, &progress).await
    })
    .await
}
