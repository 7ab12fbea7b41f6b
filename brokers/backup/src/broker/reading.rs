//! A backup, read by an operator: also when its instance is gone, and without a broker.

use std::path::PathBuf;

use anyhow::Context as _;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::config::BackupPlace;
use crate::{Backups, Manifest};

/// Which backup to read.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct ReadBackup {
    /// Where it is.
    #[command(flatten)]
    pub place: BackupPlace,
    /// File with the key that sealed it
    #[arg(long, env = "BROKER_BACKUP_KEY", value_name = "FILE")]
    pub backup_key: Option<PathBuf>,
    /// Identifier of the instance: its backups are below a folder of that name
    pub instance: String,
    /// Identifier of the backup [default: the newest]
    pub id: Option<String>,
}

impl ReadBackup {
    /// The backup, which is known to be whole, and the place to read it from.
    ///
    /// # Errors
    /// When there is no such backup, or it is damaged or sealed with another key.
    pub async fn find(&self, service: &str) -> anyhow::Result<(Backups, Manifest)> {
        let backups = self.place.open(self.backup_key.as_deref())?;
        let backup = match &self.id {
            Some(id) => backups.get(service, &self.instance, id).await?,
            None => backups.list(service, &self.instance).await?.pop(),
        };
        let backup =
            backup.context("the instance has no such backup: look what is below the folder of its identifier")?;
        backups.verify(&backup).await?;
        Ok((backups, backup))
    }

    /// Writes what is in the backup, when it is known to be whole.
    ///
    /// # Errors
    /// When there is no such backup, it is damaged or sealed with another key, or can't be written.
    pub async fn write_to(&self, service: &str, mut output: impl AsyncWrite + Unpin) -> anyhow::Result<()> {
        let (backups, backup) = self.find(service).await?;
        tokio::io::copy(&mut backups.read(&backup).await?, &mut output).await?;
        output.flush().await?;
        Ok(())
    }
}
