//! Giving access and taking it away.

use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use tracing::{info, warn};

use super::{
    engine::{Called, Engine, being_removed},
    instances::not_ready,
    locks::{Held, Mode},
    records::{BindingRecord, InstanceRecord},
    reply::Reply,
    states::{BindingEvent, BindingState, InstanceState},
};
use crate::{Binding, BrokerError, Consumer, EnvVars, Instance, InstanceName, Parameters, Result};

impl Engine {
    /// Gives a consumer access. Again: the same credentials (SPEC B-3).
    pub(crate) async fn bind(
        self: &Arc<Self>,
        name: InstanceName,
        consumer: Consumer,
        parameters: Parameters,
    ) -> Result<EnvVars> {
        self.operate(|engine, reply| async move { engine.run_bind(&name, &consumer, parameters, &reply).await }).await
    }

    /// Takes a consumer's access away (SPEC B-4).
    pub(crate) async fn unbind(self: &Arc<Self>, name: InstanceName, consumer: Consumer) -> Result<()> {
        self.operate(|engine, reply| async move { engine.run_unbind(&name, &consumer, &reply).await }).await
    }

    async fn run_bind(
        &self,
        name: &InstanceName,
        consumer: &Consumer,
        parameters: Parameters,
        reply: &Reply<EnvVars>,
    ) -> Result<EnvVars> {
        // Asked without the lock first: whoever binds while it is made is answered at once (A71).
        let known = self.known(name).await?;
        if known.state != InstanceState::Updating {
            known.bindable()?;
        }
        let held = self.lock(name, Mode::Shared, "a bind").await;
        // An update that goes on shows as pending, and whoever binds then is told so (A71).
        let held = held.map_err(|busy| known.bindable().err().unwrap_or(busy))?;
        let _own = self.lock_binding(name, consumer, "a bind").await?;
        let mut instance = self.known(name).await?;
        instance.bindable()?;
        self.confirm(&mut instance).await;
        let instance = instance.instance;
        let mut record = self.binding_for(&instance, consumer, parameters).await?;
        if record.state != BindingState::Bound {
            record.live(BindingEvent::Asked);
            record.confirmed &= record.state != BindingState::Binding;
            self.save_binding(&mut record).await?;
        }
        self.give(&instance, record, &held, reply).await
    }

    /// The record to bind with: the consumer's own, unless its time is over.
    async fn binding_for(
        &self,
        instance: &Instance,
        consumer: &Consumer,
        parameters: Parameters,
    ) -> Result<BindingRecord> {
        let mut fresh = Binding::new(consumer.clone());
        fresh.parameters = parameters;
        let Some(known) = self.store.binding(&instance.id, consumer).await? else {
            return Ok(BindingRecord::new(instance.id.clone(), fresh));
        };
        let outlived = known.state == BindingState::Gone && self.is_past_grace(&known);
        if outlived {
            let revision = known.revision;
            return Ok(BindingRecord { revision, ..BindingRecord::new(instance.id.clone(), fresh) });
        }
        let binding = Binding { parameters: fresh.parameters, ..known.binding };
        Ok(BindingRecord { binding, ..known })
    }

    /// Has the author give access, and writes down what came of it.
    async fn give(
        &self,
        instance: &Instance,
        mut record: BindingRecord,
        held: &Held,
        reply: &Reply<EnvVars>,
    ) -> Result<EnvVars> {
        let binding = record.binding.clone();
        let work = self.call_while(held, "bind", self.broker.bind(instance, &binding));
        let early = async || {
            let sentence = "the bind takes long and goes on, try again in a moment to get its result";
            reply.send(Err(BrokerError::NotReady(sentence.to_owned())));
        };
        match reply.meanwhile(work, early).await {
            Called::Interrupted => Err(being_removed(&instance.name)),
            Called::Done(env) => {
                record.env = Some(env.clone());
                record.confirmed |= reply.is_awaited();
                record.live(BindingEvent::Given);
                self.save_binding(&mut record).await?;
                self.backoff.forget(&record.binding.id);
                info!(instance.name = %instance.name, consumer = %binding.consumer, "bound instance `{}` to {}", instance.name, binding.consumer);
                Ok(env)
            }
            Called::Failed(error) if record.state == BindingState::Binding => {
                self.undo_bind(instance, record, held, reply, error).await
            }
            // It was bound before and stays so, or is still to be restored.
            Called::Failed(error) => {
                if record.state == BindingState::Restoring {
                    self.backoff.failed(&record.binding.id);
                }
                Err(error)
            }
        }
    }

    /// The platform is told no, so the credentials must not work.
    async fn undo_bind(
        &self,
        instance: &Instance,
        mut record: BindingRecord,
        held: &Held,
        reply: &Reply<EnvVars>,
        error: BrokerError,
    ) -> Result<EnvVars> {
        let consumer = record.consumer().clone();
        warn!(instance.name = %instance.name, consumer = %consumer, error = &error as &dyn std::error::Error, "instance `{}` was not bound to {consumer}, cleaning up", instance.name);
        record.live(BindingEvent::NotGiven);
        self.save_binding(&mut record).await?;
        let mut error = Some(error);
        let undone = reply
            .meanwhile(self.take(instance, record, held), async || {
                error.take().map(|error| reply.send(Err(error)));
            })
            .await;
        if let Err(cause) = undone {
            warn!(instance.name = %instance.name, error = &cause as &dyn std::error::Error, "a failed bind of {consumer} is not cleaned up yet, it is tried again");
        }
        Err(error.unwrap_or_else(|| not_ready(&instance.name)))
    }

