//! Which backups there are, for an operator: also of instances that are gone, and without a broker or a key.

use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::json;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::config::place;

/// Which backups to list.
#[derive(Clone, Debug, clap::Args)]
pub struct ListBackups {
    /// Folder of the backups
    #[arg(long, env = "BROKER_BACKUPS", value_name = "DIR", required_unless_present = "backups_s3")]
    pub backups: Option<PathBuf>,
    /// File (TOML) of the bucket with the backups, in place of a folder
    #[arg(long, env = "BROKER_BACKUPS_S3", value_name = "FILE", conflicts_with = "backups")]
    pub backups_s3: Option<PathBuf>,
    /// Name or identifier of an instance [default: all]
    pub instance: Option<String>,
}

impl ListBackups {
    /// Writes an object (JSON) a line for each backup, the oldest first (SPEC Z-11).
    ///
    /// # Errors
    /// When the place can't be used, or the list can't be written.
    pub async fn write_to(&self, service: &str, mut output: impl AsyncWrite + Unpin) -> anyhow::Result<()> {
        if let Some(folder) = &self.backups {
            anyhow::ensure!(folder.exists(), "there is no {}: give the path that the broker has", folder.display());
        }
        let backups = place(self.backups.as_deref(), self.backups_s3.as_deref(), None)?;
        let all = backups.context("there is no place to read from: give --backups")?.all(service).await?;
        for backup in all {
            let about = &backup.about;
            if self.instance.as_ref().is_some_and(|wanted| *wanted != about.name && *wanted != about.instance) {
                continue;
            }
            let line = json!({
                "id": backup.id, "name": about.name, "team": about.team, "instance": about.instance, "plan": about.plan,
                "begun": backup.begun, "size": backup.size, "last": about.is_last,
            });
            output.write_all(format!("{line}\n").as_bytes()).await?;
        }
        output.flush().await?;
        Ok(())
    }
}
