//! The last table on disk: what a restarted router serves before anyone speaks to it.

use std::{
    ffi::OsString,
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use platform_core::Route;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Saved {
    version: u32,
    routes: Vec<Route>,
}

const VERSION: u32 = 1;

/// Reads the table. A file that is not there is an empty table; one that is damaged is put aside
/// under another name, reported, and reads as empty: the platform will publish everything again.
///
/// # Errors
/// When the file is there and the operating system does not let us read it.
pub(crate) fn load(file: &Path) -> io::Result<Vec<Route>> {
    let text = match fs::read(file) {
        Ok(text) => text,
        Err(reason) if reason.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(reason) => return Err(explain("read", file, &reason)),
    };
    match serde_json::from_slice::<Saved>(&text) {
        Ok(saved) if saved.version == VERSION => Ok(saved.routes),
        Ok(saved) => Ok(put_aside(file, &format!("its version is {} and not {VERSION}", saved.version))),
        Err(reason) => Ok(put_aside(file, &reason.to_string())),
    }
}

fn put_aside(file: &Path, reason: &str) -> Vec<Route> {
    let mut aside = OsString::from(file);
    aside.push(".damaged");
    let kept = match fs::rename(file, &aside) {
        Ok(()) => format!("it is kept as {}", PathBuf::from(aside).display()),
        Err(reason) => format!("it could not be put aside ({reason})"),
    };
    tracing::error!(
        file = %file.display(),
        "the saved route table {} is damaged ({reason}): starting without routes; {kept}",
        file.display()
    );
    Vec::new()
}

/// Replaces the file by these routes: after a crash it holds the old table or the new one.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn store(file: &Path, routes: Vec<Route>) -> io::Result<()> {
    write(file, &Saved { version: VERSION, routes }).map_err(|reason| explain("write", file, &reason))
}

fn write(file: &Path, saved: &Saved) -> io::Result<()> {
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&mut temporary, saved)?;
    temporary.flush()?;
    temporary.as_file().sync_all()?;
    temporary.persist(file)?;
    fs::File::open(folder)?.sync_all()
}

fn explain(verb: &str, file: &Path, reason: &io::Error) -> io::Error {
    io::Error::new(reason.kind(), format!("cannot {verb} the saved route table {}: {reason}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // SPEC R-12
    fn what_is_stored_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state/routes.json");
        let route = Route { app: "blog".parse().unwrap(), hosts: vec!["blog.test".into()], units: vec![] };

        store(&file, vec![route.clone()]).unwrap();

        assert_eq!(load(&file).unwrap(), [route]);
    }

    #[test] // SPEC R-12
    fn a_damaged_file_is_put_aside_and_reads_as_empty() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("routes.json");
        for damaged in ["{\"version\":1,\"rou", "{\"version\":99,\"routes\":[]}"] {
            fs::write(&file, damaged).unwrap();

            assert_eq!(load(&file).unwrap(), []);

            assert_eq!(fs::read_to_string(folder.path().join("routes.json.damaged")).unwrap(), damaged);
            assert!(!file.exists());
        }
    }
}
