//! The requests of the crash suite in either dialect, about one instance and one binding.

use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::{Call, Subject};
use crate::{
    conformance::Dialect,
    testing::{Answer, TestBroker, Variables},
};

const INSTANCE: &str = "/v2/service_instances/crash";
const BINDING: &str = "/v2/service_instances/crash/service_bindings/web";
/// The binding that takes the place of the first in a rotation.
const SUCCESSOR: &str = "/v2/service_instances/crash/service_bindings/web-2";

/// Who asks, and how.
pub(super) struct Caller<'a> {
    broker: &'a TestBroker,
    subject: Subject<'a>,
    dialect: Dialect,
    /// The ids of the service, of the plan and of the plan after an update.
    ids: [Value; 3],
    /// Whether the instance is on the plan after the update: a bind has to name the one it is on.
    is_updated: AtomicBool,
}

impl<'a> Caller<'a> {
    pub(super) async fn new(broker: &'a TestBroker, subject: Subject<'a>, dialect: Dialect) -> Self {
        let request = broker.request("GET", "/v2/catalog").header("x-broker-api-version", "2.17");
        let service = Answer::to(request).await.value()["services"][0].clone();
        let plan = |name: &str| {
            let plans = service["plans"].as_array().into_iter().flatten();
            { plans }.find(|plan| plan["name"] == name).map(|plan| plan["id"].clone()).unwrap_or_default()
        };
        let ids = [service["id"].clone(), plan(subject.plan), plan(subject.next_plan())];
        Self { broker, subject, dialect, ids, is_updated: AtomicBool::new(false) }
    }

    fn form(&self, method: &str, path: &str, body: String) -> RequestBuilder {
        let request = self.broker.request(method, path);
        request.header("content-type", "application/x-www-form-urlencoded").body(body)
    }

    fn v2(&self, method: &str, path: &str, body: &Value) -> RequestBuilder {
        let [service, plan, _] = &self.ids;
        let ids = [("service_id", service.as_str()), ("plan_id", plan.as_str())];
        let request = self.broker.request(method, path).header("x-broker-api-version", "2.17");
        match body {
            Value::Null => request.query(&ids),
            body => request.header("content-type", "application/json").body(body.to_string()),
        }
    }

    /// The request that leads to a call of the author's; none leads to the one that comes by itself.
    pub(super) fn request(&self, call: Call) -> Option<RequestBuilder> {
        match self.dialect {
            Dialect::Tsuru => self.tsuru(call),
            Dialect::Osb => self.osb(call),
        }
    }

    fn tsuru(&self, call: Call) -> Option<RequestBuilder> {
        let (plan, next) = (self.subject.plan, self.subject.next_plan());
        Some(match call {
            Call::Provision => self.form("POST", "/resources", format!("name=crash&plan={plan}&team=data")),
            Call::Bind => self.form("POST", "/resources/crash/bind-app", "app-name=web".to_owned()),
            Call::Unbind => self.form("DELETE", "/resources/crash/bind-app", "app-name=web".to_owned()),
            Call::Update => self.form("PUT", "/resources/crash", format!("plan={next}&team=other&description=changed")),
            Call::Deprovision | Call::UnbindOfRemoval => self.form("DELETE", "/resources/crash", "user=u".to_owned()),
            Call::Rotate => self.form("POST", "/resources/crash/rotate", "app-name=web".to_owned()),
            Call::Reconcile => return None,
        })
    }

    fn osb(&self, call: Call) -> Option<RequestBuilder> {
        let [service, plan, next] = &self.ids;
        let present = if self.is_updated.load(Ordering::Relaxed) { next } else { plan };
        Some(match call {
            Call::Provision => {
                let body = json!({
                    "service_id": service, "plan_id": plan, "organization_guid": "org", "space_guid": "data",
                });
                self.v2("PUT", INSTANCE, &body)
            }
            Call::Bind => self.v2("PUT", BINDING, &json!({ "service_id": service, "plan_id": present })),
            Call::Unbind => self.v2("DELETE", BINDING, &Value::Null),
            Call::Update => {
                let context = json!({ "instance_name": "changed" });
                self.v2("PATCH", INSTANCE, &json!({ "service_id": service, "plan_id": next, "context": context }))
            }
            Call::Deprovision | Call::UnbindOfRemoval => self.v2("DELETE", INSTANCE, &Value::Null),
            Call::Rotate => {
                let body = json!({ "service_id": service, "plan_id": present, "predecessor_binding_id": "web" });
                self.v2("PUT", SUCCESSOR, &body)
            }
            Call::Reconcile => return None,
        })
    }

    async fn answer(&self, call: Call) -> Answer {
        Answer::to(self.request(call).expect("a request leads to it")).await
    }

    /// Whether the instance is made, now or before.
    pub(super) async fn makes(&self) -> bool {
        matches!(self.answer(Call::Provision).await.status, 200 | 201 | 409) && self.is_up().await
    }

    pub(super) async fn is_up(&self) -> bool {
        match self.dialect {
            Dialect::Tsuru => matches!(self.broker.status("crash").await.status, 200 | 204),
            Dialect::Osb => Answer::to(self.v2("GET", INSTANCE, &Value::Null)).await.status == 200,
        }
    }

    pub(super) async fn is_unknown(&self) -> bool {
        match self.dialect {
            Dialect::Tsuru => self.broker.status("crash").await.status == 404,
            Dialect::Osb => Answer::to(self.v2("GET", INSTANCE, &Value::Null)).await.status == 404,
        }
    }

    /// What a bind gives, or how it is refused.
    pub(super) async fn binds(&self) -> Result<Variables, String> {
        let answer = self.answer(Call::Bind).await;
        match (self.dialect, answer.status) {
            (Dialect::Tsuru, 201) => Ok(answer.env()),
            (Dialect::Osb, 200 | 201) => {
                serde_json::from_value(answer.value()["credentials"].clone()).map_err(|error| error.to_string())
            }
            _ => Err(format!("{} {}", answer.status, answer.body)),
        }
    }

    /// What a bind gives that finds the service where it is now. A binding of Open Service Broker never changes: it is
    /// a new one there.
    pub(super) async fn binds_anew(&self) -> Result<Variables, String> {
        if self.dialect == Dialect::Osb {
            self.unbinds().await;
        }
        self.binds().await.map_err(|refusal| format!("a bind was answered {refusal}"))
    }

    /// The answer to an unbind.
    pub(super) async fn unbinds(&self) -> Answer {
        self.answer(Call::Unbind).await
    }

    /// Whether a removal, of whatever it is, leaves nothing to be removed.
    pub(super) fn is_gone(answer: &Answer) -> bool {
        matches!(answer.status, 200 | 404 | 410)
    }

    /// The update is done: the instance is on the other plan.
    pub(super) fn is_updated(&self) {
        self.is_updated.store(true, Ordering::Relaxed);
    }

    /// Whether a change can be made, once more.
    pub(super) async fn does(&self, call: Call) -> bool {
        matches!(self.answer(call).await.status, 200 | 201)
    }

    /// Whether the instance is removed, now or before.
    pub(super) async fn removes(&self) -> bool {
        Self::is_gone(&self.answer(Call::Deprovision).await)
    }

    /// Takes down what a rotation has made besides the binding itself, if that is another one.
    pub(super) async fn drops_successor(&self) -> bool {
        match self.dialect {
            Dialect::Tsuru => true,
            Dialect::Osb => Self::is_gone(&Answer::to(self.v2("DELETE", SUCCESSOR, &Value::Null)).await),
        }
    }
}
