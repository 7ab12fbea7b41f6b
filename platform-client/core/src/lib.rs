//! The platform's nouns, verbs and ports. No HTTP, no Docker, no disk.
//!
//! *Nouns* are plain data, a file each. *Verbs* are the use cases of [`Platform`], a file each; they
//! read like recipes over *ports*: where units run ([`Engine`](ports::Engine)), where requests go
//! ([`Routes`](ports::Routes)), who provides services ([`Brokers`](ports::Brokers)), what is
//! remembered ([`Store`](ports::Store)). Adapters of the ports live in crates beside this one.

mod app;
mod bind;
mod create;
mod deploy;
mod env;
mod envs;
mod error;
mod event;
mod events;
mod instances;
mod logs;
mod name;
mod operation;
mod platform;
mod pool;
mod pools;
pub mod ports;
mod process;
mod progress;
mod reconcile;
mod records;
mod recover;
mod release;
mod remove;
mod route;
mod scale;
mod service;
mod services;
mod team;
#[cfg(feature = "testing")]
pub mod testing;
mod unit;
mod units;
mod user;
mod users;

pub use app::{App, Formation, Scale};
pub use bind::{Binding, Unbinding};
pub use create::{AppChange, NewApp};
pub use deploy::{Deploy, RunningDeploy, Source};
pub use env::{APP_DIR, MergedVar, OwnVar, PORT, RESERVED, ServiceVar, UnitEnv};
pub use error::{Error, Result};
pub use event::{Event, EventId, Kind, Target, TargetType};
pub use events::EventFilter;
pub use instances::{InstanceChange, NewInstance, Removal};
pub use logs::RunWhere;
pub use name::{Cname, Email, PlanName, PlatformName, PoolName, ProcessName, TeamName};
pub use platform::{Adapters, Platform, Settings};
pub use pool::{Plan, PlatformImage, Pool, PoolChange};
pub use process::{HealthCheck, Hooks, MANIFEST_NAMES, Manifest, Process};
pub use progress::{Progress, Told};
pub use release::{Origin, Release};
pub use route::{Backend, Route};
pub use scale::{Power, Units};
pub use service::{Service, ServiceInstance};
pub use services::Manifesto;
pub use team::Team;
pub use unit::{Unit, UnitId, UnitSpec, UnitState};
pub use user::{Token, User};

pub use broker_core::{AppName, EnvName, InstanceName, InvalidName, JobName, Secret, ServiceName};
