//! What is the same for every request: versions in paths, identifiers, headers of every answer.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use axum::{
    Router,
    extract::{Request, State},
    http::{
        HeaderName, HeaderValue, Uri,
        uri::{PathAndQuery, Scheme},
    },
    middleware::{self, Next},
    response::Response,
};
use futures::future::BoxFuture;
use tower::Service;
use tracing::Instrument as _;

use crate::ApiInfo;

const SUPPORTED_TSURU: HeaderName = HeaderName::from_static("supported-tsuru");

/// Puts the endpoints behind what every request goes through.
pub(crate) fn router(endpoints: Router, info: &Arc<ApiInfo>) -> Router {
    Router::new()
        .fallback_service(Unversioned(endpoints))
        .layer(middleware::from_fn_with_state(Arc::clone(info), identified))
}

/// Gives each request an identifier, logs it, and puts on its answer what each answer has.
async fn identified(State(info): State<Arc<ApiInfo>>, request: Request, next: Next) -> Response {
    let id = request.headers().get(&info.request_id_header).filter(|id| is_identifier(id)).cloned();
    let id = id.unwrap_or_else(fresh_identifier);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let span = tracing::info_span!("request", request.id = id.to_str().unwrap_or_default());
    let began = Instant::now();
    let mut answer = next.run(request).instrument(span.clone()).await;
    let status = answer.status().as_u16();
    let took = began.elapsed();
    span.in_scope(|| tracing::info!(%method, path, status, ?took, "answered {method} {path} with {status}"));
    answer.headers_mut().insert(info.request_id_header.clone(), id);
    if let Ok(oldest) = HeaderValue::from_str(&info.supported_client) {
        answer.headers_mut().insert(SUPPORTED_TSURU, oldest);
    }
    answer
}

/// Short and printable: what a caller sends ends up in logs.
fn is_identifier(id: &HeaderValue) -> bool {
    (1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

fn fresh_identifier() -> HeaderValue {
    HeaderValue::try_from(uuid::Uuid::new_v4().to_string()).unwrap_or(HeaderValue::from_static("-"))
}

/// The endpoints with a leading `/<major>.<minor>` taken off the path.
#[derive(Clone)]
struct Unversioned(Router);

impl Service<Request> for Unversioned {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request>::poll_ready(&mut self.0, context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        if let Some(uri) = unversioned(request.uri()) {
            *request.uri_mut() = uri;
        }
        Box::pin(self.0.call(request))
    }
}

fn unversioned(uri: &Uri) -> Option<Uri> {
    let (version, _) = uri.path().strip_prefix('/')?.split_once('/')?;
    let (major, minor) = version.split_once('.')?;
    let is_number = |text: &str| (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if !is_number(major) || !is_number(minor) {
        return None;
    }
    let rest: PathAndQuery = uri.path_and_query()?.as_str()[1 + version.len()..].parse().ok()?;
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(rest);
    if parts.authority.is_some() && parts.scheme.is_none() {
        parts.scheme = Some(Scheme::HTTP);
    }
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_of(uri: &str) -> Option<String> {
        unversioned(&uri.parse().unwrap()).map(|uri| uri.path_and_query().unwrap().to_string())
    }

    #[test] // SPEC W-1
    fn any_version_in_front_of_a_path_is_taken_off_once() {
        assert_eq!(path_of("/1.0/apps?name=a%20b").as_deref(), Some("/apps?name=a%20b"));
        assert_eq!(path_of("/1.13/services/a%2Fb").as_deref(), Some("/services/a%2Fb"));
        assert_eq!(path_of("http://host/1.29/").as_deref(), Some("/"));
        assert_eq!(path_of("/1.0/1.0/apps").as_deref(), Some("/1.0/apps"));
        for plain in ["/apps", "/1.0", "/1/apps", "/v1.0/apps", "/1.x/apps", "/1..0/apps", "/"] {
            assert_eq!(path_of(plain), None, "{plain}");
        }
    }
}
