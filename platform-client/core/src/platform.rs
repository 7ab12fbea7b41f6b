//! The platform: ports put together. Its verbs are in a file each.

use std::{
    future::Future,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{sync::Notify, task::JoinHandle};

use crate::{
    App, AppName, Error, Result, User,
    operation::Locks,
    ports::{Brokers, Engine, Routes, Sources, Store},
    reconcile::Repairs,
    records::{Kept, Records},
};

/// What a sysadmin decides about the platform.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Apps answer at `<app>.<domain>`.
    pub domain: String,
    /// The router's port, shown in addresses unless it is 80.
    pub router_port: u16,
    /// Where the API is, for units and people.
    pub api_url: String,
    /// How long a unit may take to become ready, unless its check says otherwise.
    pub ready_within: Duration,
    /// How long requests in flight may take once their unit is on its way out.
    pub drain_within: Duration,
    /// How long a unit may take to stop before it is killed.
    pub stop_grace: Duration,
    /// How long an operation waits for another one on the same target.
    pub lock_wait: Duration,
    /// How long a login lasts.
    pub token_lifetime: Duration,
    /// How many releases of an app are kept for rollback.
    pub releases_kept: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            domain: "localhost".to_owned(),
            router_port: 80,
            api_url: "http://127.0.0.1:8080".to_owned(),
            ready_within: Duration::from_secs(120),
            drain_within: Duration::from_secs(30),
            stop_grace: Duration::from_secs(10),
            lock_wait: Duration::from_secs(10),
            token_lifetime: Duration::from_secs(7 * 24 * 3600),
            releases_kept: 10,
        }
    }
}

/// The adapters a platform is made of.
#[derive(Clone)]
pub struct Adapters {
    /// Where units run.
    pub engine: Arc<dyn Engine>,
    /// Where requests go.
    pub routes: Arc<dyn Routes>,
    /// Who provides services.
    pub brokers: Arc<dyn Brokers>,
    /// What is remembered.
    pub store: Arc<dyn Store>,
}

/// Everything that users can ask the platform for.
///
/// Operations must not be dropped half-way because a user went away: run them by [`Platform::spawn`].
/// What a crash interrupts, [`Platform::recover`] finishes or undoes.
pub struct Platform {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) routes: Arc<dyn Routes>,
    pub(crate) brokers: Arc<dyn Brokers>,
    pub(crate) records: Records,
    pub(crate) settings: Settings,
    pub(crate) locks: Locks,
    pub(crate) repairs: Repairs,
    /// Held from reading routes to publishing what was made of them.
    pub(crate) publishing: tokio::sync::Mutex<()>,
    pub(crate) changed: Notify,
    pub(crate) sources: OnceLock<Arc<dyn Sources>>,
}

impl Platform {
    /// Puts the ports together. Nothing runs yet: see [`Platform::recover`] and [`Platform::reconcile_forever`].
    #[must_use]
    pub fn new(adapters: Adapters, settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            engine: adapters.engine,
            routes: adapters.routes,
            brokers: adapters.brokers,
            records: Records::new(adapters.store),
            settings,
            locks: Locks::default(),
            repairs: Repairs::default(),
            publishing: tokio::sync::Mutex::default(),
            changed: Notify::new(),
            sources: OnceLock::new(),
        })
    }

    /// Has an app's pushed source forgotten with the app. Told once, after [`Platform::new`]: who keeps
    /// sources needs the platform first.
    pub fn keep_sources_in(&self, sources: Arc<dyn Sources>) {
        if self.sources.set(sources).is_err() {
            tracing::error!("where sources are kept was told already");
        }
    }

    /// What was decided about the platform.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Runs an operation to its end even if whoever waits for it goes away.
    pub fn spawn<T, F>(self: &Arc<Self>, operation: impl FnOnce(Arc<Self>) -> F) -> JoinHandle<T>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        tokio::spawn(operation(Arc::clone(self)))
    }

    /// Waits until no operation runs, at most `within`; returns whether it came to that.
    pub async fn idle(&self, within: Duration) -> bool {
        self.locks.idle(within).await
    }

    /// An app that the user may use.
    ///
    /// # Errors
    /// When there is no such app, or the user may not use it.
    pub async fn app(&self, user: &User, name: &AppName) -> Result<App> {
        Ok(self.kept_app(user, name).await?.into_inner())
    }

    pub(crate) async fn kept_app(&self, user: &User, name: &AppName) -> Result<Kept<App>> {
        let app = self.records.get::<App>(name.as_str()).await?.ok_or_else(|| Error::AppNotFound(name.clone()))?;
        if user.reaches(&app.teams) { Ok(app) } else { Err(Error::Forbidden) }
    }

    /// Apps that the user may use, by name.
    ///
    /// # Errors
    /// When the records can't be read.
    pub async fn apps(&self, user: &User) -> Result<Vec<App>> {
        let all = self.records.all::<App>().await?;
        Ok(all.into_iter().filter(|app| user.reaches(&app.teams)).collect())
    }

    /// The host name that every app has: `<app>.<domain>`.
    #[must_use]
    pub fn default_host(&self, app: &AppName) -> String {
        format!("{app}.{}", self.settings.domain)
    }

    /// The address that people type: the default host, with the router's port unless it is 80.
    #[must_use]
    pub fn address(&self, app: &AppName) -> String {
        let host = self.default_host(app);
        if self.settings.router_port == 80 { host } else { format!("{host}:{}", self.settings.router_port) }
    }
}
