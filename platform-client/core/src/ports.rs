//! What the use cases need from the world. Each port has in-memory form and a contract in
//! `platform_core::testing` (feature `testing`); adapters run the same contract.

use std::{collections::BTreeMap, path::Path, time::Duration};

use async_trait::async_trait;
use broker_core::{AppName, Consumer, InstanceName, Parameters, Secret, ServiceName};
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::{
    Error, EventId, HealthCheck, Hooks, PlatformName, Process, Progress, Result, Route, Service, ServiceInstance, Unit,
    UnitEnv, UnitId, UnitSpec,
};

/// Where units run and images are made.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Makes a platform's image from a Dockerfile's text; `FROM` may name a local image. Returns the image.
    async fn build_platform(
        &self,
        name: &PlatformName,
        version: u32,
        dockerfile: &str,
        progress: &Progress,
    ) -> Result<String>;

    /// Puts source on a platform's image, following the image contract (contract section 19):
    /// dependencies in a layer of their own that is kept while their files are unchanged, then the
    /// source, then the build hooks. Output goes to `progress` as it appears.
    async fn build(&self, build: &Build<'_>, progress: &Progress) -> Result<Built>;

    /// Takes a ready image and reads how to run it.
    async fn take_image(&self, app: &AppName, version: u32, image: &str, progress: &Progress) -> Result<Built>;

    /// Starts a unit and returns once it has an address; it may not answer yet. A unit of that
    /// identifier that is already there is adopted, started if it stands still.
    async fn start(&self, spec: &UnitSpec) -> Result<Unit>;

    /// Returns once the unit is ready: its check passes or, without one, its port answers
    /// (`listens`), or it has stayed up for a moment. The error says why not and ends with the
    /// unit's last lines of output.
    async fn wait_ready(&self, unit: &Unit, check: Option<&HealthCheck>, listens: bool, within: Duration)
    -> Result<()>;

    /// Stops and removes a unit: asked first, killed after `grace`. A unit that is gone is a success.
    async fn stop(&self, unit: &UnitId, grace: Duration) -> Result<()>;

    /// All units of this platform, or of one app, whatever their state.
    async fn units(&self, app: Option<&AppName>) -> Result<Vec<Unit>>;

    /// The last `lines` lines of an app's units, oldest first, and with `follow` what comes after,
    /// from units that start later too. Ends when dropped.
    async fn logs(&self, app: &AppName, lines: usize, follow: bool) -> Result<BoxStream<'static, LogLine>>;

    /// Runs a command in a unit, in the app's directory; output goes to `progress`. Returns the exit status.
    async fn run_in(&self, unit: &UnitId, command: &str, progress: &Progress) -> Result<i64>;

    /// Runs a command in a fresh unit that is removed afterwards. Returns the exit status.
    async fn run_once(&self, spec: &UnitSpec, progress: &Progress) -> Result<i64>;

    /// Removes an image unless something uses it. An image that is gone is a success.
    async fn remove_image(&self, image: &str) -> Result<()>;

    /// Something about units changed: an app's name each time. After a lost connection all apps
    /// count as changed (`None`).
    async fn changes(&self) -> BoxStream<'static, Option<AppName>>;
}

/// Source to be built.
#[derive(Clone, Debug)]
pub struct Build<'a> {
    /// The app.
    pub app: &'a AppName,
    /// The version it becomes.
    pub version: u32,
    /// The platform's image.
    pub platform_image: &'a str,
    /// The source: a gzip tar, its root is the app's directory.
    pub archive: &'a Path,
    /// Variables that builds see.
    pub env: UnitEnv,
}

/// What a build made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The image.
    pub image: String,
    /// How to run it.
    pub processes: Vec<Process>,
    /// What runs around it.
    pub hooks: Hooks,
}

/// A line that a unit wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When.
    pub at: DateTime<Utc>,
    /// Process name; `tsuru` for the platform's own lines.
    pub source: String,
    /// Unit; `api` for the platform's own lines.
    pub unit: String,
    /// The text, without its line break.
    pub message: String,
}

/// Which units answer for an app.
#[async_trait]
pub trait Routes: Send + Sync {
    /// Replaces all an app's hosts and units at once. When it returns, new requests follow it.
    async fn publish(&self, route: Route) -> Result<()>;

    /// Forgets an app. One that is unknown is a success.
    async fn withdraw(&self, app: &AppName) -> Result<()>;

    /// Everything that is published, by app.
    async fn published(&self) -> Result<Vec<Route>>;

    /// Waits until no request is in flight at a unit that is no longer published, at most `within`.
    /// Returns whether it came to that. An unknown unit is drained.
    async fn drained(&self, unit: &UnitId, within: Duration) -> Result<bool>;
}

/// What developers pushed: kept beside the platform, gone with the app.
#[async_trait]
pub trait Sources: Send + Sync {
    /// Forgets what was pushed to an app. Nothing to forget is a success.
    async fn forget(&self, app: &AppName) -> Result<()>;
}

/// Who acts, and under which event: travels to brokers with each change.
#[derive(Clone, Debug)]
pub struct Acting {
    /// The user's e-mail address.
    pub user: String,
    /// The event.
    pub event: EventId,
}

