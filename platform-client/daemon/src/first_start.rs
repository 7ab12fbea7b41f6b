//! What a platform needs before anyone can use it: an administrator, a team, a pool, plans.

use std::{fs, os::unix::fs::DirBuilderExt as _, path::Path, sync::Arc};

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
