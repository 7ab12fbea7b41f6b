//! What a broker answered, and how it may be shown: never with a credential.

use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::Value;

use super::{Check, context::no_answer};

/// How much of a body a failure shows, in characters.
const SHOWN: usize = 200;

/// An answer, and the request it is to.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) request: String,
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) bytes: Vec<u8>,
    pub(super) body: String,
    pub(super) took: Duration,
    /// What is never shown.
    pub(super) password: String,
}

impl Answer {
    pub(super) const fn is_2xx(&self) -> bool {
        self.status >= 200 && self.status < 300
    }

    pub(super) const fn is_4xx(&self) -> bool {
        self.status >= 400 && self.status < 500
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_str(&self.body).ok()
    }

    /// Insists that something holds of this answer.
    #[track_caller]
    pub(super) fn must(&self, holds: bool, expected: &str) -> Check {
        if holds { Ok(()) } else { Err(no_answer(expected, self.shown())) }
    }

    #[track_caller]
    pub(super) fn must_be_2xx(&self) -> Check {
        self.must(self.is_2xx(), "a status of 200 to 299")
    }

    #[track_caller]
    pub(super) fn must_be_4xx(&self) -> Check {
        self.must(self.is_4xx(), "a status of 400 to 499")
    }

    #[track_caller]
    pub(super) fn must_be(&self, status: u16) -> Check {
        self.must(self.status == status, &format!("status {status}"))
    }

    #[track_caller]
    pub(super) fn must_not_be_5xx(&self) -> Check {
        self.must(self.is_2xx() || self.is_4xx(), "a status of 200 to 299 or 400 to 499")
    }

    /// The request, the status and the start of the body, without secrets.
    pub(super) fn shown(&self) -> String {
        let body = self.public_body();
        let mut start: String = body.chars().take(SHOWN).collect();
        if start.len() < body.len() {
            start.push_str("...");
        }
        format!("{} answered {} {start:?}", self.request, self.status)
    }

    /// The body; what a bind gave is shown by name only.
    fn public_body(&self) -> String {
        let is_bind = self.request.contains("/bind") || self.request.contains("/service_bindings");
        let body = match self.json() {
            Some(mut value) if is_bind && self.is_2xx() => {
                mask(&mut value);
                value.to_string()
            }
            None if is_bind && self.is_2xx() => format!("({} bytes that are no JSON)", self.body.len()),
            _ => self.body.clone(),
        };
        if self.password.is_empty() { body } else { body.replace(&self.password, "(password)") }
    }
}

/// Replaces every text by dots.
fn mask(value: &mut Value) {
    match value {
        Value::String(text) if !text.is_empty() => "...".clone_into(text),
        Value::Number(_) => *value = Value::from(0),
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Object(members) => members.values_mut().for_each(mask),
        _ => {}
    }
}
