//! Which hosts lead to which units.

use std::net::SocketAddr;

use broker_core::AppName;
use serde::{Deserialize, Serialize};

use crate::UnitId;

/// Everything the router knows about an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The app.
    pub app: AppName,
    /// Host names in lower case, without a port; `*.` in front matches one level.
    pub hosts: Vec<String>,
    /// Units that may answer. None: the app exists and cannot answer now (503).
    pub units: Vec<Backend>,
}

/// A unit as the router sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Backend {
    /// Its identifier: in-flight counts follow it, not its address.
    pub id: UnitId,
    /// Where it listens.
    pub address: SocketAddr,
}
