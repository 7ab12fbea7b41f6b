//! Apps: made, shown, changed, removed (contract 7, 11).

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State, http::StatusCode};
use platform_core::{App, AppChange, AppName, NewApp, Plan, Platform, PlatformName, Result, TeamName, Unit};
use platform_wire as wire;
use regex::Regex;

use crate::{
    auth::Caller,
    extract::Input,
    path::Path,
    respond::{self, Answer, Failure},
    stream,
    view::{self, Reality},
};

/// `POST /apps`. Every value of the answer is a string: anything else fails clients after the app exists.
pub(crate) async fn create(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    input: Input,
) -> Answer<(StatusCode, Json<wire::AppCreated>)> {
    let new = new_app(&input)?;
    let app = stream::finish(&platform, |platform| async move { platform.create_app(&user, new).await }).await?;
    let created = [("status", "success".to_owned()), ("ip", platform.address(&app.name))];
    Ok((StatusCode::CREATED, Json(created.map(|(key, value)| (key.to_owned(), value)).into())))
}

fn new_app(input: &Input) -> Answer<NewApp> {
    if let Some(router) = input.text("router").filter(|router| router != view::ROUTER) {
        return Err(Failure::bad(format!("router \"{router}\" not found: the platform has one, {}", view::ROUTER)));
    }
    if input.bag("routeropts").is_some_and(|options| !options.is_empty()) {
        return Err(Failure::bad(format!("the router {} takes no options", view::ROUTER)));
    }
    Ok(NewApp {
        platform: platform_name(input)?,
        plan: input.name("plan")?,
        team: input.name("teamOwner")?,
        pool: input.name("pool")?,
        description: input.text("description").unwrap_or_default(),
        tags: tags(input),
        ..NewApp::new(input.required("name")?)
    })
}

/// `tag` in forms, `tags` in JSON.
pub(crate) fn tags(input: &Input) -> Vec<String> {
    [input.texts("tags"), input.texts("tag")].concat()
}

/// A platform, which may carry a version: only the latest can be had.
fn platform_name(input: &Input) -> Answer<Option<PlatformName>> {
    let Some(asked) = input.text("platform") else { return Ok(None) };
    let name = match asked.split_once(':') {
        None => asked.as_str(),
        Some((name, "latest")) => name,
        Some((name, version)) => {
            return Err(Failure::bad(format!(
                "Invalid platform: version {version} of {name} can't be chosen, apps get the latest with each deploy"
            )));
        }
    };
    Ok(Some(name.parse()?))
}

/// `GET /apps`
pub(crate) async fn list(State(platform): State<Arc<Platform>>, Caller(user): Caller, input: Input) -> Answer {
    let filter = Filter::read(&input)?;
    let mut apps = platform.apps(&user).await?;
    apps.retain(|app| filter.lets_through(app));
    let plainly = input.flag("simplified") && filter.statuses.is_empty();
    let detail = match (plainly, input.flag("extended")) {
        (true, _) => Detail::Simplified,
        (false, false) => Detail::WithUnits,
        (false, true) => Detail::Extended,
    };
    let mut resumes = resumes(&platform, &apps, detail).await?;
    resumes.retain(|app| {
        filter.statuses.is_empty() || app.units.iter().any(|unit| filter.statuses.contains(&unit.status))
    });
    Ok(respond::list(resumes))
}

/// Which apps to list.
struct Filter {
    name: Option<Regex>,
    platform: Option<String>,
    team: Option<String>,
    owner: Option<String>,
    pool: Option<String>,
    statuses: Vec<String>,
    tags: Vec<String>,
}

impl Filter {
    fn read(input: &Input) -> Answer<Self> {
        let unusable = |reason| Failure::bad(format!("the filter for names is not a regular expression: {reason}"));
        let statuses = input.texts("status");
        Ok(Self {
            name: input.text("name").map(|name| Regex::new(&name)).transpose().map_err(unusable)?,
            platform: input.text("platform"),
            team: input.text("teamOwner"),
            owner: input.text("owner"),
            pool: input.text("pool"),
            statuses: statuses
                .iter()
                .flat_map(|status| status.split(','))
                .map(|status| status.trim().to_owned())
                .collect(),
            tags: tags(input),
        })
    }

    fn lets_through(&self, app: &App) -> bool {
        let same = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
        self.name.as_ref().is_none_or(|name| name.is_match(app.name.as_str()))
            && same(&self.platform, &view::platform_of(app))
            && same(&self.team, app.team.as_str())
            && same(&self.owner, app.owner.as_str())
            && same(&self.pool, app.pool.as_str())
            && self.tags.iter().all(|tag| app.tags.contains(tag))
    }
}

