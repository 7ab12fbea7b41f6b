//! What may go wrong with a backup, each in a sentence for the operator.

use std::{io, path::PathBuf};

/// Why a backup could not be written, read or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The place for backups can't be used.
    #[error("cannot use the place for backups: {0}")]
    Store(#[from] object_store::Error),
    /// The data could not be read from its source.
    #[error("the data to back up could not be read: {0}")]
    Source(io::Error),
    /// Compressing or sealing failed.
    #[error("the backup could not be packed: {0}")]
    Pack(io::Error),
    /// A backup is not what was written.
    #[error("backup {id} is damaged: {cause}; restore another one")]
    Damaged {
        /// Which one.
        id: String,
        /// What is wrong.
        cause: String,
    },
    /// A sealed backup can't be opened without its key.
    #[error("backup {id} is sealed with key {wanted}, and the key here is {found}: give its key file")]
    WrongKey {
        /// Which one.
        id: String,
        /// The fingerprint of its key.
        wanted: String,
        /// The fingerprint of ours, or `none`.
        found: String,
    },
    /// A key file can't be used.
    #[error("cannot use the key file {}: {cause}", path.display())]
    Key {
        /// Which one.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// A name can't be part of a path.
    #[error(
        "{0:?} cannot name a service or an instance of a backup: it has 1 to 100 characters of A-Z, a-z, 0-9, \"-\" and \"_\""
    )]
    Name(String),
}

impl BackupError {
    /// A backup whose data can't be used.
    pub fn damaged(backup: &crate::Manifest, cause: impl std::fmt::Display) -> Self {
        Self::Damaged { id: backup.id.clone(), cause: cause.to_string() }
    }
}
