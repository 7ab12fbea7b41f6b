//! The platform's things as they travel.

use std::collections::{BTreeMap, HashSet};

use platform_core::{App, Platform, Unit, UnitId, UnitState, User};
use platform_wire as wire;

/// The platform has one router, and this is its name.
pub(crate) const ROUTER: &str = "main";
/// What kind of router it is.
pub(crate) const ROUTER_KIND: &str = "tsuru";

/// A size of units.
pub(crate) fn plan(plan: &platform_core::Plan) -> wire::Plan {
    wire::Plan {
        name: plan.name.to_string(),
        memory: i64::try_from(plan.memory).unwrap_or(i64::MAX),
        cpumilli: plan.cpu_milli.into(),
        default: plan.default,
        ..wire::Plan::default()
    }
}

/// Where units run.
pub(crate) fn pool(pool: &platform_core::Pool) -> wire::Pool {
    let teams = strings(&pool.teams);
    let allowed_teams = if pool.public { vec!["*".to_owned()] } else { teams.clone() };
    wire::Pool {
        name: pool.name.to_string(),
        default: pool.default,
        public: pool.public,
        teams,
        allowed: BTreeMap::from([("team".to_owned(), allowed_teams), ("router".to_owned(), vec![ROUTER.to_owned()])]),
        ..wire::Pool::default()
    }
}

/// Names as plain strings.
pub(crate) fn strings<T: ToString>(names: &[T]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// A user, with what they may do: everything, or everything about what their teams own.
pub(crate) fn user(user: &User) -> wire::User {
    let global = |name: &str| role(name, "global", "");
    let (roles, permissions) = if user.admin {
        (vec![global("AllowAll")], vec![global("")])
    } else {
        let of_team = |name: &str, team: &platform_core::TeamName| role(name, "team", team.as_str());
        let roles = user.teams.iter().map(|team| of_team("team-member", team)).collect();
        let granted = |team| ["app", "service", "service-instance"].map(|name| of_team(name, team));
        (roles, user.teams.iter().flat_map(granted).collect())
    };
    wire::User { email: user.email.to_string(), roles, permissions, groups: Vec::new() }
}

fn role(name: &str, context: &str, value: &str) -> wire::Role {
    wire::Role {
        name: name.to_owned(),
        context_type: context.to_owned(),
        context_value: value.to_owned(),
        group: String::new(),
    }
}

/// What is true of units now, as far as engine and router tell.
pub(crate) struct Reality {
    serving: HashSet<UnitId>,
    /// Why something is not known; empty when everything is.
    pub(crate) error: String,
}

impl Reality {
    /// Asks the router which units get requests. A router that is away is named, and no unit counts as ready.
    pub(crate) async fn of(platform: &Platform) -> Self {
        match platform.serving().await {
            Ok(serving) => Self { serving, error: String::new() },
            Err(error) => Self { serving: HashSet::new(), error: error.to_string() },
        }
    }

    /// Nothing is asked and nothing is known.
    pub(crate) fn unknown() -> Self {
        Self { serving: HashSet::new(), error: String::new() }
    }

    /// A unit of an app. It is ready when requests go to it or, where none ever do, when it is one of
    /// those that are wanted now.
    pub(crate) fn unit(&self, app: &App, unit: &Unit) -> wire::Unit {
        let routable = self.serving.contains(&unit.id);
        let is_main = app.main_process().is_some_and(|main| main.name == unit.process);
        let is_wanted = app.current == Some(unit.version) && app.generation == unit.generation;
        let ready = unit.state == UnitState::Started && (routable || (!is_main && is_wanted));
        let address = unit.address.map(wire::Url::http);
        wire::Unit {
            id: unit.id.to_string(),
            name: unit.id.to_string(),
            app_name: app.name.to_string(),
            process_name: unit.process.to_string(),
            kind: platform_of(app),
            ip: unit.address.map(|address| address.ip().to_string()).unwrap_or_default(),
            status: unit.state.as_str().to_owned(),
            addresses: address.iter().cloned().collect(),
            address,
            version: unit.version.into(),
            routable,
            restarts: Some(unit.restarts.into()),
            created_at: Some(unit.created_at),
            ready: Some(ready),
            ..wire::Unit::default()
        }
    }
}

/// An app's platform; empty for one that takes only images.
pub(crate) fn platform_of(app: &App) -> String {
    app.platform.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// The router as an app has it.
pub(crate) fn app_router(platform: &Platform, app: &App) -> wire::AppRouter {
    let address = platform.address(&app.name);
    wire::AppRouter {
        name: ROUTER.to_owned(),
        addresses: vec![address.clone()],
        address,
        kind: ROUTER_KIND.to_owned(),
        status: "ready".to_owned(),
        ..wire::AppRouter::default()
    }
}
