//! Who may call.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use subtle::ConstantTimeEq as _;

use crate::Secret;

/// User names and passwords that are accepted: several, so that a password can be changed without a
/// moment in which the platform is locked out.
///
/// Kept as digests: all have one length, so that comparing them takes one time.
#[derive(Clone, Default)]
pub(crate) struct Credentials(Vec<[u8; 32]>);

impl Credentials {
    pub(crate) fn accept(&mut self, username: &str, password: &Secret) {
        self.0.push(digest(format!("{username}:{}", password.expose()).as_bytes()));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares with every accepted pair, whether or not an earlier one matched.
    fn accepts(&self, headers: &HeaderMap) -> bool {
        let presented = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(basic);
        let Some(presented) = presented else { return false };
        let presented = digest(&presented);
        self.0.iter().fold(false, |accepted, known| accepted | bool::from(known.ct_eq(&presented)))
    }
}

/// The `user:password` of a `Basic` header; the scheme's case does not matter.
fn basic(header: &str) -> Option<Vec<u8>> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    STANDARD.decode(encoded.trim()).ok()
}

fn digest(pair: &[u8]) -> [u8; 32] {
    Sha256::digest(pair).into()
}

/// Lets nobody past without credentials, whatever the path (SPEC T-1).
pub(super) async fn require(State(credentials): State<Arc<Credentials>>, request: Request, next: Next) -> Response {
    if credentials.accepts(request.headers()) {
        return next.run(request).await;
    }
    let challenge = HeaderValue::from_static("Basic realm=\"service broker\", charset=\"UTF-8\"");
    let sentence = "you are not authorized: the user name or the password is wrong or missing";
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)], sentence).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn every_accepted_pair_opens_and_nothing_else_does() {
        let mut credentials = Credentials::default();
        credentials.accept("redis", &Secret::from("new:pass"));
        credentials.accept("redis", &Secret::from("old"));

        for good in ["redis:new:pass", "redis:old"] {
            assert!(credentials.accepts(&headers(&format!("Basic {}", STANDARD.encode(good)))), "{good}");
            assert!(credentials.accepts(&headers(&format!("bAsIc {}", STANDARD.encode(good)))), "{good}");
        }
        for bad in ["redis:", "redis:ol", "Redis:old", ":old", "redis"] {
            assert!(!credentials.accepts(&headers(&format!("Basic {}", STANDARD.encode(bad)))), "{bad}");
        }
        for rubbish in ["Basic", "Basic %%%", "Bearer abc", ""] {
            assert!(!credentials.accepts(&headers(rubbish)), "{rubbish}");
        }
        assert!(!credentials.accepts(&HeaderMap::new()));
    }
}
