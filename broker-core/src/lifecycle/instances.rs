//! Making, changing and removing instances.

use std::sync::Arc;

use tracing::{error, info, warn};

use super::{
    engine::{Called, Engine, being_removed},
    locks::{Held, Mode},
    records::{BindingRecord, InstanceRecord},
    reply::Reply,
    states::{BindingState, InstanceEvent, InstanceState},
};
use crate::{BrokerError, Instance, InstanceName, Parameters, PlanName, Result, Update, store::Write};

/// What a create asks for.
#[derive(Clone, Debug)]
pub(crate) struct NewInstance {
    pub(crate) name: InstanceName,
    pub(crate) plan: Option<PlanName>,
    pub(crate) wishes: Wishes,
}

/// What an update asks for: no plan means the plan it is on.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) name: InstanceName,
    pub(crate) plan: Option<PlanName>,
    pub(crate) wishes: Wishes,
}

/// What creates and updates have in common.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wishes {
    pub(crate) team: String,
    pub(crate) description: String,
    pub(crate) tags: Vec<String>,
    pub(crate) parameters: Parameters,
}

impl Wishes {
    fn on(self, plan: PlanName) -> Update {
        let Self { team, description, tags, parameters } = self;
        Update { plan, parameters, team, description, tags }
    }
}

impl Engine {
    /// Makes an instance (SPEC I-1). A caller who is answered early asks for the status from then on.
    pub(crate) async fn create(self: &Arc<Self>, new: NewInstance) -> Result<()> {
        self.operate(|engine, reply| async move { engine.run_create(new, &reply).await }).await
    }

    /// Changes an instance (SPEC I-5).
    pub(crate) async fn update(self: &Arc<Self>, change: Change) -> Result<()> {
        self.operate(|engine, reply| async move { engine.run_update(change, &reply).await }).await
    }

    /// Removes an instance, a half-made one too (SPEC I-6).
    pub(crate) async fn remove(self: &Arc<Self>, name: InstanceName) -> Result<()> {
        self.operate(|engine, reply| async move { engine.run_remove(&name, &reply).await }).await
    }

    async fn run_create(&self, new: NewInstance, reply: &Reply<()>) -> Result<()> {
        let NewInstance { name, plan, wishes } = new;
        let wish = wishes.on(self.plan(plan.as_ref())?.name.clone());
        if self.store.instance(&name).await?.is_some_and(|known| known.confirmed && known.state.is_taken()) {
            return Err(BrokerError::AlreadyExists(name));
        }
        let held = self.lock(&name, Mode::Exclusive, "a create").await?;
        let Some(record) = self.make_way(&name, &wish, &held, reply).await? else { return Ok(()) };
        self.provision(record, &held, reply).await
    }

    /// The record to provision: a new one, or the one of an earlier create whose answer was lost
    /// (SPEC I-7). None when that one is ready.
    async fn make_way(
        &self,
        name: &InstanceName,
        wish: &Update,
        held: &Held,
        reply: &Reply<()>,
    ) -> Result<Option<InstanceRecord>> {
        let Some(mut known) = self.store.instance(name).await? else {
            return self.begin(name, wish, Vec::new()).await.map(Some);
        };
        match known.state {
            InstanceState::Gone => {
                let forget = vec![Write::DeleteInstance(known.instance.id)];
                self.begin(name, wish, forget).await.map(Some)
            }
            InstanceState::Deprovisioning if known.confirmed => Err(still_being_removed(name)),
            _ if known.confirmed => Err(BrokerError::AlreadyExists(name.clone())),
            InstanceState::Ready if Update::of(&known.instance) == *wish => {
                known.confirmed = reply.is_awaited();
                self.save(&mut known).await?;
                Ok(None)
            }
            InstanceState::Provisioning if Update::of(&known.instance) == *wish => Ok(Some(known)),
            InstanceState::Provisioning
            | InstanceState::Ready
            | InstanceState::Updating
            | InstanceState::Failed
            | InstanceState::Deprovisioning => {
                info!(instance.name = %name, "replacing instance `{name}`, whose creation nobody was told of");
                known.live(InstanceEvent::RemovalAsked);
                self.save(&mut known).await?;
                self.take_down(known, held).await.inspect_err(|error| warn!("not replaced: {error}"))?;
                self.begin(name, wish, Vec::new()).await.map(Some)
            }
        }
    }

    /// Writes the intent: identifiers and secrets are made here, before anything is done.
    async fn begin(&self, name: &InstanceName, wish: &Update, mut writes: Vec<Write>) -> Result<InstanceRecord> {
        let mut instance = Instance::new(name.clone(), wish.plan.clone());
        instance.follow(wish.clone());
        let mut record = InstanceRecord::new(instance);
        writes.push(Write::PutInstance(record.clone()));
        self.store.commit(writes).await?;
        record.revision = 1;
        Ok(record)
    }

