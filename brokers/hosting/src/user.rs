//! Whom servers run as.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path, str::FromStr};

use tracing::warn;

use crate::{HostError, error::At as _};

/// Whom servers run as, when the broker is root. Without root's rights they run as the broker does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunAs {
    /// The user that the program's package made, if there is one who can enter the servers'
    /// folder; else the current user, with a warning in the log.
    Packaged(&'static str),
    /// This user, or not at all.
    Named(String),
}

impl FromStr for RunAs {
    type Err = std::convert::Infallible;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(Self::Named(name.to_owned()))
    }
}

/// A user by numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Whom a server in a container runs as, who is never root: nobody's user where there is no other.
pub(crate) fn owner_in_container(owner: Option<&Owner>) -> Owner {
    let own = Owner { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() };
    match owner {
        Some(owner) => owner.clone(),
        None if own.uid == 0 => Owner { uid: 65_534, gid: 65_534 },
        None => own,
    }
}

/// The same, as the engine wants to be told.
pub(crate) fn in_container(owner: Option<&Owner>) -> String {
    let Owner { uid, gid } = owner_in_container(owner);
    format!("{uid}:{gid}")
}

/// The user to change to before a server starts; none when it runs as the current user.
pub(crate) fn choose(run_as: &RunAs, root: &Path) -> Result<Option<Owner>, HostError> {
    match (wanted(run_as, root), run_as) {
        (Err(why @ HostError::Unreachable { .. }), RunAs::Packaged(_)) => {
            warn!("servers run as root: {why}");
            Ok(None)
        }
        (wanted, _) => wanted,
    }
}

/// The same, with the reason where it can't be the user of the package.
pub(crate) fn wanted(run_as: &RunAs, root: &Path) -> Result<Option<Owner>, HostError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let name = match run_as {
        RunAs::Named(name) if name == "root" => return Ok(None),
        RunAs::Named(name) => name.as_str(),
        RunAs::Packaged(name) => name,
    };
    let owner = match (find(name).at("/etc/passwd")?, run_as) {
        (Some(owner), _) => owner,
        (None, RunAs::Packaged(_)) => return Ok(None),
        (None, RunAs::Named(_)) => return Err(HostError::NoUser(name.to_owned())),
    };
    enter(&owner, name, root)?;
    Ok(Some(owner))
}

/// Only the file is asked: packages make their users there.
fn find(name: &str) -> io::Result<Option<Owner>> {
    let known = fs::read_to_string("/etc/passwd")?;
    Ok(known.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then_some(())?;
        Some(Owner { uid: fields.nth(1)?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    }))
}

/// Whether each folder above the servers' lets the user through.
fn enter(owner: &Owner, user: &str, root: &Path) -> Result<(), HostError> {
    for folder in root.ancestors().skip(1) {
        let found = match fs::metadata(folder) {
            // Made with the servers' folder, and open then.
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => continue,
            found => found.at(folder)?,
        };
        let execute = match (found.uid() == owner.uid, found.gid() == owner.gid) {
            (true, _) => 0o100,
            (false, true) => 0o010,
            (false, false) => 0o001,
        };
        if found.mode() & execute == 0 {
            return Err(HostError::Unreachable { user: user.to_owned(), folder: folder.to_owned() });
        }
    }
    Ok(())
}
