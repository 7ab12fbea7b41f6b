//! Who may call.

use std::{fmt, sync::Arc};

use axum::{
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::zeroize::Zeroizing;

use super::{
    credentials::{Credentials, Presented},
    hashed::{Busy, Verifier},
    limits::try_again,
    reload::Current,
};
use crate::{Access, Attempt, Authorizer, Credential, Secret, lifecycle::Engine, line::cut};

/// So much of an author's word for who calls is in the log.
const CALLER: usize = 128;

/// Those who may do the same things.
#[derive(Debug, Default)]
pub(super) struct List {
    /// Named by whoever made the server.
    pub(super) named: Credentials,
    /// Those in a file, as it is now.
    pub(super) listed: Option<Current<Credentials>>,
}

impl List {
    fn accepts(&self, presented: &Presented) -> bool {
        self.named.accepts(presented) | self.listed.as_ref().is_some_and(|list| list.get().accepts(presented))
    }

    /// Only files have hashes.
    fn may_open(&self, presented: &Presented) -> bool {
        match (presented, &self.listed) {
            (Presented::Pair(pair), Some(list)) => list.get().may_open(pair),
            _ => false,
        }
    }

    async fn opens(&self, presented: &Presented, verifier: &Verifier) -> Result<bool, Busy> {
        match (presented, &self.listed) {
            (Presented::Pair(pair), Some(list)) => list.get().opens(pair, verifier).await,
            _ => Ok(false),
        }
    }

    fn has_tokens(&self) -> bool {
        self.named.has_tokens() || self.listed.as_ref().is_some_and(|list| list.get().has_tokens())
    }
}

/// Whom the server lets in.
#[derive(Default)]
pub(super) struct Guard {
    pub(super) callers: List,
    /// Those who may look at what operators look at, and at nothing else.
    pub(super) operators: List,
    /// Whether everybody may see the measurements.
    pub(super) open_metrics: bool,
    /// The author's own word, before all lists.
    pub(super) authorizer: Option<Arc<dyn Authorizer>>,
    verifier: Verifier,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { callers, operators, .. } = self;
        f.debug_struct("Guard").field("callers", callers).field("operators", operators).finish_non_exhaustive()
    }
}

/// What can be said of a request without waiting for anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Open,
    Closed,
    /// A hash has to be computed for it, or the author asked.
    Unsure,
}

/// Why a request may not go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its caller is not one of those who may call.
    Stranger,
    /// So many passwords are being checked that this one would wait too long.
    Busy,
    /// The author's own check did not come to an end.
    Unknown,
}

impl From<Busy> for Refusal {
    fn from(_: Busy) -> Self {
        Self::Busy
    }
}

impl Guard {
    /// Whether there is somebody who may call.
    pub(super) fn lets_anybody_in(&self) -> bool {
        self.authorizer.is_some() || !self.callers.named.is_empty() || self.callers.listed.is_some()
    }

    /// Every list is compared with, so that the time tells nothing; but that a user has a hashed password, it tells.
    pub(super) fn entry(&self, path: &str, headers: &HeaderMap) -> Entry {
        if path == "/metrics" && self.open_metrics {
            return Entry::Open;
        }
        if self.authorizer.is_some() {
            return Entry::Unsure;
        }
        let Some(presented) = presented(headers) else { return Entry::Closed };
        let is_for_operators = is_for_operators(path);
        if self.callers.accepts(&presented) | (self.operators.accepts(&presented) & is_for_operators) {
            Entry::Open
        } else if self.callers.may_open(&presented) | (self.operators.may_open(&presented) & is_for_operators) {
            Entry::Unsure
        } else {
            Entry::Closed
        }
    }

