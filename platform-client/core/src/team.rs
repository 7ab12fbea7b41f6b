//! Teams: groups of users that own things.

use serde::{Deserialize, Serialize};

use crate::TeamName;

/// A team.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Team {
    /// Its name.
    pub name: TeamName,
    /// Labels.
    pub tags: Vec<String>,
}
