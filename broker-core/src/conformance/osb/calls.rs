//! The calls of the Open Service Broker API, as a platform makes them.

use reqwest::RequestBuilder;
use serde_json::{Map, Value, json};

use super::offer::Offer;
use crate::conformance::{
    Check, End, Variables,
    answer::Answer,
    context::{Context, encoded, fresh, lock, no_answer, skip},
    osb::Made,
};

pub(super) const VERSION: &str = "x-broker-api-version";
pub(super) const JSON: &str = "application/json";
pub(super) const ASYNC: &str = "accepts_incomplete=true";
/// The caller wants to hear of the end, not of work that goes on.
pub(super) const SYNC: &str = "";
pub(super) const CONCURRENCY: &str = "ConcurrencyError";

pub(super) type Got = Result<Answer, End>;

/// A platform of this dialect. Its ids are made up by it.
#[derive(Clone, Copy)]
pub(super) struct Platform<'c>(pub(super) &'c Context<'c>);

impl<'c> Platform<'c> {
    pub(super) fn offer(self) -> Result<&'c Offer, End> {
        self.0.offer.as_ref().ok_or_else(|| skip("the catalog offers no plan that can be used, or not the one given"))
    }

    /// Skips a case of a feature that the catalog does not claim.
    pub(super) fn claims(self, feature: &str) -> Check {
        if self.offer()?.claims(feature) { Ok(()) } else { Err(skip(&format!("the catalog does not claim {feature}"))) }
    }

    pub(super) fn request(self, method: &str, path: &str) -> RequestBuilder {
        self.0.request(method, path).header(VERSION, "2.17")
    }

    pub(super) async fn send(self, request: RequestBuilder) -> Got {
        self.0.send(request).await
    }

    pub(super) async fn get(self, path: &str) -> Got {
        self.send(self.request("GET", path)).await
    }

    /// Sends a text as JSON, whatever it is.
    pub(super) async fn text(self, method: &str, path: &str, body: &str) -> Got {
        self.send(self.request(method, path).header("content-type", JSON).body(body.to_owned())).await
    }

    pub(super) async fn provision(self, id: &str, query: &str, body: &Value) -> Got {
        self.will_remove(Made::Instance(id.to_owned()));
        self.text("PUT", &asking(&instance(id), query), &body.to_string()).await
    }

    pub(super) async fn update(self, id: &str, query: &str, body: &Value) -> Got {
        self.text("PATCH", &asking(&instance(id), query), &body.to_string()).await
    }

    /// Removes what a path names.
    pub(super) async fn delete(self, path: &str, plan: &Value, query: &str) -> Got {
        let ids = self.ids(plan)?;
        let query = if query.is_empty() { ids } else { format!("{ids}&{query}") };
        self.send(self.request("DELETE", &asking(path, &query))).await
    }

    /// Binds, and keeps in mind what nobody else may see.
    pub(super) async fn bind(self, instance: &str, id: &str, query: &str, body: &Value) -> Got {
        self.will_remove(Made::Binding(instance.to_owned(), id.to_owned()));
        let answer = self.text("PUT", &asking(&binding(instance, id), query), &body.to_string()).await?;
        self.keep_secrets(&answer);
        Ok(answer)
    }

    pub(super) fn keep_secrets(self, answer: &Answer) {
        let given = credentials(answer).into_iter().filter(|(name, value)| is_secret(name) && value.len() >= 6);
        lock(&self.0.secrets).extend(given.map(|(_, value)| value));
    }

    pub(super) fn will_remove(self, made: Made) {
        lock(&self.0.made_v2).insert(made);
    }

    pub(super) fn need_not_remove(self, made: &Made) {
        lock(&self.0.made_v2).remove(made);
    }

    /// The query that names service and plan.
    pub(super) fn ids(self, plan: &Value) -> Result<String, End> {
        Ok(format!("service_id={}&plan_id={}", encoded_id(&self.offer()?.service), encoded_id(plan)))
    }

    /// A provision's body.
    pub(super) fn wishes(self) -> Result<Value, End> {
        self.wishes_on(&self.offer()?.plan)
    }

    pub(super) fn wishes_on(self, plan: &Value) -> Result<Value, End> {
        let given = self.0.options.parameters.iter();
        let given: Map<_, _> = given.map(|(name, value)| (name.clone(), typed(value))).collect();
        let mut body = json!({
            "service_id": self.offer()?.service["id"], "plan_id": plan["id"],
            "organization_guid": "conf-organization", "space_guid": "conf-space",
        });
        if !given.is_empty() {
            body["parameters"] = given.into();
        }
        Ok(body)
    }

    /// A bind's body.
    pub(super) fn binding_on(self, plan: &Value) -> Result<Value, End> {
        Ok(json!({
            "service_id": self.offer()?.service["id"], "plan_id": plan["id"],
            "app_guid": "conf-app", "bind_resource": { "app_guid": "conf-app" },
        }))
    }

    /// A new instance that is ready.
    pub(super) async fn ready(self) -> Result<String, End> {
        self.ready_on(&self.offer()?.plan).await
    }

    pub(super) async fn ready_on(self, plan: &Value) -> Result<String, End> {
        let id = fresh();
        let made = self.provision(&id, ASYNC, &self.wishes_on(plan)?).await?;
        made.must(matches!(made.status, 201 | 202), "201 or 202")?;
        self.settled(&instance(&id), &made).await?;
        Ok(id)
    }

    /// An instance that is ready and stays as it is.
    pub(super) async fn instance(self) -> Result<&'c str, End> {
        self.0.osb.instance.get_or_try_init(|| self.ready()).await.map(String::as_str)
    }

    /// Skips cases of binds for a plan that can't be bound.
    pub(super) fn is_bindable(self) -> Check {
        let offer = self.offer()?;
        let own = offer.plan["bindable"].as_bool().or(offer.service["bindable"].as_bool());
        if own == Some(true) { Ok(()) } else { Err(skip("the plan is not bindable")) }
    }

    /// A new binding of an instance on the plan, and the answer that has its credentials.
    pub(super) async fn bound(self, to: &str) -> Result<(String, Answer), End> {
        self.is_bindable()?;
        let (id, body) = (fresh(), self.binding_on(&self.offer()?.plan)?);
        let answer = self.bind(to, &id, ASYNC, &body).await?;
        answer.must(matches!(answer.status, 201 | 202), "201 or 202")?;
        if answer.status == 201 {
            return Ok((id, answer));
        }
        self.settled(&binding(to, &id), &answer).await?;
        let fetched = self.get(&binding(to, &id)).await?;
        fetched.must_be(200)?;
        self.keep_secrets(&fetched);
        Ok((id, fetched))
    }

    /// Waits for the end of work that an answer says goes on. Done work needs no waiting.
    pub(super) async fn settled(self, path: &str, answer: &Answer) -> Check {
        if answer.status != 202 {
            return answer.must_be_2xx();
        }
        let last = self.ended(path, answer).await?;
        last.must(last.status == 410 || state(&last) == "succeeded", "the state \"succeeded\" in time")
    }

    /// The last answer about work that went on.
    pub(super) async fn ended(self, path: &str, answer: &Answer) -> Got {
        let poll = polling(path, answer);
        let request = || self.request("GET", &poll);
        self.0.until_answer(request, |answer| state(answer) != "in progress").await
    }

    /// Insists that a repeat of work that goes on joins it: it has the same operation. It may hear of the end, if that
    /// has come meanwhile.
    pub(super) async fn must_join(self, path: &str, first: &Answer, again: &Answer) -> Check {
        if matches!(again.status, 200 | 410) {
            let now = self.get(&polling(path, first)).await?;
            return again.must(state(&now) != "in progress", "202, as the work goes on");
        }
        again.must(again.status == 202 && operation(again) == operation(first), "202 with the same operation")
    }

    /// As `must_join`; the broker may also want the work to end first.
    pub(super) async fn must_join_or_wait(self, path: &str, first: &Answer, again: &Answer) -> Check {
        if is_busy(again) { Ok(()) } else { self.must_join(path, first, again).await }
    }

    /// Whether a binding's credentials work; they are believed to where that can't be told.
    pub(super) async fn opens_if_known(self, answer: &Answer) -> bool {
        self.0.opens_if_known(&credentials(answer)).await
    }
}

