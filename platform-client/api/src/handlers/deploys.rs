//! Deploys (contract 8).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    response::Response,
};
use platform_core::{AppName, Deploy, Error, EventId, Origin, Platform, Progress, Result, Source, User};
use platform_wire as wire;
use tempfile::TempPath;
use tokio::sync::oneshot;

use crate::{
    Api,
    auth::Caller,
    extract::Input,
    path::Path,
    respond::{self, Answer, Failure},
    stream::{self, Telling},
    upload::Upload,
};

/// Deploys that are listed when no number is asked for, and at most.
const LISTED: usize = 100;

/// `POST /apps/{app}/deploy`: told as plain text while it happens.
pub(crate) async fn deploy(
    State(api): State<Api>,
    Caller(user): Caller,
    Path(name): Path<AppName>,
    request: Request,
) -> Answer<Response> {
    // Before the upload, which may be large.
    api.platform.app(&user, &name).await.map_err(reworded)?;
    let upload = Upload::read(request, &api).await?;
    let (source, file) = source(upload)?;
    begin(&api.platform, user, name, source, file).await
}

/// What is deployed, and the file that has to stay until it is.
fn source(upload: Upload) -> Answer<(Source, Option<TempPath>)> {
    let Upload { fields, file } = upload;
    let (image, archive_url) = (fields.text("image"), fields.text("archive-url"));
    let dockerfile = fields.text("dockerfile");
    let has_source = dockerfile.is_some() || file.is_some();
    if image.is_some() && (archive_url.is_some() || has_source) {
        return Err(Failure::bad(r#"Cannot set "image" mutually with "archive-url", "dockerfile" or "file" fields"#));
    }
    if archive_url.is_some() && has_source {
        return Err(Failure::bad(r#"Cannot set "archive-url" mutually with "dockerfile", "image" or "file" fields"#));
    }
    let origin = origin(&fields)?;
    if archive_url.is_some() {
        return Err(Failure::bad("deploying from an URL is not supported by this platform yet: upload the code"));
    }
    if dockerfile.is_some() {
        return Err(Failure::bad(
            "deploying with a Dockerfile is not supported by this platform yet: deploy the code on a platform, or an image",
        ));
    }
    if fields.flag("new-version") {
        return Err(Failure::bad(
            "running several versions of an app is not supported by this platform: leave new-version out",
        ));
    }
    match (image, file) {
        (Some(image), _) => Ok((Source::Image(image), None)),
        (None, Some(path)) => {
            let source = Source::Archive {
                path: path.to_path_buf(),
                origin: origin.unwrap_or(Origin::AppDeploy),
                commit: String::new(),
            };
            Ok((source, Some(path)))
        }
        (None, None) => {
            Err(Failure::bad(r#"You must provide at least one of: "archive-url", "dockerfile", "image" or "file""#))
        }
    }
}

fn origin(fields: &Input) -> Answer<Option<Origin>> {
    let Some(text) = fields.text("origin") else { return Ok(None) };
    Origin::from_wire(&text).map(Some).ok_or_else(|| Failure::bad("Invalid deployment origin"))
}

/// Takes the lock, then runs, all of it in a task of its own; answers once the event is known.
async fn begin(
    platform: &Arc<Platform>,
    user: User,
    name: AppName,
    source: Source,
    file: Option<TempPath>,
) -> Answer<Response> {
    let (progress, lines) = Progress::channel();
    let (begun, event) = oneshot::channel();
    let running = platform.spawn(|platform| async move {
        let outcome = run(&platform, &user, &name, source, &progress, begun).await;
        // Not before: the deploy reads it.
        drop(file);
        outcome
    });
    match event.await {
        Ok(event) => Ok(stream::deploy_text(&event, Telling::listen(lines, running))),
        Err(_) => match running.await {
            Ok(Err(refusal)) => Err(reworded(refusal)),
            Ok(Ok(())) | Err(_) => Err(Failure::Interrupted),
        },
    }
}

async fn run(
    platform: &Arc<Platform>,
    user: &User,
    name: &AppName,
    source: Source,
    progress: &Progress,
    begun: oneshot::Sender<EventId>,
) -> Result<()> {
    let deploy = platform.begin_deploy(user, name, source, progress).await?;
    // Nobody may be waiting any more: the deploy goes on.
    let _gone = begun.send(deploy.event().clone());
    deploy.run().await
}

/// A deploy has sentences of its own for some refusals (contract 8.1).
fn reworded(error: Error) -> Failure {
    match error {
        Error::AppNotFound(_) => Failure::Reworded(error, "App not found"),
        Error::Forbidden => Failure::Reworded(error, "User does not have permission to do this action in this app"),
        other => other.into(),
    }
}

/// `POST /apps/{app}/deploy/rollback`: told as JSON messages, unlike other deploys.
pub(crate) async fn rollback(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(name): Path<AppName>,
    input: Input,
) -> Answer {
    origin(&input)?;
    let image = input.text("image").ok_or_else(|| Failure::bad("you cannot rollback without an image name"))?;
    stream::messages(&platform, |platform, progress| async move {
        platform.begin_deploy(&user, &name, Source::Rollback(image), &progress).await?.run().await
    })
    .await
}

/// `GET /deploys`, newest first.
pub(crate) async fn list(State(platform): State<Arc<Platform>>, Caller(user): Caller, input: Input) -> Answer {
    let app = input.text("app").map(|app| <AppName as crate::path::Segment>::read(&app)).transpose()?;
    let limit = input.number("limit")?.filter(|limit| *limit > 0).unwrap_or(LISTED).min(LISTED);
    let skip = input.number("skip")?.unwrap_or(0);
    let deploys = platform.deploys(&user, app.as_ref(), limit, skip).await?;
    Ok(respond::list(deploys.iter().map(shown).collect()))
}

/// `GET /deploys/{id}`: one, with what it printed.
pub(crate) async fn info(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(id): Path<EventId>,
) -> Answer<Json<wire::Deploy>> {
    let deploy = platform.deploy_info(&user, &id).await?;
    Ok(Json(wire::Deploy { log: deploy.event.log.clone(), ..shown(&deploy) }))
}

fn shown(deploy: &Deploy) -> wire::Deploy {
    let event = &deploy.event;
    let took = event.ended_at.map(|ended| ended - event.started_at);
    wire::Deploy {
        id: event.id.to_string(),
        app: deploy.app.to_string(),
        timestamp: event.started_at.into(),
        duration: took.and_then(|took| took.num_nanoseconds()).unwrap_or(0),
        commit: deploy.commit.clone(),
        error: event.error.clone(),
        image: if deploy.version == 0 { String::new() } else { format!("v{}", deploy.version) },
        version: deploy.version.into(),
        user: event.owner.clone(),
        origin: deploy.origin.clone(),
        can_rollback: deploy.can_rollback,
        ..wire::Deploy::default()
    }
}
