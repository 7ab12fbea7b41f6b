//! Making, changing and removing instances.

use std::{future::Future, pin::pin, sync::Arc};

use chrono::Utc;
use tracing::{error, info, warn};

use super::{
    ask::{Ask, Outcome},
    engine::{Called, Engine, LOOK_EVERY, being_removed, later},
    locks::{Held, Mode},
    records::{BindingRecord, InstanceRecord, Operation, OperationKind},
    reply::{Reply, nobody},
    states::{InstanceEvent, InstanceState},
};
use crate::{
    Binding, BrokerError, Instance, InstanceName, Notes, OpaqueId, Parameters, Plan, PlanName, Result, Update,
    store::Write,
};

/// What a create asks for.
#[derive(Clone)]
pub(crate) struct NewInstance {
    pub(crate) name: InstanceName,
    pub(crate) plan: Option<PlanName>,
    pub(crate) wishes: Wishes,
}

/// What an update asks for: no plan means the plan it is on.
#[derive(Clone)]
pub(crate) struct Change {
    pub(crate) name: InstanceName,
    pub(crate) plan: Option<PlanName>,
    /// Whether the instance moves to the plan's present maintenance version.
    pub(crate) upgrades: bool,
    pub(crate) wishes: Wishes,
}

/// What creates and updates have in common.
#[derive(Clone, PartialEq)]
pub(crate) struct Wishes {
    pub(crate) team: String,
    pub(crate) description: String,
    pub(crate) tags: Vec<String>,
    pub(crate) parameters: Parameters,
}

impl Wishes {
    fn on(self, plan: PlanName, maintenance: Option<String>) -> Update {
        let Self { team, description, tags, parameters } = self;
        Update { plan, parameters, team, description, tags, maintenance }
    }
}

impl Engine {
    /// Makes an instance (SPEC I-1). A caller who is answered early asks for the status from then on.
    pub(crate) fn create(
        self: &Arc<Self>,
        new: NewInstance,
        ask: Ask,
    ) -> impl Future<Output = Result<Outcome<()>>> + Send + use<> {
        self.operate(&ask.clone(), |engine, reply| async move { engine.run_create(new, ask, &reply).await })
    }

    /// Changes an instance (SPEC I-5); one that could not be made is tried again with the new wishes (SPEC I-10).
    pub(crate) async fn update(self: &Arc<Self>, change: Change, ask: Ask) -> Result<Outcome<()>> {
        self.operate(&ask.clone(), |engine, reply| async move {
            engine.in_turn(|| engine.run_update(change.clone(), ask.clone(), &reply)).await
        })
        .await
    }

    /// Tries again to make an instance that could not be made (SPEC I-10).
    pub(crate) async fn retry(self: &Arc<Self>, name: InstanceName, ask: Ask) -> Result<Outcome<()>> {
        self.operate(&ask.clone(), |engine, reply| async move {
            engine.in_turn(|| engine.run_retry(&name, ask.clone(), &reply)).await
        })
        .await
    }

    /// Removes an instance, a half-made one too (SPEC I-6).
    pub(crate) async fn remove(self: &Arc<Self>, name: InstanceName, ask: Ask) -> Result<Outcome<()>> {
        self.operate(&ask.clone(), |engine, reply| async move { engine.run_remove(&name, ask, &reply).await }).await
    }

    async fn run_create(&self, new: NewInstance, ask: Ask, reply: &Reply<Outcome<()>>) -> Result<Outcome<()>> {
        let NewInstance { name, plan, mut wishes } = new;
        let Plan { name: plan, maintenance, .. } = self.plan(plan.as_ref())?.clone();
        wishes.parameters = self.instance_parameters(&plan, wishes.parameters)?;
        let wish = wishes.on(plan, maintenance.map(|maintenance| maintenance.version));
        let held = match self.locks.try_take(&(name.clone(), None), Mode::Exclusive, "a create") {
            Some(held) => held,
            None => match self.answer_to_repeat(&name, &wish, &ask).await? {
                Some(answer) => return Ok(answer),
                None => self.lock(&name, Mode::Exclusive, "a create").await?,
            },
        };
        self.lease.begin().await?;
        // Most names are new: whether this one is, the write itself tells.
        let mut attempt = self.begin(&name, &wish, &ask, Vec::new()).await;
        if attempt.as_ref().is_err_and(BrokerError::is_overtaken) {
            attempt = Box::pin(self.make_way(&name, &wish, &ask, &held, reply)).await;
        }
        let record = loop {
            match attempt {
                Ok(Way::Free(record)) => break record,
                Ok(Way::Made) => return Ok(Outcome::Already(())),
                Ok(Way::BeingMade(operation)) => return Ok(Outcome::GoesOn(operation)),
                // Another replica was faster: what it began is looked at.
                Err(error) if error.is_overtaken() && self.store.is_shared() => {
                    attempt = Box::pin(self.make_way(&name, &wish, &ask, &held, reply)).await;
                }
                Err(error) => return Err(error),
            }
        };
        let outcome = self.provision(record, &held, reply).await;
        self.let_go(&name).await;
        outcome
    }

