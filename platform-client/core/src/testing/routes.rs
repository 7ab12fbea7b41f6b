//! The `routes` port in memory, and its contract.
//!
//! [`MemoryRoutes`] moves no bytes: it knows which unit a request would reach, and holds requests in
//! flight for as long as a test likes. [`contract`] is what every adapter of the port must keep.

use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use broker_core::AppName;
use tokio::{sync::watch, time::timeout};

use crate::{Backend, Error, Result, Route, UnitId, ports::Routes};

/// The `routes` port in memory. Clones share one table.
#[derive(Clone, Debug)]
pub struct MemoryRoutes {
    table: Arc<Mutex<Table>>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Table {
    routes: BTreeMap<AppName, Route>,
    in_flight: HashMap<UnitId, usize>,
    turn: usize,
    down: Option<String>,
}

impl Default for MemoryRoutes {
    fn default() -> Self {
        Self { table: Arc::default(), changed: watch::Sender::new(()) }
    }
}

impl MemoryRoutes {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes every call of the port fail with this sentence, as a router that is away would; `None`
    /// brings it back.
    pub fn set_down(&self, reason: Option<&str>) {
        self.lock().down = reason.map(str::to_owned);
    }

    /// An app's route as it was last published.
    #[must_use]
    pub fn route(&self, app: &str) -> Option<Route> {
        self.lock().routes.values().find(|route| route.app.as_str() == app).cloned()
    }

    /// A request to a host: reaches its units in turn and is in flight until the answer is dropped.
    /// `None` when no unit answers for that host.
    #[must_use]
    pub fn request(&self, host: &str) -> Option<OpenRequest> {
        let mut table = self.lock();
        let units = &find(&table.routes, host)?.units;
        let turn = table.turn.checked_rem(units.len())?;
        let unit = units[turn].id.clone();
        table.turn = table.turn.wrapping_add(1);
        *table.in_flight.entry(unit.clone()).or_default() += 1;
        Some(OpenRequest { unit: unit.clone(), _open: Box::new(Held { routes: self.clone(), unit }) })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn up(&self) -> Result<MutexGuard<'_, Table>> {
        let table = self.lock();
        match &table.down {
            Some(reason) => Err(Error::Router(reason.clone())),
            None => Ok(table),
        }
    }

    fn is_drained(&self, unit: &UnitId) -> bool {
        let table = self.lock();
        let published = table.routes.values().flat_map(|route| &route.units).any(|backend| backend.id == *unit);
        !published && !table.in_flight.contains_key(unit)
    }
}

/// The exact host, or else the wildcard one level up.
fn find<'a>(routes: &'a BTreeMap<AppName, Route>, host: &str) -> Option<&'a Route> {
    let named = |name: &str| routes.values().find(|route| route.hosts.iter().any(|known| known == name));
    named(host).or_else(|| named(&format!("*.{}", host.split_once('.')?.1)))
}

/// One request in flight in a [`MemoryRoutes`].
struct Held {
    routes: MemoryRoutes,
    unit: UnitId,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut table = self.routes.lock();
        if let Some(count) = table.in_flight.get_mut(&self.unit) {
            *count -= 1;
            if *count == 0 {
                table.in_flight.remove(&self.unit);
            }
        }
        drop(table);
        self.routes.changed.send_replace(());
    }
}

#[async_trait]
impl Routes for MemoryRoutes {
    async fn publish(&self, route: Route) -> Result<()> {
        let mut table = self.up()?;
        for host in &route.hosts {
            if let Some(owner) =
                table.routes.values().find(|other| other.app != route.app && other.hosts.contains(host))
            {
                return Err(Error::Router(format!("host {host} already leads to app {}", owner.app)));
            }
        }
        table.routes.insert(route.app.clone(), route);
        drop(table);
        self.changed.send_replace(());
        Ok(())
    }

    async fn withdraw(&self, app: &AppName) -> Result<()> {
        self.up()?.routes.remove(app);
        self.changed.send_replace(());
        Ok(())
    }

    async fn published(&self) -> Result<Vec<Route>> {
        Ok(self.up()?.routes.values().cloned().collect())
    }

    async fn drained(&self, unit: &UnitId, within: Duration) -> Result<bool> {
        drop(self.up()?);
        let mut changed = self.changed.subscribe();
        let drained = changed.wait_for(|()| self.is_drained(unit));
        Ok(matches!(timeout(within, drained).await, Ok(Ok(_))))
    }
}