/// The brokers, from the platform's side. Errors are [`Error::Broker`] with the contract's texts
/// (`contract/service-api.md` 4.1).
#[async_trait]
pub trait Brokers: Send + Sync {
    /// `GET /resources/plans`: name and description. A broker that answers badly has no plans.
    async fn plans(&self, service: &Service) -> Result<Vec<(String, String)>>;

    /// `POST /resources`
    async fn create(&self, service: &Service, instance: &ServiceInstance, acting: &Acting) -> Result<()>;

    /// `PUT /resources/{name}`: 404 is a success.
    async fn update(&self, service: &Service, instance: &ServiceInstance, acting: &Acting) -> Result<()>;

    /// `DELETE /resources/{name}`
    async fn delete(&self, service: &Service, instance: &InstanceName, acting: &Acting) -> Result<()>;

    /// `POST /resources/{name}/bind-app`, falling back to `/bind`: the variables, by name.
    async fn bind(
        &self,
        service: &Service,
        instance: &InstanceName,
        bind: &BindRequest,
        acting: &Acting,
    ) -> Result<BTreeMap<String, Secret>>;

    /// `DELETE /resources/{name}/bind-app`: 404 is a success.
    async fn unbind(
        &self,
        service: &Service,
        instance: &InstanceName,
        consumer: &Consumer,
        hosts: &[String],
        acting: &Acting,
    ) -> Result<()>;

    /// `GET /resources/{name}/status`, in the platform's words: `up`, `pending`, `down`, ...
    async fn status(&self, service: &Service, instance: &InstanceName) -> Result<String>;

    /// `GET /resources/{name}`: labels and values. A broker that answers badly has none.
    async fn info(&self, service: &Service, instance: &InstanceName) -> Result<BTreeMap<String, String>>;
}

/// What a bind tells the broker.
#[derive(Clone, Debug)]
pub struct BindRequest {
    /// Who is bound.
    pub consumer: Consumer,
    /// The app's addresses, one for each router.
    pub hosts: Vec<String>,
    /// The app's pool.
    pub pool: String,
    /// Parameters from the user.
    pub parameters: Parameters,
}

/// What a record is about. Together with its key it is a record's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecordKind {
    /// [`App`](crate::App) by name.
    App,
    /// [`Service`] by name.
    Service,
    /// [`ServiceInstance`] by `service/instance`.
    Instance,
    /// [`Event`](crate::Event) by identifier.
    Event,
    /// [`User`](crate::User) by e-mail address.
    User,
    /// [`Token`](crate::Token) by digest.
    Token,
    /// Team by name.
    Team,
    /// [`Pool`](crate::Pool) by name.
    Pool,
    /// [`Plan`](crate::Plan) by name.
    Plan,
    /// [`PlatformImage`](crate::PlatformImage) by name.
    Platform,
}

impl RecordKind {
    /// As the store spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Service => "service",
            Self::Instance => "instance",
            Self::Event => "event",
            Self::User => "user",
            Self::Token => "token",
            Self::Team => "team",
            Self::Pool => "pool",
            Self::Plan => "plan",
            Self::Platform => "platform",
        }
    }
}

/// A record as the store keeps it: JSON, sealed at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its key within its kind.
    pub key: String,
    /// 1 when it is new, one more with each write.
    pub revision: i64,
    /// Its content.
    pub body: String,
}

/// One change of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Creates or replaces a record. `replaces` is the revision it was read at, 0 for one that must
    /// not exist yet.
    Put {
        /// What it is about.
        kind: RecordKind,
        /// Its key.
        key: String,
        /// The revision it was read at, or 0.
        replaces: i64,
        /// Its new content.
        body: String,
    },
    /// Removes a record; one that is gone is a success.
    Delete {
        /// What it is about.
        kind: RecordKind,
        /// Its key.
        key: String,
    },
}

/// Why a store did not commit.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another writer was first, or the record exists already.
    #[error("record {0}/{1} was changed by another operation")]
    Conflict(&'static str, String),
    /// The store can't be read or written.
    #[error("the store failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}

/// What is remembered, durably: a commit that returned survives any crash.
#[async_trait]
pub trait Store: Send + Sync {
    /// One record.
    async fn get(&self, kind: RecordKind, key: &str) -> Result<Option<Record>, StoreError>;

    /// Records of a kind whose key starts with `prefix`, by key; newest key first and at most
    /// `limit` where those are asked for.
    async fn list(&self, kind: RecordKind, page: Page<'_>) -> Result<Vec<Record>, StoreError>;

    /// All writes or none.
    async fn commit(&self, writes: &[Write]) -> Result<(), StoreError>;
}

/// Which records to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct Page<'a> {
    /// Keys start with this.
    pub prefix: &'a str,
    /// From the highest key down.
    pub descending: bool,
    /// At most so many; 0 for all.
    pub limit: usize,
    /// Leave out so many first.
    pub skip: usize,
}

/// A service's name for a record's key.
#[must_use]
pub fn instance_key(service: &ServiceName, instance: &InstanceName) -> String {
    format!("{service}/{instance}")
}
