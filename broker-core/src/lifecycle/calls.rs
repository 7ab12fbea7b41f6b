//! Operations of the author's own, in the instance's turn (SPEC chapter Y).

use std::{future::Future, pin::pin, sync::Arc};

use tokio::sync::oneshot;
use tracing::{info, warn};

use super::{
    ask::{Ask, Outcome},
    engine::{Called, Engine, being_removed},
    instances::not_ready,
    locks::{Held, Mode},
    records::{InstanceRecord, Operation, OperationKind},
    reply::Reply,
    states::InstanceState,
};
use crate::{BrokerError, InstanceName, Result, Tenant, store::Write};

/// What a call comes to: the answer, and for the operation log why it failed, if it did.
pub(crate) type Answered<T> = (T, Option<String>);

impl Engine {
    /// An instance and its bindings, for a question: no lock is taken.
    pub(crate) async fn tenant(&self, name: &InstanceName) -> Result<Tenant> {
        let record = self.known(name).await?;
        match record.state {
            InstanceState::Ready | InstanceState::Updating => self.tenant_of(&record).await,
            InstanceState::Provisioning => Err(not_ready(name)),
            InstanceState::Failed => Err(record.failed()),
            InstanceState::Deprovisioning | InstanceState::Gone => Err(being_removed(name)),
        }
    }

    /// Answers a question of the author's own, within the limits of every call.
    pub(crate) async fn ask_author<T>(&self, question: impl Future<Output = T> + Send) -> Result<T> {
        self.call("question", async { Ok(question.await) }).await
    }

    /// Runs a call about the whole service to its end, whatever becomes of the request that asked for it.
    pub(crate) async fn run_service_call<T: Send + 'static>(
        self: &Arc<Self>,
        call: impl Future<Output = T> + Send + 'static,
    ) -> Result<T> {
        let (answer, arrives) = oneshot::channel();
        let engine = self.clone();
        self.own(async move {
            // Nobody there to hear it is no failure.
            let _ = answer.send(engine.call("call", async { Ok(call.await) }).await);
        });
        arrives.await.unwrap_or_else(|_| Err(BrokerError::unavailable("the broker stopped before the call ended")))
    }

    /// Runs a call that may change the instance: no other operation goes on meanwhile, and it is in the log. `request`
    /// is its method and path.
    pub(crate) async fn run_call<T, F>(
        self: &Arc<Self>,
        name: InstanceName,
        request: String,
        ask: Ask,
        call: impl FnOnce(Tenant) -> F + Send + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Answered<T>> + Send + 'static,
    {
        let outcome = self
            .operate(&ask.clone(), |engine, reply| async move {
                let (held, record) = engine.in_turn(|| engine.begin_call(&name, &request, &ask)).await?;
                let outcome = engine.make_call(record, &held, &reply, call).await;
                engine.let_go(&name).await;
                outcome
            })
            .await?;
        match outcome {
            Outcome::Done(answer) | Outcome::Already(answer) => Ok(answer),
            Outcome::GoesOn(_) => Err(takes_long()),
        }
    }

    /// Takes the turn and writes down that the call begins.
    async fn begin_call(&self, name: &InstanceName, request: &str, ask: &Ask) -> Result<(Held, InstanceRecord)> {
        self.known(name).await?.bindable()?;
        let held = self.lock(name, Mode::Exclusive, "a call").await?;
        let mut record = self.claim_known(name).await?;
        record.bindable()?;
        let mut operation = Operation::begin(OperationKind::Call, name.clone(), None, ask.actor.clone());
        operation.request = Some(request.to_owned());
        let log = record.cut_off_call();
        record.confirmed = true;
        record.call = Some(operation);
        record.holder = self.holder();
        self.save_with(&mut record, log).await.map_err(|error| self.outrun(name, error))?;
        Ok((held, record))
    }

    async fn make_call<T, F>(
        &self,
        record: InstanceRecord,
        held: &Held,
        reply: &Reply<Outcome<T>>,
        call: impl FnOnce(Tenant) -> F + Send,
    ) -> Result<Outcome<T>>
    where
        T: Send,
        F: Future<Output = Answered<T>> + Send,
    {
        let name = record.instance.name.clone();
        let ready = async {
            self.wait_for_bindings(&record).await?;
            self.tenant_of(&record).await
        };
        let tenant = match ready.await {
            Ok(tenant) => tenant,
            Err(error) => {
                self.end_call(record, Some(error.to_string())).await?;
                return Err(error);
            }
        };
        let work = pin!(self.call_once(held, "call", async { Ok(call(tenant).await) }));
        let early = async || {
            reply.send(Err(takes_long()));
        };
        match reply.meanwhile(work, early).await {
            Called::Done((answer, failure)) => {
                self.end_call(record, failure).await?;
                Ok(Outcome::Done(answer))
            }
            Called::Failed(error) => {
                self.end_call(record, Some(error.to_string())).await?;
                Err(error)
            }
            Called::Interrupted => {
                // The removal has written its own intent, or is about to: it logs what it finds.
                info!(instance.name = %name, "a call on instance `{name}` is dropped for its removal");
                Err(being_removed(&name))
            }
        }
    }

    /// Writes down how a call ended. The author has done it, so a record that was overtaken meanwhile is no failure.
    async fn end_call(&self, mut record: InstanceRecord, failure: Option<String>) -> Result<()> {
        record.holder = None;
        let Some(mut operation) = record.call.take() else { return Ok(()) };
        self.metrics.operation_ended(operation.kind.as_str(), failure.is_none());
        operation.end(failure);
        match self.save_with(&mut record, vec![Write::Log(Arc::new(operation))]).await {
            Err(error) if error.is_overtaken() => {
                let name = &record.instance.name;
                warn!(instance.name = %name, "how a call on `{name}` ended is not in its log: it was changed meanwhile");
                Ok(())
            }
            outcome => outcome,
        }
    }
}

impl InstanceRecord {
    /// A call that a crash or a removal cut off goes into the log before the next operation begins.
    pub(super) fn cut_off_call(&mut self) -> Vec<Write> {
        let Some(mut cut_off) = self.call.take() else { return Vec::new() };
        cut_off.end(Some("it was cut off before it ended".to_owned()));
        vec![Write::Log(Arc::new(cut_off))]
    }
}

fn takes_long() -> BrokerError {
    BrokerError::NotReady(
        "the call takes long and goes on, how it ends will be in the instance's operations".to_owned(),
    )
}
