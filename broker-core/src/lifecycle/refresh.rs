//! Variables of bindings whose instance became something else (SPEC B-21).

use std::{pin::pin, sync::Arc};

use tracing::info;

use super::{
    ask::{Ask, Outcome},
    engine::{Called, Engine, being_removed},
    locks::{Held, Mode},
    look::BindingView,
    records::BindingRecord,
    reply::Reply,
    states::BindingState,
};
use crate::{BrokerError, Consumer, Instance, InstanceName, Result};

impl Engine {
    /// As [`look_at_binding`](Self::look_at_binding), with the variables that lead to the instance as it is now: the
    /// author is asked for them where it changed.
    pub(crate) async fn look_at_present_binding(
        self: &Arc<Self>,
        name: &InstanceName,
        consumer: &Consumer,
    ) -> Result<BindingView> {
        let view = self.look_at_binding(name, consumer).await?;
        if !view.is_outdated || view.env.is_none() || view.state != BindingState::Bound {
            return Ok(view);
        }
        let (whose, of) = (consumer.clone(), name.clone());
        self.operate(&Ask::default(), |engine, reply| async move {
            engine.in_turn(|| engine.run_refresh(&of, &whose, &reply)).await
        })
        .await?;
        self.look_at_binding(name, consumer).await
    }

    async fn run_refresh(
        &self,
        name: &InstanceName,
        consumer: &Consumer,
        reply: &Reply<Outcome<()>>,
    ) -> Result<Outcome<()>> {
        let held = self.lock(name, Mode::Shared, "a bind").await?;
        let _own = self.lock_binding(name, consumer, "a bind").await?;
        let instance = self.claim_known(name).await?;
        instance.bindable()?;
        let instance = instance.instance;
        self.require_bindable(&instance)?;
        let known = self.claim_binding(&instance.id, consumer).await?;
        let is_to_be_asked = |known: &BindingRecord| known.state == BindingState::Bound && known.is_outdated(&instance);
        // Unbound, rotated or asked for by somebody else meanwhile.
        let Some(mut record) = known.filter(is_to_be_asked) else { return Ok(Outcome::Already(())) };
        self.hold_binding(&instance, &mut record).await.map_err(|error| self.outrun(name, error))?;
        let outcome = self.refresh(&instance, record, &held, reply).await;
        self.let_go_binding(&instance.id, consumer).await;
        outcome
    }

    /// Has the author give access again, by the same credentials.
    async fn refresh(
        &self,
        instance: &Instance,
        mut record: BindingRecord,
        held: &Held,
        reply: &Reply<Outcome<()>>,
    ) -> Result<Outcome<()>> {
        let binding = record.binding.clone();
        let work = pin!(self.call_while(held, "bind", || self.broker.bind(instance, &binding)));
        let early = async || {
            let sentence = "the instance was changed and its bindings follow, try again in a moment";
            reply.send(Err(BrokerError::NotReady(sentence.to_owned())));
        };
        match reply.meanwhile(work, early).await {
            Called::Done(env) => {
                record.hold(env, instance);
                record.holder = None;
                let written = self.save_binding(&mut record).await;
                self.binding_written(written, instance, &binding, reply).await?;
                let consumer = record.consumer();
                info!(instance.name = %instance.name, consumer = %consumer, "{consumer} has the variables of instance `{}` as it is now", instance.name);
                Ok(Outcome::Done(()))
            }
            Called::Failed(error) => Err(error),
            Called::Interrupted => Err(being_removed(&instance.name)),
        }
    }
}
