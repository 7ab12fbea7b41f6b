//! The endpoints, a line for each.

use axum::{
    Router,
    routing::{any, delete, get, post, put},
};

use crate::{
    Api,
    handlers::{
        absent, apps, deploys, env, events, health, instances, logs, plans, platforms, pools, roles, services,
        sessions, teams, units, users,
    },
    respond,
};

/// Every endpoint, by its path without a version.
#[rustfmt::skip]
pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .merge(platform_routes())
        .merge(people_routes())
        .merge(app_routes())
        .merge(service_routes())
        .fallback(respond::no_such_path)
        .method_not_allowed_fallback(respond::no_such_method)
}

#[rustfmt::skip]
fn platform_routes() -> Router<Api> {
    Router::new()
        .route("/healthcheck", get(health::healthcheck))
        .route("/healthcheck/", get(health::healthcheck))
        .route("/info", get(health::info))
        .route("/plans", get(plans::list).post(plans::create))
        .route("/plans/routers", get(pools::routers))
        .route("/plans/{plan}", delete(plans::remove))
        .route("/platforms", get(platforms::list).post(platforms::add))
        .route("/platforms/{platform}", get(platforms::info).put(platforms::update).delete(platforms::remove))
        .route("/pools", get(pools::list).post(pools::add))
        .route("/pools/{pool}", get(pools::info).put(pools::update).delete(pools::remove))
        .route("/constraints", get(pools::constraints).put(pools::constrain))
        .route("/routers", get(pools::routers).post(absent::routers))
        .route("/routers/{router}", any(absent::routers))
        .route("/events", get(events::list))
        .route("/events/kinds", get(events::kinds))
        .route("/events/blocks", any(absent::event_blocks))
        .route("/events/blocks/{id}", any(absent::event_blocks))
        .route("/events/webhooks", any(absent::event_blocks))
        .route("/events/webhooks/{name}", any(absent::event_blocks))
        .route("/events/{id}", get(events::info))
        .route("/events/{id}/cancel", post(events::cancel))
        .route("/volumes", get(absent::nothing).post(absent::volumes))
        .route("/volumes/{*rest}", any(absent::volumes))
        .route("/volumeplans", any(absent::volumes))
        .route("/provisioner", get(absent::nothing))
        .route("/provisioner/clusters", get(absent::nothing))
}

#[rustfmt::skip]
fn people_routes() -> Router<Api> {
    Router::new()
        .route("/auth/schemes", get(sessions::schemes))
        .route("/auth/scheme", get(sessions::scheme))
        .route("/auth/login", post(sessions::login_by_form))
        .route("/users", get(users::list).post(users::create).delete(users::remove))
        .route("/users/info", get(users::info))
        .route("/users/password", put(users::change_password))
        .route("/users/tokens", delete(sessions::logout))
        .route("/users/api-key", any(absent::keys))
        .route("/users/{email}/tokens", post(sessions::login))
        .route("/users/{email}/password", any(absent::keys))
        .route("/users/{email}/quota", any(absent::quotas))
        .route("/teams", get(teams::list).post(teams::create))
        .route("/teams/{team}", get(teams::info).put(absent::team_changes).delete(teams::remove))
        .route("/teams/{team}/quota", any(absent::quotas))
        .route("/tokens", get(absent::nothing).post(absent::tokens))
        .route("/tokens/{token}", any(absent::tokens))
        .route("/permissions", get(roles::permissions))
        .route("/roles", get(roles::list).post(absent::roles).put(absent::roles))
        .route("/roles/{role}", get(roles::info).delete(absent::roles))
        .route("/roles/{role}/permissions", any(absent::roles))
        .route("/roles/{role}/permissions/{permission}", any(absent::roles))
        .route("/roles/{role}/user", post(roles::assign))
        .route("/roles/{role}/user/{email}", delete(roles::dissociate))
        .route("/roles/{role}/group", any(absent::roles))
        .route("/roles/{role}/group/{group}", any(absent::roles))
        .route("/roles/{role}/token", any(absent::tokens))
        .route("/roles/{role}/token/{token}", any(absent::tokens))
        .route("/role/default", get(roles::defaults).post(absent::roles).delete(absent::roles))
}