    /// The answer to a create of what is there, or is being made, while somebody works on it.
    async fn answer_to_repeat(&self, name: &InstanceName, wish: &Update, ask: &Ask) -> Result<Option<Outcome<()>>> {
        let Some(known) = self.store.instance(name).await?.filter(|known| known.confirmed) else { return Ok(None) };
        if !known.state.is_taken() {
            return Ok(None);
        }
        match known.repeated(wish, ask)? {
            Way::Made => Ok(Some(Outcome::Already(()))),
            Way::BeingMade(operation) => Ok(Some(Outcome::GoesOn(operation))),
            Way::Free(_) => Ok(None),
        }
    }

    /// The record to provision: a new one, or the one of an earlier create whose answer was lost (SPEC I-7).
    async fn make_way(
        &self,
        name: &InstanceName,
        wish: &Update,
        ask: &Ask,
        held: &Held,
        reply: &Reply<Outcome<()>>,
    ) -> Result<Way> {
        let Some(mut known) = self.claim(name).await? else {
            return self.begin(name, wish, ask, Vec::new()).await;
        };
        match known.state {
            InstanceState::Gone => {
                let forget = vec![Write::DeleteInstance(known.instance.name, known.instance.id)];
                self.begin(name, wish, ask, forget).await
            }
            InstanceState::Deprovisioning if known.confirmed => Err(still_being_removed(name)),
            _ if known.confirmed => known.repeated(wish, ask),
            InstanceState::Ready if known.instance.is_as_wished(wish) => {
                known.confirmed = reply.is_awaited();
                known.follow_place(ask);
                self.save(&mut known).await?;
                Ok(Way::Made)
            }
            InstanceState::Provisioning if known.instance.is_as_wished(wish) => {
                known.follow_place(ask);
                known.holder = self.holder();
                self.save(&mut known).await?;
                Ok(Way::Free(Box::new(known)))
            }
            InstanceState::Provisioning
            | InstanceState::Ready
            | InstanceState::Updating
            | InstanceState::Failed
            | InstanceState::Deprovisioning => {
                info!(instance.name = %name, "replacing instance `{name}`, whose creation nobody was told of");
                known.holder = self.holder();
                known.live(InstanceEvent::RemovalAsked);
                self.save(&mut known).await?;
                self.wait_for_bindings(&known).await?;
                self.take_down(known, held).await.inspect_err(|error| warn!("not replaced: {error}"))?;
                self.begin(name, wish, ask, Vec::new()).await
            }
        }
    }

    /// Writes the intent: identifiers and secrets are made here, before anything is done.
    async fn begin(&self, name: &InstanceName, wish: &Update, ask: &Ask, writes: Vec<Write>) -> Result<Way> {
        let mut instance = Instance::new(name.clone(), wish.plan.clone());
        instance.follow(wish.clone());
        instance.pool.clone_from(&ask.pool);
        instance.context.clone_from(&ask.context);
        let operation = Operation::begin(OperationKind::Create, name.clone(), None, ask.actor.clone());
        let mut record = InstanceRecord::new(instance, operation);
        record.holder = self.holder();
        let limits = self.limits_of_new(wish).await?;
        self.write_instance(&mut record, writes, limits, &nobody()).await?;
        Ok(Way::Free(Box::new(record)))
    }