    /// Lets in or refuses whom [`entry`](Self::entry) is not sure of; where the author says who it is, with that.
    pub(super) async fn decide(
        &self,
        engine: &Engine,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Option<String>, Refusal> {
        if let Some(authorizer) = &self.authorizer {
            let attempt = Attempt::of(method.as_str(), path, credential(headers), headers.clone());
            match engine.authorize(authorizer.as_ref(), &attempt, secrets(headers)).await {
                Ok(Access::Granted(who)) => return Ok(Some(cut(&who, CALLER))),
                Ok(Access::Refused) => return Err(Refusal::Stranger),
                Ok(Access::NotMine) => {}
                // Why, was written down.
                Err(_) => return Err(Refusal::Unknown),
            }
        }
        let presented = presented(headers).ok_or(Refusal::Stranger)?;
        let is_in = self.is_in(&self.callers, &presented).await?
            || is_for_operators(path) && self.is_in(&self.operators, &presented).await?;
        is_in.then_some(None).ok_or(Refusal::Stranger)
    }

    async fn is_in(&self, list: &List, presented: &Presented) -> Result<bool, Busy> {
        Ok(list.accepts(presented) || list.may_open(presented) && list.opens(presented, &self.verifier).await?)
    }

    /// What somebody hears who may not call.
    pub(super) fn answer(&self, refusal: Refusal, path: &str) -> Response {
        match refusal {
            Refusal::Stranger => self.challenge(),
            Refusal::Busy => {
                try_again(path, "the broker checks as many passwords as it can at once, try again in a moment")
            }
            Refusal::Unknown => try_again(path, "whether you may call cannot be found out now, try again in a moment"),
        }
    }

    fn challenge(&self) -> Response {
        let sentence = "you are not authorized: the user name or the password is wrong or missing";
        let basic = HeaderValue::from_static("Basic realm=\"service broker\", charset=\"UTF-8\"");
        if self.authorizer.is_none() && !self.callers.has_tokens() && !self.operators.has_tokens() {
            return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, basic)], sentence).into_response();
        }
        let sentence = "you are not authorized: the user name, the password or the token is wrong or missing";
        let mut answer = (StatusCode::UNAUTHORIZED, sentence).into_response();
        answer.headers_mut().append(header::WWW_AUTHENTICATE, basic);
        let bearer = HeaderValue::from_static("Bearer realm=\"service broker\"");
        answer.headers_mut().append(header::WWW_AUTHENTICATE, bearer);
        answer
    }
}

fn is_for_operators(path: &str) -> bool {
    matches!(path, "/metrics" | "/openapi.json")
}

/// Scheme and text of the header. Of two headers, one would be read here and the other one elsewhere.
fn authorization(headers: &HeaderMap) -> Option<(&str, &str)> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (only, None) = (values.next()?, values.next()) else { return None };
    let (scheme, text) = only.to_str().ok()?.split_once(' ')?;
    Some((scheme, text.trim()))
}

/// What a request comes with; the scheme's case does not matter.
fn presented(headers: &HeaderMap) -> Option<Presented> {
    let (scheme, text) = authorization(headers)?;
    if scheme.eq_ignore_ascii_case("basic") {
        STANDARD.decode(text).ok().map(|pair| Presented::pair(Zeroizing::new(pair)))
    } else if scheme.eq_ignore_ascii_case("bearer") {
        Some(Presented::token(text))
    } else {
        None
    }
}

/// The same for the author's own check.
fn credential(headers: &HeaderMap) -> Option<Credential> {
    let (scheme, text) = authorization(headers)?;
    if scheme.eq_ignore_ascii_case("basic") {
        let pair = Zeroizing::new(STANDARD.decode(text).ok()?);
        let (username, password) = std::str::from_utf8(&pair).ok()?.split_once(':')?;
        Some(Credential::Basic { username: username.to_owned(), password: Secret::from(password) })
    } else if scheme.eq_ignore_ascii_case("bearer") {
        Some(Credential::Bearer(Secret::from(text)))
    } else {
        None
    }
}

