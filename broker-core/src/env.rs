//! Environment variables: what an app gets from a binding.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{InvalidName, Secret};

/// An environment variable's name: `[A-Za-z_][A-Za-z0-9_]*` (SPEC N-7).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EnvName(Cow<'static, str>);

impl EnvName {
    /// A name in the source, refused by the compiler where it is made in a `const`; see [`env_vars!`](crate::env_vars).
    ///
    /// ```
    /// # use broker_core::EnvName;
    /// const HOST: EnvName = EnvName::constant("REDIS_HOST");
    /// ```
    ///
    /// # Panics
    /// When `name` is not a valid name.
    #[must_use]
    pub const fn constant(name: &'static str) -> Self {
        assert!(is_env_name(name), "an environment variable's name has letters, digits and _ only, and no digit first");
        Self(Cow::Borrowed(name))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// SPEC N-7, also before the program runs.
const fn is_env_name(raw: &str) -> bool {
    let bytes = raw.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !(bytes[at].is_ascii_alphabetic() || bytes[at] == b'_' || at > 0 && bytes[at].is_ascii_digit()) {
            return false;
        }
        at += 1;
    }
    !bytes.is_empty()
}

impl TryFrom<String> for EnvName {
    type Error = InvalidName;

    fn try_from(raw: String) -> Result<Self, InvalidName> {
        if is_env_name(&raw) {
            Ok(Self(Cow::Owned(raw)))
        } else {
            Err(InvalidName::new(format!(
                "Invalid environment variable name {raw:?}: it starts with a letter or \"_\" and goes on with letters, digits or \"_\""
            )))
        }
    }
}

impl std::str::FromStr for EnvName {
    type Err = InvalidName;

    fn from_str(raw: &str) -> Result<Self, InvalidName> {
        Self::try_from(raw.to_owned())
    }
}

impl From<EnvName> for String {
    fn from(name: EnvName) -> Self {
        name.0.into_owned()
    }
}

impl fmt::Display for EnvName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names and values that a binding puts into an app's environment, sorted by name.
///
/// Values are credentials: debug output shows the names only.
///
/// ```
/// # use broker_core::EnvVars;
/// let env = EnvVars::from([("REDIS_HOST", "10.0.0.9"), ("REDIS_PASSWORD", "s3cret")]);
/// assert_eq!(format!("{env:?}"), r#"{"REDIS_HOST", "REDIS_PASSWORD"}"#);
/// ```
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EnvVars(BTreeMap<EnvName, Secret>);

impl EnvVars {
    /// Sets a variable, replacing an earlier value.
    ///
    /// # Panics
    /// When `name` is not a valid name: names are an author's constants, not input.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Secret>) -> Self {
        self.0.insert(name.parse().unwrap_or_else(|refusal| panic!("{refusal}")), value.into());
        self
    }

    /// Sets a variable whose name was checked before.
    pub fn insert(&mut self, name: EnvName, value: impl Into<Secret>) {
        self.0.insert(name, value.into());
    }

    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.0.iter().find(|(known, _)| known.as_str() == name).map(|(_, value)| value)
    }

    /// All variables, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&EnvName, &Secret)> {
        self.0.iter()
    }

    /// How many variables there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no variable.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Variables whose names are looked at by the compiler: one that no shell can hold does not compile (SPEC N-7).
///
/// Values are anything that becomes a [`Secret`].
///
/// ```
/// use broker_core::{Secret, env_vars};
///
/// let env = env_vars! { "REDIS_HOST" => "10.0.0.9", "REDIS_PASSWORD" => Secret::generate() };
/// assert_eq!(env.len(), 2);
/// ```
///
/// ```compile_fail
/// let env = broker_core::env_vars! { "REDIS-HOST" => "10.0.0.9" };
/// ```
#[macro_export]
macro_rules! env_vars {
    ($($name:literal => $value:expr),+ $(,)?) => {{
        let mut env = $crate::EnvVars::default();
        // A constant of its own, since only those are looked at by `cargo check` too.
        $(env.insert({ const NAME: $crate::EnvName = $crate::EnvName::constant($name); NAME }, $value);)+
        env
    }};
}

impl<const N: usize> From<[(&str, &str); N]> for EnvVars {
    fn from(pairs: [(&str, &str); N]) -> Self {
        pairs.into_iter().fold(Self::default(), |env, (name, value)| env.with(name, value))
    }
}

impl IntoIterator for EnvVars {
    type Item = (EnvName, Secret);
    type IntoIter = std::collections::btree_map::IntoIter<EnvName, Secret>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Debug for EnvVars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys().map(EnvName::as_str)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // SPEC N-7
    fn names_that_a_shell_cannot_hold_are_refused() {
        for bad in ["1A", "A-B", "", "A B", "A=B"] {
            assert!(bad.parse::<EnvName>().is_err(), "{bad}");
        }
        assert!("_a1".parse::<EnvName>().is_ok());
    }
}
