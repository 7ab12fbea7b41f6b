//! The names under which a request is followed: its own id, and the trace that it is part of.

use std::str::FromStr;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use tracing::{Span, field::Empty, info_span};
use uuid::{Builder, Uuid};

/// The headers that platforms usually send, the first one before the others (contract 2.2).
static USUAL: [HeaderName; 5] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-correlation-id"),
    HeaderName::from_static("x-correlationid"),
    HeaderName::from_static("x-forrequest-id"),
    HeaderName::from_static("x-vcap-request-id"),
];
/// Headers whose value is a secret, or that mean something in an answer.
const TAKEN: [&str; 16] = [
    "authorization",
    "connection",
    "cookie",
    "date",
    "etag",
    "expect",
    "host",
    "keep-alive",
    "location",
    "retry-after",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
];
/// And how the names of further ones begin.
const TAKEN_BEGINNINGS: [&str; 5] = ["content-", "proxy-", "sec-", "x-broker-api-", "x-tsuru-"];

/// A header that names requests, beside the usual ones (SPEC T-3).
///
/// It is read from a text, which is refused when it is no header's name, or that of a header that means something else.
///
/// ```
/// use broker_core::RequestIdHeader;
///
/// assert!("X-Trace-Me".parse::<RequestIdHeader>().is_ok());
/// assert!("Authorization".parse::<RequestIdHeader>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestIdHeader(HeaderName);

impl FromStr for RequestIdHeader {
    type Err = InvalidRequestIdHeader;

    fn from_str(text: &str) -> Result<Self, InvalidRequestIdHeader> {
        let name: HeaderName = text.parse().map_err(|_| InvalidRequestIdHeader::NoName)?;
        let is_taken = TAKEN.contains(&name.as_str())
            || TAKEN_BEGINNINGS.iter().any(|beginning| name.as_str().starts_with(beginning));
        if is_taken { Err(InvalidRequestIdHeader::Taken(name.to_string())) } else { Ok(Self(name)) }
    }
}

/// Why requests can't be named by a header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRequestIdHeader {
    /// No header has such a name.
    #[error("it is no name of a header, use letters, digits and `-`")]
    NoName,
    /// The header is there for something else.
    #[error("the header `{0}` means something else, choose one that is there for identifiers alone")]
    Taken(String),
}

/// What a request is called, and the header that says so.
pub(super) struct RequestId {
    pub(super) header: HeaderName,
    pub(super) value: HeaderValue,
}

impl RequestId {
    /// As the caller says, by the operator's header if there is one, else the first of the usual ones; a value that is
    /// not short and plain counts for nothing. Without any, a new one.
    pub(super) fn of(headers: &HeaderMap, own: Option<&RequestIdHeader>) -> Self {
        let own = own.map(|own| &own.0);
        let given = own.into_iter().chain(&USUAL).find_map(|header| {
            let value = headers.get(header).filter(|value| is_plain(value))?.clone();
            Some(Self { header: header.clone(), value })
        });
        given.unwrap_or_else(|| Self { header: own.unwrap_or(&USUAL[0]).clone(), value: new_value() })
    }
}

fn is_plain(value: &HeaderValue) -> bool {
    (1..=128).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
}

fn new_value() -> HeaderValue {
    // From the thread's own generator: asking the system for each request takes longer than most of the rest.
    let id = Builder::from_random_bytes(rand::random()).into_uuid();
    let mut text = Uuid::encode_buffer();
    let text = id.hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("none"))
}

/// What the log's lines about a request stand under.
pub(super) fn span(id: &HeaderValue, headers: &HeaderMap) -> Span {
    info_span!("request", id = id.to_str().unwrap_or_default(), trace = trace_of(headers), caller = Empty)
}

/// The trace that the request is part of, as `traceparent` of W3C Trace Context names it.
fn trace_of(headers: &HeaderMap) -> Option<String> {
    let mut parts = headers.get("traceparent")?.to_str().ok()?.split('-');
    let (version, trace, parent) = (parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_whole = is_hex(version, 2) && version != "ff" && is_hex(trace, 32) && is_hex(parent, 16);
    (is_whole && trace.bytes().any(|byte| byte != b'0')).then(|| trace.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(sent: &[(&'static str, &str)], own: Option<&str>) -> (String, String) {
        let sent = sent.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        let own = own.map(|own| own.parse().unwrap());
        let RequestId { header, value } = RequestId::of(&sent.collect(), own.as_ref());
        (header.to_string(), value.to_str().unwrap().to_owned())
    }

    #[test] // SPEC T-3
    fn the_first_header_that_is_there_and_plain_names_a_request() {
        let said = |header: &str, value: &str| (header.to_owned(), value.to_owned());
        let long = "i".repeat(129);
        for name in ["x-request-id", "x-correlation-id", "x-correlationid", "x-forrequest-id", "x-vcap-request-id"] {
            assert_eq!(id_of(&[(name, "abc-1")], None), said(name, "abc-1"));
        }
        assert_eq!(id_of(&[("x-correlation-id", "b"), ("x-request-id", "a")], None), said("x-request-id", "a"));
        assert_eq!(
            id_of(&[("x-request-id", "a b"), ("x-correlationid", &long), ("x-vcap-request-id", "c")], None),
            said("x-vcap-request-id", "c")
        );
        assert_eq!(id_of(&[("x-request-id", "a"), ("x-own", "o")], Some("X-Own")), said("x-own", "o"));
        assert_eq!(id_of(&[("x-request-id", "a"), ("x-own", "")], Some("X-Own")), said("x-request-id", "a"));
        assert_eq!(id_of(&[("x-own", "o")], None).0, "x-request-id");
        let (header, made) = id_of(&[], Some("X-Own"));
        assert!(header == "x-own" && made.len() == 36, "{header}: {made}");
    }

    #[test] // SPEC T-3, S-5
    fn no_header_that_means_something_else_names_requests() {
        for name in
            ["Authorization", "cookie", "Content-Length", "Transfer-Encoding", "X-Tsuru-User", "Sec-WebSocket-Key"]
        {
            let refused = name.parse::<RequestIdHeader>().unwrap_err();
            assert!(
                refused.to_string().starts_with(&format!("the header `{}` means", name.to_lowercase())),
                "{refused}"
            );
        }
        for name in ["", "a b", "x:y", "x-\u{e9}"] {
            assert_eq!(name.parse::<RequestIdHeader>(), Err(InvalidRequestIdHeader::NoName), "{name}");
        }
    }

    #[test] // SPEC T-3
    fn only_a_whole_traceparent_names_a_trace() {
        let of = |value: &'static str| {
            trace_of(&HeaderMap::from_iter([(HeaderName::from_static("traceparent"), HeaderValue::from_static(value))]))
        };
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(of("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").as_deref(), Some(trace));
        for broken in
            ["", "00", "00-4bf9-00f067aa0ba902b7-01", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"]
        {
            assert_eq!(of(broken), None, "{broken}");
        }
    }
}
