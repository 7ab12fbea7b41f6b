//! Names that cross the wire.
//!
//! A name is checked once, where it enters the process; from there on its type is the proof. The
//! rules are SPEC N-1 to N-6. Nothing here touches the network or the clock.

/// A text that is not the name it was meant to be, with the rule it breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidName(String);

impl InvalidName {
    /// A refusal that reads as `sentence`, for name types defined outside this crate.
    #[must_use]
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

/// The text of a name. Names are copied with every record they stand in: one of up to 24 bytes, as the framework's own
/// identifiers have, needs no memory of its own.
#[doc(hidden)]
pub type NameText = compact_str::CompactString;

/// Defines a name: a newtype over a text that can only be made from one that keeps the rule.
/// `$refusal` makes the sentence from a text that does not.
#[doc(hidden)]
#[macro_export]
macro_rules! checked_name {
    ($(#[$doc:meta])* $name:ident, $keeps_rule:expr, $refusal:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name($crate::NameText);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::InvalidName;

            fn try_from(raw: String) -> Result<Self, $crate::InvalidName> {
                raw.parse()
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::InvalidName;

            fn from_str(raw: &str) -> Result<Self, $crate::InvalidName> {
                if $keeps_rule(raw) { Ok(Self(raw.into())) } else { Err($crate::InvalidName::new($refusal(raw))) }
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.into()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

crate::checked_name! {
    /// A service's name, such as `redis` (SPEC N-1).
    ///
    /// ```
    /// # use broker_core::ServiceName;
    /// assert!("redis".parse::<ServiceName>().is_ok());
    /// assert!("Redis".parse::<ServiceName>().is_err());
    /// ```
    ServiceName, is_label, |_: &str| "Invalid service id, should have at most 40 characters, containing only lower case letters, numbers or dashes, starting with a letter.".to_owned()
}

crate::checked_name! {
    /// An app's name (SPEC N-2).
    AppName, is_label, |_: &str| "Invalid app name, your app should have at most 40 characters, containing only lower case letters, numbers or dashes, starting with a letter.".to_owned()
}

crate::checked_name! {
    /// A job's name (SPEC N-3).
    JobName, is_label, |_: &str| "Invalid job name, your job should have at most 40 characters, containing only lower case letters, numbers or dashes, starting with a letter.".to_owned()
}

/// A service instance's name, unique within its service; never `plans`, whose path is taken.
///
/// A name that people choose keeps the stricter rule that [`parse`](str::parse) checks (SPEC N-4); one that a
/// platform makes, such as a GUID, needs only fit into a path ([`made_by_platform`](Self::made_by_platform), SPEC N-13).
///
/// ```
/// # use broker_core::InstanceName;
/// assert!("my_Redis-1".parse::<InstanceName>().is_ok());
/// assert!("plans".parse::<InstanceName>().is_err());
/// assert!("1st".parse::<InstanceName>().is_err());
/// assert!(InstanceName::made_by_platform("1b5c0bd4-52dc-4b5a-a372-4e5a1e9ba3e6").is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "PathName")]
pub struct InstanceName(NameText);

impl InstanceName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name that a platform made up for its instance, such as a GUID (SPEC N-13).
    ///
    /// # Errors
    /// When it does not fit into a path.
    pub fn made_by_platform(raw: &str) -> Result<Self, InvalidName> {
        raw.parse::<PathName>().map(|PathName(name)| Self(name))
    }
}

impl std::str::FromStr for InstanceName {
    type Err = InvalidName;

    fn from_str(raw: &str) -> Result<Self, InvalidName> {
        if is_instance_name(raw) {
            return Ok(Self(raw.into()));
        }
        Err(InvalidName::new(match raw {
            "plans" => "the instance name \"plans\" is reserved, choose another one",
            _ => {
                "invalid service instance name: it starts with a letter, goes on with letters, digits, \"-\" or \"_\", and has 2 to 255 characters"
            }
        }))
    }
}

impl TryFrom<String> for InstanceName {
    type Error = InvalidName;

    fn try_from(raw: String) -> Result<Self, InvalidName> {
        raw.parse()
    }
}

impl From<PathName> for InstanceName {
    fn from(PathName(name): PathName) -> Self {
        Self(name)
    }
}

impl From<InstanceName> for String {
    fn from(name: InstanceName) -> Self {
        name.0.into()
    }
}

impl AsRef<str> for InstanceName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for InstanceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

crate::checked_name! {
    /// What can be an instance's name at all.
    PathName, |raw: &str| is_unreserved(raw) && raw != "plans", |raw: &str| match raw {
        "plans" => "the instance name \"plans\" is reserved, choose another one".to_owned(),
        _ => "invalid service instance name: it starts with a letter or digit, goes on with letters, digits, \"-\", \"_\", \".\" or \"~\", and has at most 255 characters".to_owned(),
    }
}

crate::checked_name! {
    /// A binding's identifier where the platform makes one, as Open Service Broker's do (SPEC N-13).
    BindingId, is_unreserved,
    |_: &str| "invalid binding id: it starts with a letter or digit, goes on with letters, digits, \"-\", \"_\", \".\" or \"~\", and has at most 255 characters".to_owned()
}

crate::checked_name! {
    /// A plan's name, as the catalog spells it (SPEC N-5).
    PlanName, |raw: &str| !raw.is_empty() && raw.len() <= 100 && !raw.chars().any(char::is_control),
    |_: &str| "invalid plan name: it has 1 to 100 characters and no control characters".to_owned()
}

crate::checked_name! {
    /// An identifier that the framework makes: 24 characters of `a-z2-7`, the first one a letter.
    ///
    /// It is safe in paths, patterns and statements of any server, unlike the platform's names,
    /// which never go there (SPEC N-6).
    OpaqueId, |raw: &str| raw.len() == 24 && raw.starts_with(|c: char| c.is_ascii_lowercase())
        && raw.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7')),
    |_: &str| "invalid identifier: it has 24 characters of a-z and 2-7".to_owned()
}

impl OpaqueId {
    /// A new identifier with 119 random bits.
    #[must_use]
    pub fn generate() -> Self {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let bytes: [u8; 24] = rand::random();
        let mut id = bytes.map(|byte| ALPHABET[usize::from(byte & 31)]);
        id[0] = ALPHABET[usize::from(bytes[0] >> 3) % 26];
        Self(id.iter().copied().map(char::from).collect())
    }
}

/// `^[a-z][a-z0-9-]{0,39}$`
fn is_label(raw: &str) -> bool {
    raw.len() <= 40
        && raw.starts_with(|c: char| c.is_ascii_lowercase())
        && raw.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// `^[A-Za-z][-a-zA-Z0-9_]+$`, at most 255 characters, not `plans`.
fn is_instance_name(raw: &str) -> bool {
    (2..=255).contains(&raw.len())
        && raw.starts_with(|c: char| c.is_ascii_alphabetic())
        && raw.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        && raw != "plans"
}

/// `^[A-Za-z0-9][A-Za-z0-9._~-]{0,254}$`: what stands in a path as it is.
fn is_unreserved(raw: &str) -> bool {
    (1..=255).contains(&raw.len())
        && raw.starts_with(|c: char| c.is_ascii_alphanumeric())
        && raw.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // SPEC N-13
    fn a_platforms_own_identifiers_fit_into_a_path() {
        for good in ["1b5c0bd4-52dc-4b5a-a372-4e5a1e9ba3e6", "x", "a.b~c_d-e"] {
            assert!(InstanceName::made_by_platform(good).is_ok(), "{good}");
            assert!(good.parse::<BindingId>().is_ok(), "{good}");
        }
        for bad in ["", "..", ".a", "a/b", "a b", "plans", "é", &"a".repeat(256)] {
            assert!(InstanceName::made_by_platform(bad).is_err(), "{bad}");
        }
        let kept = serde_json::to_string(&InstanceName::made_by_platform("1x").unwrap()).unwrap();
        assert_eq!(serde_json::from_str::<InstanceName>(&kept).unwrap().as_str(), "1x");
    }

    #[test] // SPEC N-4
    fn instance_names_follow_the_platforms_rule() {
        for good in ["my-s", "my_s", "MyS", "a1", &"a".repeat(255)] {
            assert!(good.parse::<InstanceName>().is_ok(), "{good}");
        }
        for bad in ["--app", "1ab", "a", "a@1", "", "plans", "a b", "é1", &"a".repeat(256)] {
            assert!(bad.parse::<InstanceName>().is_err(), "{bad}");
        }
    }

    #[test] // SPEC N-2
    fn app_names_have_at_most_forty_characters() {
        assert!("a".repeat(40).parse::<AppName>().is_ok());
        for bad in ["Blog", "1blog", "a_b", "", &"a".repeat(41)] {
            assert!(bad.parse::<AppName>().is_err(), "{bad}");
        }
    }

    #[test] // SPEC N-6
    fn generated_identifiers_keep_their_own_rule_and_differ() {
        let made: std::collections::HashSet<_> = (0..200).map(|_| OpaqueId::generate()).collect();
        assert_eq!(made.len(), 200);
        assert!(made.iter().all(|id| id.as_str().parse::<OpaqueId>().is_ok()));
    }
}
