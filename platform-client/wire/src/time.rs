//! Points in time as they travel.

use chrono::{DateTime, Datelike, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How "never" is written: the zero time, never an empty string (contract section 16.7).
const NEVER: &str = "0001-01-01T00:00:00Z";

/// A point in time, or never. RFC 3339 on the wire; `null`, an absent key and the zero time read as never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Option<DateTime<Utc>>);

impl Time {
    /// No point in time.
    pub const NEVER: Self = Self(None);

    /// Whether this is no point in time.
    #[must_use]
    pub fn is_never(&self) -> bool {
        self.0.is_none()
    }
}

impl From<DateTime<Utc>> for Time {
    fn from(at: DateTime<Utc>) -> Self {
        Self(Some(at))
    }
}

impl From<Option<DateTime<Utc>>> for Time {
    fn from(at: Option<DateTime<Utc>>) -> Self {
        Self(at)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(at) => at.serialize(serializer),
            None => serializer.serialize_str(NEVER),
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let at = Option::<DateTime<Utc>>::deserialize(deserializer)?;
        Ok(Self(at.filter(|at| at.year() > 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zero_time_is_never_and_never_is_the_zero_time() {
        let read: Time = serde_json::from_str(&format!("\"{NEVER}\"")).unwrap();

        assert!(read.is_never());
        assert_eq!(serde_json::to_string(&read).unwrap(), format!("\"{NEVER}\""));
    }

    #[test]
    fn an_empty_string_is_no_time() {
        assert!(serde_json::from_str::<Time>("\"\"").is_err());
    }
}
