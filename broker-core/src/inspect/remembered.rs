//! What the records say that servers should have.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::{InspectError, Inspection, failed};
use crate::{
    OpaqueId, Tenant,
    lifecycle::{
        BindingState, InstanceState,
        records::{BindingRecord, InstanceRecord},
    },
};

/// How many instances are read at a time.
const PAGE: usize = 256;

/// What should be there, and what may be.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    /// Instances that should work, with the bindings that should: as
    /// [`Broker::reconcile`](crate::Broker::reconcile) gets them.
    pub(crate) tenants: Vec<Tenant>,
    /// The identifiers of everything that may have something on a server, whatever is being done to it.
    pub(crate) known: HashSet<OpaqueId>,
}

impl Remembered {
    /// Instances that should work, and nothing else.
    pub(crate) fn of(tenants: Vec<Tenant>) -> Self {
        let of_one = |tenant: &Tenant| {
            let bindings = tenant.bindings.iter().map(|binding| binding.id.clone());
            bindings.chain([tenant.instance.id.clone()]).collect::<Vec<_>>()
        };
        let known = tenants.iter().flat_map(of_one).collect();
        Self { tenants, known }
    }
}

impl Inspection {
    /// All that the records remember, in memory: an operator's command has it for a moment.
    pub(crate) async fn remembered(&self) -> Result<Remembered, InspectError> {
        let (store, now) = (&self.state.store, Utc::now());
        let (mut remembered, mut after) = (Remembered::default(), None);
        loop {
            let page = store.instances(after.as_ref(), PAGE).await.map_err(failed)?;
            let Some(last) = page.last() else { return Ok(remembered) };
            after = Some(last.instance.name.clone());
            for record in page {
                let bindings = store.bindings(&record.instance.id).await.map_err(failed)?;
                remembered.add(record, bindings, now);
            }
        }
    }
}

impl Remembered {
    fn add(&mut self, record: InstanceRecord, bindings: Vec<BindingRecord>, now: DateTime<Utc>) {
        if record.state != InstanceState::Gone {
            self.known.insert(record.instance.id.clone());
        }
        self.known.extend(bindings.iter().flat_map(BindingRecord::with_access).map(|binding| binding.id.clone()));
        let is_left_alone = |due: Option<DateTime<Utc>>| due.is_none_or(|due| due > now);
        if record.state != InstanceState::Ready || !is_left_alone(record.due) {
            return;
        }
        let mut tenant = Tenant::new(record.instance, Vec::new());
        for known in bindings {
            if known.state == BindingState::Bound && is_left_alone(known.due) {
                tenant.bindings.push(known.binding);
                tenant.bindings.extend(known.retired.into_iter().map(|retired| retired.binding));
            }
            tenant.variables.extend(known.env);
        }
        self.tenants.push(tenant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        State,
        lifecycle::records::InstanceRecord,
        store::{Write, contract},
    };

    #[tokio::test] // SPEC X-8
    async fn what_something_is_being_done_to_is_known_and_no_tenant() {
        let state = State::in_memory();
        let put = async |name: &str, change: fn(&mut InstanceRecord)| {
            let mut record = contract::an_instance(name);
            change(&mut record);
            let id = record.instance.id.clone();
            state.store.commit(vec![Write::PutInstance(Box::new(record))]).await.unwrap();
            id
        };
        let ready = put("ready", |record| record.state = InstanceState::Ready).await;
        let late = put("late", |record| {
            (record.state, record.due) = (InstanceState::Ready, Some(DateTime::<Utc>::MIN_UTC));
        })
        .await;
        let others = [
            late,
            put("made", |record| record.state = InstanceState::Provisioning).await,
            put("changed", |record| record.state = InstanceState::Updating).await,
            put("removed", |record| record.state = InstanceState::Deprovisioning).await,
            put("failed", |record| record.state = InstanceState::Failed).await,
        ];
        let gone = put("gone", |record| record.state = InstanceState::Gone).await;

        let remembered = Inspection::new(state.clone()).remembered().await.unwrap();

        let tenants: Vec<_> = remembered.tenants.iter().map(|tenant| tenant.instance.id.clone()).collect();
        assert_eq!(tenants, [ready]);
        assert!(others.iter().all(|id| remembered.known.contains(id)));
        assert!(!remembered.known.contains(&gone));
    }
}
