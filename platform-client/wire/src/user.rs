//! Users, teams and sessions as they travel.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{AppResume, Pool, body::body};

body! {
    /// `GET /users/info`, and one of `GET /users` (contract section 4.4).
    pub struct User {
        /// E-mail address.
        #[serde(rename = "Email", alias = "email")]
        pub email: String,
        /// Roles assigned.
        #[serde(rename = "Roles", alias = "roles")]
        pub roles: Vec<Role>,
        /// What these roles allow. An empty name allows everything.
        #[serde(rename = "Permissions", alias = "permissions")]
        pub permissions: Vec<Role>,
        /// Groups the user is in.
        #[serde(rename = "Groups", alias = "groups")]
        pub groups: Vec<String>,
    }

    /// A role or a permission, and where it holds.
    pub struct Role {
        /// Its name.
        #[serde(rename = "Name", alias = "name")]
        pub name: String,
        /// `global`, `team`, `app`, ...
        #[serde(rename = "ContextType", alias = "contexttype")]
        pub context_type: String,
        /// Which one; empty for global.
        #[serde(rename = "ContextValue", alias = "contextvalue")]
        pub context_value: String,
        /// The group it comes from; empty when it was assigned to the user.
        #[serde(rename = "Group", alias = "group")]
        pub group: String,
    }

    /// One of `GET /teams` (contract section 5.1).
    pub struct Team {
        /// Its name.
        pub name: String,
        /// Labels.
        pub tags: Vec<String>,
        /// What the caller may do in it.
        pub permissions: Vec<String>,
    }

    /// `GET /teams/{team}`.
    pub struct TeamInfo {
        /// Its name.
        pub name: String,
        /// Labels.
        pub tags: Vec<String>,
        /// Its members.
        pub users: Vec<User>,
        /// Pools it may use.
        pub pools: Vec<Pool>,
        /// Apps it may use.
        pub apps: Vec<AppResume>,
    }

    /// The body of `POST /teams`.
    pub struct NewTeam {
        /// Its name.
        pub name: String,
        /// Labels.
        pub tags: Vec<String>,
    }

    /// One of `GET /auth/schemes` (contract section 4.2). Exactly one must be the default.
    pub struct AuthScheme {
        /// `native`, `oauth` or `oidc`.
        pub name: String,
        /// Whether a plain login uses it.
        pub default: bool,
        /// What the scheme needs to know.
        pub data: Map<String, Value>,
    }
}

/// The answer to a login.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The token: whoever has it is the user.
    pub token: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}