/// How the contract sends requests through an adapter.
#[async_trait]
pub trait Traffic: Send + Sync {
    /// A running unit of this identifier that keeps the requests it gets open.
    async fn unit(&self, id: &str) -> Backend;

    /// Sends a request to a host. Returns once a unit has begun to answer; `None` when none does.
    async fn request(&self, host: &str) -> Option<OpenRequest>;
}

/// A request that is in flight until this is dropped.
pub struct OpenRequest {
    /// The unit it reached.
    pub unit: UnitId,
    _open: Box<dyn Any + Send>,
}

impl std::fmt::Debug for OpenRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenRequest").field("unit", &self.unit).finish_non_exhaustive()
    }
}

impl OpenRequest {
    /// A request to `unit` that stays in flight as long as `open` lives.
    pub fn new(unit: UnitId, open: impl Any + Send) -> Self {
        Self { unit, _open: Box::new(open) }
    }
}

#[async_trait]
impl Traffic for MemoryRoutes {
    async fn unit(&self, id: &str) -> Backend {
        Backend { id: UnitId(id.to_owned()), address: ([127, 0, 0, 1], 1).into() }
    }

    async fn request(&self, host: &str) -> Option<OpenRequest> {
        MemoryRoutes::request(self, host)
    }
}

/// Long enough for anything that is going to happen.
const SOON: Duration = Duration::from_secs(10);
/// Short, for what is not going to happen.
const BRIEFLY: Duration = Duration::from_millis(50);

/// What every adapter of [`Routes`] keeps (SPEC ). Leaves the table as empty as it was.
///
/// # Panics
/// When the adapter breaks the contract, saying which part.
pub async fn contract(routes: &dyn Routes, traffic: &dyn Traffic) {
    publishing_replaces_all_of_an_apps_route(routes, traffic).await;
    a_host_leads_to_one_app_only(routes, traffic).await;
    a_wildcard_matches_one_level(routes, traffic).await;
    an_app_without_units_answers_nothing(routes, traffic).await;
    withdrawing_is_repeatable(routes, traffic).await;
    a_unit_is_drained_when_it_is_unpublished_and_idle(routes, traffic).await;
    counts_follow_the_unit_through_changes_of_the_table(routes, traffic).await;
}

fn app(name: &str) -> AppName {
    name.parse().expect("a valid app name")
}

fn route(name: &str, hosts: &[&str], units: &[&Backend]) -> Route {
    Route {
        app: app(name),
        hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
        units: units.iter().map(|&unit| unit.clone()).collect(),
    }
}

async fn publish(routes: &dyn Routes, route: Route) {
    routes.publish(route).await.expect("the route is published");
}

async fn withdraw(routes: &dyn Routes, name: &str) {
    routes.withdraw(&app(name)).await.expect("the route is withdrawn");
}

async fn reached(traffic: &dyn Traffic, host: &str) -> Option<String> {
    traffic.request(host).await.map(|open| open.unit.0)
}

async fn drained(routes: &dyn Routes, unit: &Backend, within: Duration) -> bool {
    routes.drained(&unit.id, within).await.expect("the router says whether the unit is drained")
}

async fn publishing_replaces_all_of_an_apps_route(routes: &dyn Routes, traffic: &dyn Traffic) {
    let (old, new) = (traffic.unit("replace-1").await, traffic.unit("replace-2").await);
    publish(routes, route("replace", &["replace.test", "gone.test"], &[&old])).await;
    assert_eq!(reached(traffic, "gone.test").await.as_deref(), Some("replace-1"));

    let fresh = route("replace", &["replace.test", "added.test"], &[&new]);
    publish(routes, fresh.clone()).await;

    assert_eq!(routes.published().await.expect("a listing"), [fresh], "publish replaces hosts and units");
    assert_eq!(reached(traffic, "replace.test").await.as_deref(), Some("replace-2"), "requests follow at once");
    assert_eq!(reached(traffic, "added.test").await.as_deref(), Some("replace-2"), "a new host is known at once");
    assert_eq!(reached(traffic, "gone.test").await, None, "a host that is left out is forgotten");
    withdraw(routes, "replace").await;
}

