//! Who calls (contract 1.2).

use std::sync::Arc;

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{header, request::Parts},
};
use platform_core::{Error, Platform, Secret, User};

use crate::respond::Failure;

/// The caller's token.
pub(crate) struct Bearer(pub(crate) Secret);

/// The user who calls: only somebody with a good token gets to a handler that asks for this.
pub(crate) struct Caller(pub(crate) User);

impl<S: Send + Sync> FromRequestParts<S> for Bearer {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        header.and_then(token).map(Self).ok_or_else(refusal)
    }
}

impl<S> FromRequestParts<S> for Caller
where
    S: Send + Sync,
    Arc<Platform>: FromRef<S>,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Bearer(token) = Bearer::from_request_parts(parts, state).await?;
        Ok(Self(Arc::<Platform>::from_ref(state).authenticate(&token).await?))
    }
}

/// What follows the scheme, whose case does not matter; or all of it when there is no scheme.
fn token(header: &str) -> Option<Secret> {
    let token = match header.trim().split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        Some(_) => return None,
        None => header.trim(),
    };
    if token.is_empty() || token.eq_ignore_ascii_case("bearer") { None } else { Some(token.into()) }
}

fn refusal() -> Failure {
    Error::Unauthenticated("You must provide a valid Authorization header".to_owned()).into()
}

#[cfg(test)]
mod tests {
    use super::token;

    #[test] // SPEC W-2
    fn the_scheme_is_bearer_in_any_case_or_absent() {
        for good in ["bearer abc", "Bearer abc", "BEARER  abc ", "abc"] {
            assert_eq!(token(good).expect(good).expose(), "abc");
        }
        for bad in ["", " ", "bearer", "bearer ", "Basic abc"] {
            assert!(token(bad).is_none(), "{bad}");
        }
    }
}
