//! What may be wrong with the database, in sentences for whoever runs the platform.

use std::path::PathBuf;

use broker_core::SealError;
use platform_core::ports::StoreError;
use sqlx::migrate::MigrateError;

/// The source of a [`StoreError::Failed`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("the database {0} cannot be opened: {1}")]
    File(PathBuf, std::io::Error),
    #[error("{0} is not a database of this platform: move it away, or choose another place for the database")]
    Foreign(PathBuf),
    #[error(
        "the records in {0} are sealed with another key: put the key file back that was beside the database, or move the database away to start without its records"
    )]
    OtherKey(PathBuf),
    #[error("the database {0} was written by a newer version of the platform: run that version, or a later one")]
    Newer(PathBuf),
    #[error("the database {0} cannot be brought up to date: {1}")]
    Migration(PathBuf, MigrateError),
    #[error("the record {0}/{1} is damaged: {2}")]
    Damaged(String, String, SealError),
    #[error("the database failed: {0}")]
    Sql(#[from] sqlx::Error),
}

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        Self::Failed(Box::new(trouble))
    }
}

/// For `?` on statements.
pub(crate) fn sql(error: sqlx::Error) -> StoreError {
    Trouble::from(error).into()
}