/// How much of each app is listed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// The engine is not asked for units.
    Simplified,
    /// With units.
    WithUnits,
    /// With units, platform and description.
    Extended,
}

/// Apps as lists show them. An engine that is away is named in each of them.
pub(crate) async fn resumes(platform: &Arc<Platform>, apps: &[App], detail: Detail) -> Result<Vec<wire::AppResume>> {
    let plans = plans(platform).await?;
    let (units, reality, error) = match detail {
        Detail::Simplified => (BTreeMap::new(), Reality::unknown(), String::new()),
        Detail::WithUnits | Detail::Extended => {
            let reality = Reality::of(platform).await;
            match platform.units_by_app().await {
                Ok(units) => (units, reality, String::new()),
                Err(error) => (BTreeMap::new(), reality, error.to_string()),
            }
        }
    };
    let none = Vec::new();
    let resume = |app: &App| wire::AppResume {
        name: app.name.to_string(),
        pool: app.pool.to_string(),
        teamowner: app.team.to_string(),
        plan: plan_of(app, &plans),
        units: units.get(&app.name).unwrap_or(&none).iter().map(|unit| reality.unit(app, unit)).collect(),
        cname: view::strings(&app.cnames),
        ip: platform.address(&app.name),
        routers: vec![view::app_router(platform, app)],
        tags: app.tags.clone(),
        error: first_of(&error, &reality.error),
        platform: if detail == Detail::Extended { view::platform_of(app) } else { String::new() },
        description: if detail == Detail::Extended { app.description.clone() } else { String::new() },
        ..wire::AppResume::default()
    };
    Ok(apps.iter().map(resume).collect())
}

fn first_of(one: &str, other: &str) -> String {
    if one.is_empty() { other.to_owned() } else { one.to_owned() }
}

async fn plans(platform: &Platform) -> Result<BTreeMap<String, Plan>> {
    Ok(platform.plans().await?.into_iter().map(|plan| (plan.name.to_string(), plan)).collect())
}

/// An app's plan; only its name when somebody removed it meanwhile.
fn plan_of(app: &App, plans: &BTreeMap<String, Plan>) -> wire::Plan {
    let unknown = || wire::Plan { name: app.plan.to_string(), ..wire::Plan::default() };
    plans.get(app.plan.as_str()).map_or_else(unknown, view::plan)
}

/// `GET /apps/{app}`. An engine that is away is named in the answer, which has no units then.
pub(crate) async fn info(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(name): Path<AppName>,
) -> Answer<Json<wire::AppInfo>> {
    let app = platform.app(&user, &name).await?;
    let reality = Reality::of(&platform).await;
    let (units, error) = match platform.units(&app).await {
        Ok(units) => (units, String::new()),
        Err(error) => (Vec::new(), error.to_string()),
    };
    let error = first_of(&error, &reality.error);
    let plan = plan_of(&app, &plans(&platform).await?);
    let binds = platform.bound_to(&app).await?;
    let units = units.iter().map(|unit: &Unit| reality.unit(&app, unit)).collect::<Vec<_>>();
    let processes = app.current_release().map(|release| release.processes.as_slice()).unwrap_or_default();
    Ok(Json(wire::AppInfo {
        name: app.name.to_string(),
        platform: view::platform_of(&app),
        teams: view::strings(&app.teams),
        plan,
        cname: view::strings(&app.cnames),
        ip: platform.address(&app.name),
        owner: app.owner.to_string(),
        pool: app.pool.to_string(),
        description: app.description.clone(),
        deploys: app.deploys.into(),
        teamowner: app.team.to_string(),
        tags: app.tags.clone(),
        quota: wire::Quota { limit: -1, inuse: i64::try_from(units.len()).unwrap_or(i64::MAX) },
        units,
        routers: vec![view::app_router(&platform, &app)],
        service_instance_binds: binds.iter().map(instance_bind).collect(),
        processes: processes
            .iter()
            .map(|process| wire::AppProcess { name: process.name.to_string(), ..wire::AppProcess::default() })
            .collect(),
        error,
        ..wire::AppInfo::default()
    }))
}

fn instance_bind(instance: &platform_core::ServiceInstance) -> wire::InstanceBind {
    wire::InstanceBind {
        service: instance.service.to_string(),
        instance: instance.name.to_string(),
        plan: instance.plan.clone(),
    }
}

