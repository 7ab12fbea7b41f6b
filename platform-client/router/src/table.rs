//! The table as requests see it: immutable, replaced as a whole.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use platform_core::{AppName, Route, UnitId};

use crate::{host, load::Load};

/// How long a unit that refused a connection is passed over while others are there.
const SUSPECT_FOR: Duration = Duration::from_secs(1);

/// A unit at an address. One whose address changes becomes another target with the same load.
#[derive(Debug)]
pub(crate) struct Target {
    /// Unlike any other target's: connections are kept by it.
    pub(crate) key: u64,
    pub(crate) id: UnitId,
    pub(crate) address: SocketAddr,
    pub(crate) load: Arc<Load>,
    /// Until when it is passed over, in milliseconds of [`now`]; 0 for not at all.
    suspect_until: AtomicU64,
}

impl Target {
    pub(crate) fn new(key: u64, id: UnitId, address: SocketAddr, load: Arc<Load>) -> Self {
        Self { key, id, address, load, suspect_until: AtomicU64::new(0) }
    }

    /// It did not accept a connection: others go first for a moment.
    pub(crate) fn suspect(&self) {
        self.suspect_until.store(now() + SUSPECT_FOR.as_millis() as u64, Relaxed);
    }

    /// It accepted a connection.
    pub(crate) fn trust(&self) {
        if self.suspect_until.load(Relaxed) != 0 {
            self.suspect_until.store(0, Relaxed);
        }
    }

    pub(crate) fn is_suspect(&self) -> bool {
        let until = self.suspect_until.load(Relaxed);
        until != 0 && now() < until
    }
}

/// Milliseconds since the first call.
fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_millis() as u64
}

/// An app and the units that may answer for it.
#[derive(Debug)]
pub(crate) struct AppUnits {
    pub(crate) app: AppName,
    pub(crate) units: Vec<Arc<Target>>,
}

/// Which app a host leads to.
#[derive(Debug, Default)]
pub(crate) struct Table {
    exact: HashMap<String, Arc<AppUnits>>,
    /// By what follows `*.`.
    wildcards: HashMap<String, Arc<AppUnits>>,
}

impl Table {
    /// The table of these routes; `units` holds a target for each of their units.
    pub(crate) fn new(routes: &BTreeMap<AppName, Route>, units: &HashMap<UnitId, Arc<Target>>) -> Self {
        let mut table = Self::default();
        for route in routes.values() {
            let targets = route.units.iter().filter_map(|unit| units.get(&unit.id).cloned()).collect();
            let app = Arc::new(AppUnits { app: route.app.clone(), units: targets });
            for name in &route.hosts {
                let name = host::lower_case(name).into_owned();
                match name.strip_prefix("*.") {
                    Some(parent) => table.wildcards.insert(parent.to_owned(), Arc::clone(&app)),
                    None => table.exact.insert(name, Arc::clone(&app)),
                };
            }
        }
        table
    }

    /// The app a host leads to: by its exact name, or else by the wildcard one level up (SPEC R-7).
    pub(crate) fn find(&self, host: &str) -> Option<&Arc<AppUnits>> {
        self.exact.get(host).or_else(|| self.wildcards.get(host.split_once('.')?.1))
    }

    /// Keys of all targets.
    pub(crate) fn keys(&self) -> HashSet<u64> {
        let apps = self.exact.values().chain(self.wildcards.values());
        apps.flat_map(|app| &app.units).map(|target| target.key).collect()
    }
}