/// All that is secret in the header, as it came and as it is read.
fn secrets(headers: &HeaderMap) -> Vec<Secret> {
    let texts = headers.get_all(header::AUTHORIZATION).iter().filter_map(|value| value.to_str().ok());
    let came = texts.map(|text| Secret::from(text.split_once(' ').map_or(text, |(_, text)| text.trim())));
    came.chain(credential(headers).map(|credential| credential.secret().clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    fn is_open(guard: &Guard, path: &str, value: &str) -> bool {
        guard.entry(path, &headers(&[value])) == Entry::Open
    }

    #[test] // SPEC T-1
    fn every_accepted_pair_opens_and_nothing_else_does() {
        let mut guard = Guard::default();
        guard.callers.named.accept("redis", &Secret::from("new:pass"));
        guard.callers.named.accept("redis", &Secret::from("old"));

        for good in ["redis:new:pass", "redis:old"] {
            assert!(is_open(&guard, "/", &basic(good)), "{good}");
            assert!(is_open(&guard, "/", &format!("bAsIc  {} ", STANDARD.encode(good))), "{good}");
        }
        for bad in ["redis:", "redis:ol", "Redis:old", ":old", "redis", ""] {
            assert!(!is_open(&guard, "/", &basic(bad)), "{bad}");
        }
        let large = basic(&"redis:old".repeat(2000));
        for rubbish in ["Basic", "Basic %%%", "Basic é", "Bearer redis:old", "Bearer ", "Digest x", "é", "", &large] {
            assert!(!is_open(&guard, "/", rubbish), "{rubbish}");
            assert!(credential(&headers(&[rubbish])).is_none_or(|shown| shown.secret().expose() != "old"), "{rubbish}");
        }
        assert_eq!(guard.entry("/", &HeaderMap::new()), Entry::Closed);
    }

    #[test] // SPEC T-1
    fn of_two_headers_neither_counts() {
        let mut guard = Guard::default();
        guard.callers.named.accept("redis", &Secret::from("old"));
        let (right, wrong) = (basic("redis:old"), basic("redis:new"));

        for both in [[&right, &wrong], [&wrong, &right], [&right, &right]] {
            let headers = headers(&both.map(String::as_str));
            assert_eq!(guard.entry("/", &headers), Entry::Closed);
            assert_eq!(credential(&headers), None);
        }
    }

    #[test] // SPEC T-13
    fn a_token_is_no_password_and_a_password_no_token() {
        let mut guard = Guard::default();
        guard.callers.named.accept("redis", &Secret::from("s3cret"));
        guard.callers.named.accept_token(&Secret::from("0123456789abcdef"));

        assert!(is_open(&guard, "/", "Bearer 0123456789abcdef") && is_open(&guard, "/", "bearer 0123456789abcdef "));
        for bad in ["Bearer 0123456789abcde", "Bearer 0123456789ABCDEF", "Bearer redis:s3cret", "Bearer s3cret"] {
            assert!(!is_open(&guard, "/", bad), "{bad}");
        }
        for bad in ["0123456789abcdef", "0123456789abcdef:", ":0123456789abcdef", "redis:0123456789abcdef"] {
            assert!(!is_open(&guard, "/", &basic(bad)), "{bad}");
        }
    }

    #[test] // SPEC T-6
    fn operators_see_what_is_theirs_and_nothing_else() {
        let mut guard = Guard::default();
        guard.operators.named.accept("prometheus", &Secret::from("watch"));
        guard.operators.named.accept_token(&Secret::from("0123456789abcdef"));

        for shown in [basic("prometheus:watch").as_str(), "Bearer 0123456789abcdef"] {
            assert!(is_open(&guard, "/metrics", shown) && is_open(&guard, "/openapi.json", shown));
            assert!(!is_open(&guard, "/resources", shown) && !is_open(&guard, "/metrics/", shown));
        }
        assert_eq!(guard.entry("/metrics", &HeaderMap::new()), Entry::Closed);
        guard.open_metrics = true;
        assert_eq!(guard.entry("/metrics", &HeaderMap::new()), Entry::Open);
        assert_eq!(guard.entry("/openapi.json", &HeaderMap::new()), Entry::Closed);
        assert!(!guard.lets_anybody_in());
    }

    #[test] // SPEC T-13
    fn a_refusal_names_tokens_where_there_are_any() {
        let mut guard = Guard::default();
        let schemes = |guard: &Guard| {
            let answer = guard.answer(Refusal::Stranger, "/");
            let challenges = answer.headers().get_all(header::WWW_AUTHENTICATE).iter();
            challenges.map(|one| one.to_str().unwrap().split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
        };

        assert_eq!(schemes(&guard), ["Basic"]);
        guard.operators.named.accept_token(&Secret::from("0123456789abcdef"));
        assert_eq!(schemes(&guard), ["Basic", "Bearer"]);
    }
}
