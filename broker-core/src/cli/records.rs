//! Where the records are.

#[cfg(feature = "postgres")]
use std::path::Path;
use std::path::PathBuf;

#[cfg(feature = "postgres")]
use anyhow::Context as _;

use super::About;
#[cfg(feature = "postgres")]
use crate::Secret;
use crate::{Inspection, State};

/// Where the database's URL may come from: it has a password in it.
#[cfg(feature = "postgres")]
const DATABASE_URL: &str = "BROKER_DATABASE_URL";

/// Where a broker's records are: settings that every subcommand has that needs them, an author's own too.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Records")]
pub struct Records {
    /// Folder for the broker's records [default: SERVICE-broker-data]
    #[arg(long, env = "BROKER_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// File with the URL of a PostgreSQL database for the broker's records, which several replicas can share;
    /// BROKER_DATABASE_URL in the environment comes first [default: records in the data folder]
    #[cfg(feature = "postgres")]
    #[arg(long, env = "BROKER_DATABASE_URL_FILE", value_name = "FILE")]
    database_url_file: Option<PathBuf>,
    /// File with the key that records in a database are sealed with, the same for all replicas, made when it is missing
    /// [default: the file `state.key` in the data folder]
    #[cfg(feature = "postgres")]
    #[arg(long, env = "BROKER_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
}

/// The records' place, found out.
pub(super) enum Place {
    Folder(PathBuf),
    #[cfg(feature = "postgres")]
    Database(Secret, PathBuf),
}

impl Records {
    /// Opens the records to look at them, also while the broker runs (SPEC S-9).
    ///
    /// # Errors
    /// When there are none, they can't be read, or the key does not fit them.
    pub async fn inspect(&self, about: About) -> anyhow::Result<Inspection> {
        Ok(match self.place(about)? {
            Place::Folder(folder) => {
                let database = folder.join("state.db");
                anyhow::ensure!(
                    database.exists(),
                    "there are no records in {}: no broker has run there yet, or --data names another folder",
                    folder.display()
                );
                State::inspect(&folder).await?
            }
            #[cfg(feature = "postgres")]
            Place::Database(url, key_file) => State::inspect_database(&url, &key_file).await?,
        })
    }

    /// Opens them for a broker that serves.
    pub(super) async fn open(&self, about: About) -> anyhow::Result<State> {
        Ok(match self.place(about)? {
            Place::Folder(folder) => State::open(&folder).await?,
            #[cfg(feature = "postgres")]
            Place::Database(url, key_file) => State::connect(&url, &key_file).await?,
        })
    }

    /// The data folder.
    pub(super) fn folder(&self, about: About) -> PathBuf {
        self.data.clone().unwrap_or_else(|| PathBuf::from(format!("{}-broker-data", about.service)))
    }

    /// In the database, if there is one, else in the data folder.
    pub(super) fn place(&self, about: About) -> anyhow::Result<Place> {
        let folder = self.folder(about);
        #[cfg(feature = "postgres")]
        if let Some(url) = self.database_url()? {
            let key_file = self.key_file.clone().unwrap_or_else(|| folder.join("state.key"));
            return Ok(Place::Database(url, key_file));
        }
        Ok(Place::Folder(folder))
    }

    /// From the environment, else from the file.
    #[cfg(feature = "postgres")]
    fn database_url(&self) -> anyhow::Result<Option<Secret>> {
        match std::env::var(DATABASE_URL) {
            Ok(url) if !url.is_empty() => return Ok(Some(Secret::from(url))),
            Ok(_) | Err(std::env::VarError::NotPresent) => {}
            Err(std::env::VarError::NotUnicode(_)) => anyhow::bail!("{DATABASE_URL} is not UTF-8 text"),
        }
        self.database_url_file.as_deref().map(url_in).transpose()
    }
}

#[cfg(feature = "postgres")]
fn url_in(file: &Path) -> anyhow::Result<Secret> {
    let unusable = || format!("cannot use the file with the database's URL, {}", file.display());
    let text = std::fs::read_to_string(file).with_context(unusable)?;
    match text.lines().next().unwrap_or_default().trim() {
        "" => anyhow::bail!("{}: its first line is empty, write the URL there", unusable()),
        url => Ok(Secret::from(url)),
    }
}

#[cfg(all(test, feature = "postgres"))]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Program {
        #[command(flatten)]
        records: Records,
    }

    #[test] // SPEC S-5
    fn the_databases_url_comes_from_a_file_and_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("url");
        let records = |file: &Path| {
            let arguments = ["motd-broker", "--database-url-file", file.to_str().unwrap()];
            <Program as clap::Parser>::try_parse_from(arguments).unwrap().records
        };

        std::fs::write(&file, "postgres://broker:s3cret@db.test/records\n").unwrap();
        let url = records(&file).database_url().unwrap().unwrap();
        assert_eq!(url.expose(), "postgres://broker:s3cret@db.test/records");
        assert!(!format!("{:?}", records(&file)).contains("s3cret"));

        std::fs::write(&file, "\n").unwrap();
        assert!(records(&file).database_url().unwrap_err().to_string().contains("its first line is empty"));
        let missing = records(&folder.path().join("none")).database_url().unwrap_err();
        assert!(missing.to_string().contains("cannot use the file with the database's URL"), "{missing}");
    }
}