#[rustfmt::skip]
fn app_routes() -> Router<Api> {
    Router::new()
        .route("/apps", get(apps::list).post(apps::create))
        .route("/apps/{app}", get(apps::info).put(apps::update).delete(apps::remove))
        .route("/apps/{app}/teams/{team}", put(apps::grant).delete(apps::revoke))
        .route("/apps/{app}/units", put(units::add).delete(units::remove))
        .route("/apps/{app}/units/autoscale", any(absent::autoscale))
        .route("/apps/{app}/units/autoscale/swap", any(absent::autoscale))
        .route("/apps/{app}/units/{unit}", delete(units::kill))
        .route("/apps/{app}/start", post(units::start))
        .route("/apps/{app}/stop", post(units::stop))
        .route("/apps/{app}/restart", post(units::restart))
        .route("/apps/{app}/run", post(units::run))
        .route("/apps/{app}/shell", any(absent::shell))
        .route("/apps/{app}/log", get(logs::read).post(absent::add_log))
        .route("/apps/{app}/log-instance", get(logs::read))
        .route("/apps/{app}/env", get(env::get).post(env::set).delete(env::unset))
        .route("/apps/{app}/cname", post(apps::add_cnames).delete(apps::remove_cnames))
        .route("/apps/{app}/routers", get(apps::routers).post(absent::app_routers))
        .route("/apps/{app}/routers/{router}", any(absent::app_routers))
        .route("/apps/{app}/routes", post(absent::rebuild_routes))
        .route("/apps/{app}/routable", any(absent::versions))
        .route("/apps/{app}/versions/{version}", any(absent::versions))
        .route("/apps/{app}/quota", get(apps::quota).put(absent::quotas))
        .route("/apps/{app}/certificate", any(absent::certificates))
        .route("/apps/{app}/certissuer", any(absent::certificates))
        .route("/apps/{app}/build", post(absent::build))
        .route("/apps/{app}/diff", post(absent::diff))
        .route("/apps/{app}/deploy", post(deploys::deploy))
        .route("/apps/{app}/deploy/rollback", post(deploys::rollback))
        .route("/apps/{app}/deploy/rollback/update", put(absent::deploy_changes))
        .route("/apps/{app}/deploy/rebuild", post(absent::deploy_changes))
        .route("/deploys", get(deploys::list))
        .route("/deploys/{id}", get(deploys::info))
        .route("/swap", post(absent::swap))
        .route("/jobs", get(absent::nothing).post(absent::jobs))
        .route("/jobs/{*rest}", any(absent::jobs))
}

#[rustfmt::skip]
fn service_routes() -> Router<Api> {
    Router::new()
        .route("/services", get(services::list).post(services::create))
        .route("/services/instances", get(services::list_with_instances))
        .route("/services/{service}", get(services::info).put(services::update).delete(services::remove))
        .route("/services/{service}/plans", get(services::plans))
        .route("/services/{service}/doc", get(services::doc).put(services::set_doc))
        .route("/services/{service}/manifest", any(absent::manifests))
        .route("/services/{service}/team/{team}", any(absent::service_access))
        .route("/services/{service}/instances", post(instances::create))
        .route("/services/{service}/instances/permission/{instance}/{team}", put(instances::grant).delete(instances::revoke))
        .route("/services/{service}/instances/{instance}", get(instances::info).put(instances::update).delete(instances::remove))
        .route("/services/{service}/instances/{instance}/status", get(instances::status))
        .route("/services/{service}/instances/{instance}/apps/{app}", put(instances::bind).delete(instances::unbind))
        .route("/services/{service}/instances/{instance}/jobs/{job}", any(absent::jobs))
        .route("/services/{service}/instances/{instance}/{app}", put(instances::bind).delete(instances::unbind))
        .route("/services/{service}/proxy/{instance}", any(absent::proxies))
        .route("/services/proxy/service/{service}", any(absent::proxies))
        .route("/services/{service}/resources/{instance}/{*path}", any(absent::proxies))
        .route("/services/{service}/authenticated-resources/{*path}", any(absent::proxies))
}
