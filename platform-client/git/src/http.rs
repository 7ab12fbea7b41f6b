//! The three requests of git's smart protocol.

use std::{io, path::PathBuf, process::ExitStatus, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use bytes::Bytes;
use futures::StreamExt as _;
use platform_core::AppName;
use serde::Deserialize;
use tokio::process::Command;

use crate::{
    GitServer, Pusher,
    answer::Failure,
    credentials, git,
    gunzip::Decoder,
    push::Push,
    server::Shared,
    session::{Client, Session},
};

const UNCACHED: [(HeaderName, HeaderValue); 3] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, max-age=0, must-revalidate")),
    (header::EXPIRES, HeaderValue::from_static("Fri, 01 Jan 1980 00:00:00 GMT")),
    (header::PRAGMA, HeaderValue::from_static("no-cache")),
];

pub(crate) fn router(server: GitServer) -> Router {
    Router::new()
        .route("/git/{repository}/info/refs", get(info_refs))
        .route("/git/{repository}/git-receive-pack", post(receive_pack))
        .route("/git/{repository}/git-upload-pack", post(upload_pack))
        .with_state(server)
}

/// What the client is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Service {
    /// Push.
    #[serde(rename = "git-receive-pack")]
    ReceivePack,
    /// Clone and fetch.
    #[serde(rename = "git-upload-pack")]
    UploadPack,
}

impl Service {
    fn as_str(self) -> &'static str {
        match self {
            Self::ReceivePack => "receive-pack",
            Self::UploadPack => "upload-pack",
        }
    }
}

#[derive(Deserialize)]
struct Wanted {
    service: Option<Service>,
}

/// `GET /git/{app}.git/info/refs?service=...` (SPEC G-2, G-3)
async fn info_refs(
    State(server): State<GitServer>,
    Path(repository): Path<String>,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let Ok(Query(Wanted { service: Some(service) })) = wanted else {
        let sentence = "only git's smart protocol is spoken here: push, fetch and clone with git 1.6.6 or later";
        return Err(Failure::new(StatusCode::FORBIDDEN, sentence));
    };
    let asked = Asked::check(server.shared(), &repository, &headers).await?;
    let mut command = asked.git(service).await?;
    command.args(["--http-backend-info-refs"]).arg(&asked.repository);
    let refs = git::finish(command, Duration::from_secs(60))
        .await
        .map_err(|error| Failure::internal("read the repository", &error))?;

    let title = format!("# service=git-{}\n", service.as_str());
    let body = [format!("{:04x}{title}0000", title.len() + 4).as_bytes(), &refs].concat();
    Ok(answer(service, "advertisement", body.into()))
}

/// `POST /git/{app}.git/git-upload-pack` (SPEC G-3): clone and fetch.
async fn upload_pack(
    State(server): State<GitServer>,
    Path(repository): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let asked = Asked::check(server.shared(), &repository, request.headers()).await?;
    let mut command = asked.git(Service::UploadPack).await?;
    command.arg(&asked.repository);
    let app = asked.app.clone();
    asked
        .serve(Service::UploadPack, command, request, Client::Needed, move |ended| {
            log_end(&app, "clone or fetch", &ended);
        })
        .await
}

/// `POST /git/{app}.git/git-receive-pack` (SPEC G-1): push, which deploys.
async fn receive_pack(
    State(server): State<GitServer>,
    Path(repository): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let asked = Asked::check(server.shared(), &repository, request.headers()).await?;
    let push = server
        .shared()
        .begin(asked.app.clone(), asked.pusher.clone())
        .map_err(|error| Failure::internal("prepare the push", &error))?;
    let mut command = asked.git(Service::ReceivePack).await?;
    command.arg(&asked.repository).envs(server.shared().hook_env(&push));
    let shared = Arc::clone(server.shared());
    asked
        .serve(Service::ReceivePack, command, request, Client::Dispensable, move |ended| {
            log_end(&push.app, "push", &ended);
            tokio::spawn(finish_push(shared, push));
        })
        .await
}

async fn finish_push(shared: Arc<Shared>, push: Arc<Push>) {
    let (app, deployed) = (push.app.clone(), push.deployed.get().cloned());
    // The branch stands where it stands now: the next push may have its turn.
    drop(push);
    shared.settle(&app, deployed.as_deref()).await;
}