/// Whether a credential of that name is one that nobody else may have.
fn is_secret(name: &str) -> bool {
    ["pass", "secret", "token"].iter().any(|part| name.to_lowercase().contains(part))
}

/// Skips cases of credentials of one's own for a service that has none to give.
pub(super) fn must_have_secrets(answer: &Answer) -> Check {
    let any = credentials(answer).keys().any(|name| is_secret(name));
    if any { Ok(()) } else { Err(skip("a bind gives nothing that is secret: no name with pass, secret or token")) }
}

pub(super) fn instance(id: &str) -> String {
    format!("/v2/service_instances/{}", encoded(id))
}

pub(super) fn binding(instance_id: &str, id: &str) -> String {
    format!("{}/service_bindings/{}", instance(instance_id), encoded(id))
}

pub(super) fn asking(path: &str, query: &str) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// Where to ask for work that an answer says goes on.
pub(super) fn polling(path: &str, answer: &Answer) -> String {
    match operation(answer) {
        Some(operation) => format!("{path}/last_operation?operation={}", encoded(&operation)),
        None => format!("{path}/last_operation"),
    }
}

pub(super) fn operation(answer: &Answer) -> Option<String> {
    answer.json()?["operation"].as_str().map(str::to_owned)
}

pub(super) fn state(answer: &Answer) -> String {
    let read = answer.json().filter(|_| answer.status == 200);
    read.and_then(|body| body["state"].as_str().map(str::to_owned)).unwrap_or_default()
}

