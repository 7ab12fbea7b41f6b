//! The roles a process can have, from their settings to a clean end.

use std::{future::IntoFuture as _, io, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use axum::Router as Web;
use broker_core::{OpaqueId, SealingKey, Secret};
use platform_api::ApiInfo;
use platform_core::{Adapters, Platform, Settings, ports::Routes};
use platform_docker::{BuildSettings, DockerConfig, DockerEngine};
use platform_git::{GitConfig, GitServer};
use platform_router::{Control, RemoteRoutes, Router, RouterConfig};
use platform_services::HttpBrokers;
use platform_store::SqliteStore;
use tokio::net::TcpListener;

use crate::{
    config::{RouterRole, Serve},
    first_start::{empty_private_folder, furnish, private_folder, secret_file, take_folder},
    pushes::{Deploys, Repositories},
    stop,
};

/// How long operations and requests get to end when the process is told to stop.
const GRACE: Duration = Duration::from_secs(30);
/// How long answers get to be read once nothing runs any more; followed logs have no end of their own.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// `tsurud serve`: everything but, where it has a process of its own, the router.
pub(crate) async fn platform(settings: Serve) -> anyhow::Result<()> {
    // Another part may have installed it already; it is the same one.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    private_folder(&settings.data)?;
    let _ours_alone = take_folder(&settings.data)?;
    empty_private_folder(&settings.data.join("uploads"))?;
    let listener = listen(&settings).await?;
    let (routes, router) = routes(&settings)?;
    let platform = Platform::new(adapters(&settings, routes).await?, wishes(&settings));
    let password_file = settings.admin_password_file.clone().unwrap_or_else(|| settings.data.join("admin-password"));
    let password = secret_file(&password_file, Secret::generate)?;
    furnish(&platform, &settings.admin_email, password).await.context("the platform could not be furnished")?;
    platform.recover().await.context("the platform's records cannot be read")?;
    let reconciler = tokio::spawn(Arc::clone(&platform).reconcile_forever());

    let git = GitServer::new(GitConfig::new(&settings.data)?, Arc::new(Deploys(Arc::clone(&platform)))).await?;
    platform.keep_sources_in(Arc::new(Repositories(git.clone())));
    let web: Web = platform_api::router(Arc::clone(&platform), api_info(&settings)).merge(git.router());
    tracing::info!(api = %listener.local_addr()?, router = %settings.router_listen, "tsurud serves the API at http://{}", listener.local_addr()?);
    let (stop_serving, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = axum::serve(listener, web).with_graceful_shutdown(async { drop(stopped.await) });
    let mut serving = tokio::spawn(serving.into_future());
    tokio::select! {
        ended = &mut serving => ended?.context("the API ended")?,
        told = stop::told_to() => told?,
    }

    drop(stop_serving);
    reconciler.abort();
    if !platform.idle(GRACE).await {
        tracing::warn!("operations still run; the next start ends them");
    }
    if tokio::time::timeout(LAST_ANSWERS, serving).await.is_err() {
        tracing::info!("closed connections that were still open, such as followed logs");
    }
    if let Some(router) = router {
        router.shutdown(GRACE).await;
    }
    Ok(())
}

/// `tsurud router`: the proxy and its control socket, nothing else.
pub(crate) async fn router(settings: RouterRole) -> anyhow::Result<()> {
    let config = RouterConfig { state_file: Some(settings.state), ..RouterConfig::new(settings.listen) };
    let router = bind_router(config, "--listen")?;
    let control = Control::serve(router.routes(), &settings.socket)
        .with_context(|| format!("cannot serve the control socket {}", settings.socket.display()))?;
    tracing::info!(listen = %settings.listen, "the router serves at http://{}", settings.listen);
    stop::told_to().await?;
    drop(control);
    router.shutdown(GRACE).await;
    Ok(())
}

async fn listen(settings: &Serve) -> anyhow::Result<TcpListener> {
    let address = settings.listen;
    TcpListener::bind(address).await.map_err(|reason| match reason.kind() {
        io::ErrorKind::AddrInUse => anyhow!(
            "port {} of {} is taken by another program: stop that program, or choose another address with --listen",
            address.port(),
            address.ip()
        ),
        _ => anyhow!("cannot listen at {address}: {reason}; choose another address with --listen"),
    })
}

fn bind_router(config: RouterConfig, setting: &str) -> anyhow::Result<Router> {
    let address = config.listen;
    Router::bind(config).with_context(|| format!("the router cannot listen at {address} (its setting is {setting})"))
}

/// The router in this process, or the way to one in another.
fn routes(settings: &Serve) -> anyhow::Result<(Arc<dyn Routes>, Option<Router>)> {
    if let Some(socket) = &settings.router_socket {
        return Ok((Arc::new(RemoteRoutes::at(socket)), None));
    }
    let state_file = Some(settings.data.join("routes.json"));
    let config = RouterConfig { state_file, ..RouterConfig::new(settings.router_listen) };
    let router = bind_router(config, "--router-listen")?;
    Ok((router.routes(), Some(router)))
}

async fn adapters(settings: &Serve, routes: Arc<dyn Routes>) -> anyhow::Result<Adapters> {
    let key_file = settings.data.join("state.key");
    let key = SealingKey::load_or_create(&key_file)
        .with_context(|| format!("cannot use the key in {}", key_file.display()))?;
    let database = settings.data.join("state.db");
    let store =
        SqliteStore::open(&database, key).await.with_context(|| format!("cannot open {}", database.display()))?;
    let engine = DockerEngine::connect(docker(settings)?).await?;
    engine.sweep().await?;
    Ok(Adapters { engine: Arc::new(engine), routes, brokers: Arc::new(HttpBrokers::new()?), store: Arc::new(store) })
}

fn docker(settings: &Serve) -> anyhow::Result<DockerConfig> {
    let build = BuildSettings {
        ca_bundle: settings.build_ca.clone(),
        env: settings.build_env.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect(),
        network: settings.build_network.clone(),
    };
    let mut config = DockerConfig { build, instance: platform_id(&settings.data)?, ..DockerConfig::default() };
    if let Some(host) = docker_host(settings.docker_host.clone(), std::env::var("DOCKER_HOST").ok()) {
        config.host = host;
    }
    Ok(config)
}

/// Our own setting goes before the one of all Docker clients; an empty one is none.
fn docker_host(ours: Option<String>, usual: Option<String>) -> Option<String> {
    [ours, usual].into_iter().flatten().find(|host| !host.is_empty())
}

/// What marks this platform's containers, so that two platforms on one engine leave each other alone.
fn platform_id(data: &Path) -> anyhow::Result<String> {
    let id = secret_file(&data.join("platform-id"), || OpaqueId::generate().as_str().into())?;
    Ok(id.expose().to_owned())
}

fn wishes(settings: &Serve) -> Settings {
    Settings {
        domain: settings.domain.clone(),
        router_port: settings.router_listen.port(),
        api_url: settings.api_url.clone().unwrap_or_else(|| format!("http://{}", settings.listen)),
        ready_within: settings.ready,
        drain_within: settings.drain,
        stop_grace: settings.stop_grace,
        ..Settings::default()
    }
}

fn api_info(settings: &Serve) -> ApiInfo {
    let upload_dir = Some(settings.data.join("uploads"));
    ApiInfo { version: env!("CARGO_PKG_VERSION").to_owned(), upload_dir, ..ApiInfo::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_is_where_we_are_told_or_else_where_docker_clients_are_told() {
        let host = |ours: &str, usual: &str| docker_host(Some(ours.to_owned()), Some(usual.to_owned()));
        assert_eq!(host("unix:///a", "unix:///b").as_deref(), Some("unix:///a"));
        assert_eq!(host("", "unix:///b").as_deref(), Some("unix:///b"));
        assert_eq!(host("", ""), None);
        assert_eq!(docker_host(None, None), None);
    }

    #[tokio::test]
    async fn a_taken_port_is_named_with_the_setting_that_changes_it() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let cli = ["tsurud", "serve", "--listen", &address];
        let crate::config::Command::Serve(settings) = <crate::config::Cli as clap::Parser>::parse_from(cli).command
        else {
            panic!("these are the settings of serve")
        };

        let refusal = listen(&settings).await.unwrap_err().to_string();

        let port = taken.local_addr().unwrap().port();
        assert!(refusal.starts_with(&format!("port {port} of 127.0.0.1 is taken by another program")), "{refusal}");
        assert!(refusal.ends_with("--listen"), "{refusal}");
    }
}
