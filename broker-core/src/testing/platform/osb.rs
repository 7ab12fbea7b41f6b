//! The calls of an Open Service Broker platform: it accepts unfinished work, polls, and takes back what it is not sure of.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Done, PlatformError, until};
use crate::{
    OpaqueId, Parameters, Secret,
    testing::{Target, Variables, http},
};

/// How long it waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Osb {
    url: String,
    username: String,
    password: Secret,
    http: reqwest::Client,
    pub(super) timeout: Duration,
    /// The ids that were made up, by what they are for.
    ids: Mutex<BTreeMap<String, String>>,
    /// The service's and the plan's id of each instance.
    plans: Mutex<BTreeMap<String, (String, String)>>,
}

/// What came of a request.
enum Meaning {
    Done(Value),
    /// A refusal: nothing was changed.
    Refused(PlatformError),
    /// Nobody knows what was done.
    Unsure(PlatformError),
}

/// An answer to a request.
enum Reply {
    Ended(Meaning),
    GoesOn(String),
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Osb {
    pub(super) fn new(target: &Target<'_>) -> Self {
        Self {
            url: target.url.to_owned(),
            username: target.username.to_owned(),
            password: Secret::from(target.password),
            http: http(),
            timeout: TIMEOUT,
            ids: Mutex::default(),
            plans: Mutex::default(),
        }
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> reqwest::Result<(StatusCode, Value)> {
        let request = self.http.request(method, format!("{}{path}", self.url)).timeout(self.timeout);
        let request = request.basic_auth(&self.username, Some(self.password.expose()));
        let request = request.header("x-broker-api-version", "2.17");
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        };
        let answer = request.send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        Ok((status, serde_json::from_str(&text).unwrap_or_default()))
    }

    /// Sends a request, again while something else has to end first, and says what its answer means.
    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Done<Reply> {
        let settled = async || {
            let (status, body) = match self.send(method.clone(), path, body).await {
                Ok(answer) => answer,
                Err(error) => return Ok(Some(Reply::Ended(Meaning::Unsure(PlatformError::new(error.to_string()))))),
            };
            let told = PlatformError::new(format!("{status}: {}", body["description"].as_str().unwrap_or_default()));
            Ok(match status.as_u16() {
                422 if matches!(body["error"].as_str(), Some("ConcurrencyError" | "AsyncRequired")) => None,
                202 => Some(Reply::GoesOn(body["operation"].as_str().unwrap_or_default().to_owned())),
                200 | 201 if body.is_object() => Some(Reply::Ended(Meaning::Done(body))),
                410 => Some(Reply::Ended(Meaning::Done(json!({})))),
                400..=499 => Some(Reply::Ended(Meaning::Refused(told))),
                _ => Some(Reply::Ended(Meaning::Unsure(told))),
            })
        };
        until("the broker is free", settled).await
    }

    /// As `ask`, and waits for the end of work that goes on.
    async fn ended(&self, method: Method, path: &str, body: Option<&Value>) -> Done<Meaning> {
        let operation = match self.ask(method, &format!("{path}{}", self.query(path)), body).await? {
            Reply::GoesOn(operation) => operation,
            Reply::Ended(meaning) => return Ok(meaning),
        };
        let poll = format!("{path}/last_operation?operation={operation}");
        let settled = async || {
            let Ok((status, body)) = self.send(Method::GET, &poll, None).await else { return Ok(None) };
            let told = || PlatformError::new(body["description"].as_str().unwrap_or("it failed"));
            Ok(match (status.as_u16(), body["state"].as_str()) {
                (410, _) | (200, Some("succeeded")) => Some(Meaning::Done(json!({}))),
                (200, Some("failed")) => Some(Meaning::Unsure(told())),
                _ => None,
            })
        };
        until("the operation ends", settled).await
    }

    /// Service and plan of the instance that a path is about.
    fn query(&self, path: &str) -> String {
        let instance = path.split('/').nth(3).unwrap_or_default();
        let known = lock(&self.plans).get(instance).cloned();
        let (service, plan) = known.unwrap_or_default();
        format!("?accepts_incomplete=true&service_id={service}&plan_id={plan}")
    }

    /// An id for something new; what was there under the name before has another one.
    fn new_id(&self, of: String) -> String {
        let id = OpaqueId::generate().to_string();
        lock(&self.ids).insert(of, id.clone());
        id
    }

    fn id(&self, of: &str) -> String {
        lock(&self.ids).get(of).cloned().unwrap_or_default()
    }

    fn path(&self, instance: &str) -> String {
        format!("/v2/service_instances/{}", self.id(instance))
    }

    fn binding(&self, instance: &str, app: &str) -> String {
        format!("{}/service_bindings/{}", self.path(instance), self.id(&format!("{instance}/{app}")))
    }

    /// The ids of the service that has a plan, and of the plan.
    async fn plan(&self, name: &str) -> Done<(String, String)> {
        let (_, catalog) = self
            .send(Method::GET, "/v2/catalog", None)
            .await
            .map_err(|error| PlatformError::new(format!("the catalog can't be read: {error}")))?;
        let ids = catalog["services"].as_array().into_iter().flatten().find_map(|service| {
            let plan = service["plans"].as_array()?.iter().find(|plan| plan["name"] == name)?;
            Some((service["id"].as_str()?.to_owned(), plan["id"].as_str()?.to_owned()))
        });
        ids.ok_or_else(|| PlatformError::new(format!("the catalog has no plan \"{name}\"")))
    }

    pub(super) async fn create(&self, instance: &str, plan: &str, parameters: Parameters) -> Done {
        let (service, plan) = self.plan(plan).await?;
        let body = json!({
            "service_id": service, "plan_id": plan, "organization_guid": "org", "space_guid": "space",
            "context": { "platform": "cloudfoundry", "instance_name": instance }, "parameters": parameters,
        });
        let id = self.new_id(instance.to_owned());
        lock(&self.plans).insert(id, (service, plan));
        match self.ended(Method::PUT, &self.path(instance), Some(&body)).await? {
            Meaning::Done(_) => Ok(()),
            Meaning::Refused(error) => Err(error),
            Meaning::Unsure(error) => {
                self.take_back(instance).await?;
                Err(error)
            }
        }
    }

    /// Orphan mitigation: removes until the broker says that it is gone.
    pub(super) async fn take_back(&self, instance: &str) -> Done {
        self.gone(&self.path(instance)).await
    }

    async fn gone(&self, path: &str) -> Done {
        let gone = async || match self.ended(Method::DELETE, path, None).await? {
            Meaning::Done(_) => Ok(Some(())),
            Meaning::Refused(_) | Meaning::Unsure(_) => Ok(None),
        };
        until("what may have been made is gone", gone).await
    }

    pub(super) async fn update(&self, instance: &str, plan: &str) -> Done {
        let (service, plan) = self.plan(plan).await?;
        let body = json!({ "service_id": service, "plan_id": plan });
        settled(self.ended(Method::PATCH, &self.path(instance), Some(&body)).await?)?;
        lock(&self.plans).insert(self.id(instance), (service, plan));
        Ok(())
    }

    pub(super) async fn remove(&self, instance: &str) -> Done {
        settled(self.ended(Method::DELETE, &self.path(instance), None).await?).map(drop)
    }

    pub(super) async fn bind(&self, instance: &str, app: &str) -> Done<Variables> {
        let (service, plan) = lock(&self.plans).get(&self.id(instance)).cloned().unwrap_or_default();
        let body = json!({ "service_id": service, "plan_id": plan, "bind_resource": { "app_guid": app } });
        self.new_id(format!("{instance}/{app}"));
        let path = self.binding(instance, app);
        match self.ended(Method::PUT, &path, Some(&body)).await? {
            Meaning::Done(body) if body["credentials"].is_object() => Ok(variables(&body)),
            Meaning::Done(_) => {
                let (_, body) = self
                    .send(Method::GET, &path, None)
                    .await
                    .map_err(|error| PlatformError::new(format!("the binding can't be fetched: {error}")))?;
                Ok(variables(&body))
            }
            Meaning::Refused(error) => Err(error),
            Meaning::Unsure(error) => {
                self.gone(&path).await?;
                Err(error)
            }
        }
    }

    pub(super) async fn unbind(&self, instance: &str, app: &str) -> Done {
        settled(self.ended(Method::DELETE, &self.binding(instance, app), None).await?).map(drop)
    }
}

fn settled(meaning: Meaning) -> Done<Value> {
    match meaning {
        Meaning::Done(body) => Ok(body),
        Meaning::Refused(error) | Meaning::Unsure(error) => Err(error),
    }
}

/// A binding's credentials as an app finds them: what is no text is written as JSON.
fn variables(body: &Value) -> Variables {
    let texts = body["credentials"].as_object().into_iter().flatten();
    texts.map(|(name, value)| (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned))).collect()
}