/// `PUT /apps/{app}`
pub(crate) async fn update(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(name): Path<AppName>,
    input: Input,
) -> Answer {
    platform.app(&user, &name).await?;
    let change = change(&input)?;
    stream::messages(&platform, |platform, progress| async move {
        platform.update_app(&user, &name, change, &progress).await
    })
    .await
}

fn change(input: &Input) -> Answer<AppChange> {
    if input.text("pool").is_some() {
        return Err(Failure::bad("an app can't be moved to another pool: make a new one there"));
    }
    if input.text("router").is_some() {
        return Err(Failure::bad(
            "updating router was deprecated, please add the wanted router and remove the old one",
        ));
    }
    if !input.items("processes").is_empty() {
        return Err(Failure::bad("plans of single processes are not supported by this platform: give the app a plan"));
    }
    let is_asked = |key: &str| input.bag(key).is_some_and(|bag| !bag.is_empty());
    if is_asked("planoverride") {
        return Err(Failure::bad("a plan can't be overridden for one app on this platform: make a plan of that size"));
    }
    if is_asked("metadata") {
        return Err(Failure::bad("labels and annotations are not supported by this platform: use tags"));
    }
    let has_tags = ["tag", "tags"].iter().any(|key| !input.all(key).is_empty());
    let change = AppChange {
        description: input.text("description"),
        tags: has_tags.then(|| tags(input)),
        plan: input.name("plan")?,
        team: input.name("teamOwner")?,
        platform: platform_name(input)?,
        no_restart: input.flag("noRestart"),
    };
    // Every build starts from the platform's latest image, so there is nothing to reset.
    let is_reset = input.flag("imageReset");
    let is_empty = change.description.is_none()
        && change.tags.is_none()
        && change.plan.is_none()
        && change.team.is_none()
        && change.platform.is_none();
    if is_empty && !is_reset {
        return Err(Failure::bad(
            "Neither the description, tags, plan, pool, team owner or platform were set. You must define at least one.",
        ));
    }
    Ok(change)
}

/// `DELETE /apps/{app}`
pub(crate) async fn remove(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(name): Path<AppName>,
) -> Answer {
    stream::messages(&platform, |platform, progress| async move { platform.remove_app(&user, &name, &progress).await })
        .await
}

/// `PUT /apps/{app}/teams/{team}`
pub(crate) async fn grant(
    platform: State<Arc<Platform>>,
    caller: Caller,
    path: Path<(AppName, TeamName)>,
) -> Answer<StatusCode> {
    set_access(platform, caller, path, true).await
}

/// `DELETE /apps/{app}/teams/{team}`
pub(crate) async fn revoke(
    platform: State<Arc<Platform>>,
    caller: Caller,
    path: Path<(AppName, TeamName)>,
) -> Answer<StatusCode> {
    set_access(platform, caller, path, false).await
}

async fn set_access(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path((app, team)): Path<(AppName, TeamName)>,
    granted: bool,
) -> Answer<StatusCode> {
    stream::finish(&platform, |platform| async move { platform.set_access(&user, &app, &team, granted).await }).await?;
    Ok(StatusCode::OK)
}

/// `POST /apps/{app}/cname`
pub(crate) async fn add_cnames(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(name): Path<AppName>,
    input: Input,
) -> Answer<StatusCode> {
    let cnames = input.names("cname")?;
    stream::finish(&platform, |platform| async move { platform.add_cnames(&user, &name, cnames).await }).await?;
    Ok(StatusCode::OK)
}

/// `DELETE /apps/{app}/cname`
pub(crate) async fn remove_cnames(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(name): Path<AppName>,
    input: Input,
) -> Answer<StatusCode> {
    let cnames = input.names("cname")?;
    stream::finish(&platform, |platform| async move { platform.remove_cnames(&user, &name, cnames).await }).await?;
    Ok(StatusCode::OK)
}

/// `GET /apps/{app}/routers`
pub(crate) async fn routers(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(name): Path<AppName>,
) -> Answer<Json<[wire::AppRouter; 1]>> {
    let app = platform.app(&user, &name).await?;
    Ok(Json([view::app_router(&platform, &app)]))
}

/// `GET /apps/{app}/quota`: there is no limit.
pub(crate) async fn quota(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(name): Path<AppName>,
) -> Answer<Json<wire::Quota>> {
    let app = platform.app(&user, &name).await?;
    Ok(Json(wire::Quota { limit: -1, inuse: app.wanted_units().into() }))
}
