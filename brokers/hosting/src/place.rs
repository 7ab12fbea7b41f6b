//! A server's folder.

use std::{
    ffi::OsStr,
    fmt, fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Stdio,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use tokio::process::Command;

use crate::{contained::Contained, files, host::tail, user::Owner};

/// A server's name, which is its folder's: 1 to 40 characters of `a-z0-9-`, the first no dash.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(String);

impl ServerId {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServerId {
    type Err = String;

    fn from_str(raw: &str) -> Result<Self, String> {
        let well_formed = (1..=40).contains(&raw.len())
            && !raw.starts_with('-')
            && raw.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if well_formed {
            Ok(Self(raw.to_owned()))
        } else {
            Err(format!("{raw:?} cannot be a server's name: it has 1 to 40 characters of a-z, 0-9 and \"-\""))
        }
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a server lives: its folder, its port, its user.
#[derive(Clone, Debug)]
pub struct Place {
    /// The port to listen on.
    pub port: u16,
    /// The addresses to listen at: 127.0.0.1 and others, or the one that means all, as it is in a container.
    pub addresses: Vec<IpAddr>,
    /// The addresses of this machine that lead to the server.
    pub(crate) published: Vec<IpAddr>,
    pub(crate) folder: PathBuf,
    pub(crate) owner: Option<Owner>,
    /// Held while the place is prepared, and inherited by the server.
    pub(crate) lock: Option<Arc<fs::File>>,
    /// Where the server's container is made, for a server in one.
    pub(crate) container: Option<Bench>,
}

/// What the steps of a preparation in a container need.
#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) contained: Contained,
    /// The image's reference; none while nothing is prepared.
    pub(crate) image: Option<String>,
}

impl fmt::Debug for Bench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bench").field("image", &self.image).finish_non_exhaustive()
    }
}

impl Place {
    /// The server's folder. It belongs to the broker: the server writes into folders below it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Whether the server runs in a container: programs have the paths that they have in its image.
    #[must_use]
    pub fn is_contained(&self) -> bool {
        self.container.is_some()
    }

    /// The names and addresses that a certificate of the server has to be for: the host that apps are told, and
    /// those that lead to it from this machine.
    #[must_use]
    pub fn names(&self, advertised: &str) -> Vec<String> {
        let mut names = vec![advertised.trim_matches(['[', ']']).to_owned()];
        let reached = self.published.iter().filter(|address| !address.is_unspecified()).map(ToString::to_string);
        for name in std::iter::once("127.0.0.1".to_owned()).chain(reached) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Whether the server will run as root, which some programs want to be told.
    #[must_use]
    pub fn runs_as_root(&self) -> bool {
        self.owner.is_none() && rustix::process::geteuid().is_root()
    }

    /// A folder below the server's that belongs to the server.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.folder.join(name);
        files::folder(&path, 0o700)?;
        if let Some(owner) = &self.owner {
            files::give(&path, owner)?;
        }
        Ok(path)
    }

    /// A file that the server can read and nobody else (mode 0600), replaced as a whole.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write(&self, name: &str, content: &str) -> io::Result<PathBuf> {
        let path = self.folder.join(name);
        files::replace(&path, content.as_bytes(), self.owner.as_ref())?;
        Ok(path)
    }

    /// Adds to the end of a file that [`Place::write`] made, and returns when that is on disk. A crash leaves a part of
    /// it, or all.
    ///
    /// # Errors
    /// When it can't be written; a part of it may be.
    pub fn append(&self, name: &str, content: &str) -> io::Result<()> {
        files::extend(&self.folder.join(name), content.as_bytes())
    }

    /// Runs a program that prepares the place, as the server's user and where the server will run, and waits
    /// for it to end well. What it says goes to the server's log.
    ///
    /// # Errors
    /// When it can't be started, fails, or takes longer than `within`.
    pub async fn run<A: AsRef<OsStr>>(&self, program: &Path, args: &[A], within: Duration) -> io::Result<()> {
        if let Some(Bench { contained, image }) = &self.container {
            let image = image.as_deref().ok_or_else(|| io::Error::other("the place is not being prepared"))?;
            let args = args.iter().map(|arg| arg.as_ref().to_string_lossy().into_owned()).collect();
            return contained.step(self, image, program, args, within).await;
        }
        let name = program.display();
        let mut child = self.command(program)?.args(args).spawn()?;
        let pid = child.id();
        match tokio::time::timeout(within, child.wait()).await {
            Ok(Err(unknown)) => Err(unknown),
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => {
                let (log, tail) = (self.log(), tail(&self.log()));
                Err(io::Error::other(format!("{name} failed ({status}), see {}: {tail}", log.display())))
            }
            Err(_) => {
                pid.into_iter().for_each(crate::process::kill_group);
                Err(io::Error::new(io::ErrorKind::TimedOut, format!("{name} took longer than {}s", within.as_secs())))
            }
        }
    }

    /// A command in the server's name: its user, a process group of its own, nothing of our
    /// environment (which holds secrets), and the log, which is the lock, as output.
    pub(crate) fn command(&self, program: &Path) -> io::Result<Command> {
        let log = self.lock.as_ref().ok_or_else(|| io::Error::other("the place is not being prepared"))?;
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LANG", "C.UTF-8")
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log.try_clone()?)
            .process_group(0);
        if let Some(owner) = &self.owner {
            command.uid(owner.uid).gid(owner.gid);
        }
        Ok(command)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("log")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_never_named_like_a_path_or_a_flag() {
        for bad in ["", "..", "a/b", "-a", "A", "a.b", &"a".repeat(41)] {
            assert!(bad.parse::<ServerId>().is_err(), "{bad}");
        }
        assert!("shared".parse::<ServerId>().is_ok());
    }
}