    /// Has the author make it, and writes down what came of it.
    pub(super) async fn provision(
        &self,
        mut record: Box<InstanceRecord>,
        held: &Held,
        reply: &Reply<Outcome<()>>,
    ) -> Result<Outcome<()>> {
        let _line = self.progress.begin(&record.operation.id);
        let instance = self.for_author(&record);
        let work = pin!(self.call_while(held, "provision", || self.broker.provision(&instance)));
        let outcome = reply.meanwhile(work, async || self.confirm_early(&mut record, reply).await).await;
        let name = &instance.name;
        match outcome {
            Called::Interrupted => {
                self.wake.send_replace(());
                Err(being_removed(name))
            }
            Called::Done(notes) => {
                record.instance.notes = notes;
                record.confirmed |= reply.is_awaited();
                record.live(InstanceEvent::Provisioned);
                match self.save_ended(&mut record, None, reply).await {
                    Err(error) if !error.is_overtaken() => {
                        return Err(Box::pin(self.remove_unwritten(error, *record, held, reply)).await);
                    }
                    Err(overtaken) => return Err(Box::pin(self.overtaken(overtaken, &instance, reply)).await),
                    Ok(()) => {}
                }
                self.backoff.forget(&instance.id);
                info!(instance.name = %name, instance.id = %instance.id, plan.name = %instance.plan, "created instance `{name}`");
                Ok(Outcome::Done(()))
            }
            Called::Failed(error) if record.confirmed => Box::pin(self.fail_later(*record, error, reply)).await,
            Called::Failed(error) => Box::pin(self.undo_create(*record, held, reply, error)).await,
        }
    }

    /// It is time to answer: a caller who accepts that the work goes on hears yes, and that is written down first.
    async fn confirm_early(&self, record: &mut InstanceRecord, reply: &Reply<Outcome<()>>) {
        if !reply.is_awaited() {
            return;
        }
        if !reply.accepts_incomplete() {
            reply.goes_on(&record.operation);
            return;
        }
        record.confirmed = true;
        match self.write_instance(record, Vec::new(), Vec::new(), &nobody()).await {
            Ok(()) => {
                reply.goes_on(&record.operation);
            }
            Err(error) => {
                // Neither yes nor no is known to be written: whoever asked hears how it ends.
                warn!(
                    error = &error as &dyn std::error::Error,
                    "a caller is not told that its create goes on: {error}"
                );
                record.confirmed = false;
            }
        }
    }

    /// The records failed when the outcome was to be written, and may or may not have it. A caller who hears no must not
    /// leave an instance behind (SPEC I-2): as soon as the records answer, it is removed.
    async fn remove_unwritten(
        &self,
        error: BrokerError,
        record: InstanceRecord,
        held: &Held,
        reply: &Reply<Outcome<()>>,
    ) -> BrokerError {
        let name = &record.instance.name;
        // A repeated try of what could not be made is no create: it may stay.
        if record.operation.kind != OperationKind::Create || !reply.send(Err(error)) {
            return not_ready(name);
        }
        let known = self.instance_when_back(name).await;
        if let Some(mut known) = known.filter(|known| known.operation.id == record.operation.id) {
            known.confirmed = false;
            known.live(InstanceEvent::RemovalAsked);
            let removed = match self.save(&mut known).await {
                Ok(()) => self.take_down(known, held).await,
                Err(error) => Err(error),
            };
            if let Err(cause) = removed {
                warn!(instance.name = %name, error = &cause as &dyn std::error::Error, "a create whose outcome was not written is not taken back yet");
            }
        }
        not_ready(name)
    }

    /// What the records have under a name as soon as they answer; nothing when the engine stops before that.
    async fn instance_when_back(&self, name: &InstanceName) -> Option<InstanceRecord> {
        loop {
            match self.store.instance(name).await {
                Ok(found) => return found,
                Err(error) => self.wait_for_records(&error).await?,
            }
        }
    }

    /// A pause before the records are asked again; nothing when the engine stops.
    pub(super) async fn wait_for_records(&self, error: &(impl std::fmt::Display + Sync)) -> Option<()> {
        tracing::debug!("the records do not answer yet: {error}");
        self.stopping.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await
    }

    /// A replica that was taken for dead finds its late outcome refused. What it made meanwhile is not in the
    /// records: should the instance be gone, it is taken away again.
    async fn overtaken(&self, error: BrokerError, instance: &Instance, reply: &Reply<Outcome<()>>) -> BrokerError {
        if !self.store.is_shared() {
            return error;
        }
        let name = &instance.name;
        warn!(instance.name = %name, "another replica took instance `{name}` over meanwhile");
        reply.send(Err(being_removed(name)));
        loop {
            match self.store.instance(name).await {
                Ok(Some(record)) if record.instance.id == instance.id => match record.state {
                    InstanceState::Deprovisioning => tokio::time::sleep(LOOK_EVERY).await,
                    InstanceState::Gone => break,
                    InstanceState::Provisioning
                    | InstanceState::Ready
                    | InstanceState::Updating
                    | InstanceState::Failed => return error,
                },
                Ok(_) => break,
                Err(unknown) => return unknown.into(),
            }
        }
        self.call("deprovision", self.broker.deprovision(instance)).await.err().unwrap_or(error)
    }

