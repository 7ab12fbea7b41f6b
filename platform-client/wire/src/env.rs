//! Environment variables as they travel.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::body::or_default;

/// A variable of an app (contract section 10.1). `value` and `public` must always be there for the stock client.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// Its name.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// Its value. Of a private variable it is a credential.
    #[serde(default, deserialize_with = "or_default")]
    pub value: String,
    /// Another variable whose value it takes.
    #[serde(default, deserialize_with = "or_default")]
    pub alias: String,
    /// Whether its value may be shown.
    #[serde(default, deserialize_with = "or_default")]
    pub public: bool,
    /// Who set it, when not the user.
    #[serde(default, deserialize_with = "or_default", rename = "managedBy")]
    pub managed_by: String,
}

impl fmt::Debug for EnvVar {
    /// Names only: values are credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvVar").field("name", &self.name).field("public", &self.public).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_never_printed_for_debugging() {
        let var = EnvVar { name: "PASSWORD".to_owned(), value: "s3cr3t".to_owned(), ..EnvVar::default() };

        assert!(!format!("{var:?}").contains("s3cr3t"));
    }
}
