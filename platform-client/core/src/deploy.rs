//! Deploying: source or image in, a new release serving, or nothing changed.

use std::{path::PathBuf, sync::Arc};

use broker_core::AppName;
use chrono::Utc;
use serde_json::json;

use crate::{
    App, Error, Event, EventId, Origin, Platform, PlatformImage, Progress, Release, Result, Scale, TargetType, User,
    operation::{Journal, Operation},
    ports::{Build, Built},
    records::Kept,
};

/// What a deploy starts from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A gzip tar of the code; the commit is empty unless it came by git.
    Archive {
        /// Where it is, for as long as the deploy runs.
        path: PathBuf,
        /// How it came.
        origin: Origin,
        /// The commit that was pushed.
        commit: String,
    },
    /// A ready image.
    Image(String),
    /// A version that was deployed before: `3`, `v3`, or its image.
    Rollback(String),
}

impl Source {
    /// The permission that a deploy of this kind is known by.
    fn kind(&self) -> &'static str {
        match self {
            Self::Archive { origin: Origin::Git, .. } => "app.deploy.git",
            Self::Archive { .. } => "app.deploy.upload",
            Self::Image(_) => "app.deploy.image",
            Self::Rollback(_) => "app.deploy.rollback",
        }
    }

    fn origin(&self) -> Origin {
        match self {
            Self::Archive { origin, .. } => *origin,
            Self::Image(_) => Origin::Image,
            Self::Rollback(_) => Origin::Rollback,
        }
    }

    fn commit(&self) -> &str {
        match self {
            Self::Archive { commit, .. } => commit,
            Self::Image(_) | Self::Rollback(_) => "",
        }
    }
}

/// A deploy as listings show it.
#[derive(Clone, Debug)]
pub struct Deploy {
    /// The event that it was.
    pub event: Event,
    /// The app.
    pub app: AppName,
    /// The version it made or went back to; 0 when it did not come that far.
    pub version: u32,
    /// The commit that was pushed.
    pub commit: String,
    /// How the source came.
    pub origin: String,
    /// Whether its version can be gone back to.
    pub can_rollback: bool,
}

impl Platform {
    /// Begins a deploy: from here on the app is locked, and the event's identifier is known.
    ///
    /// # Errors
    /// When the app is unknown, busy, or can't take this source.
    pub async fn begin_deploy(
        self: &Arc<Self>,
        user: &User,
        name: &AppName,
        source: Source,
        progress: &Progress,
    ) -> Result<RunningDeploy> {
        let app = self.app(user, name).await?;
        if matches!(source, Source::Archive { .. }) && app.platform.is_none() {
            return Err(Error::invalid(
                "can't deploy app without platform, if it's not an image, dockerfile or rollback",
            ));
        }
        let operation = self.begin_on_app(user, name, source.kind(), progress).await?;
        Ok(RunningDeploy { platform: Arc::clone(self), user: user.clone(), app: name.clone(), source, operation })
    }

    /// Builds, starts, switches. If anything fails the release that served goes on serving.
    async fn deploy(&self, user: &User, name: &AppName, source: &Source, operation: &mut Operation) -> Result<()> {
        let progress = operation.progress().clone();
        let mut app = self.kept_app(user, name).await?;
        note(operation, &app, source, 0);
        let release = match source {
            Source::Rollback(asked) => known_release(&app, asked)?.clone(),
            Source::Archive { .. } | Source::Image(_) => self.new_release(&mut app, source, operation).await?,
        };
        note(operation, &app, source, release.version);
        let is_new = app.release(release.version).is_none();
        let image = release.image.clone();
        if is_new {
            operation.journal(&Journal::Deploy { app: app.name.clone(), image: image.clone() }).await?;
        }
        if let Err(reason) = self.put_in_place(&mut app, release, &progress).await {
            if is_new {
                self.forget_image(&image).await;
            }
            return Err(reason);
        }
        self.drop_old_releases(&mut app).await
    }

    /// Takes the next version number for good, then builds.
    async fn new_release(&self, app: &mut Kept<App>, source: &Source, operation: &Operation) -> Result<Release> {
        let progress = operation.progress();
        app.last_version += 1;
        self.records.save(app).await?;
        progress.section("Building image");
        let built = match source {
            Source::Archive { path, .. } => self.build(app, path, progress).await?,
            Source::Image(image) => self.engine.take_image(&app.name, app.last_version, image, progress).await?,
            Source::Rollback(_) => return Err(Error::invalid("a rollback builds nothing")),
        };
        Ok(Release {
            version: app.last_version,
            image: built.image,
            processes: built.processes,
            hooks: built.hooks,
            event: operation.id().clone(),
            origin: source.origin(),
            commit: source.commit().to_owned(),
            at: Utc::now(),
        })
    }

    async fn build(&self, app: &App, archive: &std::path::Path, progress: &Progress) -> Result<Built> {
        let platform = app.platform.as_ref().ok_or_else(|| Error::invalid("the app has no platform"))?;
        let images = self.records.get::<PlatformImage>(platform.as_str()).await?;
        let image = images.as_ref().and_then(|platform| platform.images.last()).ok_or_else(|| {
            Error::invalid(format!("platform \"{platform}\" has no image any more, see `tsuru platform list`"))
        })?;
        let env = app.merged_env().into_iter().map(|(name, var)| (name, var.value)).collect();
        let build = Build { app: &app.name, version: app.last_version, platform_image: image, archive, env };
        self.engine.build(&build, progress).await
    }

