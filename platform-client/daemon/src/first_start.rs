//! What a platform needs before anyone can use it: an administrator, a team, a pool, plans.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use platform_core::{Email, Error, Plan, Platform, Pool, Secret, User};

/// Makes a folder that only its owner may enter.
pub(crate) fn private_folder(path: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make the folder {}", path.display()))
}

/// The same, and empty: what a process that was killed left there is of no use to anybody.
pub(crate) fn empty_private_folder(path: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(path) {
        Err(other) if other.kind() != io::ErrorKind::NotFound => {
            Err(other).with_context(|| format!("cannot empty the folder {}", path.display()))
        }
        _ => private_folder(path),
    }
}

/// How long a folder may still look used by a daemon that is gone: a program that it was just starting has what was
/// open in the daemon until the kernel has loaded it.
const LET_GO_WITHIN: Duration = Duration::from_secs(1);

/// Takes a folder for this process alone, for as long as the answer lives: two daemons on one folder
/// would undo each other's operations (SPEC P-11).
pub(crate) fn take_folder(path: &Path) -> anyhow::Result<fs::File> {
    let lock = path.join("lock");
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock)
        .with_context(|| format!("cannot write {}", lock.display()))?;
    let deadline = Instant::now() + LET_GO_WITHIN;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => sleep(Duration::from_millis(10)),
            Err(fs::TryLockError::WouldBlock) => anyhow::bail!(
                "another tsurud runs on {}: stop it first, or choose another folder with --data",
                path.display()
            ),
            Err(fs::TryLockError::Error(reason)) => {
                return Err(reason).with_context(|| format!("cannot lock {}", lock.display()));
            }
        }
    }
}

/// The secret in a file; made when there is none yet.
pub(crate) fn secret_file(path: &Path, generate: impl FnOnce() -> Secret) -> anyhow::Result<Secret> {
    Secret::kept_in(path, generate).with_context(|| format!("cannot use the file {}", path.display()))
}

/// Makes what is missing; on every start, so that a crash in the first one is made good.
pub(crate) async fn furnish(platform: &Arc<Platform>, admin: &Email, password: Secret) -> platform_core::Result<()> {
    let user = User { email: admin.clone(), password: password.clone(), admin: true, teams: Vec::new() };
    if !platform.has_users().await? {
        platform.create_user(admin.clone(), password, true).await?;
        tracing::info!(user = %admin, "made the first administrator, `{admin}`");
    }
    if platform.teams(&user).await?.is_empty() {
        platform.create_team(&platform.user(admin).await?, "admin".parse()?, Vec::new()).await?;
    }
    if platform.pools().await?.is_empty() {
        let pool = Pool { name: "main".parse()?, default: true, public: true, teams: Vec::new() };
        unless_there(platform.create_pool(&user, pool).await)?;
    }
    if platform.plans().await?.is_empty() {
        for (name, mebibytes, default) in [("small", 256, true), ("medium", 512, false), ("large", 1024, false)] {
            let plan = Plan { name: name.parse()?, memory: mebibytes << 20, cpu_milli: 0, default };
            unless_there(platform.create_plan(&user, plan).await)?;
        }
    }
    Ok(())
}

fn unless_there(made: platform_core::Result<()>) -> platform_core::Result<()> {
    match made {
        Err(Error::Exists(_)) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // SPEC W-8
    fn uploads_that_a_killed_daemon_left_go_at_the_next_start() {
        let folder = std::env::temp_dir().join(format!("tsurud-uploads-{:08x}", rand::random::<u32>()));
        empty_private_folder(&folder).unwrap();
        fs::write(folder.join("half"), "x").unwrap();

        empty_private_folder(&folder).unwrap();

        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test] // SPEC P-11
    fn a_folder_belongs_to_one_daemon_at_a_time() {
        let folder = std::env::temp_dir().join(format!("tsurud-folder-{:08x}", rand::random::<u32>()));
        private_folder(&folder).unwrap();

        let first = take_folder(&folder).unwrap();
        let refusal = take_folder(&folder).unwrap_err().to_string();
        drop(first);

        assert!(refusal.starts_with("another tsurud runs on"), "{refusal}");
        take_folder(&folder).unwrap();
        fs::remove_dir_all(folder).unwrap();
    }
}
