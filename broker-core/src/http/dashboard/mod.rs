//! `/dashboard/{name}`: an instance for people who were given its link (SPEC I-12 to I-14).

mod page;

use std::sync::Arc;

use axum::{
    Extension,
    extract::{RawQuery, State},
    http::{Method, StatusCode},
    response::{IntoResponse as _, Response},
};
use tokio::sync::Semaphore;

use self::page::{Page, Sentence, page};
use super::{
    extract::Named,
    respond::{self, Failure},
};
use crate::lifecycle::Engine;

/// How many dashboards are made at once: whoever has nothing but a link keeps no platform from its place (SPEC T-5).
const AT_ONCE: usize = 64;

/// Places for those who have nothing but a link.
#[derive(Clone, Debug)]
pub(super) struct Readers(Arc<Semaphore>);

impl Default for Readers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

/// Whether a request is for a dashboard, which takes a key and no credentials.
pub(super) fn is_for_one(method: &Method, path: &str) -> bool {
    let name = path.strip_prefix("/dashboard/").unwrap_or_default();
    matches!(*method, Method::GET | Method::HEAD) && !name.is_empty() && !name.contains('/')
}

/// `GET /dashboard/{name}?key=`: who has no key that fits learns nothing, not even whether there is such an instance.
pub(super) async fn show(
    State(engine): State<Arc<Engine>>,
    Extension(Readers(readers)): Extension<Readers>,
    name: Result<Named, Failure>,
    RawQuery(query): RawQuery,
) -> Response {
    let key = query.as_deref().and_then(|query| query.split('&').find_map(|part| part.strip_prefix("key=")));
    let (Ok(Named(name)), Some(key)) = (name, key) else { return nothing_there() };
    let Ok(_place) = readers.try_acquire() else {
        let sentence = "Too many people are looking at dashboards at the moment. Try again in a minute.";
        return (StatusCode::SERVICE_UNAVAILABLE, page(&Sentence::new("Try again soon", sentence))).into_response();
    };
    match engine.dashboard_opened_by(key, &name).await {
        Ok(Some(dashboard)) => page(&Page::of(&dashboard)),
        Ok(None) => nothing_there(),
        Err(error) => {
            respond::log(&error);
            let sentence = "The broker cannot reach its records at the moment. Try again in a minute.";
            (respond::status(&error), page(&Sentence::new("Try again soon", sentence))).into_response()
        }
    }
}

/// An instance's page, for fuzz targets.
#[cfg(feature = "fuzzing")]
pub(super) fn html(dashboard: &crate::lifecycle::Dashboard) -> String {
    askama::Template::render(&Page::of(dashboard)).expect("a page")
}

fn nothing_there() -> Response {
    let sentence = "The link is not whole, or the instance that it was for has been removed. Ask for the link again \
                    where the instance was made.";
    (StatusCode::NOT_FOUND, page(&Sentence::new("There is nothing here", sentence))).into_response()
}
