//! Where the table is changed: the `Routes` port in this process.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use platform_core::{AppName, Backend, Error, Result, Route, UnitId, ports::Routes};
use tokio::{sync::watch, task::spawn_blocking, time::timeout};

use crate::{
    host,
    load::Load,
    saved,
    table::{AppUnits, Table, Target},
};

/// The routes that are published, and the table made of them.
#[derive(Debug)]
pub(crate) struct Board {
    table: ArcSwap<Table>,
    published: Mutex<Published>,
    changed: watch::Sender<()>,
    file: Option<StateFile>,
}

#[derive(Debug, Default)]
struct Published {
    routes: BTreeMap<AppName, Route>,
    /// Units that are published, and those that are not and still have requests in flight.
    units: HashMap<UnitId, Arc<Target>>,
    /// The number of changes so far.
    generation: u64,
    next_key: u64,
}

#[derive(Debug)]
struct StateFile {
    path: PathBuf,
    /// The generation that is on disk. Held while writing.
    generation: Mutex<u64>,
}

impl Board {
    /// The table as it was kept in `file`.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub(crate) fn open(file: Option<PathBuf>) -> io::Result<Self> {
        let routes = file.as_deref().map(saved::load).transpose()?.unwrap_or_default();
        let board = Self {
            table: ArcSwap::default(),
            published: Mutex::default(),
            changed: watch::Sender::new(()),
            file: file.map(|path| StateFile { path, generation: Mutex::new(1) }),
        };
        {
            let mut published = board.lock();
            published.routes.extend(routes.into_iter().map(|route| (route.app.clone(), route)));
            board.apply(&mut published);
        }
        Ok(board)
    }

    /// The app that a host leads to at this moment.
    pub(crate) fn find(&self, host: &str) -> Option<Arc<AppUnits>> {
        self.table.load().find(host).cloned()
    }

    /// The table at this moment.
    pub(crate) fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Told at each change of the table.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Makes requests follow the routes. The order matters: a unit that leaves takes no new requests
    /// only after the table without it is in place, so that who is turned away finds a better one.
    fn apply(&self, published: &mut Published) {
        let retired = published.settle_units();
        self.table.store(Arc::new(Table::new(&published.routes, &published.units)));
        for target in retired {
            target.load.retire();
        }
        published.units.retain(|_, target| !target.load.is_drained());
        published.generation += 1;
        self.changed.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, Published> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the table on disk. Several changes at once share one write. A disk that fails is
    /// reported and no more: the table in memory counts, and a restarted router is told again.
    async fn save(self: Arc<Self>) {
        if self.file.is_none() {
            return;
        }
        if let Err(reason) = spawn_blocking(move || self.save_now()).await {
            tracing::error!("the route table was not saved: {reason}");
        }
    }

    fn save_now(&self) {
        let Some(file) = &self.file else { return };
        let mut on_disk = file.generation.lock().unwrap_or_else(PoisonError::into_inner);
        let (generation, routes) = {
            let published = self.lock();
            (published.generation, published.routes.values().cloned().collect())
        };
        if generation <= *on_disk {
            return;
        }
        match saved::store(&file.path, routes) {
            Ok(()) => *on_disk = generation,
            Err(reason) => tracing::error!(file = %file.path.display(), "{reason}"),
        }
    }
}

impl Published {
    /// Gives each published unit a target, and returns the targets that are published no longer.
    fn settle_units(&mut self) -> Vec<Arc<Target>> {
        let mut leaving = self.units.clone();
        let listed: Vec<Backend> = self.routes.values().flat_map(|route| &route.units).cloned().collect();
        for unit in listed {
            leaving.remove(&unit.id);
            self.settle(unit);
        }
        leaving.into_values().collect()
    }

    fn settle(&mut self, unit: Backend) {
        let known = self.units.get(&unit.id);
        let load = known.map_or_else(|| Arc::new(Load::new()), |target| Arc::clone(&target.load));
        load.revive();
        if known.is_none_or(|target| target.address != unit.address) {
            self.next_key += 1;
            let target = Target::new(self.next_key, unit.id.clone(), unit.address, load);
            self.units.insert(unit.id, Arc::new(target));
        }
    }

    /// The first host of `route` that another app has, and that app.
    fn taken<'a>(&'a self, route: &'a Route) -> Option<(&'a str, &'a AppName)> {
        let others = self.routes.values().filter(|other| other.app != route.app);
        let theirs: HashMap<_, _> =
            others.flat_map(|other| other.hosts.iter().map(|name| (host::lower_case(name), &other.app))).collect();
        route.hosts.iter().find_map(|name| Some((name.as_str(), *theirs.get(&host::lower_case(name))?)))
    }
}

/// [`Board`] behind the pointer that a save needs.
#[derive(Clone, Debug)]
pub(crate) struct LocalRoutes(pub(crate) Arc<Board>);

#[async_trait]
impl Routes for LocalRoutes {
    async fn publish(&self, route: Route) -> Result<()> {
        {
            let mut published = self.0.lock();
            if let Some((host, owner)) = published.taken(&route) {
                return Err(Error::Router(format!("host {host} already leads to app {owner}")));
            }
            if published.routes.get(&route.app) != Some(&route) {
                published.routes.insert(route.app.clone(), route);
                self.0.apply(&mut published);
            }
        }
        Arc::clone(&self.0).save().await;
        Ok(())
    }

    async fn withdraw(&self, app: &AppName) -> Result<()> {
        {
            let mut published = self.0.lock();
            if published.routes.remove(app).is_some() {
                self.0.apply(&mut published);
            }
        }
        Arc::clone(&self.0).save().await;
        Ok(())
    }

    async fn published(&self) -> Result<Vec<Route>> {
        Ok(self.0.lock().routes.values().cloned().collect())
    }

    async fn drained(&self, unit: &UnitId, within: Duration) -> Result<bool> {
        let load = self.0.lock().units.get(unit).map(|target| Arc::clone(&target.load));
        match load {
            None => Ok(true),
            Some(load) => Ok(timeout(within, load.drained()).await.is_ok()),
        }
    }
}
