//! Work that goes on: on the plan whose work takes a while, where a broker has one.

use serde_json::{Value, json};

use super::calls::{ASYNC, Platform, binding, instance, with};
use crate::conformance::{
    End,
    answer::Answer,
    context::{fresh, skip},
};

/// Work that was promised and is not done.
pub(super) struct Pending {
    /// What it is about.
    pub(super) id: String,
    /// The body that asked for it.
    pub(super) body: Value,
    /// The answer that promised it.
    pub(super) answer: Answer,
}

impl<'c> Platform<'c> {
    /// The plan whose work may go on.
    pub(super) fn slow_plan(self) -> Result<&'c Value, End> {
        let offer = self.offer()?;
        Ok(offer.slow_plan.as_ref().unwrap_or(&offer.plan))
    }

    /// Skips a case when provisions are known to be done at once.
    async fn needs_work_that_goes_on(self) -> Result<(), End> {
        let first = async || {
            let id = fresh();
            let answer = self.provision(&id, ASYNC, &self.wishes_on(self.slow_plan()?)?).await?;
            self.settled(&instance(&id), &answer).await?;
            Ok(answer.status == 202)
        };
        if *self.0.osb.goes_on.get_or_try_init(first).await? { Ok(()) } else { Err(nothing_goes_on()) }
    }

    /// A provision that goes on.
    pub(super) async fn pending_provision(self) -> Result<Pending, End> {
        self.needs_work_that_goes_on().await?;
        let (id, body) = (fresh(), self.wishes_on(self.slow_plan()?)?);
        let answer = self.provision(&id, ASYNC, &body).await?;
        goes_on(Pending { id, body, answer })
    }

    /// A new instance on the slow plan that is ready.
    pub(super) async fn ready_slow(self) -> Result<String, End> {
        self.needs_work_that_goes_on().await?;
        self.ready_on(self.slow_plan()?).await
    }

    /// One that stays as it is.
    pub(super) async fn slow_instance(self) -> Result<&'c str, End> {
        self.0.osb.slow_instance.get_or_try_init(|| self.ready_slow()).await.map(String::as_str)
    }

    /// Skips a case of changes of plans for a plan that can't be left.
    pub(super) fn can_leave(self, plan: &Value) -> Result<(), End> {
        let claimed = plan["plan_updateable"].as_bool().or(self.offer()?.service["plan_updateable"].as_bool());
        if claimed == Some(true) {
            Ok(())
        } else {
            Err(skip("the catalog does not claim plan_updateable for the plan"))
        }
    }

    /// The plan that slow updates lead to.
    pub(super) fn next_plan(self) -> Result<&'c Value, End> {
        let (offer, slow) = (self.offer()?, self.slow_plan()?);
        let next = if slow["id"] == offer.plan["id"] { offer.other_plan.as_ref() } else { Some(&offer.plan) };
        self.can_leave(slow)?;
        next.ok_or_else(|| skip("the service has one plan only"))
    }

    /// An update that goes on.
    pub(super) async fn pending_update(self) -> Result<Pending, End> {
        let (next, id) = (self.next_plan()?, self.ready_slow().await?);
        let body = json!({ "service_id": self.offer()?.service["id"], "plan_id": next["id"] });
        let answer = self.update(&id, ASYNC, &body).await?;
        goes_on(Pending { id, body, answer })
    }

    /// A removal that goes on.
    pub(super) async fn pending_removal(self) -> Result<Pending, End> {
        let id = self.ready_slow().await?;
        let answer = self.delete(&instance(&id), self.slow_plan()?, ASYNC).await?;
        goes_on(Pending { id, body: Value::Null, answer })
    }

    /// A bind of the slow instance that goes on.
    pub(super) async fn pending_bind(self) -> Result<Pending, End> {
        self.is_bindable()?;
        let (id, body) = (fresh(), self.binding_on(self.slow_plan()?)?);
        let answer = self.bind(self.slow_instance().await?, &id, ASYNC, &body).await?;
        goes_on(Pending { id, body, answer })
    }

    /// A binding of the slow instance that is done.
    pub(super) async fn bound_slow(self) -> Result<String, End> {
        let to = self.slow_instance().await?;
        let (id, body) = (fresh(), self.binding_on(self.slow_plan()?)?);
        let answer = self.bind(to, &id, ASYNC, &body).await?;
        self.settled(&binding(to, &id), &answer).await?;
        Ok(id)
    }

    /// An unbind of the slow instance that goes on.
    pub(super) async fn pending_unbind(self) -> Result<Pending, End> {
        self.is_bindable()?;
        let id = self.bound_slow().await?;
        let path = binding(self.slow_instance().await?, &id);
        let answer = self.delete(&path, self.slow_plan()?, ASYNC).await?;
        goes_on(Pending { id, body: Value::Null, answer })
    }
}

fn nothing_goes_on() -> End {
    skip("the work was done at once; needs a plan whose work takes a while: --slow-plan NAME")
}

fn goes_on(pending: Pending) -> Result<Pending, End> {
    pending.answer.must_be_2xx()?;
    if pending.answer.status == 202 { Ok(pending) } else { Err(nothing_goes_on()) }
}

/// A body that asks for something else under the same id.
pub(super) fn other_wishes(body: &Value) -> Value {
    with(body, "parameters", json!({ "conf-other": "yes" }))
}
