//! What runs: the part of hosting that knows a server's kind.

use std::{
    error::Error,
    ffi::OsString,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;

use crate::{Container, HostError, Limits, Place};

/// A kind of server, with the settings of one of them.
#[async_trait]
pub trait Program: Send + Sync {
    /// The program's file on this machine. Not used for a server in a container.
    fn executable(&self) -> &Path;

    /// The container that the server runs in; none for a process of this machine, which is the default. A server
    /// whose answer changed moves there at its next start, with its data and its port (SPEC H-8).
    fn container(&self) -> Option<Container> {
        None
    }

    /// What the server may use at most.
    fn limits(&self) -> Limits {
        Limits::default()
    }

    /// Makes the configuration and the data that the server starts with, and returns its
    /// arguments: no secrets among them, those belong into files made by [`Place::write`].
    ///
    /// Called before each start, while no server uses the place; what an earlier call made may be
    /// there, whole or in parts.
    async fn prepare(&self, place: &Place) -> Result<Vec<OsString>, Box<dyn Error + Send + Sync>>;

    /// Whether the server answers as it should: not only that its port is open. Asked until it does.
    async fn ready(&self, place: &Place) -> Result<(), Box<dyn Error + Send + Sync>>;

    /// How long a start may take.
    fn start_within(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// How long a server may take to end by itself before it is killed.
    fn stop_within(&self) -> Duration {
        Duration::from_secs(10)
    }
}

/// The file of a program given by name or path. Folders of servers are looked through too, which
/// are not in the search path of an ordinary user.
///
/// # Errors
/// When there is no such program.
pub fn find_program(name: &str) -> Result<PathBuf, HostError> {
    let search = std::env::var_os("PATH").unwrap_or_default();
    let servers = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin"].map(PathBuf::from);
    let folders = std::env::split_paths(&search).chain(servers);
    let candidates: Vec<_> =
        if name.contains('/') { vec![name.into()] } else { folders.map(|folder| folder.join(name)).collect() };
    let found = candidates.into_iter().find(|path| is_program(path)).and_then(|path| std::path::absolute(path).ok());
    found.ok_or_else(|| HostError::NoProgram(name.to_owned()))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_name_and_by_path_and_missing_ones_are_named() {
        assert!(find_program("sh").unwrap().is_absolute());
        assert_eq!(find_program("/bin/sh").unwrap(), Path::new("/bin/sh"));
        let refusal = find_program("no-such-server").unwrap_err().to_string();
        assert_eq!(refusal, "the program no-such-server is not installed: install its package, or give its path");
    }
}
