//! Whose a server's connections are (SPEC K-21).

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use broker_core::{Instance, InstanceName, OpaqueId};

use crate::account::Account;

/// An instance that nobody looked after for so long is another replica's to look after, or was removed by one.
const LOOKED_AFTER_WITHIN: Duration = Duration::from_secs(3600);

/// The instances of a server that the broker looks after, as it saw them last.
#[derive(Debug, Default)]
pub(super) struct Residents(HashMap<OpaqueId, Resident>);

#[derive(Debug)]
struct Resident {
    name: InstanceName,
    accounts: Vec<OpaqueId>,
    at: Instant,
}

impl Residents {
    pub(super) fn looked_after(&mut self, instance: &Instance, accounts: &[Account]) {
        let accounts = accounts.iter().map(|account| account.user.clone()).collect();
        let resident = Resident { name: instance.name.clone(), accounts, at: Instant::now() };
        self.0.insert(instance.id.clone(), resident);
    }

    pub(super) fn left(&mut self, instance: &OpaqueId) {
        self.0.remove(instance);
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &InstanceName> {
        self.0.values().map(|resident| &resident.name)
    }

    /// How many connections each instance has, of those that accounts have: one that was ended has none.
    pub(super) fn count(&mut self, connections: &HashMap<String, u64>) -> HashMap<OpaqueId, (InstanceName, u64)> {
        self.0.retain(|_, resident| resident.at.elapsed() < LOOKED_AFTER_WITHIN);
        let count = |resident: &Resident| {
            let open = resident.accounts.iter().filter_map(|user| connections.get(user.as_str()));
            (resident.name.clone(), open.sum())
        };
        self.0.iter().map(|(id, resident)| (id.clone(), count(resident))).collect()
    }
}