    /// Starts the release's units, records it as the current one, and switches to it.
    async fn put_in_place(&self, app: &mut Kept<App>, release: Release, progress: &Progress) -> Result<()> {
        let mut names: Vec<&str> = release.processes.iter().map(|process| process.name.as_str()).collect();
        names.sort_unstable();
        progress.section(format!("Updating units [{}] [version {}]", names.join(" "), release.version));
        let mut next = app.clone();
        next.current = Some(release.version);
        next.generation += 1;
        next.deploys += 1;
        next.formation = next_formation(&next, &release);
        if next.release(release.version).is_none() {
            next.releases.push(release);
        }
        self.stop_leftovers(&next).await?;
        let units = self.start_wanted(&next, progress).await?;
        self.records.save(&mut next).await?;
        *app = next;
        progress.section("Updating router");
        self.switch_to(app, &units).await;
        Ok(())
    }

    /// Forgets releases beyond those kept for rollback, and their images.
    async fn drop_old_releases(&self, app: &mut Kept<App>) -> Result<()> {
        let excess = app.releases.len().saturating_sub(self.settings.releases_kept);
        if excess == 0 {
            return Ok(());
        }
        let current = app.current;
        let (old, kept): (Vec<_>, Vec<_>) = app
            .releases
            .drain(..)
            .enumerate()
            .partition(|(at, release)| *at < excess && Some(release.version) != current);
        app.releases = kept.into_iter().map(|(_, release)| release).collect();
        self.records.save(app).await?;
        for (_, release) in old {
            self.forget_image(&release.image).await;
        }
        Ok(())
    }

    pub(crate) async fn forget_image(&self, image: &str) {
        if let Err(error) = self.engine.remove_image(image).await {
            tracing::warn!(image, %error, "could not remove image `{image}`");
        }
    }

    /// Deploys of one app, or of all apps the user may see; newest first.
    ///
    /// # Errors
    /// When the app is unknown, or the records can't be read.
    pub async fn deploys(&self, user: &User, app: Option<&AppName>, limit: usize, skip: usize) -> Result<Vec<Deploy>> {
        let apps = match app {
            Some(name) => vec![self.app(user, name).await?],
            None => self.apps(user).await?,
        };
        let of_app =
            |event: &Event| event.kind.starts_with("app.deploy") && apps.iter().any(|app| is_about(event, app));
        let events = self.newest_events(of_app, skip.saturating_add(limit)).await?;
        let deploys = events.into_iter().skip(skip).filter_map(|event| {
            let app = apps.iter().find(|app| is_about(&event, app))?;
            Some(as_deploy(event, app))
        });
        Ok(deploys.collect())
    }

    /// One deploy, with its log.
    ///
    /// # Errors
    /// When there is no such deploy, or the user may not see its app.
    pub async fn deploy_info(&self, user: &User, id: &EventId) -> Result<Deploy> {
        let unknown = || Error::NotFound("Deploy not found.".to_owned());
        let event = self.records.get::<Event>(id.as_str()).await?.ok_or_else(unknown)?.into_inner();
        let target = event.targets.first().filter(|_| event.kind.starts_with("app.deploy")).ok_or_else(unknown)?;
        let app = self.app(user, &target.value.parse()?).await?;
        Ok(as_deploy(event, &app))
    }
}

/// A deploy that has its lock and can run.
pub struct RunningDeploy {
    platform: Arc<Platform>,
    user: User,
    app: AppName,
    source: Source,
    operation: Operation,
}

impl RunningDeploy {
    /// The event's identifier: clients cancel by it.
    #[must_use]
    pub fn event(&self) -> &EventId {
        self.operation.id()
    }

    /// Runs to the end; run it by [`Platform::spawn`], so that a client that goes away changes nothing.
    ///
    /// # Errors
    /// When the build fails, or new units do not become ready; the old release goes on serving.
    pub async fn run(mut self) -> Result<()> {
        let outcome = self.platform.deploy(&self.user, &self.app, &self.source, &mut self.operation).await;
        self.operation.end(outcome).await
    }
}

/// The facts that listings show.
fn note(operation: &mut Operation, app: &App, source: &Source, version: u32) {
    operation.note(json!({
        "app": app.name, "version": version, "commit": source.commit(), "origin": source.origin().as_str(),
    }));
}

fn is_about(event: &Event, app: &App) -> bool {
    event.targets.iter().any(|target| target.kind == TargetType::App && target.value == app.name.as_str())
}

fn as_deploy(event: Event, app: &App) -> Deploy {
    let text = |key: &str| event.data[key].as_str().unwrap_or_default().to_owned();
    let version = event.data["version"].as_u64().and_then(|version| u32::try_from(version).ok()).unwrap_or(0);
    Deploy {
        app: app.name.clone(),
        version,
        commit: text("commit"),
        origin: text("origin"),
        can_rollback: event.error.is_empty() && app.release(version).is_some(),
        event,
    }
}

/// A release named by number, by `v` and number, or by image.
fn known_release<'a>(app: &'a App, asked: &str) -> Result<&'a Release> {
    if asked.is_empty() {
        return Err(Error::invalid("you cannot rollback without an image name"));
    }
    let number = asked.strip_prefix('v').unwrap_or(asked).parse::<u32>().ok();
    let found = app.releases.iter().find(|release| Some(release.version) == number || release.image == asked);
    found.ok_or_else(|| {
        Error::NotFound(format!(
            "version {asked} of app {} does not exist, see `tsuru app deploy list -a {}`",
            app.name, app.name
        ))
    })
}

/// Each process of the release keeps its units, and has one at least.
fn next_formation(app: &App, release: &Release) -> crate::Formation {
    let wish = |process: &crate::Process| {
        let units = app.formation.get(&process.name).map_or(1, |scale| scale.units.max(1));
        (process.name.clone(), Scale { units, stopped: false })
    };
    release.processes.iter().map(wish).collect()
}
