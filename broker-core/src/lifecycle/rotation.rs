//! New credentials for a consumer, while the old ones go on working for a while (SPEC B-8).

use std::{pin::pin, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use tracing::{info, warn};

use super::{
    ask::{Ask, Outcome},
    engine::{Called, Engine, being_removed, later},
    locks::{Held, Mode},
    records::{BindingRecord, OperationKind, Retired},
    reply::{Reply, nobody},
    states::{BindingEvent, BindingState},
};
use crate::{Binding, BrokerError, Consumer, EnvVars, Instance, InstanceName, Result, store::Write};

/// How many replaced credentials of a consumer may work at once. Two leave room for a second rotation while the units
/// that know the first ones are still being replaced; without a limit, each rotation would add an account.
const MAX_RETIRED: usize = 2;

impl Engine {
    /// Gives a consumer new credentials. The old ones work until the plan's grace is over.
    pub(crate) async fn rotate(
        self: &Arc<Self>,
        name: InstanceName,
        consumer: Consumer,
        ask: Ask,
    ) -> Result<Outcome<EnvVars>> {
        self.operate(&ask.clone(), |engine, reply| async move {
            engine.in_turn(|| engine.run_rotate(&name, &consumer, ask.clone(), &reply)).await
        })
        .await
    }

    async fn run_rotate(
        &self,
        name: &InstanceName,
        consumer: &Consumer,
        ask: Ask,
        reply: &Reply<Outcome<EnvVars>>,
    ) -> Result<Outcome<EnvVars>> {
        let not_bound = || BrokerError::NotBound { instance: name.clone(), consumer: consumer.clone() };
        self.known(name).await?;
        let held = self.lock(name, Mode::Shared, "a rotation").await?;
        let _own = self.lock_binding(name, consumer, "a rotation").await?;
        let instance = self.claim_known(name).await?;
        instance.bindable()?;
        let instance = instance.instance;
        let mut record = self.claim_binding(&instance.id, consumer).await?.ok_or_else(not_bound)?;
        if record.state != BindingState::Bound {
            return Err(not_bound());
        }
        if record.retired.iter().any(Retired::is_over) {
            self.make_room(&instance, record, &held).await?;
            record = self.claim_binding(&instance.id, consumer).await?.ok_or_else(not_bound)?;
        }
        record.require_room()?;
        let Binding { parameters, whereabouts, .. } = record.binding.clone();
        record.next = Some(Binding { parameters, whereabouts, ..Binding::new(consumer.clone()) });
        record.live(BindingEvent::RotationAsked);
        let mut also = self.replace_binding_operation(&mut record, OperationKind::Rotate, &ask);
        also.extend(self.require_ready(&instance));
        record.holder = self.holder();
        let begun = self.write_binding(&mut record, also, &nobody()).await;
        begun.map_err(|error| self.outrun(name, error))?;
        let outcome = self.replace_credentials(&instance, record, &held, reply).await;
        self.let_go_binding(&instance.id, consumer).await;
        outcome
    }

    /// Credentials whose time is over go before there are new ones.
    async fn make_room(&self, instance: &Instance, mut record: BindingRecord, held: &Held) -> Result<()> {
        let consumer = record.consumer().clone();
        self.hold_binding(instance, &mut record).await.map_err(|error| self.outrun(&instance.name, error))?;
        let dropped = self.drop_retired(instance, record, held).await;
        self.let_go_binding(&instance.id, &consumer).await;
        dropped
    }

    /// Has the author give access with the new credentials; the ones that are not used retire.
    async fn replace_credentials(
        &self,
        instance: &Instance,
        mut record: BindingRecord,
        held: &Held,
        reply: &Reply<Outcome<EnvVars>>,
    ) -> Result<Outcome<EnvVars>> {
        let asked_by = &record.operation.actor;
        let Some(next) = record.next.as_ref().map(|next| next.asked_for_by(asked_by)) else {
            return Ok(Outcome::Done(record.env.unwrap_or_default()));
        };
        let operation = record.operation.clone();
        let given = reply
            .meanwhile(pin!(self.call_while(held, "bind", || self.broker.bind(instance, &next))), async || {
                reply.goes_on(&operation);
            })
            .await;
        match given {
            Called::Done(env) => {
                let until = later(Utc::now(), self.rotation_grace(instance));
                let until = record.expires.map_or(until, |expires| until.min(expires));
                record.expires = self.expiry(instance, record.consumer());
                let old = std::mem::replace(&mut record.binding, next);
                record.retired.push(Retired { binding: old, until });
                record.next = None;
                record.rotated = Some(Utc::now());
                record.hold(env.clone(), instance);
                record.live(BindingEvent::RotationEnded);
                self.save_binding_ended(&mut record, None, reply).await?;
                info!(instance.name = %instance.name, consumer = %record.consumer(), "rotated the credentials of {} at instance `{}`", record.consumer(), instance.name);
                Ok(Outcome::Done(env))
            }
            Called::Failed(error) => {
                warn!(instance.name = %instance.name, error = &error as &dyn std::error::Error, "the credentials of {} stay as they were", record.consumer());
                record.give_up_rotation();
                self.save_binding_ended(&mut record, Some(&error), reply).await?;
                self.wake.send_replace(());
                Err(error)
            }
            Called::Interrupted => {
                record.give_up_rotation();
                let error = being_removed(&instance.name);
                self.save_binding_ended(&mut record, Some(&error), reply).await?;
                Err(error)
            }
        }
    }

    /// Takes access away from credentials whose time is over, and forgets a binding that is over itself.
    pub(super) async fn drop_retired(&self, instance: &Instance, mut record: BindingRecord, held: &Held) -> Result<()> {
        let (over, working): (Vec<Retired>, Vec<Retired>) = record.retired.drain(..).partition(Retired::is_over);
        record.retired = working;
        for Retired { binding, .. } in &over {
            match self.call_while(held, "unbind", || self.broker.unbind(instance, binding)).await {
                Called::Done(()) => {}
                Called::Interrupted => return Ok(()),
                Called::Failed(error) => {
                    self.backoff.failed(&record.binding.id);
                    return Err(error);
                }
            }
        }
        self.backoff.forget(&record.binding.id);
        if record.state == BindingState::Gone && record.retired.is_empty() && self.is_past_grace(&record) {
            let consumer = record.consumer().clone();
            return Ok(self.store.commit(vec![Write::DeleteBinding(record.instance, consumer)]).await?);
        }
        if over.is_empty() { Ok(()) } else { self.save_binding(&mut record).await }
    }

    /// How long replaced credentials of an instance go on working.
    fn rotation_grace(&self, instance: &Instance) -> Duration {
        let plan = self.catalog.find(&instance.plan);
        plan.and_then(|plan| plan.rules.rotation_grace).unwrap_or(self.timing.rotation_grace)
    }

    /// When credentials end that are given now (SPEC B-9). An app or a job never asks for new ones, so its stay.
    pub(super) fn expiry(&self, instance: &Instance, consumer: &Consumer) -> Option<DateTime<Utc>> {
        match consumer {
            Consumer::Binding(_) => {}
            Consumer::App(_) | Consumer::Job(_) => return None,
        }
        let expiry = self.catalog.find(&instance.plan)?.rules.expiry?;
        Some(later(Utc::now(), expiry.lifetime))
    }
}

impl Retired {
    pub(super) fn is_over(&self) -> bool {
        self.until <= Utc::now()
    }
}

impl BindingRecord {
    /// Whether another rotation may leave credentials behind.
    fn require_room(&self) -> Result<()> {
        let Some(next) = self.retired.iter().map(|retired| retired.until).min() else { return Ok(()) };
        if self.retired.len() < MAX_RETIRED {
            return Ok(());
        }
        // The second in which there is room again is over then.
        let next = (next + TimeDelta::seconds(1)).format("%Y-%m-%d %H:%M:%S");
        let whose = self.consumer();
        Err(BrokerError::Conflict(format!(
            "{whose} has {MAX_RETIRED} earlier credentials that still work: rotate again after {next} UTC, or unbind it to end them all"
        )))
    }

    /// The new credentials are not to be: they retire at once, whether or not they were made.
    pub(super) fn give_up_rotation(&mut self) {
        if let Some(next) = self.next.take() {
            self.retired.push(Retired { binding: next, until: Utc::now() });
        }
        self.live(BindingEvent::RotationEnded);
    }
}