    /// The platform was told yes: what may pass is tried again for a while, anything else its owner sees.
    async fn fail_later(
        &self,
        mut record: InstanceRecord,
        error: BrokerError,
        reply: &Reply<Outcome<()>>,
    ) -> Result<Outcome<()>> {
        let name = record.instance.name.clone();
        if error.may_pass() && !reply.is_awaited() && !self.has_given_up(&record.operation) {
            warn!(instance.name = %name, error = &error as &dyn std::error::Error, "instance `{name}` is not made yet, it is tried again");
            self.backoff.failed(&record.instance.id);
            return Err(error);
        }
        error!(instance.name = %name, error = &error as &dyn std::error::Error, "instance `{name}` could not be made");
        record.reason = Some(error.to_string());
        record.live(InstanceEvent::Broke);
        self.save_ended(&mut record, Some(&error), reply).await?;
        self.backoff.forget(&record.instance.id);
        Err(error)
    }

    /// Whether something was tried for so long that it is not tried again.
    fn has_given_up(&self, operation: &Operation) -> bool {
        later(operation.began, self.timing.give_up_after) <= Utc::now()
    }

    /// The platform is told no, so nothing stays behind.
    async fn undo_create(
        &self,
        mut record: InstanceRecord,
        held: &Held,
        reply: &Reply<Outcome<()>>,
        error: BrokerError,
    ) -> Result<Outcome<()>> {
        let name = record.instance.name.clone();
        warn!(instance.name = %name, error = &error as &dyn std::error::Error, "instance `{name}` was not made, cleaning up");
        record.live(InstanceEvent::Refused);
        let log = self.end_operation(&mut record.operation, Some(error.to_string()));
        match self.write_instance(&mut record, log, Vec::new(), reply).await {
            Err(unwritten) if !unwritten.is_overtaken() => {
                return Err(self.remove_unwritten(unwritten, record, held, reply).await);
            }
            written => written?,
        }
        let mut error = Some(error);
        let cleaned = reply
            .meanwhile(pin!(self.take_down(record, held)), async || {
                error.take().map(|error| reply.send(Err(error)));
            })
            .await;
        if let Err(cause) = cleaned {
            warn!(instance.name = %name, error = &cause as &dyn std::error::Error, "what is left of `{name}` is not cleaned up yet, it is tried again");
        }
        error.map_or(Ok(Outcome::Done(())), Err)
    }

    async fn run_update(&self, change: Change, ask: Ask, reply: &Reply<Outcome<()>>) -> Result<Outcome<()>> {
        let name = change.name.clone();
        let known = self.known(&name).await?;
        if let Some(asked) = &change.plan {
            self.plan(Some(asked))?;
        }
        let wish = self.wish_of(&change, &known.instance)?;
        if let Some(operation) = known.being_changed_already(&wish, &ask) {
            return Ok(Outcome::GoesOn(operation));
        }
        let held = self.lock(&name, Mode::Exclusive, "an update").await?;
        let record = self.claim_known(&name).await?;
        record.changeable()?;
        let wish = self.wish_of(&change, &record.instance)?;
        let outcome = self.update_held(record, wish, ask, &held, reply).await;
        self.let_go(&name).await;
        outcome.map_err(BrokerError::of_a_change)
    }

    /// What an instance is to become, of which the change names a part; parameters are read.
    fn wish_of(&self, change: &Change, now: &Instance) -> Result<Update> {
        let Change { plan, upgrades, mut wishes, .. } = change.clone();
        let plan = plan.unwrap_or_else(|| now.plan.clone());
        wishes.parameters = self.instance_parameters(&plan, wishes.parameters)?;
        let version = if upgrades || plan != now.plan { self.version_of(&plan) } else { now.maintenance.clone() };
        Ok(wishes.on(plan, version))
    }

    async fn update_held(
        &self,
        mut record: InstanceRecord,
        wish: Update,
        ask: Ask,
        held: &Held,
        reply: &Reply<Outcome<()>>,
    ) -> Result<Outcome<()>> {
        let is_elsewhere = record.follow_place(&ask);
        if wish.plan != record.instance.plan && record.state != InstanceState::Failed {
            self.require_free_to_move(&record.instance)?;
        }
        let limits = self.limits_of_change(&record, &wish).await?;
        if record.state == InstanceState::Failed {
            record.instance.follow(wish);
            return self.try_again(record, OperationKind::Update, ask, limits, held, reply).await;
        }
        if record.state == InstanceState::Ready && record.confirmed && Update::of(&record.instance) == wish {
            if is_elsewhere {
                let name = record.instance.name.clone();
                self.save(&mut record).await.map_err(|error| self.outrun(&name, error))?;
            }
            return Ok(Outcome::Already(()));
        }
        record.wish = Some(wish);
        record.confirmed = true;
        record.reason = None;
        record.live(InstanceEvent::ChangeAsked);
        self.begin_next(&mut record, OperationKind::Update, &ask, limits).await?;
        if let Err(busy) = self.wait_for_bindings(&record).await {
            record.reason = Some(busy.to_string());
            self.end_change(record, reply).await?;
            return Err(busy);
        }
        self.change(record, held, reply).await
    }