fn log_end(app: &AppName, what: &str, ended: &io::Result<ExitStatus>) {
    match ended {
        Ok(status) if status.success() => tracing::debug!(app.name = %app, "a {what} of `{app}` ended"),
        Ok(status) => tracing::info!(app.name = %app, "a {what} of `{app}` failed: git ended with {status}"),
        Err(error) => tracing::info!(app.name = %app, %error, "a {what} of `{app}` broke off: {error}"),
    }
}

/// A request whose sender may make it.
struct Asked<'a> {
    shared: &'a Shared,
    app: AppName,
    pusher: Pusher,
    repository: PathBuf,
    /// The version of git's protocol that the client would like.
    protocol: Option<String>,
}

impl<'a> Asked<'a> {
    async fn check(shared: &'a Shared, repository: &str, headers: &HeaderMap) -> Result<Self, Failure> {
        let token = credentials::token(headers).ok_or_else(Failure::anonymous)?;
        let name = repository.strip_suffix(".git").unwrap_or(repository);
        let app: AppName = name.parse().map_err(platform_core::Error::from)?;
        let pusher = shared.pushes.authorize(&app, &token).await?;
        let repository = shared
            .repositories
            .ensure(&app, shared.main_branch())
            .await
            .map_err(|error| Failure::internal("make the repository", &error))?;
        Ok(Self { shared, app, pusher, repository, protocol: protocol(headers) })
    }

    /// `git receive-pack` or `git upload-pack`; the repository is still to be named.
    async fn git(&self, service: Service) -> Result<Command, Failure> {
        let config = &self.shared.config;
        let [safe] = git::safe(&self.repository);
        let mut command = git::command([
            safe,
            ("core.hooksPath", self.shared.repositories.hooks().display().to_string()),
            // An old repository may have been written by a careless tool: say so, take it.
            ("receive.fsck.badTimezone", "warn".to_owned()),
            ("receive.fsck.missingSpaceBeforeDate", "warn".to_owned()),
            ("receive.fsck.zeroPaddedFilemode", "warn".to_owned()),
            ("receive.fsckObjects", "true".to_owned()),
            ("receive.autogc", "false".to_owned()),
            ("receive.maxInputSize", config.max_pack.to_string()),
            // One pack that is synced to the disk, however few the objects.
            ("receive.unpackLimit", "1".to_owned()),
        ]);
        command.envs(self.protocol.as_ref().map(|version| ("GIT_PROTOCOL", version)));
        command.args([service.as_str(), "--stateless-rpc"]);
        Ok(command)
    }

    async fn serve(
        self,
        service: Service,
        command: Command,
        request: Request,
        client: Client,
        over: impl FnOnce(io::Result<ExitStatus>) + Send + 'static,
    ) -> Result<Response, Failure> {
        let encoding = request.headers().get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("unknown"));
        let Some(decoder) = Decoder::for_encoding(encoding) else {
            let sentence = "the request is compressed in a way that is not understood here: gzip is";
            return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, sentence));
        };
        let slot = Arc::clone(&self.shared.sessions).try_acquire_owned().map_err(|_| {
            let sentence = "too many pushes and clones are on their way, try again in a moment";
            Failure::new(StatusCode::SERVICE_UNAVAILABLE, sentence)
        })?;
        let session = Session { command, body: request.into_body(), decoder, client, idle: self.shared.config.idle };
        let mut said = session
            .start(move |ended| {
                drop(slot);
                over(ended);
            })
            .map_err(|error| Failure::internal("start git", &error))?;
        // The status is said with git's first word: until then the client is still sending.
        let first = said.next().await.unwrap_or(Ok(Bytes::new()));
        let first =
            first.map_err(|error| Failure::new(StatusCode::BAD_REQUEST, format!("the request broke off: {error}")))?;
        let all = futures::stream::iter([Ok(first)]).chain(said);
        Ok(answer(service, "result", Body::from_stream(all)))
    }
}

/// The client's wish, if it could be one: it goes into git's environment.
fn protocol(headers: &HeaderMap) -> Option<String> {
    let wish = headers.get("git-protocol")?.to_str().ok()?;
    let plain = wish.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'=' | b':' | b'.' | b'-' | b'_'));
    (plain && wish.len() <= 200).then(|| wish.to_owned())
}

fn answer(service: Service, what: &str, body: Body) -> Response {
    let kind = format!("application/x-git-{}-{what}", service.as_str());
    (UNCACHED, [(header::CONTENT_TYPE, kind)], body).into_response()
}
