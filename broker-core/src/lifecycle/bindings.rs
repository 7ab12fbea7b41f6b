//! Giving access and taking it away.

use std::{future::Future, pin::pin, sync::Arc};

use chrono::Utc;
use tracing::{info, warn};

use super::{
    ask::{Ask, Outcome},
    engine::{Called, Engine, LOOK_EVERY, being_removed, later},
    instances::not_ready,
    locks::{Held, Mode},
    records::{BindingRecord, InstanceRecord, Operation, OperationKind},
    reply::{Reply, nobody},
    states::{BindingEvent, BindingState, InstanceState},
};
use crate::{
    Binding, BrokerError, Consumer, EnvVars, Instance, InstanceName, OpaqueId, Parameters, Result,
    store::{StoreError, Write},
};

impl Engine {
    /// Gives a consumer access. Again: the same credentials (SPEC B-3).
    pub(crate) fn bind(
        self: &Arc<Self>,
        name: InstanceName,
        consumer: Consumer,
        parameters: Parameters,
        ask: Ask,
    ) -> impl Future<Output = Result<Outcome<EnvVars>>> + Send + use<> {
        self.operate(&ask.clone(), |engine, reply| async move {
            let parameters = engine.bind_parameters(&name, parameters).await?;
            let bind = || engine.run_bind(&name, &consumer, parameters.clone(), ask.clone(), &reply);
            engine.in_turn(bind).await
        })
    }

    /// Takes a consumer's access away (SPEC B-4).
    pub(crate) async fn unbind(
        self: &Arc<Self>,
        name: InstanceName,
        consumer: Consumer,
        ask: Ask,
    ) -> Result<Outcome<()>> {
        self.operate(&ask.clone(), |engine, reply| async move {
            engine.in_turn(|| engine.run_unbind(&name, &consumer, ask.clone(), &reply)).await
        })
        .await
    }

    async fn run_bind(
        &self,
        name: &InstanceName,
        consumer: &Consumer,
        parameters: Parameters,
        ask: Ask,
        reply: &Reply<Outcome<EnvVars>>,
    ) -> Result<Outcome<EnvVars>> {
        let held = match self.locks.try_take(&(name.clone(), None), Mode::Shared, "a bind") {
            Some(held) => held,
            // Whoever binds while the instance is made is answered at once (A71). An update that goes on shows as
            // pending, and whoever binds when it does not end soon is told so.
            None => {
                let known = self.known(name).await?;
                if known.state != InstanceState::Updating {
                    known.bindable()?;
                }
                let held = self.lock(name, Mode::Shared, "a bind").await;
                held.map_err(|busy| known.bindable().err().unwrap_or(busy))?
            }
        };
        let _own = self.lock_binding(name, consumer, "a bind").await?;
        let mut instance = self.claim_known(name).await?;
        instance.bindable()?;
        self.require_bindable(&instance.instance)?;
        self.confirm_held(&mut instance, &ask).await?;
        let instance = instance.instance;
        if let Some(record) = self.begin_bind(&instance, consumer, &parameters, &ask).await? {
            let outcome = self.give(&instance, record, &held, reply).await;
            self.let_go_binding(&instance.id, consumer).await;
            return outcome;
        }
        Box::pin(self.bind_again(&instance, consumer, parameters, ask, &held, reply)).await
    }

    /// A bind of a consumer that has a record already.
    async fn bind_again(
        &self,
        instance: &Instance,
        consumer: &Consumer,
        parameters: Parameters,
        ask: Ask,
        held: &Held,
        reply: &Reply<Outcome<EnvVars>>,
    ) -> Result<Outcome<EnvVars>> {
        let mut record = match self.binding_for(instance, consumer, parameters, &ask, held).await? {
            Found::Same(record) => return Ok(Outcome::Already(record.env.unwrap_or_default())),
            Found::BeingMade(operation) => return Ok(Outcome::GoesOn(operation)),
            Found::ToGive(record) => *record,
        };
        // Where replicas share the store, a bind again is written down too: that keeps the others away.
        if record.state != BindingState::Bound || self.store.is_shared() {
            record.live(BindingEvent::Asked);
            record.confirmed &= record.state != BindingState::Binding;
            let mut also = self.replace_binding_operation(&mut record, OperationKind::Bind, &ask);
            also.extend(self.require_ready(instance));
            record.holder = self.holder();
            let begun = self.write_binding(&mut record, also, &nobody()).await;
            begun.map_err(|error| self.outrun(&instance.name, error))?;
        }
        let outcome = self.give(instance, Box::new(record), held, reply).await;
        self.let_go_binding(&instance.id, consumer).await;
        outcome
    }

