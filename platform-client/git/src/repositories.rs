//! Bare repositories on disk, made when first asked for, and the folder they share.
//!
//! `<data>/git/` holds `<app>.git`, `.hooks/pre-receive`, `.scratch/` (emptied at start) and
//! `.hook.sock`. An app's name starts with a letter, so that none of these can be an app's.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    io::Write as _,
    os::unix::{ffi::OsStrExt as _, fs::DirBuilderExt as _, fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use platform_core::AppName;
use tempfile::TempDir;

use crate::{git, hook};

const TIDYING: Duration = Duration::from_secs(1800);

#[derive(Clone, Debug)]
pub(crate) struct Repositories {
    root: PathBuf,
}

impl Repositories {
    /// Prepares the folder: readable by its owner alone, without what a crash left behind.
    pub(crate) fn open(data: &Path, hook_command: &[OsString]) -> io::Result<Self> {
        let root = std::path::absolute(data.join("git"))?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&root)?;
        let repositories = Self { root };
        remove_if_there(&repositories.scratch())?;
        fs::create_dir(repositories.scratch())?;
        fs::create_dir_all(repositories.hooks())?;
        repositories.write_hook(hook_command)?;
        Ok(repositories)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.root.join(hook::SOCKET)
    }

    pub(crate) fn hooks(&self) -> PathBuf {
        self.root.join(".hooks")
    }

    fn scratch(&self) -> PathBuf {
        self.root.join(".scratch")
    }

    pub(crate) fn path(&self, app: &AppName) -> PathBuf {
        self.root.join(format!("{app}.git"))
    }

    /// A folder that is gone with its handle.
    pub(crate) fn scratch_folder(&self) -> io::Result<TempDir> {
        TempDir::new_in(self.scratch())
    }

    /// The app's repository, made if there is none. It appears whole or not at all.
    pub(crate) async fn ensure(&self, app: &AppName, branch: &str) -> io::Result<PathBuf> {
        let path = self.path(app);
        if path.join("HEAD").exists() {
            return Ok(path);
        }
        let fresh = self.scratch_folder()?;
        let args = ["init", "--quiet", "--bare", "--template=", "--initial-branch", branch, "--"].map(OsStr::new);
        git::run(args.into_iter().chain([fresh.path().as_os_str()])).await?;
        match fs::rename(fresh.path(), &path) {
            Ok(()) => {
                tracing::info!(app.name = %app, "made the repository of `{app}`");
                Ok(path)
            }
            // Another request was first.
            Err(_) if path.join("HEAD").exists() => Ok(path),
            Err(error) => Err(error),
        }
    }

    /// Removes an app's repository; one that is gone is a success.
    pub(crate) async fn remove(&self, app: &AppName) -> io::Result<()> {
        let grave = self.scratch_folder()?;
        // Out of the way at once: the folder goes with its contents later, after a crash at next start.
        match fs::rename(self.path(app), grave.path().join("repository")) {
            Ok(()) => tokio::task::spawn_blocking(move || grave.close()).await?,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Which branch a clone checks out.
    pub(crate) async fn point_head(&self, app: &AppName, branch: &str) -> io::Result<()> {
        let path = self.path(app);
        let mut command = git::command(git::safe(&path));
        command.arg("-C").arg(&path).args(["symbolic-ref", "HEAD", &format!("refs/heads/{branch}")]);
        git::finish(command, Duration::from_secs(60)).await.map(drop)
    }

    /// Repacks when there is enough to repack: never while a pusher waits.
    pub(crate) async fn tidy(&self, app: &AppName) -> io::Result<()> {
        let path = self.path(app);
        let mut command = git::command(git::safe(&path).into_iter().chain([("gc.autoDetach", "false".to_owned())]));
        command.arg("-C").arg(&path).args(["gc", "--auto", "--quiet"]);
        git::finish(command, TIDYING).await.map(drop)
    }

    /// Replaced as a whole, so that a push that is on its way finds the old one or the new one.
    fn write_hook(&self, command: &[OsString]) -> io::Result<()> {
        let mut script = b"#!/bin/sh\nexec".to_vec();
        for word in command {
            script.push(b' ');
            script.extend_from_slice(&quoted(word));
        }
        script.push(b'\n');
        let path = self.hooks().join("pre-receive");
        if fs::read(&path).is_ok_and(|old| old == script) {
            return Ok(());
        }
        let unfinished = self.scratch().join("pre-receive");
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o700).open(&unfinished)?;
        file.write_all(&script)?;
        file.sync_all()?;
        drop(file);
        fs::rename(unfinished, path)
    }
}

fn remove_if_there(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A word for the shell that means itself.
fn quoted(word: &OsStr) -> Vec<u8> {
    let mut quoted = vec![b'\''];
    for &byte in word.as_bytes() {
        match byte {
            b'\'' => quoted.extend_from_slice(br"'\''"),
            other => quoted.push(other),
        }
    }
    quoted.push(b'\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_means_itself_to_the_shell() {
        assert_eq!(quoted(OsStr::new("/opt/it's here/$x")), br"'/opt/it'\''s here/$x'");
    }

    #[tokio::test] // SPEC G-9
    async fn a_repository_is_made_once_and_removed_for_good() {
        let data = tempfile::tempdir().unwrap();
        let repositories = Repositories::open(data.path(), &["/bin/true".into()]).unwrap();
        let app: AppName = "blog".parse().unwrap();

        let made = futures::future::join_all((0..4).map(|_| repositories.ensure(&app, "main"))).await;
        assert!(made.into_iter().all(|path| path.unwrap() == data.path().join("git/blog.git")));
        assert_eq!(fs::read_dir(repositories.scratch()).unwrap().count(), 0);

        repositories.remove(&app).await.unwrap();
        repositories.remove(&app).await.unwrap();
        assert!(!repositories.path(&app).exists());
        assert_eq!(fs::read_dir(repositories.scratch()).unwrap().count(), 0);
    }
}
