//! How much each instance uses, for those who watch them (SPEC M-21).
//!
//! Which instances there are the framework says: it has each of them looked after, over and over. A server is asked once
//! for all that it has.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use broker_core::{BrokerError, Instance, Metric, OpaqueId, Result, Tenant};
use broker_hosting::{Recent, ServerId};
use futures::{StreamExt as _, stream};
use tokio::time::{sleep, timeout};

use crate::{
    MysqlBroker,
    link::{Fault, Link},
    metrics::{ASK_WITHIN, number},
    plans::Kind,
    servers::{is_dedicated, server_id},
    tenant::{Account, Database},
};

/// The most instances that are shown: each has five figures at most, and a broker shows a thousand, those of servers among them.
const SHOWN: usize = 160;
/// The most servers that are asked, how many at once, and how long one may take.
const ASKED: usize = 100;
const AT_ONCE: usize = 16;
const ONE_WITHIN: Duration = Duration::from_secs(1);
/// The instances that were looked after lately.
#[derive(Default)]
pub(crate) struct Watched(Mutex<Recent<OpaqueId, Arc<Watch>>>);

struct Watch {
    instance: Instance,
    bindings: Vec<OpaqueId>,
}

impl Watch {
    fn of(Tenant { instance, bindings, .. }: &Tenant) -> Self {
        Self { instance: instance.clone(), bindings: bindings.iter().map(|binding| binding.id.clone()).collect() }
    }
}

impl Watched {
    /// An instance is looked after.
    pub(crate) fn note(&self, tenant: &Tenant) {
        self.lock().put(tenant.instance.id.clone(), Arc::new(Watch::of(tenant)));
    }

    /// An instance is removed.
    pub(crate) fn forget(&self, instance: &Instance) {
        self.lock().remove(&instance.id);
    }

    fn recent(&self) -> Vec<Arc<Watch>> {
        self.lock().iter().map(|(_, watch)| watch.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Recent<OpaqueId, Arc<Watch>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an instance uses.
#[derive(Clone)]
struct Usage {
    watch: Arc<Watch>,
    bytes: u64,
    connections: u64,
    /// Where the server is the instance's own: a server counts them for all of its accounts together.
    statements: Option<u64>,
}

impl MysqlBroker {
    /// The figures of the instances that take most, of those whose servers answer in time.
    pub(crate) async fn usage(&self) -> Vec<Metric> {
        let mut homes = HashMap::<ServerId, Vec<Arc<Watch>>>::new();
        for watch in self.watched.recent() {
            if let Ok(home) = self.home(&watch.instance) {
                homes.entry(home).or_default().push(watch);
            }
        }
        let mut homes: Vec<_> = homes.into_values().collect();
        homes.sort_by_key(|theirs| usize::MAX - theirs.len());
        let asked: Vec<_> = homes.into_iter().take(ASKED).map(|theirs| self.usage_of(theirs)).collect();
        let answers = stream::iter(asked).buffer_unordered(AT_ONCE).take_until(sleep(ASK_WITHIN));
        let mut usages = answers.collect::<Vec<_>>().await.concat();
        usages.sort_by(|one, other| {
            (other.bytes, &one.watch.instance.name).cmp(&(one.bytes, &other.watch.instance.name))
        });
        usages.iter().take(SHOWN).flat_map(|usage| self.figures(usage)).collect()
    }

    /// The figures of one instance, whoever looks after it.
    pub(crate) async fn usage_of_one(&self, tenant: &Tenant) -> Result<Vec<Metric>> {
        let (watch, instance) = (Arc::new(Watch::of(tenant)), &tenant.instance);
        let silent = || BrokerError::unavailable("the server does not tell what the instance uses");
        let link = self.server(instance)?.if_up().await?.ok_or_else(silent)?;
        let database = Database::of(instance);
        let ask = async {
            let (bytes, connections) = (link.size(&database).await?, link.connections_of(&database).await?);
            Ok::<_, Fault>(Usage { watch, bytes, connections, statements: statements(&link, instance).await? })
        };
        let usage = timeout(ASK_WITHIN, ask).await.map_err(|_| silent())??;
        Ok(self.figures(&usage))
    }

    /// The server that an instance is on, by its name or, where it is the instance's own, the instance's.
    fn home(&self, instance: &Instance) -> Result<ServerId> {
        if is_dedicated(instance) {
            return server_id(instance);
        }
        Ok(self.servers.home(instance, self.fleet(instance))?.id)
    }

    /// What the instances of one server use; nothing when it is down.
    async fn usage_of(&self, theirs: Vec<Arc<Watch>>) -> Vec<Usage> {
        let ask = async {
            let link = self.server(&theirs.first()?.instance).ok()?.if_up().await.ok()??;
            let statements = statements(&link, &theirs.first()?.instance).await.ok()?;
            Some((link.sizes().await.ok()?, link.connections().await.ok()?, statements))
        };
        let Ok(Some((sizes, connections, statements))) = timeout(ONE_WITHIN, ask).await else { return Vec::new() };
        let of = |name: &str, figures: &HashMap<String, u64>| figures.get(name).copied().unwrap_or_default();
        let usage = |watch: Arc<Watch>| Usage {
            bytes: of(Database::of(&watch.instance).as_str(), &sizes),
            connections: watch.bindings.iter().map(|id| of(Account::with(id).as_str(), &connections)).sum(),
            statements,
            watch,
        };
        theirs.into_iter().map(usage).collect()
    }

    fn figures(&self, Usage { watch, bytes, connections, statements }: &Usage) -> Vec<Metric> {
        let instance = &watch.instance;
        let most = self.most_connections(instance, watch.bindings.len());
        let of_room = |room| Metric::gauge("instance_storage_limit_bytes", "Room of an instance on disk", number(room));
        let room = self.room(instance).map(|room| of_room(room.0));
        let figures = [
            Metric::gauge("instance_storage_bytes", "What an instance takes on disk", number(*bytes)),
            Metric::gauge("instance_connections", "Connections of an instance's apps", number(*connections)),
            Metric::gauge("instance_connections_limit", "The most connections of an instance's apps", number(most)),
        ];
        let labeled =
            |metric: Metric| metric.label("instance", instance.name.as_str()).label("plan", instance.plan.as_str());
        let of_statements = |count| {
            Metric::counter("instance_statements", "Statements since an instance's server started", number(count))
        };
        figures.into_iter().chain(room).chain(statements.map(of_statements)).map(labeled).collect()
    }

    /// How many connections the bindings of an instance may have together.
    fn most_connections(&self, instance: &Instance, bindings: usize) -> u64 {
        let of_bindings = u64::from(self.limits(instance).connections) * bindings as u64;
        self.server_connections(instance).map_or(of_bindings, |of_server| of_bindings.min(u64::from(of_server)))
    }

    /// How many connections the server of an instance's own takes.
    pub(crate) fn server_connections(&self, instance: &Instance) -> Option<u32> {
        match &self.plans.find(&instance.plan)?.kind {
            Kind::Dedicated(plan) => Some(plan.max_connections),
            Kind::Shared(_) => None,
        }
    }
}

/// What a server that is an instance's own was asked; a shared one counts for all of its instances together.
async fn statements(link: &Link, instance: &Instance) -> Result<Option<u64>, Fault> {
    if is_dedicated(instance) { link.counter("QUESTIONS").await.map(Some) } else { Ok(None) }
}
