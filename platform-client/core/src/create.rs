//! Creating and changing apps.

use std::{collections::BTreeMap, sync::Arc};

use broker_core::AppName;
use chrono::Utc;

use crate::{
    App, Cname, Error, Plan, PlanName, Platform, PlatformImage, PlatformName, Pool, PoolName, Progress, Result, Route,
    Target, TargetType, Team, TeamName, User, operation::Journal,
};

/// What a user says about a new app; what is left out, the platform chooses.
#[derive(Clone, Debug)]
pub struct NewApp {
    /// Its name.
    pub name: AppName,
    /// The platform it is built on; none takes only images.
    pub platform: Option<PlatformName>,
    /// The size of its units.
    pub plan: Option<PlanName>,
    /// The team that owns it.
    pub team: Option<TeamName>,
    /// Where it runs.
    pub pool: Option<PoolName>,
    /// Free text.
    pub description: String,
    /// Labels.
    pub tags: Vec<String>,
}

impl NewApp {
    /// An app with everything left to the platform.
    #[must_use]
    pub fn new(name: AppName) -> Self {
        Self { name, platform: None, plan: None, team: None, pool: None, description: String::new(), tags: Vec::new() }
    }
}

/// A change of an app: what is left out stays.
#[derive(Clone, Debug, Default)]
pub struct AppChange {
    /// The description from now on.
    pub description: Option<String>,
    /// The labels from now on.
    pub tags: Option<Vec<String>>,
    /// The plan from now on.
    pub plan: Option<PlanName>,
    /// The owner team from now on.
    pub team: Option<TeamName>,
    /// The platform from now on; used by the next deploy.
    pub platform: Option<PlatformName>,
    /// Whether running units keep their old plan until the next restart.
    pub no_restart: bool,
}

impl Platform {
    /// Creates an app. It has no units before its first deploy.
    ///
    /// # Errors
    /// When the name is taken, or platform, plan, team or pool are unknown or can't be chosen.
    pub async fn create_app(self: &Arc<Self>, user: &User, new: NewApp) -> Result<App> {
        let app = self.new_app(user, new).await?;
        let target = Target::new(TargetType::App, &app.name);
        let operation = self.begin(user, "app.create", vec![target], Journal::Nothing, &Progress::silent()).await?;
        let outcome = self.insert_app(&app).await;
        operation.end(outcome).await?;
        Ok(app)
    }

    async fn insert_app(&self, app: &App) -> Result<()> {
        let taken = || {
            Error::Exists(format!(
                "tsuru failed to create the app \"{}\": there is already an app with this name",
                app.name
            ))
        };
        self.records.insert(app.clone(), taken).await?;
        self.publish_hosts(app).await;
        Ok(())
    }

    async fn new_app(&self, user: &User, new: NewApp) -> Result<App> {
        if let Some(platform) = &new.platform {
            self.usable_platform(platform).await?;
        }
        let team = self.team_for(user, new.team).await?;
        Ok(App {
            name: new.name,
            platform: new.platform,
            pool: self.pool_for(&team, new.pool).await?,
            plan: self.plan_for(new.plan).await?.name,
            teams: vec![team.clone()],
            team,
            owner: user.email.clone(),
            description: new.description,
            tags: clean_tags(new.tags),
            env: BTreeMap::new(),
            service_env: Vec::new(),
            cnames: Vec::new(),
            releases: Vec::new(),
            current: None,
            last_version: 0,
            formation: BTreeMap::new(),
            generation: 0,
            deploys: 0,
            created_at: Utc::now(),
        })
    }

    pub(crate) async fn usable_platform(&self, name: &PlatformName) -> Result<PlatformImage> {
        match self.records.get::<PlatformImage>(name.as_str()).await? {
            Some(platform) if !platform.disabled => Ok(platform.into_inner()),
            _ => Err(Error::invalid(format!(
                "Invalid platform: \"{name}\" does not exist or is disabled, see `tsuru platform list`"
            ))),
        }
    }

    /// The team named, or the user's only one.
    pub(crate) async fn team_for(&self, user: &User, asked: Option<TeamName>) -> Result<TeamName> {
        let Some(team) = asked else {
            let reachable = if user.admin {
                self.records.all::<Team>().await?.into_iter().map(|team| team.name).collect()
            } else {
                user.teams.clone()
            };
            return match <[TeamName; 1]>::try_from(reachable) {
                Ok([only]) => Ok(only),
                Err(_) => Err(Error::invalid("You must provide a team to execute this action.")),
            };
        };
        if self.records.get::<Team>(team.as_str()).await?.is_none() {
            return Err(Error::invalid(format!("team \"{team}\" does not exist")));
        }
        if user.reaches(std::slice::from_ref(&team)) { Ok(team) } else { Err(Error::Forbidden) }
    }

