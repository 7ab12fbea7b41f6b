//! Which backups there are, for an operator: also of instances that are gone, and without a broker or a key.

use serde_json::json;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::config::BackupPlace;

/// Which backups to list.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct ListBackups {
    /// Where they are.
    #[command(flatten)]
    pub place: BackupPlace,
    /// Name or identifier of an instance [default: all]
    pub instance: Option<String>,
}

impl ListBackups {
    /// Writes an object (JSON) a line for each backup, the oldest first (SPEC Z-11).
    ///
    /// # Errors
    /// When the place can't be used, or the list can't be written.
    pub async fn write_to(&self, service: &str, mut output: impl AsyncWrite + Unpin) -> anyhow::Result<()> {
        let all = self.place.open(None)?.all(service).await?;
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
