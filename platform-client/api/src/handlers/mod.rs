//! The endpoints: each extracts, asks, answers.

pub(crate) mod absent;
pub(crate) mod apps;
pub(crate) mod deploys;
pub(crate) mod env;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod instances;
pub(crate) mod logs;
pub(crate) mod plans;
pub(crate) mod platforms;
pub(crate) mod pools;
pub(crate) mod roles;
pub(crate) mod services;
pub(crate) mod sessions;
pub(crate) mod teams;
pub(crate) mod units;
pub(crate) mod users;