    /// An instance on a fixed plan stays there (SPEC I-20).
    fn require_free_to_move(&self, instance: &Instance) -> Result<()> {
        let is_fixed = self.catalog.find(&instance.plan).is_some_and(|plan| plan.fixed);
        if !is_fixed {
            return Ok(());
        }
        let plan = &instance.plan;
        let sentence = format!("an instance on plan \"{plan}\" cannot change its plan, create a new instance");
        Err(BrokerError::bad_request(sentence))
    }

    /// The version that a plan's new instances are on.
    pub(super) fn version_of(&self, plan: &PlanName) -> Option<String> {
        self.catalog.find(plan)?.version().map(str::to_owned)
    }

    async fn run_retry(&self, name: &InstanceName, ask: Ask, reply: &Reply<Outcome<()>>) -> Result<Outcome<()>> {
        self.known(name).await?;
        let held = self.lock(name, Mode::Exclusive, "a retry").await?;
        let record = self.claim_known(name).await?;
        if record.state != InstanceState::Failed {
            let state = record.state.as_str();
            let sentence = format!("instance \"{name}\" is {state}, only one that could not be made is tried again");
            return Err(BrokerError::Conflict(sentence));
        }
        let outcome = self.try_again(record, OperationKind::Retry, ask, Vec::new(), &held, reply).await;
        self.let_go(name).await;
        outcome
    }

    async fn try_again(
        &self,
        mut record: InstanceRecord,
        kind: OperationKind,
        ask: Ask,
        limits: Vec<Write>,
        held: &Held,
        reply: &Reply<Outcome<()>>,
    ) -> Result<Outcome<()>> {
        record.reason = None;
        record.live(InstanceEvent::RetryAsked);
        self.begin_next(&mut record, kind, &ask, limits).await?;
        self.provision(Box::new(record), held, reply).await
    }

    /// Writes down that an operation begins, and what became of one that it replaces.
    async fn begin_next(
        &self,
        record: &mut InstanceRecord,
        kind: OperationKind,
        ask: &Ask,
        limits: Vec<Write>,
    ) -> Result<()> {
        let log = self.replace_operation(record, kind, ask);
        record.holder = self.holder();
        let begun = self.write_instance(record, log, limits, &nobody()).await;
        begun.map_err(|error| self.outrun(&record.instance.name, error))
    }

    fn replace_operation(&self, record: &mut InstanceRecord, kind: OperationKind, ask: &Ask) -> Vec<Write> {
        let next = Operation::begin(kind, record.instance.name.clone(), None, ask.actor.clone());
        let mut before = std::mem::replace(&mut record.operation, next);
        let mut log = record.cut_off_call();
        if before.ended.is_none() {
            before.end(Some(format!("{} was asked for before it ended", record.operation.described())));
            log.push(Write::Log(Arc::new(before)));
        }
        log
    }

    /// The instance that this replica may work on, if there is such an instance.
    pub(super) async fn claim_known(&self, name: &InstanceName) -> Result<InstanceRecord> {
        let record = self.claim(name).await?;
        record.filter(InstanceRecord::is_visible).ok_or_else(|| BrokerError::UnknownInstance(name.clone()))
    }

