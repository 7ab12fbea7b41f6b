//! Bodies that the platform's API and its command line share.
//!
//! Each type is one JSON object of the platform's contract: field names here are Rust's, the spelling on the wire is
//! in `rename`. What is read is read leniently: an absent field and `null` are the default, an unknown field is
//! ignored. What is written is written as the stock client wants it (contract section 16). Nothing here touches the
//! network, and nothing is checked: names are plain strings until the side that reads them parses them.

mod app;
mod body;
mod deploy;
mod env;
mod event;
mod platform;
mod service;
mod stream;
mod time;
mod unit;
mod user;

pub use app::{
    AppCreated, AppInfo, AppProcess, AppResume, AppRouter, AppUpdate, InstanceBind, InternalAddress, Metadata,
    MetadataItem, PlanOverride, ProcessUpdate, Quota, UnitMetrics,
};
pub use deploy::Deploy;
pub use env::EnvVar;
pub use event::{CancelInfo, Event, EventCustomData, EventExtraTarget, EventKind, EventOwner, EventTarget};
pub use platform::{CpuBurst, Overrides, Plan, Platform, PlatformInfo, Pool, Router};
pub use service::{InstanceInfo, InstanceUpdate, ListedInstance, ServiceInstance, ServiceListing, ServicePlan};
pub use stream::{DEPLOY_OK, EVENT_ID_HEADER, JSON_STREAM, LogEntry, StreamMessage, VERBOSITY_HEADER};
pub use time::Time;
pub use unit::{Unit, Url};
pub use user::{AuthScheme, NewTeam, Role, Team, TeamInfo, Token, User};
