//! The work that outlives requests: finishing what was begun, forgetting what is over, and keeping
//! the server in line with the records.

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    sync::Arc,
};

use chrono::{TimeDelta, Utc};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::{
    engine::Engine,
    locks::{Held, Key, Mode},
    records::{BindingRecord, InstanceRecord},
    reply::Reply,
    states::{BindingState, InstanceEvent, InstanceState},
};
use crate::{Binding, BrokerError, Consumer, Instance, InstanceName, OpaqueId, Result, Tenant, store::Write};

/// How long a removal is remembered that nobody was told of.
const GONE_FOR: TimeDelta = TimeDelta::days(30);

impl Engine {
    /// Round after round, until the engine stops.
    pub(super) async fn reconcile_until_stopped(self: Arc<Self>) {
        let mut healthy = true;
        while !self.stopping.is_cancelled() {
            match self.round().await {
                Ok(()) => healthy = true,
                // Said once: an outage lasts for many rounds.
                Err(error) if healthy => {
                    healthy = false;
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "the service could not be brought in line, it is tried again"
                    );
                }
                Err(error) => debug!(error = &error as &dyn std::error::Error, "still not in line"),
            }
            let pause = tokio::time::sleep(self.timing.reconcile_every);
            self.stopping.run_until_cancelled(pause).await;
        }
    }

    async fn round(self: &Arc<Self>) -> Result<()> {
        let instances = self.store.instances().await?;
        let names: HashMap<OpaqueId, InstanceName> =
            instances.iter().map(|record| (record.instance.id.clone(), record.instance.name.clone())).collect();
        for record in instances {
            if self.needs_driving(&record) && self.backoff.is_due(&record.instance.id) {
                self.drive_in_background(record.instance.name);
            }
        }
        for record in self.store.all_bindings().await? {
            let Some(name) = names.get(&record.instance) else { continue };
            if self.binding_needs_driving(&record) && self.backoff.is_due(&record.binding.id) {
                self.drive_binding_in_background(name.clone(), record.binding.consumer);
            }
        }
        self.bring_in_line().await
    }

    fn needs_driving(&self, record: &InstanceRecord) -> bool {
        let age = Utc::now() - record.since;
        let patience = TimeDelta::from_std(self.timing.unconfirmed_for).unwrap_or(TimeDelta::MAX);
        match record.state {
            InstanceState::Provisioning | InstanceState::Updating | InstanceState::Deprovisioning => true,
            InstanceState::Ready => !record.confirmed && age > patience,
            InstanceState::Gone => age > GONE_FOR,
            InstanceState::Failed => false,
        }
    }

    fn binding_needs_driving(&self, record: &BindingRecord) -> bool {
        let is_over = record.state == BindingState::Gone && self.is_past_grace(record);
        record.state.is_unfinished() || self.is_unclaimed(record) || is_over
    }

    fn drive_in_background(self: &Arc<Self>, name: InstanceName) {
        let Ok(turn) = self.driving.clone().try_acquire_owned() else { return };
        let engine = self.clone();
        self.own(async move {
            let _turn = turn;
            if let Err(error) = engine.drive(&name).await {
                debug!(instance.name = %name, error = &error as &dyn std::error::Error, "`{name}` is not finished yet");
            }
        });
    }

    /// Finishes what was begun with an instance, unless somebody is at it.
    async fn drive(&self, name: &InstanceName) -> Result<()> {
        let Some(held) = self.locks.try_take(&(name.clone(), None), Mode::Exclusive, "a recovery") else {
            return Ok(());
        };
        let Some(mut record) = self.store.instance(name).await? else { return Ok(()) };
        if !self.needs_driving(&record) {
            return Ok(());
        }
        let nobody = Reply::to_nobody();
        match record.state {
            InstanceState::Provisioning => self.provision(record, &held, &nobody).await,
            InstanceState::Updating => self.change(record, &held, &nobody).await,
            InstanceState::Deprovisioning => self.finish_removal(record, &held, &nobody).await,
            InstanceState::Ready => {
                info!(instance.name = %name, "removing instance `{name}`, whose creation nobody was told of");
                record.live(InstanceEvent::RemovalAsked);
                self.save(&mut record).await?;
                self.finish_removal(record, &held, &nobody).await
            }
            InstanceState::Gone => Ok(self.store.commit(vec![Write::DeleteInstance(record.instance.id)]).await?),
            InstanceState::Failed => Ok(()),
        }
    }

    fn drive_binding_in_background(self: &Arc<Self>, name: InstanceName, consumer: Consumer) {
        let Ok(turn) = self.driving.clone().try_acquire_owned() else { return };
        let engine = self.clone();
        self.own(async move {
            let _turn = turn;
            if let Err(error) = engine.drive_one_binding(&name, &consumer).await {
                debug!(instance.name = %name, error = &error as &dyn std::error::Error, "{consumer} at `{name}` is not finished yet");
            }
        });
    }

    async fn drive_one_binding(&self, name: &InstanceName, consumer: &Consumer) -> Result<()> {
        let own: Key = (name.clone(), Some(consumer.clone()));
        let Some(held) = self.locks.try_take(&(name.clone(), None), Mode::Shared, "a recovery") else { return Ok(()) };
        let Some(_own) = self.locks.try_take(&own, Mode::Exclusive, "a recovery") else { return Ok(()) };
        let Some(instance) = self.store.instance(name).await? else { return Ok(()) };
        let live = matches!(instance.state, InstanceState::Ready | InstanceState::Updating);
        let Some(record) = self.store.binding(&instance.instance.id, consumer).await?.filter(|_| live) else {
            return Ok(());
        };
        if record.state == BindingState::Gone && self.is_past_grace(&record) {
            return Ok(self.store.commit(vec![Write::DeleteBinding(record.instance, consumer.clone())]).await?);
        }
        self.drive_binding(&instance.instance, record, &held).await
    }

    /// Tells the author what should be there. Whoever has to wait for a lock meanwhile goes first.
    async fn bring_in_line(&self) -> Result<()> {
        let mut wanted = pin!(self.locks.wanted());
        wanted.as_mut().enable();
        let (tenants, _held) = self.tenants().await?;
        let call = self.call("reconcile", self.broker.reconcile(&tenants));
        tokio::select! {
            outcome = timeout(self.timing.call_timeout, call) => {
                outcome.unwrap_or_else(|_| Err(BrokerError::unavailable("reconcile did not end in time")))
            }
            () = wanted => Ok(()),
            () = self.stopping.cancelled() => Ok(()),
        }
    }

    /// What is ready and bound and in nobody's hands, locked.
    async fn tenants(&self) -> Result<(Vec<Tenant>, Vec<Held>)> {
        let mut held = Vec::new();
        let mut locked = HashSet::new();
        for record in self.store.instances().await? {
            let name = record.instance.name;
            if let Some(lock) = self.locks.try_take(&(name.clone(), None), Mode::Shared, "a check") {
                held.push(lock);
                locked.insert(name);
            }
        }
        // Read again under the locks: what was read before may be over.
        let instances: HashMap<OpaqueId, Instance> = self
            .store
            .instances()
            .await?
            .into_iter()
            .filter(|record| record.state == InstanceState::Ready && locked.contains(&record.instance.name))
            .map(|record| (record.instance.id.clone(), record.instance))
            .collect();
        let mut theirs: HashMap<OpaqueId, Vec<Binding>> = HashMap::new();
        let mut ours = HashSet::new();
        for BindingRecord { instance, binding, .. } in self.store.all_bindings().await? {
            let Some(name) = instances.get(&instance).map(|instance| instance.name.clone()) else { continue };
            if let Some(lock) = self.locks.try_take(&(name, Some(binding.consumer)), Mode::Exclusive, "a check") {
                held.push(lock);
                ours.insert(binding.id);
            }
        }
        for record in self.store.all_bindings().await? {
            if record.state == BindingState::Bound && ours.contains(&record.binding.id) {
                theirs.entry(record.instance).or_default().push(record.binding);
            }
        }
        let tenant = |(id, instance)| Tenant { bindings: theirs.remove(&id).unwrap_or_default(), instance };
        Ok((instances.into_iter().map(tenant).collect(), held))
    }
}
