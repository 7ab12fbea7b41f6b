//! Service instances and their bindings (contract 12.3, 12.4; service-api 5.12).

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode, response::Response};
use platform_core::{
    AppName, Binding, InstanceChange, InstanceName, NewInstance, Platform, Removal, ServiceInstance, ServiceName,
    TeamName, Unbinding,
};
use platform_wire as wire;

use super::{apps::tags, services::told_about};
use crate::{
    auth::Caller,
    extract::Input,
    path::Path,
    respond::{self, Answer},
    stream, view,
};

/// `POST /services/{service}/instances`
pub(crate) async fn create(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(service): Path<ServiceName>,
    input: Input,
) -> Answer<StatusCode> {
    platform.service(&service).await?;
    let new = NewInstance {
        service,
        name: input.required("name")?,
        plan: input.text_of(&["plan_name", "plan"]).unwrap_or_default(),
        team: input.text_of(&["team_owner", "owner"]).map(|team| team.parse()).transpose()?,
        description: input.text("description").unwrap_or_default(),
        tags: tags(&input),
        parameters: input.bag("parameters").unwrap_or_default(),
    };
    stream::finish(&platform, |platform| async move { platform.create_instance(&user, new).await }).await?;
    Ok(StatusCode::CREATED)
}

/// `PUT /services/{service}/instances/{instance}`: the whole instance, what is left out is emptied.
pub(crate) async fn update(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path((service, name)): Path<(ServiceName, InstanceName)>,
    input: Input,
) -> Answer<StatusCode> {
    let change = InstanceChange {
        plan: input.text("plan").unwrap_or_default(),
        team: input.name("teamowner")?,
        description: input.text("description").unwrap_or_default(),
        tags: tags(&input),
        parameters: input.bag("parameters").unwrap_or_default(),
    };
    let update =
        |platform: Arc<Platform>| async move { platform.update_instance(&user, &service, &name, change).await };
    stream::finish(&platform, update).await?;
    Ok(StatusCode::OK)
}

/// `GET /services/{service}/instances/{instance}`. A broker that is away leaves its part of the answer empty.
pub(crate) async fn info(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path((service, name)): Path<(ServiceName, InstanceName)>,
) -> Answer<Json<wire::InstanceInfo>> {
    let instance = platform.instance(&user, &service, &name).await?;
    let (custom_info, plan_description) =
        tokio::join!(told_about(&platform, &user, &instance), plan_description(&platform, &instance));
    Ok(Json(wire::InstanceInfo {
        apps: view::strings(&instance.apps),
        jobs: view::strings(&instance.jobs),
        teams: view::strings(&instance.teams),
        team_owner: instance.team.to_string(),
        description: instance.description,
        plan_name: instance.plan,
        plan_description,
        custom_info,
        tags: instance.tags,
        parameters: instance.parameters,
        ..wire::InstanceInfo::default()
    }))
}

async fn plan_description(platform: &Platform, instance: &ServiceInstance) -> String {
    if instance.plan.is_empty() {
        return String::new();
    }
    let plans = platform.service_plans(&instance.service).await.unwrap_or_default();
    plans.into_iter().find(|(name, _)| *name == instance.plan).map(|(_, description)| description).unwrap_or_default()
}

/// `GET /services/{service}/instances/{instance}/status`: plain text.
pub(crate) async fn status(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path((service, name)): Path<(ServiceName, InstanceName)>,
) -> Answer<Response> {
    Ok(respond::text(StatusCode::OK, platform.instance_status(&user, &service, &name).await?))
}

/// `DELETE /services/{service}/instances/{instance}`
pub(crate) async fn remove(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path((service, name)): Path<(ServiceName, InstanceName)>,
    input: Input,
) -> Answer {
    let removal = Removal { unbind_all: input.flag("unbindall"), ignore_errors: input.flag("ignoreerrors") };
    stream::messages(&platform, |platform, progress| async move {
        platform.remove_instance(&user, &service, &name, removal, &progress).await
    })
    .await
}

/// `PUT /services/{service}/instances/{instance}/apps/{app}`, and without `apps` for older clients.
pub(crate) async fn bind(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path((service, name, app)): Path<(ServiceName, InstanceName, AppName)>,
    input: Input,
) -> Answer {
    let how = Binding { parameters: input.bag("parameters").unwrap_or_default(), no_restart: input.flag("noRestart") };
    stream::messages(&platform, |platform, progress| async move {
        platform.bind_app(&user, &service, &name, &app, how, &progress).await
    })
    .await
}

/// `DELETE /services/{service}/instances/{instance}/apps/{app}`, and without `apps` for older clients.
pub(crate) async fn unbind(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path((service, name, app)): Path<(ServiceName, InstanceName, AppName)>,
    input: Input,
) -> Answer {
    let how = Unbinding { no_restart: input.flag("noRestart"), force: input.flag("force") };
    stream::messages(&platform, |platform, progress| async move {
        platform.unbind_app(&user, &service, &name, &app, how, &progress).await
    })
    .await
}

/// `PUT /services/{service}/instances/permission/{instance}/{team}`
pub(crate) async fn grant(
    platform: State<Arc<Platform>>,
    caller: Caller,
    path: Path<(ServiceName, InstanceName, TeamName)>,
) -> Answer<StatusCode> {
    set_access(platform, caller, path, true).await
}

/// `DELETE /services/{service}/instances/permission/{instance}/{team}`
pub(crate) async fn revoke(
    platform: State<Arc<Platform>>,
    caller: Caller,
    path: Path<(ServiceName, InstanceName, TeamName)>,
) -> Answer<StatusCode> {
    set_access(platform, caller, path, false).await
}

async fn set_access(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path((service, name, team)): Path<(ServiceName, InstanceName, TeamName)>,
    granted: bool,
) -> Answer<StatusCode> {
    stream::finish(&platform, |platform| async move {
        platform.set_instance_access(&user, &service, &name, &team, granted).await
    })
    .await?;
    Ok(StatusCode::OK)
}
