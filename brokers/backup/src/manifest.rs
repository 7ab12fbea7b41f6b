//! What is known of a backup without reading it.

use chrono::{DateTime, Utc};
use rand::distr::{Alphanumeric, SampleString as _};
use serde::{Deserialize, Serialize};

use crate::BackupError;

/// What a backup is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The service's name.
    pub service: String,
    /// The instance's identifier.
    pub instance: String,
    /// What users called it; empty in backups of the time before this was kept.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The team that owned it then; empty where nobody said so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub team: String,
    /// The plan it had.
    pub plan: String,
    /// Which server wrote the data, as `mariadb 10.11.6`.
    pub server: String,
    /// How the data is written, as `rdb` or `sql`.
    pub format: String,
    /// Whether it is the last one of its instance, which was about to be removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_last: bool,
}

impl About {
    /// A backup of an instance that stays; server, format and owner are unknown.
    #[must_use]
    pub fn new(service: &str, instance: &str, plan: &str) -> Self {
        let [service, instance, plan] = [service, instance, plan].map(str::to_owned);
        let [name, team, server, format] = [const { String::new() }; 4];
        Self { service, instance, name, team, plan, server, format, is_last: false }
    }

    /// The same, with what users call the instance and the team that owns it.
    #[must_use]
    pub fn owned(self, name: &str, team: &str) -> Self {
        Self { name: name.to_owned(), team: team.to_owned(), ..self }
    }

    /// The same, with the server that wrote the data.
    #[must_use]
    pub fn server(self, server: &str) -> Self {
        Self { server: server.to_owned(), ..self }
    }

    /// The same, with the format of the data.
    #[must_use]
    pub fn format(self, format: &str) -> Self {
        Self { format: format.to_owned(), ..self }
    }

    /// The same, as the last one of an instance that is about to be removed.
    #[must_use]
    pub fn last(self) -> Self {
        Self { is_last: true, ..self }
    }
}

/// A whole backup. Written when all of its data is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its identifier: the time it was begun, so that names sort by time, and letters that nobody guesses.
    pub id: String,
    /// What it is of.
    #[serde(flatten)]
    pub about: About,
    /// When it was begun.
    pub begun: DateTime<Utc>,
    /// When its data was whole.
    pub ended: DateTime<Utc>,
    /// The bytes of the data.
    pub size: u64,
    /// The bytes that are kept, compressed and sealed.
    pub stored: u64,
    /// The SHA-256 of what is kept, in hexadecimal.
    pub sha256: String,
    /// The fingerprint of the key that sealed it; none when it is only compressed, with gzip.
    pub key: Option<String>,
}

/// Whoever knows a backup's identifier was told (SPEC Z-10): there are more than 100 bits in these.
const LETTERS: usize = 22;

/// An identifier for a backup that begins now.
pub(crate) fn new_id(begun: DateTime<Utc>) -> String {
    let letters = Alphanumeric.sample_string(&mut rand::rng(), LETTERS).to_lowercase();
    format!("{}-{letters}", begun.format("%Y%m%dT%H%M%S%3fZ"))
}

/// Refuses what would be another path.
pub(crate) fn check(name: &str) -> Result<&str, BackupError> {
    let is_plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if is_plain && (1..=100).contains(&name.len()) { Ok(name) } else { Err(BackupError::Name(name.to_owned())) }
}
