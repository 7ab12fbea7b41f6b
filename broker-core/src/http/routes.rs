//! A line for each endpoint.

use std::sync::Arc;

use axum::{Router, middleware::from_fn_with_state, routing::get};

use super::{auth, plans};
use crate::Catalog;

/// What handlers share.
pub(super) struct App {
    pub(super) catalog: Catalog,
}

pub(super) fn router(app: Arc<App>, credentials: Arc<auth::Credentials>) -> Router {
    let resources = Router::new().route("/resources/plans", get(plans::list)).with_state(app);
    let guarded = resources.layer(from_fn_with_state(credentials, auth::require));
    Router::new().route("/healthz", get(async || "ok")).merge(guarded)
}