    /// Has the author make the change that is written down.
    pub(super) async fn change(
        &self,
        mut record: InstanceRecord,
        held: &Held,
        reply: &Reply<Outcome<()>>,
    ) -> Result<Outcome<()>> {
        let _line = self.progress.begin(&record.operation.id);
        let instance = self.for_author(&record);
        let Some(wish) = record.wish.clone() else {
            self.end_change(record, reply).await?;
            return Ok(Outcome::Done(()));
        };
        let outcome = reply
            .meanwhile(pin!(self.call_while(held, "update", || self.broker.update(&instance, &wish))), async || {
                reply.goes_on(&record.operation);
            })
            .await;
        match outcome {
            Called::Interrupted => {
                self.wake.send_replace(());
                Err(being_removed(&instance.name))
            }
            Called::Done(notes) => {
                record.instance.change_to(wish, notes);
                self.end_change(record, reply).await?;
                Ok(Outcome::Done(()))
            }
            Called::Failed(error)
                if error.may_pass() && !reply.is_awaited() && !self.has_given_up(&record.operation) =>
            {
                warn!(instance.name = %instance.name, error = &error as &dyn std::error::Error, "instance `{}` is not changed yet, it is tried again", instance.name);
                self.backoff.failed(&instance.id);
                Err(error)
            }
            Called::Failed(error) => {
                warn!(instance.name = %instance.name, error = &error as &dyn std::error::Error, "instance `{}` stays as it was", instance.name);
                // The first reason counts, not what taking back came to.
                record.reason.get_or_insert_with(|| error.to_string());
                if error.is_refusal() || self.change_back(&mut record, held).await {
                    self.end_change(record, reply).await?;
                } else {
                    record.wish = Some(Update::of(&instance));
                    self.write_instance(&mut record, Vec::new(), Vec::new(), reply).await?;
                    self.backoff.failed(&instance.id);
                }
                Err(error)
            }
        }
    }

    /// Ends an update; one that left a reason behind has failed.
    async fn end_change<T>(&self, mut record: InstanceRecord, reply: &Reply<T>) -> Result<()> {
        record.wish = None;
        record.holder = None;
        record.live(InstanceEvent::ChangeEnded);
        let failure = record.reason.take();
        let log = self.end_operation(&mut record.operation, failure);
        self.write_instance(&mut record, log, Vec::new(), reply).await?;
        self.backoff.forget(&record.instance.id);
        Ok(())
    }

    /// A change that failed half-way: the author is asked for what was there before. Returns whether that
    /// came to an end; it did not when trying again may help.
    async fn change_back(&self, record: &mut InstanceRecord, held: &Held) -> bool {
        let (instance, before) = (&self.for_author(record), Update::of(&record.instance));
        match self.call_while(held, "update", || self.broker.update(instance, &before)).await {
            Called::Done(notes) => {
                record.instance.change_to(before, notes);
                true
            }
            Called::Failed(error) => {
                error!(instance.name = %instance.name, error = &error as &dyn std::error::Error, "a failed update of `{}` could not be taken back", instance.name);
                !error.may_pass()
            }
            Called::Interrupted => false,
        }
    }

    async fn run_remove(&self, name: &InstanceName, ask: Ask, reply: &Reply<Outcome<()>>) -> Result<Outcome<()>> {
        let unknown = || BrokerError::UnknownInstance(name.clone());
        let known = self.store.instance(name).await?.ok_or_else(unknown)?;
        if known.state != InstanceState::Deprovisioning {
            self.locks.interrupt(name);
        }
        let held = match self.locks.try_take(&(name.clone(), None), Mode::Exclusive, "a removal") {
            Some(held) => held,
            None => match known.being_removed_already(&ask) {
                Some(operation) => return Ok(Outcome::GoesOn(operation)),
                None => self.lock(name, Mode::Exclusive, "a removal").await?,
            },
        };
        self.lease.begin().await?;
        loop {
            let mut record = self.store.instance(name).await?.ok_or_else(unknown)?;
            if record.state == InstanceState::Gone {
                self.store.commit(vec![Write::DeleteInstance(record.instance.name, record.instance.id)]).await?;
                return Ok(Outcome::Done(()));
            }
            let is_ours = self.lease.may_take(record.holder.as_ref()).await?;
            let mut log = Vec::new();
            if record.state != InstanceState::Deprovisioning || !record.confirmed {
                log = self.replace_operation(&mut record, OperationKind::Remove, &ask);
            }
            record.confirmed = true;
            record.live(InstanceEvent::RemovalAsked);
            if is_ours {
                record.holder = self.holder();
            }
            match self.save_with(&mut record, log).await {
                // Whatever another replica wrote meanwhile, the removal goes first.
                Err(error) if error.is_overtaken() && self.store.is_shared() => {}
                Err(error) => return Err(error),
                Ok(()) if is_ours => {
                    let outcome = match self.wait_for_bindings(&record).await {
                        Ok(()) => self.finish_removal(record, &held, reply).await,
                        Err(busy) => Err(busy),
                    };
                    self.let_go(name).await;
                    return outcome;
                }
                Ok(()) => {
                    self.await_turn(&record, reply).await?;
                    if !reply.is_awaited() {
                        // Answered that it goes on: whichever replica gets to it does it.
                        return Ok(Outcome::Done(()));
                    }
                    if self.store.instance(name).await?.is_none_or(|found| found.instance.id != record.instance.id) {
                        return Ok(Outcome::Done(()));
                    }
                }
            }
        }
    }

