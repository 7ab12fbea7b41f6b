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
    engine::{Engine, LAST_STEP},
    locks::{Held, Key, Mode},
    records::{BindingRecord, InstanceRecord},
    reply::Reply,
    states::{BindingState, InstanceEvent, InstanceState},
};
use crate::{Binding, Consumer, Instance, InstanceName, OpaqueId, Result, Tenant, store::Write};

/// How long a removal is remembered that nobody was told of.
const GONE_FOR: TimeDelta = TimeDelta::days(30);

impl Engine {
    /// Finishes what was begun, round after round, until the engine stops.
    pub(super) async fn drive_until_stopped(self: Arc<Self>) {
        let mut outage = Outage::default();
        while !self.stopping.is_cancelled() {
            outage.note("unfinished work could not be looked for", self.drive_all().await);
            self.pause().await;
        }
    }

    /// Keeps the service in line, round after round, until the engine stops. Apart from the other rounds: a server
    /// that hangs must not keep work on others from being finished.
    pub(super) async fn reconcile_until_stopped(self: Arc<Self>) {
        let mut outage = Outage::default();
        while !self.stopping.is_cancelled() {
            outage.note("the service could not be brought in line", self.bring_in_line().await);
            self.pause().await;
        }
    }

    async fn pause(&self) {
        self.stopping.run_until_cancelled(tokio::time::sleep(self.timing.reconcile_every)).await;
    }

    async fn drive_all(self: &Arc<Self>) -> Result<()> {
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
        Ok(())
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
        let mut call = pin!(self.call("reconcile", self.broker.reconcile(&tenants)));
        tokio::select! {
            outcome = &mut call => return outcome,
            () = wanted => {}
            () = self.stopping.cancelled() => {}
        }
        timeout(LAST_STEP, call).await.unwrap_or(Ok(()))
    }

    /// What is ready and bound and in nobody's hands, locked. What is about to be driven on is left out, so that
    /// a long reconciliation does not keep it waiting.
    async fn tenants(&self) -> Result<(Vec<Tenant>, Vec<Held>)> {
        let is_tenant = |record: &InstanceRecord| record.state == InstanceState::Ready && !self.needs_driving(record);
        let mut held = Vec::new();
        let mut locked = HashSet::new();
        for record in self.store.instances().await?.into_iter().filter(is_tenant) {
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
            .filter(|record| is_tenant(record) && locked.contains(&record.instance.name))
            .map(|record| (record.instance.id.clone(), record.instance))
            .collect();
        let is_bound =
            |record: &BindingRecord| record.state == BindingState::Bound && !self.binding_needs_driving(record);
        let mut theirs: HashMap<OpaqueId, Vec<Binding>> = HashMap::new();
        let mut ours = HashSet::new();
        for record in self.store.all_bindings().await?.into_iter().filter(is_bound) {
            let Some(name) = instances.get(&record.instance).map(|instance| instance.name.clone()) else { continue };
            let BindingRecord { binding, .. } = record;
            if let Some(lock) = self.locks.try_take(&(name, Some(binding.consumer)), Mode::Exclusive, "a check") {
                held.push(lock);
                ours.insert(binding.id);
            }
        }
        for record in self.store.all_bindings().await?.into_iter().filter(is_bound) {
            if ours.contains(&record.binding.id) {
                theirs.entry(record.instance).or_default().push(record.binding);
            }
        }
        let tenant = |(id, instance)| Tenant { bindings: theirs.remove(&id).unwrap_or_default(), instance };
        Ok((instances.into_iter().map(tenant).collect(), held))
    }
}

/// Whether rounds fail: said once, since an outage lasts for many of them.
#[derive(Default)]
struct Outage(bool);

impl Outage {
    fn note(&mut self, what: &str, outcome: Result<()>) {
        match outcome {
            Ok(()) => self.0 = false,
            Err(error) if self.0 => debug!(error = &error as &dyn std::error::Error, "{what}"),
            Err(error) => {
                self.0 = true;
                warn!(error = &error as &dyn std::error::Error, "{what}, it is tried again");
            }
        }
    }
}