async fn a_host_leads_to_one_app_only(routes: &dyn Routes, traffic: &dyn Traffic) {
    let (mine, yours) = (traffic.unit("mine-1").await, traffic.unit("yours-1").await);
    publish(routes, route("mine", &["shared.test"], &[&mine])).await;

    let refusal = routes.publish(route("yours", &["own.test", "shared.test"], &[&yours])).await;

    let refusal = refusal.expect_err("a host of another app is refused").to_string();
    assert_eq!(refusal, "host shared.test already leads to app mine");
    assert_eq!(reached(traffic, "own.test").await, None, "nothing of a refused route is published");
    assert_eq!(reached(traffic, "shared.test").await.as_deref(), Some("mine-1"), "the owner keeps its host");
    withdraw(routes, "mine").await;
}

async fn a_wildcard_matches_one_level(routes: &dyn Routes, traffic: &dyn Traffic) {
    let (any, exact) = (traffic.unit("wild-1").await, traffic.unit("exact-1").await);
    publish(routes, route("any", &["*.wild.test"], &[&any])).await;
    publish(routes, route("exact", &["www.wild.test"], &[&exact])).await;

    assert_eq!(reached(traffic, "a.wild.test").await.as_deref(), Some("wild-1"));
    assert_eq!(reached(traffic, "www.wild.test").await.as_deref(), Some("exact-1"), "an exact host wins");
    assert_eq!(reached(traffic, "a.b.wild.test").await, None, "one level only");
    assert_eq!(reached(traffic, "wild.test").await, None, "not the parent itself");
    withdraw(routes, "any").await;
    withdraw(routes, "exact").await;
}

async fn an_app_without_units_answers_nothing(routes: &dyn Routes, traffic: &dyn Traffic) {
    publish(routes, route("empty", &["empty.test"], &[])).await;

    assert_eq!(reached(traffic, "empty.test").await, None);
    assert_eq!(routes.published().await.expect("a listing").len(), 1, "an app without units is still published");
    withdraw(routes, "empty").await;
}

async fn withdrawing_is_repeatable(routes: &dyn Routes, traffic: &dyn Traffic) {
    let unit = traffic.unit("leaver-1").await;
    publish(routes, route("leaver", &["leaver.test"], &[&unit])).await;

    withdraw(routes, "leaver").await;
    withdraw(routes, "leaver").await;

    assert_eq!(reached(traffic, "leaver.test").await, None);
    assert_eq!(routes.published().await.expect("a listing"), []);
}

async fn a_unit_is_drained_when_it_is_unpublished_and_idle(routes: &dyn Routes, traffic: &dyn Traffic) {
    let unit = traffic.unit("drain-1").await;
    assert!(drained(routes, &unit, SOON).await, "a unit nobody knows is drained");
    publish(routes, route("drain", &["drain.test"], &[&unit])).await;
    assert!(!drained(routes, &unit, BRIEFLY).await, "a unit that is published is not drained, idle as it is");

    let open = traffic.request("drain.test").await.expect("a unit answers");
    publish(routes, route("drain", &["drain.test"], &[])).await;
    assert!(!drained(routes, &unit, BRIEFLY).await, "a request is still in flight");

    let (is_drained, ()) = tokio::join!(drained(routes, &unit, SOON), async { drop(open) });
    assert!(is_drained, "the last request ended");
    withdraw(routes, "drain").await;
}

async fn counts_follow_the_unit_through_changes_of_the_table(routes: &dyn Routes, traffic: &dyn Traffic) {
    let unit = traffic.unit("follow-1").await;
    publish(routes, route("follow", &["follow.test"], &[&unit])).await;
    let open = traffic.request("follow.test").await.expect("a unit answers");

    withdraw(routes, "follow").await;
    publish(routes, route("follow", &["other.test"], &[&unit])).await;
    withdraw(routes, "follow").await;

    assert!(!drained(routes, &unit, BRIEFLY).await, "the request from before the changes still counts");
    drop(open);
    assert!(drained(routes, &unit, SOON).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_fake_keeps_the_contract() {
        let routes = MemoryRoutes::new();
        contract(&routes, &routes).await;
    }

    #[tokio::test]
    async fn a_fake_that_is_down_says_so() {
        let routes = MemoryRoutes::new();
        routes.set_down(Some("the router is away"));

        let refusal = routes.published().await.unwrap_err();

        assert_eq!(refusal.to_string(), "the router is away");
    }
}
