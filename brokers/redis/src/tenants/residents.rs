//! Whose a server's connections are (SPEC K-21).

use std::collections::HashMap;

use broker_core::{Instance, InstanceName, OpaqueId};
use broker_hosting::Recent;

use crate::account::Account;

/// The instances of a server that the broker looks after, as it saw them last.
#[derive(Debug, Default)]
pub(super) struct Residents(Recent<OpaqueId, Resident>);

#[derive(Debug)]
struct Resident {
    name: InstanceName,
    accounts: Vec<OpaqueId>,
}

impl Residents {
    pub(super) fn looked_after(&mut self, instance: &Instance, accounts: &[Account]) {
        let accounts = accounts.iter().map(|account| account.user.clone()).collect();
        self.0.put(instance.id.clone(), Resident { name: instance.name.clone(), accounts });
    }

    pub(super) fn left(&mut self, instance: &OpaqueId) {
        self.0.remove(instance);
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &InstanceName> {
        self.0.iter().map(|(_, resident)| &resident.name)
    }

    /// How many connections each instance has, of those that accounts have: one that was ended has none.
    pub(super) fn count(&self, connections: &HashMap<String, u64>) -> HashMap<OpaqueId, (InstanceName, u64)> {
        let count = |resident: &Resident| {
            let open = resident.accounts.iter().filter_map(|user| connections.get(user.as_str()));
            (resident.name.clone(), open.sum())
        };
        self.0.iter().map(|(id, resident)| (id.clone(), count(resident))).collect()
    }
}