    /// Some plans have instances that nobody binds to (SPEC B-20).
    pub(super) fn require_bindable(&self, instance: &Instance) -> Result<()> {
        let plan = &instance.plan;
        if self.catalog.find(plan).is_some_and(|plan| plan.unbindable) {
            return Err(BrokerError::bad_request(format!("instances on plan \"{plan}\" cannot be bound")));
        }
        Ok(())
    }

    /// Writes the intent of a first bind. Most binds are: whether this one is, the write itself tells.
    async fn begin_bind(
        &self,
        instance: &Instance,
        consumer: &Consumer,
        parameters: &Parameters,
        ask: &Ask,
    ) -> Result<Option<Box<BindingRecord>>> {
        let (parameters, whereabouts) = (parameters.clone(), ask.whereabouts.clone());
        let binding = Binding { parameters, whereabouts, ..Binding::new(consumer.clone()) };
        let whose = Some(consumer.clone());
        let operation = Operation::begin(OperationKind::Bind, instance.name.clone(), whose, ask.actor.clone());
        let mut record = Box::new(BindingRecord::new(instance, binding, operation));
        record.holder = self.holder();
        match self.write_binding(&mut record, self.require_ready(instance), &nobody()).await {
            Ok(()) => Ok(Some(record)),
            Err(error) if error.is_overtaken() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The record to bind with: the consumer's own, unless its time is over.
    async fn binding_for(
        &self,
        instance: &Instance,
        consumer: &Consumer,
        parameters: Parameters,
        ask: &Ask,
        held: &Held,
    ) -> Result<Found> {
        let fresh = Binding { parameters, whereabouts: ask.whereabouts.clone(), ..Binding::new(consumer.clone()) };
        let operation =
            || Operation::begin(OperationKind::Bind, instance.name.clone(), Some(consumer.clone()), ask.actor.clone());
        let Some(mut known) = self.claim_binding(&instance.id, consumer).await? else {
            return Ok(Found::ToGive(Box::new(BindingRecord::new(instance, fresh, operation()))));
        };
        if known.state == BindingState::Bound && known.has_expired() {
            self.end_expired(instance, known, held).await?;
            let again = self.store.binding(&instance.id, consumer).await?;
            let Some(gone) = again else {
                return Ok(Found::ToGive(Box::new(BindingRecord::new(instance, fresh, operation()))));
            };
            known = gone;
        }
        let outlived = known.state == BindingState::Gone && (known.has_expired() || self.is_past_grace(&known));
        if outlived && known.retired.is_empty() {
            let revision = known.revision;
            let record = BindingRecord { revision, ..BindingRecord::new(instance, fresh, operation()) };
            return Ok(Found::ToGive(Box::new(record)));
        }
        if ask.repeats && known.confirmed && known.state != BindingState::Gone {
            return known.repeated(&fresh.parameters, ask);
        }
        known.give_up_rotation();
        let Binding { parameters, whereabouts, .. } = fresh;
        let binding = Binding { parameters, whereabouts, ..known.binding };
        Ok(Found::ToGive(Box::new(BindingRecord { binding, ..known })))
    }

    /// Writes down that an operation begins, and what became of one that it replaces.
    pub(super) fn replace_binding_operation(
        &self,
        record: &mut BindingRecord,
        kind: OperationKind,
        ask: &Ask,
    ) -> Vec<Write> {
        if record.revision == 0 {
            return Vec::new();
        }
        let consumer = Some(record.consumer().clone());
        let next = Operation::begin(kind, record.instance_name.clone(), consumer, ask.actor.clone());
        let mut before = std::mem::replace(&mut record.operation, next);
        if before.ended.is_some() {
            return Vec::new();
        }
        before.end(Some(format!("{} was asked for before it ended", record.operation.described())));
        vec![Write::Log(Arc::new(before))]
    }

    /// Has the author give access, and writes down what came of it.
    pub(super) async fn give(
        &self,
        instance: &Instance,
        mut record: Box<BindingRecord>,
        held: &Held,
        reply: &Reply<Outcome<EnvVars>>,
    ) -> Result<Outcome<EnvVars>> {
        let binding = record.binding.asked_for_by(&record.operation.actor);
        let work = pin!(self.call_while(held, "bind", || self.broker.bind(instance, &binding)));
        let outcome = reply.meanwhile(work, async || self.promise(&mut record, reply).await).await;
        match outcome {
            Called::Interrupted => Err(being_removed(&instance.name)),
            Called::Done(env) => {
                record.hold(env.clone(), instance);
                record.confirmed |= reply.is_awaited();
                let was = record.state;
                if was == BindingState::Binding {
                    record.expires = self.expiry(instance, record.consumer());
                }
                record.live(BindingEvent::Given);
                let is_first = was == BindingState::Binding;
                match self.save_binding_ended(&mut record, None, reply).await {
                    Err(error) if is_first && !error.is_overtaken() => {
                        return Err(Box::pin(self.take_back_unwritten(error, instance, *record, held, reply)).await);
                    }
                    written => self.binding_written(written, instance, &binding, reply).await?,
                }
                self.backoff.forget(&record.binding.id);
                info!(instance.name = %instance.name, consumer = %binding.consumer, "bound instance `{}` to {}", instance.name, binding.consumer);
                Ok(Outcome::Done(env))
            }
            Called::Failed(error) if record.state == BindingState::Binding => {
                Box::pin(self.undo_bind(instance, *record, held, reply, error)).await
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

    /// The records failed when the outcome was to be written, and may or may not have it. A caller who hears no must not
    /// find credentials that work: as soon as the records answer, they are taken back.
    async fn take_back_unwritten<T>(
        &self,
        error: BrokerError,
        instance: &Instance,
        record: BindingRecord,
        held: &Held,
        reply: &Reply<T>,
    ) -> BrokerError {
        let unheard = || not_ready(&instance.name);
        if !reply.send(Err(error)) {
            return unheard();
        }
        let known = self.binding_when_back(&instance.id, record.consumer()).await;
        let is_ours =
            |known: &BindingRecord| known.state == BindingState::Bound && known.operation.id == record.operation.id;
        if let Some(mut known) = known.filter(is_ours) {
            known.live(BindingEvent::RemovalAsked);
            let taken = match self.save_binding(&mut known).await {
                Ok(()) => self.take(instance, known, held, &nobody()).await,
                Err(error) => Err(error),
            };
            if let Err(cause) = taken {
                warn!(instance.name = %instance.name, error = &cause as &dyn std::error::Error, "a bind whose outcome was not written is not taken back yet");
            }
        }
        unheard()
    }

    /// What the records have of a binding as soon as they answer; nothing when the engine stops before that.
    async fn binding_when_back(&self, instance: &OpaqueId, consumer: &Consumer) -> Option<BindingRecord> {
        loop {
            match self.store.binding(instance, consumer).await {
                Ok(found) => return found,
                Err(error) => self.wait_for_records(&error).await?,
            }
        }
    }

    /// It is time to answer: a caller who accepts that the work goes on hears yes, and that is written down first.
    async fn promise(&self, record: &mut BindingRecord, reply: &Reply<Outcome<EnvVars>>) {
        if reply.is_awaited() && reply.accepts_incomplete() && record.state == BindingState::Binding {
            record.confirmed = true;
            if let Err(error) = self.write_binding(record, Vec::new(), &nobody()).await {
                // Neither yes nor no is known to be written: whoever asked hears how it ends.
                warn!(error = &error as &dyn std::error::Error, "a caller is not told that its bind goes on: {error}");
                record.confirmed = false;
                return;
            }
        }
        reply.goes_on(&record.operation);
    }

    /// As a create's outcome: what a replica that was taken for dead made is taken away when nobody knows of it.
    pub(super) async fn binding_written<T>(
        &self,
        outcome: Result<()>,
        instance: &Instance,
        binding: &Binding,
        reply: &Reply<T>,
    ) -> Result<()> {
        let Err(error) = outcome else { return Ok(()) };
        if !(error.is_overtaken() && self.store.is_shared()) {
            return Err(error);
        }
        warn!(instance.name = %instance.name, consumer = %binding.consumer, "another replica took {} over meanwhile", binding.consumer);
        reply.send(Err(
            self.outrun(&instance.name, BrokerError::from(StoreError::Conflict(binding.consumer.to_string())))
        ));
        loop {
            let found = self.store.binding(&instance.id, &binding.consumer).await?;
            let known = found.filter(|found| found.binding.id == binding.id);
            match known.map(|known| known.state) {
                None | Some(BindingState::Gone) => break,
                Some(BindingState::Binding | BindingState::Unbinding) => tokio::time::sleep(LOOK_EVERY).await,
                Some(BindingState::Bound | BindingState::Rotating | BindingState::Restoring) => return Err(error),
            }
        }
        self.call("unbind", self.broker.unbind(instance, binding)).await?;
        Err(error)
    }

    /// The platform is told no, so the credentials must not work.
    async fn undo_bind(
        &self,
        instance: &Instance,
        mut record: BindingRecord,
        held: &Held,
        reply: &Reply<Outcome<EnvVars>>,
        error: BrokerError,
    ) -> Result<Outcome<EnvVars>> {
        let consumer = record.consumer().clone();
        warn!(instance.name = %instance.name, consumer = %consumer, error = &error as &dyn std::error::Error, "instance `{}` was not bound to {consumer}, cleaning up", instance.name);
        record.live(BindingEvent::NotGiven);
        record.operation.end(Some(error.to_string()));
        let log = vec![Write::Log(Arc::new(record.operation.clone()))];
        self.write_binding(&mut record, log, reply).await?;
        let mut error = Some(error);
        let undone = reply
            .meanwhile(pin!(self.take(instance, record, held, &nobody())), async || {
                error.take().map(|error| reply.send(Err(error)));
            })
            .await;
        if let Err(cause) = undone {
            warn!(instance.name = %instance.name, error = &cause as &dyn std::error::Error, "a failed bind of {consumer} is not cleaned up yet, it is tried again");
        }
        Err(error.unwrap_or_else(|| not_ready(&instance.name)))
    }

    async fn run_unbind(
        &self,
        name: &InstanceName,
        consumer: &Consumer,
        ask: Ask,
        reply: &Reply<Outcome<()>>,
    ) -> Result<Outcome<()>> {
        let not_bound = || BrokerError::NotBound { instance: name.clone(), consumer: consumer.clone() };
        let held = match self.locks.try_take(&(name.clone(), None), Mode::Shared, "an unbind") {
            Some(held) => held,
            None => {
                self.known(name).await?;
                self.lock(name, Mode::Shared, "an unbind").await?
            }
        };
        let _own = match self.locks.try_take(&(name.clone(), Some(consumer.clone())), Mode::Exclusive, "an unbind") {
            Some(own) => own,
            None => match self.being_unbound_already(name, consumer, &ask).await? {
                Some(operation) => return Ok(Outcome::GoesOn(operation)),
                None => self.lock_binding(name, consumer, "an unbind").await?,
            },
        };
        let instance = self.claim_known(name).await?;
        if instance.state == InstanceState::Deprovisioning {
            return Err(being_removed(name));
        }
        let is_ready = instance.state == InstanceState::Ready;
        let instance = instance.instance;
        let mut record = self.claim_binding(&instance.id, consumer).await?.ok_or_else(not_bound)?;
        if record.state == BindingState::Gone {
            return Err(not_bound());
        }
        record.live(BindingEvent::RemovalAsked);
        let mut also = self.replace_binding_operation(&mut record, OperationKind::Unbind, &ask);
        if is_ready {
            also.extend(self.require_ready(&instance));
        }
        record.holder = self.holder();
        let begun = self.write_binding(&mut record, also, &nobody()).await;
        begun.map_err(|error| self.outrun(name, error))?;

        let operation = record.operation.clone();
        let taken = pin!(self.take(&instance, record.clone(), &held, reply));
        let outcome = reply.meanwhile(taken, async || {
            reply.goes_on(&operation);
        });
        let outcome = match outcome.await {
            // Access is taken away, and only the records don't have it yet: it is not to be given back.
            Err(error) if error.is_of_records() && !error.is_overtaken() => {
                reply.goes_on(&operation);
                Err(error)
            }
            Err(error) if reply.is_awaited() && !held.is_interrupted() => {
                self.keep(&instance, record, &held, reply, error).await
            }
            ended => ended.map(Outcome::Done),
        };
        self.let_go_binding(&instance.id, consumer).await;
        outcome
    }

    /// The unbind that a repeated one joins while somebody works on it.
    async fn being_unbound_already(
        &self,
        name: &InstanceName,
        consumer: &Consumer,
        ask: &Ask,
    ) -> Result<Option<OpaqueId>> {
        if !(ask.repeats && ask.accepts_incomplete) {
            return Ok(None);
        }
        let instance = self.known(name).await?.instance;
        let record = self.store.binding(&instance.id, consumer).await?;
        let going_on = record.filter(|it| it.state == BindingState::Unbinding && it.operation.ended.is_none());
        Ok(going_on.map(|record| record.operation.id))
    }

    /// Has the author take access away, then remembers the secret for a while (SPEC B-5).
    pub(super) async fn take<T>(
        &self,
        instance: &Instance,
        mut record: BindingRecord,
        held: &Held,
        reply: &Reply<T>,
    ) -> Result<()> {
        let consumer = record.consumer().clone();
        let actor = &record.operation.actor;
        let bindings: Vec<Binding> = record.with_access().map(|binding| binding.asked_for_by(actor)).collect();
        for binding in &bindings {
            match self.call_while(held, "unbind", || self.broker.unbind(instance, binding)).await {
                Called::Done(()) => {}
                Called::Interrupted => return Err(being_removed(&instance.name)),
                Called::Failed(error) => {
                    self.backoff.failed(&record.binding.id);
                    return Err(error);
                }
            }
        }
        (record.env, record.next) = (None, None);
        record.retired.clear();
        record.live(BindingEvent::Taken);
        record.holder = None;
        let mut log = Vec::new();
        if record.operation.ended.is_none() {
            record.operation.end(None);
            log.push(Write::Log(Arc::new(record.operation.clone())));
        }
        self.write_binding(&mut record, log, reply).await?;
        self.backoff.forget(&record.binding.id);
        info!(instance.name = %instance.name, consumer = %consumer, "unbound instance `{}` from {consumer}", instance.name);
        Ok(())
    }

    /// An unbind failed and the platform hears it: for the platform the consumer stays bound, so
    /// access is given back where it was half taken.
    async fn keep(
        &self,
        instance: &Instance,
        mut record: BindingRecord,
        held: &Held,
        reply: &Reply<Outcome<()>>,
        error: BrokerError,
    ) -> Result<Outcome<()>> {
        record.live(BindingEvent::NotTaken);
        record.operation.end(Some(error.to_string()));
        let log = vec![Write::Log(Arc::new(record.operation.clone()))];
        if let Err(unwritten) = self.write_binding(&mut record, log, reply).await {
            // What is written is that access is taken away, so that goes on.
            reply.goes_on(&record.operation);
            return Err(unwritten);
        }
        let mut error = Some(error);
        let restored = reply
            .meanwhile(pin!(self.give(instance, Box::new(record), held, &Reply::to_nobody())), async || {
                error.take().map(|error| reply.send(Err(error)));
            })
            .await;
        if let Err(cause) = restored {
            warn!(instance.name = %instance.name, error = &cause as &dyn std::error::Error, "access is not given back yet, it is tried again");
        }
        error.map_or(Ok(Outcome::Done(())), Err)
    }

    /// Drives a binding on that a crash, a lost server or a caller who left interrupted.
    pub(super) async fn drive_binding(
        &self,
        instance: &Instance,
        mut record: BindingRecord,
        held: &Held,
    ) -> Result<()> {
        match record.state {
            // A caller who was told that it goes on gets it; else its outcome was never written, so nobody was told yes.
            BindingState::Binding if record.confirmed => {
                self.give(instance, Box::new(record), held, &Reply::to_nobody()).await.map(drop)
            }
            BindingState::Binding => {
                record.live(BindingEvent::NotGiven);
                record.operation.end(Some("the broker stopped before it ended".to_owned()));
                let log = vec![Write::Log(Arc::new(record.operation.clone()))];
                self.save_binding_with(&mut record, log).await?;
                self.take(instance, record, held, &nobody()).await
            }
            BindingState::Unbinding => self.take(instance, record, held, &nobody()).await,
            BindingState::Restoring => self.give(instance, Box::new(record), held, &Reply::to_nobody()).await.map(drop),
            BindingState::Rotating => {
                record.give_up_rotation();
                record.operation.end(Some("the broker stopped before it ended".to_owned()));
                let log = vec![Write::Log(Arc::new(record.operation.clone()))];
                record.holder = None;
                self.save_binding_with(&mut record, log).await
            }
            BindingState::Bound if record.has_expired() => self.end_expired(instance, record, held).await,
            BindingState::Bound if self.is_unclaimed(&record) => {
                record.live(BindingEvent::RemovalAsked);
                self.save_binding(&mut record).await?;
                self.take(instance, record, held, &nobody()).await
            }
            BindingState::Bound | BindingState::Gone => self.drop_retired(instance, record, held).await,
        }
    }

    /// Takes access away from credentials whose time is over (SPEC B-9).
    async fn end_expired(&self, instance: &Instance, mut record: BindingRecord, held: &Held) -> Result<()> {
        info!(instance.name = %instance.name, consumer = %record.consumer(), "the credentials of {} at instance `{}` have expired", record.consumer(), instance.name);
        let unasked = Ask::default();
        let also = self.replace_binding_operation(&mut record, OperationKind::Unbind, &unasked);
        record.live(BindingEvent::RemovalAsked);
        record.holder = self.holder();
        self.save_binding_with(&mut record, also).await?;
        self.take(instance, record, held, &nobody()).await
    }

    /// Credentials that nobody got and nobody asked for again.
    pub(super) fn is_unclaimed(&self, record: &BindingRecord) -> bool {
        record.state == BindingState::Bound && !record.confirmed && self.is_past_grace(record)
    }

    pub(super) fn is_past_grace(&self, record: &BindingRecord) -> bool {
        later(record.since, self.timing.grace) < Utc::now()
    }

    /// The platform asks about it, so the platform has it. Written once, while nobody changes the
    /// record; two that try at once do no harm.
    pub(super) async fn confirm(&self, record: &mut InstanceRecord) {
        let key = (record.instance.name.clone(), None);
        if !record.confirmed
            && let Some(_held) = self.locks.try_take(&key, Mode::Shared, "a question")
            && let Err(error) = self.confirm_held(record, &Ask::default()).await
        {
            tracing::debug!(error = &error as &dyn std::error::Error, "not confirmed this time");
        }
    }

    /// As [`confirm`](Self::confirm), by somebody who has the lock. One that another bind confirms at the same
    /// moment is confirmed.
    async fn confirm_held(&self, record: &mut InstanceRecord, ask: &Ask) -> Result<()> {
        let is_elsewhere = record.follow_place(ask);
        if record.confirmed && !is_elsewhere {
            return Ok(());
        }
        record.confirmed = true;
        match self.save(record).await {
            Err(error) if error.is_overtaken() => Ok(()),
            outcome => outcome,
        }
    }
}

/// What a bind finds.
enum Found {
    /// The binding it would make.
    Same(Box<BindingRecord>),
    /// That is being made already, in this operation.
    BeingMade(OpaqueId),
    /// A record to give access by.
    ToGive(Box<BindingRecord>),
}

impl BindingRecord {
    /// What a bind of the same consumer finds that the platform has in its books already.
    fn repeated(self, parameters: &Parameters, ask: &Ask) -> Result<Found> {
        let whose = self.consumer().clone();
        if self.binding.parameters != *parameters {
            let sentence = format!("{whose} exists with other parameters, unbind it first");
            return Err(BrokerError::Conflict(sentence));
        }
        match self.state {
            BindingState::Bound | BindingState::Rotating | BindingState::Restoring => Ok(Found::Same(Box::new(self))),
            BindingState::Binding if ask.accepts_incomplete => Ok(Found::BeingMade(self.operation.id)),
            BindingState::Binding | BindingState::Unbinding | BindingState::Gone => {
                Err(BrokerError::Busy { operation: self.operation.described(), instance: self.instance_name })
            }
        }
    }
}

impl InstanceRecord {
    pub(super) fn bindable(&self) -> Result<()> {
        let name = &self.instance.name;
        match self.state {
            InstanceState::Ready => Ok(()),
            InstanceState::Provisioning | InstanceState::Updating => Err(not_ready(name)),
            InstanceState::Failed => Err(self.failed()),
            InstanceState::Deprovisioning | InstanceState::Gone => Err(being_removed(name)),
        }
    }
}