    /// Has the author make it, and writes down what came of it.
    pub(super) async fn provision(&self, mut record: InstanceRecord, held: &Held, reply: &Reply<()>) -> Result<()> {
        let instance = record.instance.clone();
        let work = self.call_while(held, "provision", self.broker.provision(&instance));
        let outcome = reply.meanwhile(work, async || self.confirm_early(&mut record, reply).await).await;
        let name = &instance.name;
        match outcome {
            Called::Interrupted => Err(being_removed(name)),
            Called::Done(notes) => {
                record.instance.notes = notes;
                record.confirmed |= reply.is_awaited();
                record.live(InstanceEvent::Provisioned);
                self.save(&mut record).await?;
                self.backoff.forget(&instance.id);
                info!(instance.name = %name, instance.id = %instance.id, plan.name = %instance.plan, "created instance `{name}`");
                Ok(())
            }
            Called::Failed(error) if record.confirmed => self.fail_later(record, error).await,
            Called::Failed(error) => self.undo_create(record, held, reply, error).await,
        }
    }

    /// It is time to answer: the caller hears yes, and that is written down first.
    async fn confirm_early(&self, record: &mut InstanceRecord, reply: &Reply<()>) {
        if !reply.is_awaited() {
            return;
        }
        record.confirmed = true;
        match self.save(record).await {
            Ok(()) => {
                reply.send(Ok(()));
            }
            Err(error) => {
                record.confirmed = false;
                reply.send(Err(error));
            }
        }
    }

    /// The platform was told yes: what may pass is tried again, anything else its owner sees.
    async fn fail_later(&self, mut record: InstanceRecord, error: BrokerError) -> Result<()> {
        let name = record.instance.name.clone();
        if error.may_pass() {
            warn!(instance.name = %name, error = &error as &dyn std::error::Error, "instance `{name}` is not made yet, it is tried again");
            self.backoff.failed(&record.instance.id);
            return Err(error);
        }
        error!(instance.name = %name, error = &error as &dyn std::error::Error, "instance `{name}` could not be made");
        record.reason = Some(error.to_string());
        record.live(InstanceEvent::Broke);
        self.save(&mut record).await?;
        Err(error)
    }

    /// The platform is told no, so nothing stays behind.
    async fn undo_create(
        &self,
        mut record: InstanceRecord,
        held: &Held,
        reply: &Reply<()>,
        error: BrokerError,
    ) -> Result<()> {
        let name = record.instance.name.clone();
        warn!(instance.name = %name, error = &error as &dyn std::error::Error, "instance `{name}` was not made, cleaning up");
        record.live(InstanceEvent::Refused);
        self.save(&mut record).await?;
        let mut error = Some(error);
        let cleaned = reply
            .meanwhile(self.take_down(record, held), async || {
                error.take().map(|error| reply.send(Err(error)));
            })
            .await;
        if let Err(cause) = cleaned {
            warn!(instance.name = %name, error = &cause as &dyn std::error::Error, "what is left of `{name}` is not cleaned up yet, it is tried again");
        }
        error.map_or(Ok(()), Err)
    }

    async fn run_update(&self, change: Change, reply: &Reply<()>) -> Result<()> {
        let Change { name, plan, wishes } = change;
        self.known(&name).await?;
        if let Some(asked) = &plan {
            self.plan(Some(asked))?;
        }
        let held = self.lock(&name, Mode::Exclusive, "an update").await?;
        let mut record = self.known(&name).await?;
        record.changeable()?;
        let wish = wishes.on(plan.unwrap_or_else(|| record.instance.plan.clone()));
        if record.state == InstanceState::Ready && record.confirmed && Update::of(&record.instance) == wish {
            return Ok(());
        }
        record.wish = Some(wish);
        record.confirmed = true;
        record.live(InstanceEvent::ChangeAsked);
        self.save(&mut record).await?;
        self.change(record, &held, reply).await
    }

    /// Has the author make the change that is written down.
    pub(super) async fn change(&self, mut record: InstanceRecord, held: &Held, reply: &Reply<()>) -> Result<()> {
        let instance = record.instance.clone();
        let Some(wish) = record.wish.clone() else {
            record.live(InstanceEvent::ChangeEnded);
            return self.save(&mut record).await;
        };
        let work = self.call_while(held, "update", self.broker.update(&instance, &wish));
        let outcome = reply.meanwhile(work, async || {
            reply.send(Ok(()));
        });
        match outcome.await {
            Called::Interrupted => Err(being_removed(&instance.name)),
            Called::Done(notes) => {
                record.instance.follow(wish);
                record.instance.notes = notes;
                self.end_change(record).await
            }
            Called::Failed(error) if error.may_pass() && !reply.is_awaited() => {
                warn!(instance.name = %instance.name, error = &error as &dyn std::error::Error, "instance `{}` is not changed yet, it is tried again", instance.name);
                self.backoff.failed(&instance.id);
                Err(error)
            }
            Called::Failed(error) => {
                warn!(instance.name = %instance.name, error = &error as &dyn std::error::Error, "instance `{}` stays as it was", instance.name);
                if error.is_refusal() || self.change_back(&instance, held).await {
                    self.end_change(record).await?;
                } else {
                    record.wish = Some(Update::of(&instance));
                    self.save(&mut record).await?;
                    self.backoff.failed(&instance.id);
                }
                Err(error)
            }
        }
    }

