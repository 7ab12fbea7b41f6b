//! Where a broker keeps its records: in a folder, or in a database.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use broker_core::testing::Postgres;
use tempfile::TempDir;

use crate::running::{Ended, Running, run};

/// The password in the database's URL. The server asks for none.
pub(crate) const DATABASE_PASSWORD: &str = "planted-database-5ae9";

/// A place for records, and the folder in which all of a test is.
pub(crate) struct Place {
    folder: TempDir,
    database: Option<Postgres>,
}

impl Place {
    pub(crate) fn folder() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), database: None }
    }

    pub(crate) fn database() -> Self {
        let (folder, database) = (tempfile::tempdir().unwrap(), Postgres::start());
        let url = database.url("broker").expose().replace("broker@", &format!("broker:{DATABASE_PASSWORD}@"));
        private(folder.path(), "url", &url);
        Self { folder, database: Some(database) }
    }

    pub(crate) fn is_database(&self) -> bool {
        self.database.is_some()
    }

    /// All that is in the database, as text; bytes are in hexadecimal digits.
    pub(crate) fn dump(&self) -> Option<String> {
        let url = self.database.as_ref()?.url("broker");
        let dump = Command::new("pg_dump").args(["--dbname", url.expose()]).output().expect("pg_dump runs");
        assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
        Some(String::from_utf8(dump.stdout).expect("UTF-8"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// The file with the key of the records.
    pub(crate) fn key(&self) -> PathBuf {
        if self.is_database() { self.path().join("shared.key") } else { self.data().join("state.key") }
    }

    /// What tells a broker of the place. Its working folder is this one.
    pub(crate) fn flags(&self) -> &'static [&'static str] {
        if self.is_database() { &["--database-url-file", "url", "--key-file", "shared.key"] } else { &[] }
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        run(&[arguments, self.flags()].concat(), &self.data())
    }

    pub(crate) async fn serve(&self, arguments: &[&str]) -> Running {
        self.serve_as("data", arguments).await
    }

    /// A broker with records of its own in a folder.
    pub(crate) async fn serve_elsewhere(&self, folder: &str) -> Running {
        Running::start(&[], &self.path().join(folder)).await
    }

    /// One of several replicas, each with a folder of its own.
    pub(crate) async fn serve_as(&self, replica: &str, arguments: &[&str]) -> Running {
        Running::start(&[self.flags(), arguments].concat(), &self.path().join(replica)).await
    }
}

/// A file for its owner.
pub(crate) fn private(place: &Path, name: &str, text: &str) -> String {
    let file = place.join(name);
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    file.to_str().unwrap().to_owned()
}
