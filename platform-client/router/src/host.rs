//! The host a request asks for, as the table spells it.

use std::borrow::Cow;

use hyper::{Request, header::HOST};

/// The host of a request, from its URI or else its `Host` header; lower case, without port and
/// trailing dot. `None` when it names none.
pub(crate) fn of<B>(request: &Request<B>) -> Option<Cow<'_, str>> {
    let raw = match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => request.headers().get(HOST)?.to_str().ok()?,
    };
    let host = without_port(raw).trim_end_matches('.');
    (!host.is_empty()).then(|| lower_case(host))
}

/// A text in lower case; borrowed when it already is.
pub(crate) fn lower_case(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

/// The port that a `Host` names.
pub(crate) fn port(raw: &str) -> Option<&str> {
    let port = raw.strip_prefix(without_port(raw))?.strip_prefix(':')?;
    (!port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())).then_some(port)
}

fn without_port(raw: &str) -> &str {
    let raw = raw.rsplit_once('@').map_or(raw, |(_, host)| host);
    match raw.rfind(':') {
        Some(colon) if !raw[colon..].contains(']') => &raw[..colon],
        _ => raw,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // SPEC R-7
    fn a_host_is_lower_case_without_port_and_trailing_dot() {
        for (raw, host, named) in [
            ("blog.test", "blog.test", None),
            ("Blog.TEST:8080", "blog.test", Some("8080")),
            ("blog.test.", "blog.test", None),
            ("[::1]:80", "[::1]", Some("80")),
            ("[::1]", "[::1]", None),
        ] {
            let request = Request::builder().header(HOST, raw).body(()).unwrap();
            assert_eq!(of(&request).as_deref(), Some(host), "{raw}");
            assert_eq!(port(raw), named, "{raw}");
        }
    }

    #[test]
    fn the_uri_of_a_request_goes_before_its_host_header() {
        let request = Request::builder().uri("http://a.test:81/x").header(HOST, "b.test").body(()).unwrap();
        assert_eq!(of(&request).as_deref(), Some("a.test"));
    }

    #[test]
    fn a_request_without_a_host_names_none() {
        assert_eq!(of(&Request::new(())), None);
        assert_eq!(of(&Request::builder().header(HOST, ":80").body(()).unwrap()), None);
    }
}
