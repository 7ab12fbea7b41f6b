//! The tsuru-compatible HTTP API: HTTP in, use case out, answer back.
//!
//! A handler extracts, asks, answers. What comes in is read in `extract.rs` and `path.rs`, who may
//! call is decided in `auth.rs`, what goes wrong becomes a status in `respond.rs` and nowhere else,
//! and what takes long is told while it happens by `stream.rs`. Operations never run in a handler's
//! own future, so a client that goes away changes nothing (SPEC W-7). Nothing here knows how apps
//! are run, where records are kept, or what a broker is.

mod auth;
mod extract;
mod front;
mod handlers;
mod path;
mod respond;
mod routes;
mod stream;
mod upload;
mod view;

use std::{path::PathBuf, sync::Arc};

use axum::{Router, extract::FromRef, http::HeaderName};
use platform_core::Platform;

/// What the API tells about itself, and its limits.
#[derive(Clone, Debug)]
pub struct ApiInfo {
    /// The platform's version, shown by `tsuru version`.
    pub version: String,
    /// The oldest client that is supported: older ones show a warning.
    pub supported_client: String,
    /// The header that carries a request's identifier in and out.
    pub request_id_header: HeaderName,
    /// The largest upload of a deploy, in bytes.
    pub upload_limit: u64,
    /// Where uploads are kept while they are deployed; none for the system's temporary folder.
    pub upload_dir: Option<PathBuf>,
}

impl Default for ApiInfo {
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            supported_client: "1.0.1".to_owned(),
            request_id_header: HeaderName::from_static("x-request-id"),
            upload_limit: 1 << 30,
            upload_dir: None,
        }
    }
}

/// What every handler may ask for.
#[derive(Clone)]
pub(crate) struct Api {
    platform: Arc<Platform>,
    info: Arc<ApiInfo>,
}

impl FromRef<Api> for Arc<Platform> {
    fn from_ref(api: &Api) -> Self {
        Arc::clone(&api.platform)
    }
}

impl FromRef<Api> for Arc<ApiInfo> {
    fn from_ref(api: &Api) -> Self {
        Arc::clone(&api.info)
    }
}

/// The API as a router: every path under any `/<major>.<minor>/` and without (contract 1.1).
///
/// It has a fallback and no routes, so that routers with routes of their own can be merged with it:
/// theirs are tried first. Must be served inside a tokio runtime.
pub fn router(platform: Arc<Platform>, info: ApiInfo) -> Router {
    let api = Api { platform, info: Arc::new(info) };
    front::router(routes::routes().with_state(api.clone()), &api.info)
}
