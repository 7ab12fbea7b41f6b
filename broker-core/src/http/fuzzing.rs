//! What fuzz targets reach of this side.

use std::{path::Path, sync::Arc};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, header},
    middleware::{Next, from_fn},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio_util::sync::CancellationToken;

use super::{
    auth::{Entry, Guard},
    credentials::{Credentials, Presented},
    extract,
    hashed::Hash,
    limits::Limits,
    osb,
    routes::{self, Around},
    trace::{self, RequestId},
};
use crate::{
    Caller, Routes, Secret,
    lifecycle::{Dashboard, Engine, Timing},
    pool,
};

/// Hashes with these costs are quick to compute.
const CHEAP: [&str; 2] = ["$04$", "$m=8,t=1,p=1$"];

/// All endpoints, the author's own and dashboards too, to a caller whose credentials are there already: what is asked without them is refused before
/// anything is read.
pub(crate) fn router(engine: Arc<Engine>, own: Routes, username: &str, password: &str) -> Router {
    let mut guard = Guard::default();
    guard.callers.named.accept(username, &Secret::from(password));
    let limit = Timing::default().answer_within;
    let around = Around {
        guard,
        limits: Limits::default(),
        limit,
        id_header: None,
        stopping: CancellationToken::new(),
        own,
        dashboards: true,
    };
    let pair = STANDARD.encode(format!("{username}:{password}"));
    let header = HeaderValue::from_str(&format!("Basic {pair}")).expect("a header");
    let identify = from_fn(move |mut request: Request<Body>, next: Next| {
        request.headers_mut().insert(header::AUTHORIZATION, header.clone());
        next.run(request)
    });
    routes::router(engine, around).layer(identify)
}

/// Reads all headers that anything here looks at.
pub(crate) fn read_headers(request: Request<()>) {
    let mut guard = Guard::default();
    let never = Secret::from("never matches: no header has a line break\n");
    guard.callers.named.accept("fuzz", &never);
    guard.callers.named.accept_token(&never);
    assert_eq!(guard.entry("/resources", request.headers()), Entry::Closed, "somebody was let in");
    let id = RequestId::of(request.headers(), None).value;
    assert!(id.len() <= 128 && id.as_bytes().iter().all(u8::is_ascii_graphic), "an id that breaks a line of a log");
    let _ = trace::span(&id, request.headers());
    let _ = extract::fields(request.headers(), b"a=b");
    let mut headers = request.headers().clone();
    let _ = Caller::take(request.method(), &mut headers);
    assert!(pool::HEADERS.iter().all(|name| !headers.contains_key(*name)), "the author sees where the pool is");
    osb::read_headers(request);
}

/// The text of a file of credentials: a line of it opens as it stands there if it is a pair, and not if it has a hash
/// or a token; and what is taken for a hash can be checked.
pub(crate) fn read_credentials(text: &str) {
    let Ok(list) = Credentials::in_text(&Secret::from(text), Path::new("list")) else { return };
    for line in text.lines().map(str::trim) {
        let opens = list.accepts(&Presented::pair(line.as_bytes().to_owned().into()));
        assert_eq!(opens, is_pair(line), "{line:?} is taken for something else");
    }
}

fn is_pair(line: &str) -> bool {
    let has_token = line.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case("bearer"));
    let Some((_, password)) = line.split_once(':').filter(|_| !has_token && !line.starts_with('#')) else {
        return false;
    };
    match Hash::of_line(password) {
        Ok(Some(hash)) => {
            let is_cheap = CHEAP.iter().any(|cost| password.contains(cost));
            assert!(!is_cheap || hash.check(b"x").is_some(), "{password:?} is taken and can't be checked");
            false
        }
        Ok(None) => true,
        Err(_) => unreachable!("the list would have been refused"),
    }
}

/// An instance's page.
pub(crate) fn page(dashboard: &Dashboard) -> String {
    super::dashboard::html(dashboard)
}
