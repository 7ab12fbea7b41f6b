//! What the stock platform has and this one does not: refused with a sentence, never with silence.

use axum::response::Response;

use crate::{
    auth::Caller,
    respond::{Answer, Failure, list},
};

fn not_offered(sentence: &str) -> Answer {
    Err(Failure::NotOffered(sentence.to_owned()))
}

macro_rules! absent {
    ($($(#[$doc:meta])* $name:ident: $sentence:literal;)*) => {$(
        $(#[$doc])*
        pub(crate) async fn $name(_: Caller) -> Answer {
            not_offered($sentence)
        }
    )*};
}

absent! {
    /// `/apps/{app}/certificate`, `/apps/{app}/certissuer`
    certificates: "certificates are not supported by this platform yet: put a proxy that speaks TLS in front of its router";
    /// `/apps/{app}/units/autoscale`
    autoscale: "autoscale is not supported by this platform: set the number of units with `tsuru unit set`";
    /// `/apps/{app}/build`
    build: "building without deploying is not supported by this platform: use `tsuru app deploy`";
    /// `/apps/{app}/shell`
    shell: "an interactive shell is not supported by this platform yet: use `tsuru app run`";
    /// `POST /apps/{app}/routers`, `/apps/{app}/routers/{router}`
    app_routers: "every app is on the platform's one router, main, which can't be added, changed or removed";
    /// `POST /apps/{app}/routes`
    rebuild_routes: "routes are kept up to date by the platform itself: there is nothing to rebuild";
    /// `/apps/{app}/versions/{version}`, `/apps/{app}/routable`
    versions: "an app has one version that serves: choose it with `tsuru app deploy rollback`";
    /// `PUT /apps/{app}/quota`, `/users/{email}/quota`, `/teams/{team}/quota`
    quotas: "quotas are not supported by this platform: there is no limit";
    /// `POST /apps/{app}/log`
    add_log: "this platform shows what units write and keeps no other lines: write to standard output in a unit";
    /// `PUT /apps/{app}/deploy/rollback/update`, `POST /apps/{app}/deploy/rebuild`
    deploy_changes: "this is not supported by this platform: deploy again, or go back with `tsuru app deploy rollback`";
    /// `/routers` and below, except the list
    routers: "routers can't be added, changed or removed: the platform has one, main";
    /// `/roles` and below, except lists and membership of teams
    roles: "roles can't be made or changed: the platform has AllowAll for administrators and team-member for members of a team";
    /// `/tokens` and below
    tokens: "team tokens are not supported by this platform yet: log in with `tsuru login` and use the user's token";
    /// `/users/api-key`, `/users/{email}/password`
    keys: "this is not supported by this platform: log in with `tsuru login`, or have an administrator make the user anew";
    /// `PUT /teams/{team}`
    team_changes: "teams can't be renamed or given other tags on this platform yet: make a new one";
    /// `/jobs` and below, except the list
    jobs: "jobs are not supported by this platform yet";
    /// Proxies to brokers
    proxies: "proxying to services is not supported by this platform yet";
    /// `/services/{service}/team/{team}`
    service_access: "every team may use every service on this platform: access can't be granted or revoked";
    /// `/services/{service}/manifest`
    manifests: "access manifests of services are not supported by this platform yet";
    /// `/events/blocks`, `/events/webhooks`
    event_blocks: "event blocks and webhooks are not supported by this platform";
    /// `/volumes`, `/volumeplans`
    volumes: "volumes are not supported by this platform: keep data in a service instance";
}

/// Lists of what this platform has none of: `/jobs`, `/tokens`, `/provisioner/clusters`, `/volumes`.
pub(crate) async fn nothing(_: Caller) -> Response {
    list(Vec::<()>::new())
}

/// `POST /swap`
pub(crate) async fn swap(_: Caller) -> Answer {
    Err(Failure::Precondition("swapping apps is deprecated: move a cname from one app to the other".to_owned()))
}

/// `POST /apps/{app}/diff`
pub(crate) async fn diff(_: Caller) -> Answer {
    Err(Failure::Gone("diffs of deploys are not kept any more".to_owned()))
}
