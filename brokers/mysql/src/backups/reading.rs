//! A backup, read by an operator: also when its instance is gone, and without a broker.

use std::path::PathBuf;

use anyhow::Context as _;
use broker_backup::{BackupKey, Backups};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::SERVICE;

/// Which backup to read.
#[derive(Clone, Debug, clap::Args)]
pub struct ReadBackup {
    /// Folder of the backups
    #[arg(long, env = "MYSQL_BROKER_BACKUPS", value_name = "DIR")]
    pub backups: PathBuf,
    /// File with the key that sealed it
    #[arg(long, env = "MYSQL_BROKER_BACKUP_KEY", value_name = "FILE")]
    pub backup_key: Option<PathBuf>,
    /// Identifier of the instance, which its database's name has after `tb`
    pub instance: String,
    /// Identifier of the backup [default: the newest]
    pub id: Option<String>,
}

impl ReadBackup {
    /// Writes what is in the backup, as SQL, when it is known to be whole.
    ///
    /// # Errors
    /// When there is no such backup, it is damaged or sealed with another key, or can't be written.
    pub async fn write_to(&self, mut output: impl AsyncWrite + Unpin) -> anyhow::Result<()> {
        for path in [Some(&self.backups), self.backup_key.as_ref()].into_iter().flatten() {
            anyhow::ensure!(path.exists(), "there is no {}: give the path that the broker has", path.display());
        }
        let mut backups = Backups::in_folder(&self.backups)?;
        if let Some(key) = &self.backup_key {
            backups = backups.sealed_with(BackupKey::kept(key)?);
        }
        let backup = match &self.id {
            Some(id) => backups.get(SERVICE, &self.instance, id).await?,
            None => backups.list(SERVICE, &self.instance).await?.pop(),
        };
        let backup = backup.context("the instance has no such backup: look what is in the folder of its identifier")?;
        backups.verify(&backup).await?;
        tokio::io::copy(&mut backups.read(&backup).await?, &mut output).await?;
        output.flush().await?;
        Ok(())
    }
}