    /// The pool named, or the default one, or the only one the team reaches.
    async fn pool_for(&self, team: &TeamName, asked: Option<PoolName>) -> Result<PoolName> {
        let mut pools = self.records.all::<Pool>().await?;
        pools.retain(|pool| pool.public || pool.default || pool.teams.contains(team));
        match asked {
            Some(asked) if pools.iter().any(|pool| pool.name == asked) => Ok(asked),
            Some(asked) => {
                Err(Error::invalid(format!("pool \"{asked}\" does not exist or team \"{team}\" may not use it")))
            }
            None => match pools.as_slice() {
                [only] => Ok(only.name.clone()),
                [] => Err(Error::invalid(format!("there is no pool that team \"{team}\" may use"))),
                several => several.iter().find(|pool| pool.default).map(|pool| pool.name.clone()).ok_or_else(|| {
                    let names: Vec<String> = several.iter().map(|pool| format!("\"{}\"", pool.name)).collect();
                    Error::invalid(format!(
                        "you have access to {} pools. Please choose one in app creation",
                        names.join(",")
                    ))
                }),
            },
        }
    }

    async fn plan_for(&self, asked: Option<PlanName>) -> Result<Plan> {
        let plans = self.records.all::<Plan>().await?;
        let found = match &asked {
            Some(asked) => plans.into_iter().find(|plan| plan.name == *asked),
            None => plans.into_iter().find(|plan| plan.default),
        };
        found.ok_or_else(|| match asked {
            Some(asked) => Error::invalid(format!("plan \"{asked}\" does not exist, see `tsuru plan list`")),
            None => Error::invalid("there is no default plan, choose one with -p, see `tsuru plan list`"),
        })
    }

    /// Changes an app; units are replaced when their plan changes.
    ///
    /// # Errors
    /// When nothing is to be changed, or what is asked for does not exist.
    pub async fn update_app(
        self: &Arc<Self>,
        user: &User,
        name: &AppName,
        change: AppChange,
        progress: &Progress,
    ) -> Result<()> {
        let operation = self.begin_on_app(user, name, "app.update", progress).await?;
        let outcome = self.change_app(user, name, change, progress).await;
        operation.end(outcome).await
    }

    async fn change_app(&self, user: &User, name: &AppName, change: AppChange, progress: &Progress) -> Result<()> {
        let mut app = self.kept_app(user, name).await?;
        let replans = change.plan.as_ref().is_some_and(|plan| *plan != app.plan);
        if let Some(platform) = change.platform {
            self.usable_platform(&platform).await?;
            app.platform = Some(platform);
        }
        if let Some(plan) = change.plan {
            app.plan = self.plan_for(Some(plan)).await?.name;
        }
        if let Some(team) = change.team {
            app.team = self.team_for(user, Some(team)).await?;
            if !app.teams.contains(&app.team) {
                let team = app.team.clone();
                app.teams.push(team);
            }
        }
        app.description = change.description.unwrap_or_else(|| app.description.clone());
        app.tags = change.tags.map_or_else(|| app.tags.clone(), clean_tags);
        if replans && !change.no_restart {
            self.replace_units(&mut app, Vec::new(), progress).await
        } else {
            self.records.save(&mut app).await
        }
    }

    /// Adds domain names to an app: all of them or none.
    ///
    /// # Errors
    /// When one is in use already, or none is given.
    pub async fn add_cnames(self: &Arc<Self>, user: &User, name: &AppName, cnames: Vec<Cname>) -> Result<()> {
        if cnames.is_empty() {
            return Err(Error::invalid("You must provide the cname."));
        }
        let operation = self.begin_on_app(user, name, "app.update.cname.add", &Progress::silent()).await?;
        let outcome = self.insert_cnames(user, name, cnames).await;
        operation.end(outcome).await
    }

