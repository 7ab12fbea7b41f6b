//! Whether the platform works, and what it is.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Instant};

use axum::{Json, extract::State, http::StatusCode, response::Response};
use platform_core::{Platform, Result};

use crate::{ApiInfo, auth::Caller, extract::Input, respond};

/// `GET /healthcheck`: that it answers at all or, with `check=all` or names, how its parts are.
pub(crate) async fn healthcheck(State(platform): State<Arc<Platform>>, input: Input) -> Response {
    let asked = input.texts("check");
    if asked.is_empty() {
        return respond::text(StatusCode::OK, "WORKING");
    }
    let wanted = |name: &str| asked.iter().any(|asked| asked == "all" || asked == name);
    let mut report = String::new();
    let mut healthy = true;
    for name in ["store", "engine", "router"].into_iter().filter(|name| wanted(name)) {
        let began = Instant::now();
        let outcome = check(&platform, name).await;
        let state = match &outcome {
            Ok(()) => "WORKING".to_owned(),
            Err(error) => format!("fail - {error}"),
        };
        healthy &= outcome.is_ok();
        // Writing to a string does not fail.
        let _written = writeln!(report, "{name}: {state} ({}ms)", began.elapsed().as_millis());
    }
    respond::text(if healthy { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR }, report)
}

async fn check(platform: &Platform, name: &str) -> Result<()> {
    match name {
        "store" => platform.has_users().await.map(drop),
        "engine" => platform.units_by_app().await.map(drop),
        _ => platform.serving().await.map(drop),
    }
}

/// `GET /info`
pub(crate) async fn info(_: Caller, State(info): State<Arc<ApiInfo>>) -> Json<BTreeMap<&'static str, String>> {
    Json(BTreeMap::from([("version", info.version.clone())]))
}