    /// Waits for another replica, which works on the instance, to see that it is to be removed and to let go of it.
    async fn await_turn(&self, record: &InstanceRecord, reply: &Reply<Outcome<()>>) -> Result<()> {
        let turn = pin!(async {
            loop {
                match self.store.instance(&record.instance.name).await? {
                    Some(found) if found.instance.id == record.instance.id => {
                        if self.lease.may_take(found.holder.as_ref()).await? {
                            return Result::<()>::Ok(());
                        }
                        tokio::time::sleep(LOOK_EVERY).await;
                    }
                    Some(_) | None => return Ok(()),
                }
            }
        });
        let early = async || {
            reply.goes_on(&record.operation);
        };
        reply.meanwhile(turn, early).await
    }

    /// Removes what is to be removed, then forgets it; if nobody is there to be told, the next delete is.
    pub(super) async fn finish_removal(
        &self,
        record: InstanceRecord,
        held: &Held,
        reply: &Reply<Outcome<()>>,
    ) -> Result<Outcome<()>> {
        let _line = self.progress.begin(&record.operation.id);
        let mut told = !record.confirmed;
        let name = record.instance.name.clone();
        let early = async || told = reply.goes_on(&record.operation) && reply.accepts_incomplete();
        let removed = reply.meanwhile(pin!(self.take_apart(&record, held)), early).await;
        if let Err(error) = removed {
            warn!(instance.name = %name, error = &error as &dyn std::error::Error, "instance `{name}` is not removed yet, it is tried again");
            self.backoff.failed(&record.instance.id);
            return Err(error);
        }
        self.forget(record, told || reply.is_awaited()).await?;
        Ok(Outcome::Done(()))
    }

    /// Removes what nobody knows of.
    async fn take_down(&self, record: InstanceRecord, held: &Held) -> Result<()> {
        if let Err(error) = self.take_apart(&record, held).await {
            self.backoff.failed(&record.instance.id);
            return Err(error);
        }
        self.forget(record, true).await
    }

    async fn forget(&self, mut record: InstanceRecord, told: bool) -> Result<()> {
        self.backoff.forget(&record.instance.id);
        let name = record.instance.name.clone();
        let mut log = Vec::new();
        if record.operation.ended.is_none() {
            log = self.end_operation(&mut record.operation, None);
        }
        if told {
            log.push(Write::DeleteInstance(record.instance.name, record.instance.id));
            self.store.commit(log).await?;
        } else {
            record.holder = None;
            record.live(InstanceEvent::Removed);
            self.save_with(&mut record, log).await?;
        }
        info!(instance.name = %name, "removed instance `{name}`");
        Ok(())
    }

    /// Has the author take away every access, then the instance. A server that hangs takes no access away, but may
    /// well be removed together with it: what failed before that is asked for again after it.
    async fn take_apart(&self, record: &InstanceRecord, _held: &Held) -> Result<()> {
        let instance = &self.for_author(record);
        let known = self.store.bindings(&instance.id).await?;
        known.iter().for_each(|known| self.backoff.forget(&known.binding.id));
        let bindings = known.iter().flat_map(BindingRecord::with_access);
        let bindings: Vec<Binding> = bindings.map(|binding| binding.asked_for_by(&record.operation.actor)).collect();
        let taken = self.take_all(instance, &bindings).await;
        self.call("deprovision", self.broker.deprovision(instance)).await?;
        if taken.is_err() { self.take_all(instance, &bindings).await } else { Ok(()) }
    }

    /// The instance as an author gets it who works on it: who asked for that is known, and how far it is can be said.
    fn for_author(&self, record: &InstanceRecord) -> Instance {
        let (progress, asked_by) = (self.progress.of(&record.operation.id), record.operation.actor.clone());
        Instance { progress, asked_by, ..record.instance.clone() }
    }

    pub(super) async fn take_all(&self, instance: &Instance, bindings: &[Binding]) -> Result<()> {
        for binding in bindings {
            self.call("unbind", self.broker.unbind(instance, binding)).await?;
        }
        Ok(())
    }
}

/// What a create finds under its name.
enum Way {
    /// Nothing, or what is left of an earlier create: the record to provision.
    Free(Box<InstanceRecord>),
    /// What it would make.
    Made,
    /// That is being made already, in this operation.
    BeingMade(OpaqueId),
}

impl InstanceState {
    /// Whether a create of the name is refused for good.
    fn is_taken(self) -> bool {
        match self {
            Self::Provisioning | Self::Ready | Self::Updating | Self::Failed => true,
            Self::Deprovisioning | Self::Gone => false,
        }
    }
}

