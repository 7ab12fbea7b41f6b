//! The two languages that a broker may speak, and how to find out which ones it does.

use serde_json::Value;

use super::{Case, answer::Answer, osb, tsuru};

/// A language between platform and broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dialect {
    /// tsuru's service API.
    Tsuru,
    /// The Open Service Broker API, version 2.17.
    Osb,
}

impl Dialect {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Tsuru, Self::Osb];

    /// Its cases, in the order they are run.
    #[must_use]
    pub fn cases(self) -> Vec<Case> {
        match self {
            Self::Tsuru => tsuru::cases(),
            Self::Osb => osb::cases(),
        }
    }

    /// Its name, as people write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tsuru => "tsuru",
            Self::Osb => "Open Service Broker",
        }
    }

    /// The request that tells whether a broker speaks it.
    pub(super) const fn first_request(self) -> &'static str {
        match self {
            Self::Tsuru => "/resources/plans",
            Self::Osb => "/v2/catalog",
        }
    }

    /// Whether the answer to that is one of this dialect.
    pub(super) fn is_spoken(self, answer: &Answer) -> bool {
        let body = answer.json().filter(|_| answer.status == 200);
        match (self, body) {
            (Self::Tsuru, Some(plans)) => plans.is_array() || plans.is_null(),
            (Self::Osb, Some(catalog)) => catalog["services"].is_array(),
            (_, None) => false,
        }
    }
}

/// What a broker speaks can't be told.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unclear(String);

/// The dialects that are spoken, by the answers to the first request of each.
pub(super) fn spoken(answers: &[(Dialect, Answer)]) -> Result<Vec<Dialect>, Unclear> {
    let spoken: Vec<_> =
        answers.iter().filter(|(dialect, answer)| dialect.is_spoken(answer)).map(|(dialect, _)| *dialect).collect();
    if !spoken.is_empty() {
        return Ok(spoken);
    }
    if answers.iter().any(|(_, answer)| answer.status == 401) {
        return Err(Unclear("the broker refuses the user name or the password (401)".to_owned()));
    }
    let answers: Vec<_> =
        answers.iter().map(|(dialect, answer)| format!("GET {}: {}", dialect.first_request(), answer.status)).collect();
    let answers = answers.join(", ");
    Err(Unclear(format!("the broker answers in neither dialect ({answers}): say which one it speaks with --dialect")))
}

/// The first plan that a broker of tsuru's dialect lists.
pub(super) fn first_plan(plans: &Value) -> Option<String> {
    plans[0]["name"].as_str().map(str::to_owned)
}
