//! The names under which a request is followed: its own id, and the trace that it is part of.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use tracing::{Span, info_span};
use uuid::{Builder, Uuid};

/// The header that platforms are usually configured to send (contract 2.2).
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the log's lines about a request stand under.
pub(super) fn span(id: &HeaderValue, headers: &HeaderMap) -> Span {
    info_span!("request", id = id.to_str().unwrap_or_default(), trace = trace_of(headers))
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

/// The caller's id if it is short and plain, else a new one.
pub(super) fn id_of(headers: &HeaderMap) -> HeaderValue {
    let plain = |id: &&HeaderValue| id.len() <= 128 && id.as_bytes().iter().all(u8::is_ascii_graphic) && !id.is_empty();
    let given = headers.get(REQUEST_ID).filter(plain);
    given.cloned().unwrap_or_else(|| {
        // From the thread's own generator: asking the system for each request takes longer than most of the rest.
        let id = Builder::from_random_bytes(rand::random()).into_uuid();
        let mut text = Uuid::encode_buffer();
        let text = id.hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("none"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