    async fn end_change(&self, mut record: InstanceRecord) -> Result<()> {
        record.wish = None;
        record.live(InstanceEvent::ChangeEnded);
        self.save(&mut record).await?;
        self.backoff.forget(&record.instance.id);
        Ok(())
    }

    /// A change that failed half-way: the author is asked for what was there before. Returns whether that
    /// came to an end; it did not when trying again may help.
    async fn change_back(&self, instance: &Instance, held: &Held) -> bool {
        let before = Update::of(instance);
        let call = self.broker.update(instance, &before);
        match self.call_while(held, "update", call).await {
            Called::Done(_) => true,
            Called::Failed(error) => {
                error!(instance.name = %instance.name, error = &error as &dyn std::error::Error, "a failed update of `{}` could not be taken back", instance.name);
                !error.may_pass()
            }
            Called::Interrupted => false,
        }
    }

    async fn run_remove(&self, name: &InstanceName, reply: &Reply<()>) -> Result<()> {
        let unknown = || BrokerError::UnknownInstance(name.clone());
        let known = self.store.instance(name).await?.ok_or_else(unknown)?;
        if known.state != InstanceState::Deprovisioning {
            self.locks.interrupt(name);
        }
        let held = self.lock(name, Mode::Exclusive, "a removal").await?;
        let mut record = self.store.instance(name).await?.ok_or_else(unknown)?;
        if record.state == InstanceState::Gone {
            self.store.commit(vec![Write::DeleteInstance(record.instance.id)]).await?;
            return Ok(());
        }
        record.confirmed = true;
        record.live(InstanceEvent::RemovalAsked);
        self.save(&mut record).await?;
        self.finish_removal(record, &held, reply).await
    }

    /// Removes what is to be removed, then forgets it; if nobody is there to be told, the next delete is.
    pub(super) async fn finish_removal(&self, record: InstanceRecord, held: &Held, reply: &Reply<()>) -> Result<()> {
        let mut told = !record.confirmed;
        let name = record.instance.name.clone();
        let removed = self.take_apart(&record, held);
        let removed = reply.meanwhile(removed, async || told = reply.send(Ok(()))).await;
        if let Err(error) = removed {
            warn!(instance.name = %name, error = &error as &dyn std::error::Error, "instance `{name}` is not removed yet, it is tried again");
            self.backoff.failed(&record.instance.id);
            return Err(error);
        }
        self.forget(record, told || reply.is_awaited()).await
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
        if told {
            self.store.commit(vec![Write::DeleteInstance(record.instance.id)]).await?;
        } else {
            record.live(InstanceEvent::Removed);
            self.save(&mut record).await?;
        }
        info!(instance.name = %name, "removed instance `{name}`");
        Ok(())
    }

    /// Has the author take away every access, then the instance. A server that hangs takes no access away, but may
    /// well be removed together with it: what failed before that is asked for again after it.
    async fn take_apart(&self, record: &InstanceRecord, _held: &Held) -> Result<()> {
        let instance = &record.instance;
        let mut bindings = self.store.bindings(&instance.id).await?;
        bindings.iter().for_each(|known| self.backoff.forget(&known.binding.id));
        bindings.retain(|known| known.state != BindingState::Gone);
        let taken = self.take_all(instance, &bindings).await;
        self.call("deprovision", self.broker.deprovision(instance)).await?;
        if taken.is_err() { self.take_all(instance, &bindings).await } else { Ok(()) }
    }

    async fn take_all(&self, instance: &Instance, bindings: &[BindingRecord]) -> Result<()> {
        for known in bindings {
            self.call("unbind", self.broker.unbind(instance, &known.binding)).await?;
        }
        Ok(())
    }
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
    fn changeable(&self) -> Result<()> {
        let name = &self.instance.name;
        match self.state {
            InstanceState::Ready | InstanceState::Updating => Ok(()),
            InstanceState::Provisioning => Err(not_ready(name)),
            InstanceState::Failed => Err(self.failed()),
            InstanceState::Deprovisioning | InstanceState::Gone => Err(being_removed(name)),
        }
    }

    /// What an owner hears about an instance that could not be made.
    pub(super) fn failed(&self) -> BrokerError {
        let reason = self.reason.as_deref().unwrap_or("the reason is in the broker's log");
        let name = &self.instance.name;
        BrokerError::Conflict(format!("instance \"{name}\" could not be made: {reason}; remove it and create it again"))
    }
}

impl Instance {
    /// Becomes what was wished for.
    fn follow(&mut self, wish: Update) {
        let Update { plan, parameters, team, description, tags } = wish;
        (self.plan, self.parameters, self.team, self.description, self.tags) =
            (plan, parameters, team, description, tags);
    }
}

pub(super) fn not_ready(name: &InstanceName) -> BrokerError {
    BrokerError::NotReady(format!("instance \"{name}\" is not ready yet, try again when its status is up"))
}

fn still_being_removed(name: &InstanceName) -> BrokerError {
    BrokerError::Conflict(format!("an earlier instance \"{name}\" is still being removed, try again in a moment"))
}