    async fn insert_cnames(&self, user: &User, name: &AppName, cnames: Vec<Cname>) -> Result<()> {
        let same = |a: &Cname, b: &Cname| a.as_str().eq_ignore_ascii_case(b.as_str());
        let apps = self.records.all::<App>().await?;
        for cname in &cnames {
            let own_host = cname.as_str().to_lowercase();
            for app in &apps {
                let taken =
                    app.cnames.iter().any(|known| same(known, cname)) || self.default_host(&app.name) == own_host;
                if taken && app.name == *name {
                    return Err(Error::Exists(format!("cname {cname} already exists for this app")));
                } else if taken {
                    return Err(Error::Exists(format!(
                        "cname {cname} already exists for app {} using same router",
                        app.name
                    )));
                }
            }
        }
        let mut app = self.kept_app(user, name).await?;
        for cname in cnames {
            if !app.cnames.iter().any(|known| same(known, &cname)) {
                app.cnames.push(cname);
            }
        }
        self.records.save(&mut app).await?;
        self.publish_hosts(&app).await;
        Ok(())
    }

    /// Takes domain names from an app: all of them or none.
    ///
    /// # Errors
    /// When the app does not have one of them.
    pub async fn remove_cnames(self: &Arc<Self>, user: &User, name: &AppName, cnames: Vec<Cname>) -> Result<()> {
        if cnames.is_empty() {
            return Err(Error::invalid("You must provide the cname."));
        }
        let operation = self.begin_on_app(user, name, "app.update.cname.remove", &Progress::silent()).await?;
        let outcome = self.delete_cnames(user, name, &cnames).await;
        operation.end(outcome).await
    }

    async fn delete_cnames(&self, user: &User, name: &AppName, cnames: &[Cname]) -> Result<()> {
        let mut app = self.kept_app(user, name).await?;
        if let Some(unknown) = cnames.iter().find(|cname| !app.cnames.contains(cname)) {
            return Err(Error::invalid(format!("cname {unknown} not exists in app {name}")));
        }
        app.cnames.retain(|known| !cnames.contains(known));
        self.records.save(&mut app).await?;
        self.publish_hosts(&app).await;
        Ok(())
    }

    /// Publishes an app's hosts, with the units that serve it now. The record says so already: a
    /// router that is away follows when it is back.
    async fn publish_hosts(&self, app: &App) {
        let published = async {
            let _publishing = self.publishing.lock().await;
            let known = self.routes.published().await?.into_iter().find(|route| route.app == app.name);
            let units = known.map(|route| route.units).unwrap_or_default();
            self.routes.publish(Route { units, ..self.route(app, &[]) }).await
        };
        if let Err(error) = published.await {
            tracing::warn!(app = %app.name, %error, "could not publish the hosts of app `{}` yet, trying again later", app.name);
            self.changed.notify_one();
        }
    }

    /// Lets a team use an app, or no longer.
    ///
    /// # Errors
    /// When the team has access already, is the last one, or does not exist.
    pub async fn set_access(
        self: &Arc<Self>,
        user: &User,
        name: &AppName,
        team: &TeamName,
        granted: bool,
    ) -> Result<()> {
        let kind = if granted { "app.update.grant" } else { "app.update.revoke" };
        let operation = self.begin_on_app(user, name, kind, &Progress::silent()).await?;
        let outcome = self.change_access(user, name, team, granted).await;
        operation.end(outcome).await
    }

    async fn change_access(&self, user: &User, name: &AppName, team: &TeamName, granted: bool) -> Result<()> {
        let mut app = self.kept_app(user, name).await?;
        if self.records.get::<Team>(team.as_str()).await?.is_none() {
            return Err(Error::NotFound(format!("team \"{team}\" does not exist")));
        }
        match (granted, app.teams.contains(team)) {
            (true, true) => return Err(Error::Exists(format!("team {team} already has access to this app"))),
            (false, false) => return Err(Error::NotFound(format!("team {team} does not have access to this app"))),
            (false, true) if app.teams.len() == 1 => {
                return Err(Error::Refused("You can not revoke the access from this team, because it is the unique team with access to the app, and an app can not be orphaned".to_owned()));
            }
            (true, false) => app.teams.push(team.clone()),
            (false, true) => app.teams.retain(|known| known != team),
        }
        self.records.save(&mut app).await
    }
}

/// Labels without white space around them, empty ones and repeats.
pub(crate) fn clean_tags(tags: Vec<String>) -> Vec<String> {
    let mut clean: Vec<String> = Vec::new();
    for tag in tags {
        let tag = tag.trim().to_owned();
        if !tag.is_empty() && !clean.contains(&tag) {
            clean.push(tag);
        }
    }
    clean
}
