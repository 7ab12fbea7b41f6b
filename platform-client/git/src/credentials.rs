//! The token in a request: git sends it as a basic password.

use axum::http::{HeaderMap, header};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use platform_core::Secret;

/// The token, wherever a git client can be made to put it: the basic password, the basic user name
/// when there is no password, or a bearer token. None: there is nothing of the kind.
pub(crate) fn token(headers: &HeaderMap) -> Option<Secret> {
    let (scheme, credentials) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    let token = match scheme.to_ascii_lowercase().as_str() {
        "basic" => basic(credentials.trim())?,
        "bearer" => credentials.trim().to_owned(),
        _ => return None,
    };
    if token.is_empty() { None } else { Some(Secret::from(token)) }
}

fn basic(credentials: &str) -> Option<String> {
    let decoded = String::from_utf8(BASE64_STANDARD.decode(credentials).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some(if password.is_empty() { user } else { password }.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(authorization: &str) -> Option<String> {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, authorization.parse().unwrap())]);
        token(&headers).map(|secret| secret.expose().to_owned())
    }

    #[test] // SPEC G-2
    fn the_token_is_the_password() {
        let basic = |pair: &str| format!("Basic {}", BASE64_STANDARD.encode(pair));
        assert_eq!(read(&basic("alice:t0k:en")).as_deref(), Some("t0k:en"));
        assert_eq!(read(&basic(":t0ken")).as_deref(), Some("t0ken"));
        assert_eq!(read(&basic("t0ken:")).as_deref(), Some("t0ken"));
        assert_eq!(read("bearer t0ken").as_deref(), Some("t0ken"));
        for nothing in [basic(":").as_str(), &basic("t0ken"), "Basic !!!", "Basic", "Digest x", ""] {
            assert_eq!(read(nothing), None, "{nothing}");
        }
        assert!(token(&HeaderMap::new()).is_none());
    }
}
