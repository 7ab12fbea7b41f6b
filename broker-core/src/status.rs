//! How an instance is doing, in an author's words.

use serde::{Deserialize, Serialize};

/// Whether an instance can be used now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// It works.
    Up,
    /// It works, and there is something to say: one line for the instance's owner.
    Notice(String),
    /// It does not work now; the text is one line for the instance's owner.
    Down(String),
}

/// A line that the platform shows with an instance, such as `Address: 10.0.0.9:6379`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InfoItem {
    /// What it is; unique within an instance.
    pub label: String,
    /// Its value, never a secret: anyone who can read the instance sees it.
    pub value: String,
}

impl InfoItem {
    /// A label and its value.
    #[must_use]
    pub fn new(label: impl Into<String>, value: impl Into<String>) -> Self {
        Self { label: label.into(), value: value.into() }
    }
}