pub(super) fn error(answer: &Answer) -> String {
    answer.json().and_then(|body| body["error"].as_str().map(str::to_owned)).unwrap_or_default()
}

/// Whether something else has to end first.
pub(super) fn is_busy(answer: &Answer) -> bool {
    answer.status == 422 && error(answer) == CONCURRENCY
}

/// A binding's credentials as variables: what is no text is written as JSON.
pub(super) fn credentials(answer: &Answer) -> Variables {
    let body = answer.json().unwrap_or_default();
    let texts = body["credentials"].as_object().into_iter().flatten();
    texts.map(|(name, value)| (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned))).collect()
}

/// A body with another value of a field.
pub(super) fn with(body: &Value, field: &str, value: impl Into<Value>) -> Value {
    let mut body = body.clone();
    body[field] = value.into();
    body
}

pub(super) fn without(body: &Value, field: &str) -> Value {
    let mut body = body.clone();
    body.as_object_mut().map(|members| members.remove(field));
    body
}

/// A parameter of the command line: numbers and truth values are what they look like.
fn typed(text: &str) -> Value {
    let read = serde_json::from_str(text).ok();
    read.filter(|value: &Value| value.is_number() || value.is_boolean()).unwrap_or_else(|| text.into())
}

fn encoded_id(item: &Value) -> String {
    encoded(item["id"].as_str().unwrap_or_default())
}

impl Answer {
    /// Insists on a refusal with one of the specification's codes.
    #[track_caller]
    pub(super) fn must_be_coded(&self, code: &str) -> Check {
        self.must(self.status == 422 && error(self) == code, &format!("422 with the error {code}"))
    }

    /// Insists on one of these statuses, or on `ConcurrencyError`.
    #[track_caller]
    pub(super) fn must_be_any_or_busy(&self, statuses: &[u16]) -> Check {
        self.must(statuses.contains(&self.status) || is_busy(self), &format!("{statuses:?}, or 422 {CONCURRENCY}"))
    }

    /// The body as an object.
    #[track_caller]
    pub(super) fn object(&self) -> Result<Value, End> {
        match self.json().filter(Value::is_object) {
            Some(object) => Ok(object),
            None => Err(no_answer("a JSON object", self.shown())),
        }
    }
}
