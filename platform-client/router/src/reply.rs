//! What a client reads when no unit's answer can be had: one place decides status, code and text.

use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER},
};
use platform_core::AppName;

use crate::body::ReplyBody;

/// Names what went wrong for programs; absent from answers of units.
const ROUTER_ERROR: HeaderName = HeaderName::from_static("x-router-error");

/// Seconds after which it is worth trying again.
const SOON: HeaderValue = HeaderValue::from_static("5");

/// Why the router answers itself (SPEC R-9).
#[derive(Debug)]
pub(crate) enum Failure {
    /// The request names no host.
    NoHost,
    /// The method is for proxies of another kind.
    Connect,
    /// No app has this host.
    UnknownHost(String),
    /// The app has no unit.
    NoUnit(AppName),
    /// No unit accepted a connection.
    Unreachable(AppName),
    /// A unit went away, or spoke nonsense, before it answered.
    Broken(AppName),
    /// A unit did not begin to answer in time.
    Late(AppName),
}

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoHost => StatusCode::BAD_REQUEST,
            Self::Connect => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnknownHost(_) => StatusCode::NOT_FOUND,
            Self::NoUnit(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unreachable(_) | Self::Broken(_) => StatusCode::BAD_GATEWAY,
            Self::Late(_) => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NoHost => "no-host",
            Self::Connect => "method-not-allowed",
            Self::UnknownHost(_) => "unknown-host",
            Self::NoUnit(_) => "no-unit",
            Self::Unreachable(_) => "unit-unreachable",
            Self::Broken(_) => "unit-broke-off",
            Self::Late(_) => "unit-too-slow",
        }
    }

    fn text(&self) -> String {
        match self {
            Self::NoHost => "The request names no host: send a Host header.".to_owned(),
            Self::Connect => "CONNECT is not served here.".to_owned(),
            Self::UnknownHost(host) => format!(
                "No app answers for the host {host}: check the address, or add it to an app with `tsuru cname-add`."
            ),
            Self::NoUnit(app) => {
                format!("The app {app} has no running unit: start it with `tsuru app-start`, or try again in a moment.")
            }
            Self::Unreachable(app) => format!("No unit of the app {app} accepts connections: try again in a moment."),
            Self::Broken(app) => format!(
                "A unit of the app {app} ended the connection before it answered: see `tsuru app-log` for the reason."
            ),
            Self::Late(app) => format!("A unit of the app {app} took too long to answer."),
        }
    }

    pub(crate) fn into_response(self) -> Response<ReplyBody> {
        let mut response = Response::new(ReplyBody::text(Bytes::from(self.text() + "\n")));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(ROUTER_ERROR, HeaderValue::from_static(self.code()));
        if matches!(self, Self::NoUnit(_) | Self::Unreachable(_)) {
            headers.insert(RETRY_AFTER, SOON);
        }
        response
    }
}