impl InstanceRecord {
    /// What a create of the same name finds that the platform has in its books already.
    fn repeated(&self, wish: &Update, ask: &Ask) -> Result<Way> {
        let taken = || BrokerError::AlreadyExists(self.instance.name.clone());
        if !ask.repeats || !self.instance.is_as_wished(wish) {
            return Err(taken());
        }
        match self.state {
            InstanceState::Ready | InstanceState::Updating => Ok(Way::Made),
            InstanceState::Provisioning if ask.accepts_incomplete => Ok(Way::BeingMade(self.operation.id.clone())),
            InstanceState::Provisioning => {
                let (instance, operation) = (self.instance.name.clone(), self.operation.described());
                Err(BrokerError::Busy { instance, operation })
            }
            InstanceState::Failed | InstanceState::Deprovisioning | InstanceState::Gone => Err(taken()),
        }
    }

    /// Takes over where the platform says that the instance is. Returns whether that changes anything.
    pub(super) fn follow_place(&mut self, ask: &Ask) -> bool {
        let has_other_pool = ask.pool.is_some() && self.instance.pool != ask.pool;
        if has_other_pool {
            self.instance.pool.clone_from(&ask.pool);
        }
        let has_other_context = !ask.context.is_empty() && self.instance.context != ask.context;
        if has_other_context {
            self.instance.context.clone_from(&ask.context);
        }
        has_other_pool || has_other_context
    }

    /// The removal that a repeated one joins while somebody works on it.
    fn being_removed_already(&self, ask: &Ask) -> Option<OpaqueId> {
        let goes_on = self.confirmed && self.state == InstanceState::Deprovisioning && self.operation.ended.is_none();
        (ask.repeats && ask.accepts_incomplete && goes_on).then(|| self.operation.id.clone())
    }

    /// The update that a repeated one joins: what it wishes for is under way, and has not failed.
    fn being_changed_already(&self, wish: &Update, ask: &Ask) -> Option<OpaqueId> {
        let goes_on =
            self.state == InstanceState::Updating && self.reason.is_none() && self.wish.as_ref() == Some(wish);
        (ask.repeats && ask.accepts_incomplete && goes_on).then(|| self.operation.id.clone())
    }

    fn changeable(&self) -> Result<()> {
        let name = &self.instance.name;
        match self.state {
            InstanceState::Ready | InstanceState::Updating | InstanceState::Failed => Ok(()),
            InstanceState::Provisioning => Err(not_ready(name)),
            InstanceState::Deprovisioning | InstanceState::Gone => Err(being_removed(name)),
        }
    }

    /// What an owner hears about an instance that could not be made.
    pub(super) fn failed(&self) -> BrokerError {
        let reason = self.reason.as_deref().unwrap_or("the reason is in the broker's log");
        let name = &self.instance.name;
        BrokerError::Conflict(format!(
            "instance \"{name}\" could not be made: {reason}; update it to try again, or remove it"
        ))
    }
}

impl BrokerError {
    /// What refuses an update whose request could be read: that it can't be, and not that it is malformed.
    fn of_a_change(self) -> Self {
        match self {
            Self::BadRequest(sentence) => Self::ChangeRefused(sentence),
            other => other,
        }
    }
}

impl Instance {
    /// Becomes what was wished for.
    fn follow(&mut self, wish: Update) {
        let Update { plan, parameters, team, description, tags, maintenance } = wish;
        (self.plan, self.parameters, self.team, self.description, self.tags) =
            (plan, parameters, team, description, tags);
        self.maintenance = maintenance;
    }

    /// Becomes what the author made of it. Labels are nothing to its bindings, the rest may be (SPEC B-21).
    fn change_to(&mut self, wish: Update, notes: Notes) {
        let is_another = wish.plan != self.plan
            || wish.parameters != self.parameters
            || wish.maintenance != self.maintenance
            || notes != self.notes;
        self.changes += u64::from(is_another);
        self.follow(wish);
        self.notes = notes;
    }

    /// Whether it is what a create wishes for. Its maintenance version is the one of the day it was made.
    fn is_as_wished(&self, wish: &Update) -> bool {
        Update { maintenance: wish.maintenance.clone(), ..Update::of(self) } == *wish
    }
}

/// It is being made or changed.
pub(super) fn not_ready(name: &InstanceName) -> BrokerError {
    BrokerError::NotReady(format!("instance \"{name}\" is not ready yet, try again when its status is up"))
}

fn still_being_removed(name: &InstanceName) -> BrokerError {
    BrokerError::Conflict(format!("an earlier instance \"{name}\" is still being removed, try again in a moment"))
}
