//! Who may do what.

use broker_core::Secret;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{Email, TeamName};

/// A person who logs in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct User {
    /// Who it is.
    pub email: Email,
    /// A salted hash of the password, see `users.rs`.
    pub password: Secret,
    /// Whether every permission is held.
    pub admin: bool,
    /// Teams it belongs to.
    pub teams: Vec<TeamName>,
}

impl User {
    /// Whether it may use what those teams may use.
    #[must_use]
    pub fn reaches(&self, teams: &[TeamName]) -> bool {
        self.admin || teams.iter().any(|team| self.teams.contains(team))
    }
}

/// A session: stored under the hash of the value that the client presents.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Token {
    /// SHA-256 of the value, in hex.
    pub digest: String,
    /// Whose it is.
    pub user: Email,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it stops working.
    pub expires_at: DateTime<Utc>,
}
