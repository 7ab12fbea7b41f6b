//! Units, and commands in them (contract 7.7, 7.8, 9).

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use platform_core::{AppName, Platform, Power, ProcessName, RunWhere, Units, User};

use crate::{
    auth::Caller,
    extract::Input,
    path::Path,
    respond::{Answer, Failure},
    stream,
};

/// `PUT /apps/{app}/units`
pub(crate) async fn add(platform: State<Arc<Platform>>, caller: Caller, app: Path<AppName>, input: Input) -> Answer {
    scale(platform, caller, app, input, Units::Add).await
}

/// `DELETE /apps/{app}/units`
pub(crate) async fn remove(platform: State<Arc<Platform>>, caller: Caller, app: Path<AppName>, input: Input) -> Answer {
    scale(platform, caller, app, input, Units::Remove).await
}

async fn scale(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(name): Path<AppName>,
    input: Input,
    change: fn(u32) -> Units,
) -> Answer {
    let number = input.text("units").and_then(|units| units.parse().ok()).filter(|units| *units > 0);
    let number =
        number.ok_or_else(|| Failure::bad("Invalid number of units: the number must be an integer greater than 0."))?;
    let process = chosen(&platform, &user, &name, &input).await?;
    stream::messages(&platform, |platform, progress| async move {
        platform.scale(&user, &name, process.as_ref(), change(number), &progress).await
    })
    .await
}

/// The process that is meant, if one is named; a version that is named has to be the one that serves.
async fn chosen(platform: &Platform, user: &User, name: &AppName, input: &Input) -> Answer<Option<ProcessName>> {
    let app = platform.app(user, name).await?;
    if let Some(asked) = input.text("version") {
        let number = asked.strip_prefix('v').unwrap_or(&asked).parse::<u32>().ok();
        if number.is_none() || number != app.current {
            return Err(Failure::bad(format!("version {asked} of app {name} is not running: leave the version out")));
        }
    }
    input.name("process")
}

/// `DELETE /apps/{app}/units/{unit}`
pub(crate) async fn kill(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path((name, unit)): Path<(AppName, String)>,
) -> Answer<StatusCode> {
    stream::finish(&platform, |platform| async move { platform.kill_unit(&user, &name, &unit).await }).await?;
    Ok(StatusCode::OK)
}

/// `POST /apps/{app}/start`
pub(crate) async fn start(platform: State<Arc<Platform>>, caller: Caller, app: Path<AppName>, input: Input) -> Answer {
    power(platform, caller, app, input, Power::Start).await
}

/// `POST /apps/{app}/stop`
pub(crate) async fn stop(platform: State<Arc<Platform>>, caller: Caller, app: Path<AppName>, input: Input) -> Answer {
    power(platform, caller, app, input, Power::Stop).await
}

/// `POST /apps/{app}/restart`
pub(crate) async fn restart(
    platform: State<Arc<Platform>>,
    caller: Caller,
    app: Path<AppName>,
    input: Input,
) -> Answer {
    power(platform, caller, app, input, Power::Restart).await
}

async fn power(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(name): Path<AppName>,
    input: Input,
    power: Power,
) -> Answer {
    let process = chosen(&platform, &user, &name, &input).await?;
    stream::messages(&platform, |platform, progress| async move {
        platform.power(&user, &name, process.as_ref(), power, &progress).await
    })
    .await
}

/// `POST /apps/{app}/run`: in every unit, in one (`once`), or in a fresh one (`isolated`).
pub(crate) async fn run(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(name): Path<AppName>,
    input: Input,
) -> Answer<Response> {
    platform.app(&user, &name).await?;
    let command = input.text("command").ok_or_else(|| Failure::bad("You must provide the command to run"))?;
    let place = match (input.flag("isolated"), input.flag("once")) {
        (true, _) => RunWhere::Isolated,
        (false, true) => RunWhere::Once,
        (false, false) => RunWhere::Everywhere,
    };
    Ok(stream::output(&platform, |platform, progress| async move {
        platform.run_audited(&user, &name, &command, place, &progress).await
    }))
}
