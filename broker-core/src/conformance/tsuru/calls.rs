//! The calls of the service API, as the platform makes them.

use std::collections::BTreeMap;

use reqwest::RequestBuilder;
use serde_json::Value;

use crate::conformance::{
    Check, End, Variables,
    answer::Answer,
    context::{Context, encoded, fresh, no_answer, skip},
};

pub(super) const FORM: &str = "application/x-www-form-urlencoded";
pub(super) const JSON: &str = "application/json";
pub(super) const USER: &str = "alice@example.com";
pub(super) const EVENT: &str = "5f0c7c1e8a1b2c3d4e5f6a7b";
pub(super) const ACTING: &str = "user=alice%40example.com&eventid=5f0c7c1e8a1b2c3d4e5f6a7b";
pub(super) const PLANS: &str = "/resources/plans";

pub(super) type Got = Result<Answer, End>;

impl Context<'_> {
    /// A request as the platform makes it under an event.
    pub(super) fn acting(&self, method: &str, path: &str) -> RequestBuilder {
        let request = self.request(method, path).header("accept", JSON);
        self.in_pool(request.header("x-tsuru-user", USER).header("x-tsuru-eventid", EVENT))
    }

    pub(super) fn in_pool(&self, request: RequestBuilder) -> RequestBuilder {
        let Some((pool, cluster)) = &self.options.pool else { return request };
        request
            .header("x-tsuru-pool-name", pool)
            .header("x-tsuru-pool-provisioner", "kubernetes")
            .header("x-tsuru-cluster-name", cluster)
            .header("x-tsuru-cluster-provisioner", "kubernetes")
            .header("x-tsuru-cluster-addresses", "https://one.example.com")
            .header("x-tsuru-cluster-addresses", "https://two.example.com")
    }

    pub(super) async fn ask(&self, method: &str, path: &str) -> Got {
        self.send(self.in_pool(self.request(method, path))).await
    }

    pub(super) async fn typed(&self, method: &str, path: &str, kind: &str, body: String) -> Got {
        self.send(self.acting(method, path).header("content-type", kind).body(body)).await
    }

    pub(super) async fn form(&self, method: &str, path: &str, body: &str) -> Got {
        self.typed(method, path, FORM, body.to_owned()).await
    }

    /// JSON with the platform's escapes and its line break.
    pub(super) async fn json(&self, method: &str, path: &str, body: &Value) -> Got {
        let text = body.to_string().replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e");
        self.typed(method, path, JSON, text + "\n").await
    }

    /// A create's form body.
    pub(super) fn new_instance(&self, name: &str, plan: Option<&str>, more: &str) -> String {
        let plan = plan.map(|plan| format!("&plan={}", encoded(plan))).unwrap_or_default();
        let given = self.options.parameters.iter();
        let given: String =
            given.map(|(name, value)| format!("&parameters.{}={}", encoded(name), encoded(value))).collect();
        format!("name={name}{plan}&team=data&{ACTING}{given}{more}")
    }

    pub(super) async fn create_on(&self, plan: Option<&str>, name: &str, more: &str) -> Got {
        self.will_remove(name);
        self.form("POST", "/resources", &self.new_instance(name, plan, more)).await
    }

    pub(super) async fn create(&self, name: &str, more: &str) -> Got {
        self.create_on(self.options.plan.as_deref(), name, more).await
    }

    /// A create's JSON body.
    pub(super) fn new_json(&self, name: &str, parameters: Option<Value>) -> Value {
        let mut bag: serde_json::Map<String, Value> =
            self.options.parameters.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        if let Some(Value::Object(more)) = parameters {
            bag.extend(more);
        }
        let mut body = serde_json::json!({
            "name": name, "team": "data", "description": "cache & queue", "tags": ["a", "b"], "eventID": EVENT,
            "user": USER,
        });
        if let Some(plan) = &self.options.plan {
            body["plan"] = plan.clone().into();
        }
        if !bag.is_empty() {
            body["parameters"] = bag.into();
        }
        body
    }

    pub(super) async fn status(&self, name: &str) -> Got {
        self.ask("GET", &format!("/resources/{name}/status")).await
    }

    pub(super) async fn info(&self, name: &str) -> Got {
        self.ask("GET", &format!("/resources/{name}")).await
    }

    pub(in crate::conformance) async fn remove(&self, name: &str) -> Got {
        self.form("DELETE", &format!("/resources/{name}"), ACTING).await
    }

    pub(super) async fn bind(&self, name: &str, app: &str, more: &str) -> Got {
        self.form("POST", &format!("/resources/{name}/bind-app"), &format!("app-name={app}&{ACTING}{more}")).await
    }

    /// A bind that is there for the sake of what follows.
    pub(super) async fn bound(&self, name: &str, app: &str) -> Result<Variables, End> {
        let answer = self.bind(name, app, "&app-host=a.example.com&app-hosts=a.example.com").await?;
        answer.must_be_2xx()?;
        variables(&answer)
    }

    pub(super) async fn unbind(&self, name: &str, app: &str) -> Got {
        let body = format!("app-host={app}.example.com&app-hosts={app}.example.com&app-name={app}&{ACTING}");
        self.form("DELETE", &format!("/resources/{name}/bind-app"), &body).await
    }

    pub(super) async fn bind_job(&self, name: &str, job: &str) -> Got {
        let body = format!("job-name={job}&job-pool-name=pool1&job-cluster-name=c1&{ACTING}");
        self.form("PUT", &format!("/resources/{name}/binds/jobs/{job}"), &body).await
    }

    pub(super) async fn unbind_job(&self, name: &str, job: &str) -> Got {
        self.form("DELETE", &format!("/resources/{name}/binds/jobs/{job}"), ACTING).await
    }

    pub(super) async fn until_ready(&self, name: &str) -> Got {
        let answer = self.until("GET", &format!("/resources/{name}/status"), |answer| answer.status != 202).await?;
        answer.must(matches!(answer.status, 200 | 204 | 404), "a status of 200, 204 or 404 in time")?;
        Ok(answer)
    }

    /// A new instance that is ready.
    pub(super) async fn ready(&self) -> Result<String, End> {
        let name = self.fresh();
        self.create(&name, "").await?.must_be_2xx()?;
        self.until_ready(&name).await?;
        Ok(name)
    }

    /// Insists that a create that was asked for in another way came to the same: its answer, the status, the info.
    pub(super) async fn must_be_as_any_other(&self, name: &str, created: &Answer) -> Check {
        created.must_be_2xx()?;
        let other = self.fresh();
        let usual = self.create(&other, "").await?;
        created.must(created.status == usual.status, &format!("status {}, as usual", usual.status))?;
        let (status, usual) = (self.until_ready(name).await?, self.until_ready(&other).await?);
        status.must(status.status == usual.status, &format!("status {}, as usual", usual.status))?;
        let (info, usual) = (self.info(name).await?, self.info(&other).await?);
        // Values may have the instance's name in them.
        let same = info.status == usual.status && items(&info).keys().eq(items(&usual).keys());
        info.must(same, "the info that other instances have")
    }

    /// An instance that is ready and stays as it is.
    pub(super) async fn instance(&self) -> Result<&str, End> {
        self.shared.get_or_try_init(|| self.ready()).await.map(String::as_str)
    }

    /// A new instance that is not ready.
    pub(super) async fn pending(&self) -> Result<String, End> {
        let plan = self.options.slow_plan.as_deref();
        let plan = plan.ok_or_else(|| skip("needs a plan whose instances take a while: --slow-plan NAME"))?;
        let name = self.fresh();
        self.create_on(Some(plan), &name, "").await?.must_be_2xx()?;
        if self.status(&name).await?.status == 202 {
            Ok(name)
        } else {
            Err(skip("the instance on the slow plan was ready at once"))
        }
    }

    pub(super) async fn until_gone(&self, name: &str) -> Got {
        self.until("GET", &format!("/resources/{name}"), |answer| answer.status != 200).await
    }

    /// An app that is bound to nothing yet.
    pub(super) fn app(&self) -> String {
        fresh()
    }
}

/// What a bind gave; a failure when a platform could not read it.
#[track_caller]
pub(super) fn variables(answer: &Answer) -> Result<Variables, End> {
    let read = serde_json::from_str::<Option<BTreeMap<String, Option<String>>>>(&answer.body).ok();
    let Some(read) = read.filter(|_| answer.is_2xx()) else {
        return Err(no_answer("2xx with a JSON object of strings, or null", answer.shown()));
    };
    Ok(read.unwrap_or_default().into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect())
}

/// What an instance says about itself, by label.
pub(super) fn items(info: &Answer) -> BTreeMap<String, String> {
    let items: Vec<BTreeMap<String, String>> = serde_json::from_str(&info.body).unwrap_or_default();
    items.into_iter().filter_map(|mut item| Some((item.remove("label")?, item.remove("value")?))).collect()
}
