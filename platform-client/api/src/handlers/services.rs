//! Services: brokers registered with the platform (contract 12.1, 12.2).

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State, http::StatusCode, response::Response};
use futures::{StreamExt as _, stream as streams};
use platform_core::{Manifesto, Platform, Secret, Service, ServiceInstance, ServiceName, User};
use platform_wire as wire;
use serde_json::Value;

use super::apps::tags;
use crate::{
    auth::Caller,
    extract::Input,
    path::Path,
    respond::{self, Answer, Failure},
    stream, view,
};

/// Brokers that are asked at the same time.
const AT_ONCE: usize = 8;

/// `POST /services`
pub(crate) async fn create(State(platform): State<Arc<Platform>>, Caller(user): Caller, input: Input) -> Answer {
    if input.flag("multi-cluster") {
        return Err(Failure::bad("multi-cluster services are not supported by this platform: leave multi-cluster out"));
    }
    let name = input.text("id").ok_or_else(|| Failure::bad("Service id is required"))?.parse()?;
    let manifest = manifest(name, &input)?;
    stream::finish(&platform, |platform| async move { platform.create_service(&user, manifest).await }).await?;
    Ok(respond::text(StatusCode::CREATED, "success"))
}

/// `PUT /services/{service}`: 200 exactly, clients print nothing otherwise.
pub(crate) async fn update(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(name): Path<ServiceName>,
    input: Input,
) -> Answer<StatusCode> {
    platform.service(&name).await?;
    let manifest = manifest(name, &input)?;
    stream::finish(&platform, |platform| async move { platform.update_service(&user, manifest).await }).await?;
    Ok(StatusCode::OK)
}

fn manifest(name: ServiceName, input: &Input) -> Answer<Manifesto> {
    let keyed = input.bag("endpoints").unwrap_or_default();
    let text = |value: &Value| value.as_str().filter(|url| !url.is_empty()).map(str::to_owned);
    let mut endpoints: BTreeMap<_, _> = keyed.iter().filter_map(|(key, url)| Some((key.clone(), text(url)?))).collect();
    if let Some(url) = input.text("endpoint") {
        endpoints.insert("production".to_owned(), url);
    }
    Ok(Manifesto {
        name,
        username: input.text("username").unwrap_or_default(),
        password: input.secret("password").unwrap_or_else(|| Secret::from("")),
        endpoints,
        encoding: input.text("encoding"),
        team: input.name("team")?,
    })
}

/// `DELETE /services/{service}`
pub(crate) async fn remove(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(name): Path<ServiceName>,
) -> Answer<StatusCode> {
    stream::finish(&platform, |platform| async move { platform.remove_service(&user, &name).await }).await?;
    Ok(StatusCode::OK)
}

/// `GET /services`: 204 when there are none.
pub(crate) async fn list(State(platform): State<Arc<Platform>>, Caller(user): Caller, input: Input) -> Answer {
    Ok(respond::list(listings(&platform, &user, &input).await?))
}

/// `GET /services/instances`: 200 always, clients show nothing otherwise.
pub(crate) async fn list_with_instances(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    input: Input,
) -> Answer<Json<Vec<wire::ServiceListing>>> {
    Ok(Json(listings(&platform, &user, &input).await?))
}

/// Every service with those of its instances that the filters let through; no broker is asked.
async fn listings(platform: &Platform, user: &User, input: &Input) -> Answer<Vec<wire::ServiceListing>> {
    let (app, tags) = (input.text("app"), tags(input));
    let mut instances = platform.instances(user, None).await?;
    instances.retain(|instance| {
        app.as_ref().is_none_or(|app| instance.apps.iter().any(|bound| bound.as_str() == app))
            && tags.iter().all(|tag| instance.tags.contains(tag))
    });
    let services = platform.services().await?;
    Ok(services.iter().map(|service| listing(service, &instances)).collect())
}