    async fn run_unbind(&self, name: &InstanceName, consumer: &Consumer, reply: &Reply<()>) -> Result<()> {
        let not_bound = || BrokerError::NotBound { instance: name.clone(), consumer: consumer.clone() };
        self.known(name).await?;
        let held = self.lock(name, Mode::Shared, "an unbind").await?;
        let _own = self.lock_binding(name, consumer, "an unbind").await?;
        let instance = self.known(name).await?;
        if instance.state == InstanceState::Deprovisioning {
            return Err(being_removed(name));
        }
        let instance = instance.instance;
        let mut record = self.store.binding(&instance.id, consumer).await?.ok_or_else(not_bound)?;
        if record.state == BindingState::Gone {
            return Err(not_bound());
        }
        record.live(BindingEvent::RemovalAsked);
        self.save_binding(&mut record).await?;

        let taken = self.take(&instance, record.clone(), &held);
        let outcome = reply.meanwhile(taken, async || {
            reply.send(Ok(()));
        });
        match outcome.await {
            Err(error) if reply.is_awaited() && !held.is_interrupted() => {
                self.keep(&instance, record, &held, reply, error).await
            }
            ended => ended,
        }
    }

    /// Has the author take access away, then remembers the secret for a while (SPEC B-5).
    async fn take(&self, instance: &Instance, mut record: BindingRecord, held: &Held) -> Result<()> {
        let consumer = record.consumer().clone();
        match self.call_while(held, "unbind", self.broker.unbind(instance, &record.binding)).await {
            Called::Interrupted => Err(being_removed(&instance.name)),
            Called::Done(()) => {
                record.env = None;
                record.live(BindingEvent::Taken);
                self.save_binding(&mut record).await?;
                self.backoff.forget(&record.binding.id);
                info!(instance.name = %instance.name, consumer = %consumer, "unbound instance `{}` from {consumer}", instance.name);
                Ok(())
            }
            Called::Failed(error) => {
                self.backoff.failed(&record.binding.id);
                Err(error)
            }
        }
    }

    /// An unbind failed and the platform hears it: for the platform the consumer stays bound, so
    /// access is given back where it was half taken.
    async fn keep(
        &self,
        instance: &Instance,
        mut record: BindingRecord,
        held: &Held,
        reply: &Reply<()>,
        error: BrokerError,
    ) -> Result<()> {
        let stored = self.store.binding(&instance.id, record.consumer()).await?;
        if stored.is_none_or(|stored| stored.state != BindingState::Unbinding) {
            return Err(error);
        }
        record.live(BindingEvent::NotTaken);
        self.save_binding(&mut record).await?;
        let mut error = Some(error);
        let restored = reply
            .meanwhile(self.give(instance, record, held, &Reply::to_nobody()), async || {
                error.take().map(|error| reply.send(Err(error)));
            })
            .await;
        if let Err(cause) = restored {
            warn!(instance.name = %instance.name, error = &cause as &dyn std::error::Error, "access is not given back yet, it is tried again");
        }
        error.map_or(Ok(()), Err)
    }

    /// Drives a binding on that a crash, a lost server or a caller who left interrupted.
    pub(super) async fn drive_binding(
        &self,
        instance: &Instance,
        mut record: BindingRecord,
        held: &Held,
    ) -> Result<()> {
        match record.state {
            // Its outcome was never written, so nobody was told yes.
            BindingState::Binding => {
                record.live(BindingEvent::NotGiven);
                self.save_binding(&mut record).await?;
                self.take(instance, record, held).await
            }
            BindingState::Unbinding => self.take(instance, record, held).await,
            BindingState::Restoring => self.give(instance, record, held, &Reply::to_nobody()).await.map(drop),
            BindingState::Bound if self.is_unclaimed(&record) => {
                record.live(BindingEvent::RemovalAsked);
                self.save_binding(&mut record).await?;
                self.take(instance, record, held).await
            }
            BindingState::Bound | BindingState::Gone => Ok(()),
        }
    }

    /// Credentials that nobody got and nobody asked for again.
    pub(super) fn is_unclaimed(&self, record: &BindingRecord) -> bool {
        record.state == BindingState::Bound && !record.confirmed && self.is_past_grace(record)
    }

    pub(super) fn is_past_grace(&self, record: &BindingRecord) -> bool {
        Utc::now() - record.since > TimeDelta::from_std(self.timing.grace).unwrap_or(TimeDelta::MAX)
    }

    /// The platform asks about it, so the platform has it. Written once, while nobody changes the
    /// record; two that try at once do no harm.
    pub(super) async fn confirm(&self, record: &mut InstanceRecord) {
        let key = (record.instance.name.clone(), None);
        if !record.confirmed
            && let Some(_held) = self.locks.try_take(&key, Mode::Shared, "a question")
        {
            record.confirmed = true;
            if let Err(error) = self.save(record).await {
                tracing::debug!(error = &error as &dyn std::error::Error, "not confirmed this time");
            }
        }
    }
}

impl InstanceRecord {
    fn bindable(&self) -> Result<()> {
        let name = &self.instance.name;
        match self.state {
            InstanceState::Ready => Ok(()),
            InstanceState::Provisioning | InstanceState::Updating => Err(not_ready(name)),
            InstanceState::Failed => Err(self.failed()),
            InstanceState::Deprovisioning | InstanceState::Gone => Err(being_removed(name)),
        }
    }
}
