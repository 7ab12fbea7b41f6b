//! What a proxy takes off a message, and what it puts on (SPEC R-10).

use std::{
    net::IpAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use hyper::{
    HeaderMap,
    header::{
        CONNECTION, EXPECT, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
        TRANSFER_ENCODING, UPGRADE,
    },
};

use crate::host;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REQUEST_START: HeaderName = HeaderName::from_static("x-request-start");
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// So many headers a request gets on its way, at most.
pub(crate) const ADDED: usize = 8;

/// Longer identifiers are replaced.
const REQUEST_ID_LIMIT: usize = 200;

/// The other end of a client's connection, written once for all its requests.
#[derive(Debug)]
pub(crate) struct Peer {
    text: String,
    value: HeaderValue,
}

impl Peer {
    pub(crate) fn new(address: IpAddr) -> Self {
        let text = address.to_canonical().to_string();
        let value = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Self { text, value }
    }
}

/// Takes off what concerns one connection only, and what `Connection` lists.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if let Some(listed) = headers.remove(CONNECTION) {
        remove_listed(headers, &listed);
    }
    for name in [TRANSFER_ENCODING, UPGRADE, KEEP_ALIVE, PROXY_CONNECTION, TE, TRAILER] {
        headers.remove(name);
    }
    headers.remove(PROXY_AUTHENTICATE);
    headers.remove(PROXY_AUTHORIZATION);
}

fn remove_listed(headers: &mut HeaderMap, listed: &HeaderValue) {
    let Ok(listed) = listed.to_str() else { return };
    for name in listed.split(',').map(str::trim) {
        // What frames or routes a message is never optional, whoever lists it.
        if !name.eq_ignore_ascii_case("host") && !name.eq_ignore_ascii_case("content-length") {
            headers.remove(name);
        }
    }
}

/// The protocol that a message wants to change to, or has changed to.
pub(crate) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(UPGRADE)?;
    let wanted = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    wanted.then(|| protocol.clone())
}

/// Puts a change of protocol on a message again.
pub(crate) fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// The request's identifier: the client's if it is one, else a fresh one, which is put on the request.
pub(crate) fn identify(headers: &mut HeaderMap) -> HeaderValue {
    let usable = |id: &&HeaderValue| (1..=REQUEST_ID_LIMIT).contains(&id.len()) && id.to_str().is_ok();
    if let Some(id) = headers.get(REQUEST_ID).filter(usable) {
        return id.clone();
    }
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    id.hyphenated().encode_lower(&mut text);
    let id = HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("none"));
    headers.insert(REQUEST_ID, id.clone());
    id
}

/// Says who asked, when, and under which host. The client's address is added to those the client
/// sent; the rest replaces what the client sent, unless clients are trusted.
pub(crate) fn forward(headers: &mut HeaderMap, peer: &Peer, trusted: bool) {
    headers.remove(EXPECT);
    let host = headers.get(HOST).cloned();
    let chain = chain(headers, peer);
    headers.insert(FORWARDED_FOR, chain);
    let mut put = |name: HeaderName, value: HeaderValue| {
        if !trusted || !headers.contains_key(&name) {
            headers.insert(name, value);
        }
    };
    put(FORWARDED_PROTO, HeaderValue::from_static("http"));
    put(REQUEST_START, started());
    if let Some(host) = host {
        let port = host.to_str().ok().and_then(host::port).and_then(|port| port.parse::<u16>().ok());
        put(FORWARDED_PORT, HeaderValue::from(port.unwrap_or(80)));
        put(FORWARDED_HOST, host);
    }
}

fn chain(headers: &HeaderMap, peer: &Peer) -> HeaderValue {
    let mut sent = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).peekable();
    if sent.peek().is_none() {
        return peer.value.clone();
    }
    let mut chain = String::new();
    for addresses in sent {
        chain.push_str(addresses);
        chain.push_str(", ");
    }
    chain.push_str(&peer.text);
    HeaderValue::try_from(chain).unwrap_or_else(|_| peer.value.clone())
}

/// Milliseconds since 1970.
fn started() -> HeaderValue {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    HeaderValue::from(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn peer() -> Peer {
        Peer::new([10, 0, 0, 9].into())
    }

    #[test] // SPEC R-10
    fn hop_by_hop_headers_end_here() {
        let mut sent = headers(&[
            ("connection", "close, x-secret, Host"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("proxy-authorization", "Basic eA=="),
            ("host", "blog.test"),
            ("accept", "*/*"),
        ]);

        remove_hop_by_hop(&mut sent);

        assert_eq!(sent, headers(&[("host", "blog.test"), ("accept", "*/*")]));
    }

    #[test] // SPEC R-10
    fn a_client_cannot_pretend_to_be_a_proxy() {
        let mut sent = headers(&[
            ("host", "blog.test:8080"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.test"),
        ]);

        forward(&mut sent, &peer(), false);

        assert_eq!(sent["x-forwarded-for"], "1.2.3.4, 10.0.0.9");
        assert_eq!(sent["x-forwarded-proto"], "http");
        assert_eq!(sent["x-forwarded-host"], "blog.test:8080");
        assert_eq!(sent["x-forwarded-port"], "8080");
        assert!(sent["x-request-start"].to_str().unwrap().parse::<u64>().unwrap() > 1_600_000_000_000);
    }

    #[test] // SPEC R-10
    fn a_trusted_proxys_word_is_kept() {
        let mut sent = headers(&[("host", "blog.test"), ("x-forwarded-proto", "https"), ("x-forwarded-port", "443")]);

        forward(&mut sent, &peer(), true);

        assert_eq!(sent["x-forwarded-proto"], "https");
        assert_eq!(sent["x-forwarded-port"], "443");
        assert_eq!(sent["x-forwarded-host"], "blog.test");
    }

    #[test] // SPEC R-10
    fn a_request_keeps_its_identifier_or_gets_one() {
        let mut named = headers(&[("x-request-id", "abc-1")]);
        assert_eq!(identify(&mut named), "abc-1");

        let mut nameless = HeaderMap::new();
        let id = identify(&mut nameless);
        assert_eq!(nameless["x-request-id"], id);
        assert_eq!(id.len(), 36);
    }

    #[test]
    fn a_change_of_protocol_needs_both_headers() {
        assert_eq!(
            upgrade(&headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")])).unwrap(),
            "websocket"
        );
        assert_eq!(upgrade(&headers(&[("upgrade", "websocket")])), None);
        assert_eq!(upgrade(&headers(&[("connection", "upgrade")])), None);
    }
}