fn listing(service: &Service, instances: &[ServiceInstance]) -> wire::ServiceListing {
    let own: Vec<_> = instances.iter().filter(|instance| instance.service == service.name).collect();
    let mut plans: Vec<_> = own.iter().map(|instance| instance.plan.clone()).filter(|plan| !plan.is_empty()).collect();
    plans.sort();
    plans.dedup();
    wire::ServiceListing {
        service: service.name.to_string(),
        instances: own.iter().map(|instance| instance.name.to_string()).collect(),
        plans: (!plans.is_empty()).then_some(plans),
        service_instances: (!own.is_empty()).then(|| own.into_iter().map(listed).collect()),
    }
}

fn listed(instance: &ServiceInstance) -> wire::ListedInstance {
    wire::ListedInstance {
        name: instance.name.to_string(),
        service_name: instance.service.to_string(),
        plan_name: instance.plan.clone(),
        apps: view::strings(&instance.apps),
        jobs: view::strings(&instance.jobs),
        teams: view::strings(&instance.teams),
        team_owner: instance.team.to_string(),
        description: instance.description.clone(),
        tags: instance.tags.clone(),
        parameters: instance.parameters.clone(),
        pool: String::new(),
    }
}

/// `GET /services/{service}`: its instances, with what the broker says about each.
pub(crate) async fn info(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(name): Path<ServiceName>,
) -> Answer<Json<Vec<wire::ServiceInstance>>> {
    platform.service(&name).await?;
    let instances = platform.instances(&user, Some(&name)).await?;
    let told = streams::iter(instances).map(|instance| {
        let (platform, user) = (&platform, &user);
        async move {
            let info = told_about(platform, user, &instance).await;
            wire::ServiceInstance {
                name: instance.name.to_string(),
                plan_name: instance.plan.clone(),
                apps: view::strings(&instance.apps),
                jobs: view::strings(&instance.jobs),
                service_name: instance.service.to_string(),
                teams: view::strings(&instance.teams),
                team_owner: instance.team.to_string(),
                info,
                pool: String::new(),
            }
        }
    });
    Ok(Json(told.buffered(AT_ONCE).collect().await))
}

/// What a broker says about an instance; nothing when it is away: what the platform knows is shown all the same.
pub(crate) async fn told_about(
    platform: &Platform,
    user: &User,
    instance: &ServiceInstance,
) -> BTreeMap<String, String> {
    platform.instance_info(user, &instance.service, &instance.name).await.unwrap_or_else(|error| {
        tracing::warn!(
            service.name = %instance.service, instance.name = %instance.name, %error,
            "the broker of `{}` does not tell about `{}`", instance.service, instance.name,
        );
        BTreeMap::new()
    })
}

/// `GET /services/{service}/plans`: a list, never 204.
pub(crate) async fn plans(
    State(platform): State<Arc<Platform>>,
    _: Caller,
    Path(name): Path<ServiceName>,
) -> Answer<Json<Vec<wire::ServicePlan>>> {
    let plans = platform.service_plans(&name).await?.into_iter();
    let plans = plans.map(|(name, description)| wire::ServicePlan { name, description, schemas: Value::Null });
    Ok(Json(plans.collect()))
}

/// `GET /services/{service}/doc`
pub(crate) async fn doc(
    State(platform): State<Arc<Platform>>,
    _: Caller,
    Path(name): Path<ServiceName>,
) -> Answer<Response> {
    Ok(respond::text(StatusCode::OK, platform.service(&name).await?.doc))
}

/// `PUT /services/{service}/doc`
pub(crate) async fn set_doc(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(name): Path<ServiceName>,
    input: Input,
) -> Answer<StatusCode> {
    let doc = input.text("doc").unwrap_or_default();
    stream::finish(&platform, |platform| async move { platform.set_service_doc(&user, &name, doc).await }).await?;
    Ok(StatusCode::OK)
}
