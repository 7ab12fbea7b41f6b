//! A backup as commands, for `redis-cli --pipe`.

use redis::{Cmd, cmd};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::{
    SERVICE,
    format::{Names, Reader, Record},
};

/// Which backup to read, and under which names.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct ReadBackup {
    /// Which backup to read.
    #[command(flatten)]
    pub backup: broker_backup::ReadBackup,
    /// What all names begin with, in place of the prefix that they had; empty for none [default: names as they were]
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Option<String>,
}

impl ReadBackup {
    /// Writes what is in the backup, as commands of the Redis protocol, when it is known to be whole.
    ///
    /// # Errors
    /// When there is no such backup, it is damaged or sealed with another key, or can't be written.
    pub async fn write_to(&self, mut output: impl AsyncWrite + Unpin) -> anyhow::Result<()> {
        let (backups, backup) = self.backup.find(SERVICE).await?;
        let names = match &self.prefix {
            Some(prefix) => Names { prefix: prefix.clone(), is_for_all: true },
            None => Names { prefix: format!("{}:", backup.about.instance), is_for_all: false },
        };
        let mut reader = Reader::open(backups.read(&backup).await?).await?;
        let mut selected = 0;
        while let Some(record) = reader.next().await? {
            match record {
                Record::Functions(payload) => {
                    say(&mut output, cmd("FUNCTION").arg("RESTORE").arg(payload).arg("REPLACE")).await?;
                }
                Record::Key { database, had_prefix, entry } => {
                    if database != selected {
                        say(&mut output, cmd("SELECT").arg(database)).await?;
                        selected = database;
                    }
                    let name = names.renamed(entry.name, had_prefix);
                    let mut restore = cmd("RESTORE");
                    restore.arg(name).arg(entry.expires).arg(entry.value).arg("REPLACE").arg("ABSTTL");
                    say(&mut output, &restore).await?;
                }
            }
        }
        output.flush().await?;
        Ok(())
    }
}

async fn say(output: &mut (impl AsyncWrite + Unpin), command: &Cmd) -> std::io::Result<()> {
    output.write_all(&command.get_packed_command()).await
}
