//! The cases of the service API's contract (10.1), run over HTTP against a broker that is up.
//!
//! Cases that need a feature a broker may not have (a parameter of a known type, a pool, a slow
//! create) are left to tests that know the broker.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use reqwest::{Method, RequestBuilder};
use tokio::time::{Instant, sleep};

use super::{Answer, http};
use crate::OpaqueId;

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";
const ACTING: &str = "user=alice%40example.com&eventid=5f0c7c1e8a1b2c3d4e5f6a7b";
/// How long an instance may take to become ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A broker that is up, and how to reach it.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// Its base URL, without a slash at its end.
    pub url: &'a str,
    /// The user name it accepts.
    pub username: &'a str,
    /// The password it accepts.
    pub password: &'a str,
    /// One of its plans.
    pub plan: &'a str,
}

/// What came of the cases.
#[derive(Debug, Default)]
#[must_use]
pub struct Report {
    ran: BTreeSet<&'static str>,
    failed: Vec<String>,
}

impl Report {
    /// Insists that every case passed.
    ///
    /// # Panics
    /// When one failed; the text lists all of them.
    #[track_caller]
    pub fn is_clean(&self) {
        assert!(
            self.failed.is_empty(),
            "{} of {} cases failed:\n{}",
            self.failed.len(),
            self.ran.len(),
            self.failed.join("\n")
        );
    }

    /// How many cases ran.
    #[must_use]
    pub fn count(&self) -> usize {
        self.ran.len()
    }
}

/// Variables of a bind, as they came over the wire.
pub type Variables = BTreeMap<String, String>;

/// Runs the cases. `opens` tries a bind's variables on the service itself.
///
/// # Panics
/// When the broker does not answer at all.
pub async fn conformance(target: &Target<'_>, opens: impl AsyncFn(&Variables) -> bool) -> Report {
    let mut run = Run { target, http: http(), report: Report::default(), refusals: Mutex::default() };
    run.transport().await;
    run.plans().await;
    run.create().await;
    run.update().await;
    run.info_and_status().await;
    run.bind_app(&opens).await;
    run.unbind_app(&opens).await;
    run.bind_job(&opens).await;
    run.destroy().await;
    run.errors().await;
    run.report
}

struct Run<'a> {
    target: &'a Target<'a>,
    http: reqwest::Client,
    report: Report,
    /// All refusals so far.
    refusals: Mutex<Vec<Answer>>,
}

impl Run<'_> {
    fn check(&mut self, case: &'static str, holds: bool, seen: &Answer) {
        self.report.ran.insert(case);
        if !holds {
            self.report.failed.push(format!("{case}: answered {} {:?}", seen.status, seen.body));
        }
    }

    fn refusals(&self) -> MutexGuard<'_, Vec<Answer>> {
        self.refusals.lock().expect("no thread panics while it holds the refusals")
    }

    fn anonymous(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        self.http.request(method, format!("{}{path}", self.target.url))
    }

    fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.anonymous(method, path).basic_auth(self.target.username, Some(self.target.password))
    }

    async fn send(&self, request: RequestBuilder) -> Answer {
        let answer = Answer::to(request).await;
        if answer.status >= 400 {
            self.refusals().push(answer.clone());
        }
        answer
    }

    async fn ask(&self, method: &str, path: &str) -> Answer {
        self.send(self.request(method, path)).await
    }

    async fn form(&self, method: &str, path: &str, body: &str) -> Answer {
        self.send(self.request(method, path).header("content-type", FORM).body(body.to_owned())).await
    }

    async fn json(&self, method: &str, path: &str, body: &str) -> Answer {
        self.send(self.request(method, path).header("content-type", JSON).body(format!("{body}\n"))).await
    }

    async fn create_with(&self, name: &str, more: &str) -> Answer {
        let body = format!("name={name}&plan={}&team=data&{ACTING}{more}", self.target.plan);
        self.form("POST", "/resources", &body).await
    }

    async fn status(&self, name: &str) -> Answer {
        self.ask("GET", &format!("/resources/{name}/status")).await
    }

    async fn remove(&self, name: &str) -> Answer {
        self.form("DELETE", &format!("/resources/{name}"), ACTING).await
    }

    async fn bind(&self, name: &str, app: &str, more: &str) -> Answer {
        let body = format!("app-name={app}&{ACTING}{more}");
        self.form("POST", &format!("/resources/{name}/bind-app"), &body).await
    }

    async fn unbind(&self, name: &str, app: &str) -> Answer {
        let body = format!("app-host={app}.test&app-hosts={app}.test&app-name={app}&{ACTING}");
        self.form("DELETE", &format!("/resources/{name}/bind-app"), &body).await
    }

    /// A new instance that is ready.
    async fn ready(&self) -> String {
        let name = fresh();
        let created = self.create_with(&name, "").await;
        assert!(is_2xx(&created), "cannot create an instance to try the others on: {created:?}");
        self.until_ready(&name).await;
        name
    }

    async fn until_ready(&self, name: &str) -> Answer {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let status = self.status(name).await;
            if status.status != 202 || Instant::now() > deadline {
                return status;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// A1 to A17
    async fn transport(&mut self) {
        const PLANS: &str = "/resources/plans";
        let (user, password) = (self.target.username, self.target.password);
        let plans = self.ask("GET", PLANS).await;
        self.check("A1", !matches!(plans.status, 401 | 403), &plans);
        let refused = [
            ("A2", self.anonymous("GET", PLANS)),
            ("A3", self.anonymous("GET", PLANS).basic_auth(user, Some("wrong"))),
            ("A4", self.anonymous("GET", PLANS).basic_auth("wrong", Some(password))),
            ("A5", self.anonymous("GET", PLANS).bearer_auth("abc")),
        ];
        for (case, request) in refused {
            let answer = self.send(request).await;
            let challenge = answer.headers.get("www-authenticate").and_then(|value| value.to_str().ok());
            let challenged = challenge.is_some_and(|value| value.starts_with("Basic"));
            self.check(case, answer.status == 401, &answer);
            self.check("A6", challenged, &answer);
        }
        let built = self.request("GET", PLANS).build().expect("a request");
        let header = built.headers()["authorization"].to_str().expect("text").replacen("Basic", "basic", 1);
        let lower = self.send(self.anonymous("GET", PLANS).header("authorization", header)).await;
        self.check("A7", lower.status != 401, &lower);
        let name = self.ready().await;
        for (method, path) in paths(&name) {
            let answer = self.send(self.anonymous(method, &path).header("content-type", FORM).body(ACTING)).await;
            self.check("A8", answer.status == 401, &answer);
        }
        let unmade = fresh();
        let body = format!("name={unmade}&plan={}&team=data&{ACTING}", self.target.plan);
        self.send(self.anonymous("POST", "/resources").header("content-type", FORM).body(body)).await;
        let status = self.status(&unmade).await;
        self.check("A9", status.status == 404, &status);
        for (method, path) in paths(&name) {
            let answer = self.ask(method, &path).await;
            self.check("A10", !(300..400).contains(&answer.status), &answer);
        }
        let closed = self.send(self.request("GET", PLANS).header("connection", "close")).await;
        self.check("A11", closed.status == 200, &closed);
        let zipped = self.send(self.request("GET", PLANS).header("accept-encoding", "gzip")).await;
        let plain = zipped.headers.get("content-encoding").is_none_or(|encoding| encoding == "gzip");
        self.check("A12", plain, &zipped);
        for case in ["A13", "A14"] {
            let name = fresh();
            let body = format!("name={name}&plan={}&team=data&{ACTING}", self.target.plan);
            let request = self.request("POST", "/resources").header("content-type", FORM).body(body);
            let request = if case == "A14" { request.header("x-tsuru-user", "") } else { request };
            let answer = self.send(request).await;
            self.check(case, is_2xx(&answer), &answer);
            self.remove(&name).await;
        }
        let name = self.ready().await;
        let unknown = self.ask("GET", &format!("/resources/{name}/no-such-thing")).await;
        self.check("A16", unknown.status == 404, &unknown);
        for (method, path) in [("PATCH", format!("/resources/{name}")), ("DELETE", PLANS.to_owned())] {
            let answer = self.ask(method, &path).await;
            self.check("A17", matches!(answer.status, 404 | 405), &answer);
        }
        self.remove(&name).await;
    }

    /// A18 to A25
    async fn plans(&mut self) {
        let answer = self.ask("GET", "/resources/plans").await;
        let plans: Vec<serde_json::Value> = serde_json::from_str(&answer.body).unwrap_or_default();
        self.check("A18", answer.status == 200 && plans.iter().all(serde_json::Value::is_object), &answer);
        let names: Vec<_> = plans.iter().filter_map(|plan| plan["name"].as_str()).collect();
        self.check("A19", names.len() == plans.len() && names.iter().all(|name| !name.is_empty()), &answer);
        let unique = names.iter().collect::<BTreeSet<_>>().len() == names.len();
        self.check("A20", unique && plans.iter().all(|plan| plan["description"].is_string()), &answer);
        let again = self.ask("GET", "/resources/plans").await;
        self.check("A21", again.body == answer.body, &again);
        let reserved = self.create_with("plans", "").await;
        self.check("A25", is_4xx(&reserved), &reserved);
        let still = self.ask("GET", "/resources/plans").await;
        self.check("A25", still.body == answer.body, &still);
    }

    /// A26 to A46
    async fn create(&mut self) {
        let name = fresh();
        let created = self.create_with(&name, "").await;
        self.check("A26", is_2xx(&created), &created);
        self.check("A27", created.status == 201, &created);
        let status = self.until_ready(&name).await;
        let info = self.ask("GET", &format!("/resources/{name}")).await;
        let again = self.create_with(&name, "").await;
        self.check("A28", again.status == 409, &again);
        let (now, shown) = (self.status(&name).await, self.ask("GET", &format!("/resources/{name}")).await);
        self.check("A29", (now.status, now.body.as_str()) == (status.status, status.body.as_str()), &now);
        self.check("A29", labels(&shown) == labels(&info), &shown);
        self.remove(&name).await;
        let plan = self.target.plan;
        for (case, body) in [("A30", format!("plan={plan}&{ACTING}")), ("A31", format!("name=&plan={plan}&{ACTING}"))] {
            let answer = self.form("POST", "/resources", &body).await;
            self.check(case, is_4xx(&answer), &answer);
        }
        let name = fresh();
        let unknown =
            self.form("POST", "/resources", &format!("name={name}&plan=no-such-plan&team=data&{ACTING}")).await;
        self.check("A32", is_4xx(&unknown) && !unknown.body.is_empty(), &unknown);
        let status = self.status(&name).await;
        self.check("A32", status.status == 404, &status);
        let right = self.create_with(&name, "").await;
        self.check("A46", is_2xx(&right), &right);
        self.remove(&name).await;
        let lenient = [
            ("A34", "&tags=a&tags=b&description=a+b%26%2B%C3%A9"),
            ("A35", "&no-such-field=1"),
            ("A36", "&parameters.="),
        ];
        for (case, more) in lenient {
            let name = fresh();
            let answer = self.create_with(&name, more).await;
            self.check(case, is_2xx(&answer), &answer);
            self.remove(&name).await;
        }
        let name = fresh();
        let planless = self.form("POST", "/resources", &format!("name={name}&team=data&{ACTING}")).await;
        self.check("A33", planless.status < 500, &planless);
        self.remove(&name).await;
        let name = fresh();
        let deep = self.create_with(&name, "&parameters.unknown.deep.0=x").await;
        self.check("A37", deep.status < 500, &deep);
        self.remove(&name).await;
        let name = fresh();
        let body = format!(
            r#"{{"name":"{name}","team":"data","plan":"{plan}","tags":["a","b"],"eventID":"5f0c7c1e8a1b2c3d4e5f6a7b","user":"alice@example.com"}}"#
        );
        let json = self.json("POST", "/resources", &body).await;
        self.check("A41", is_2xx(&json) || json.status == 415, &json);
        self.remove(&name).await;
        for (case, name) in [("A43", format!("Conf_{}", fresh())), ("A44", format!("c{}", "x".repeat(199)))] {
            let answer = self.create_with(&name, "").await;
            self.check(case, answer.status < 500, &answer);
            if is_2xx(&answer) {
                let status = self.until_ready(&name).await;
                self.check(case, status.status == 204 || status.status == 200, &status);
                let bound = self.bind(&name, "web", "").await;
                self.check(case, is_2xx(&bound), &bound);
                let removed = self.remove(&name).await;
                self.check(case, is_2xx(&removed), &removed);
            }
        }
        let name = fresh();
        let (one, other) = tokio::join!(self.create_with(&name, ""), self.create_with(&name, ""));
        let mut statuses = [one.status, other.status];
        statuses.sort_unstable();
        self.check("A45", (200..300).contains(&statuses[0]) && statuses[1] == 409, &other);
        self.remove(&name).await;
    }

    /// A47 to A53
    async fn update(&mut self) {
        let (name, plan) = (self.ready().await, self.target.plan);
        let path = format!("/resources/{name}");
        for case in ["A47", "A51"] {
            let answer = self.form("PUT", &path, &format!("description=&plan={plan}&team=data&{ACTING}")).await;
            self.check(case, is_2xx(&answer) || answer.status == 404, &answer);
        }
        let unknown = self.form("PUT", &format!("/resources/{}", fresh()), &format!("team=data&{ACTING}")).await;
        self.check("A48", unknown.status == 404, &unknown);
        let emptied = self.form("PUT", &path, &format!("description=&plan=&team=data&{ACTING}")).await;
        self.check("A49", emptied.status < 500, &emptied);
        let status = self.until_ready(&name).await;
        self.check("A49", matches!(status.status, 200 | 204 | 404), &status);
        let wrong = self.form("PUT", &path, &format!("description=&plan=no-such-plan&team=data&{ACTING}")).await;
        self.check("A50", is_4xx(&wrong) && !wrong.body.is_empty(), &wrong);
        let body = r#"{"team":"data","eventID":"5f0c7c1e8a1b2c3d4e5f6a7b","user":"alice@example.com"}"#;
        let json = self.json("PUT", &path, body).await;
        self.check("A52", is_2xx(&json) || matches!(json.status, 404 | 415), &json);
        let tags = self.form("PUT", &path, &format!("plan={plan}&team=data&tags=&tags=a&tags=a&{ACTING}")).await;
        self.check("A53", tags.status < 500, &tags);
        let usable = self.bind(&name, "web", "").await;
        self.check("A50", is_2xx(&usable), &usable);
        self.remove(&name).await;
    }

    /// A54 to A63
    async fn info_and_status(&mut self) {
        let name = self.ready().await;
        let info = self.ask("GET", &format!("/resources/{name}")).await;
        let items: Option<Vec<BTreeMap<String, String>>> = serde_json::from_str(&info.body).ok();
        self.check("A54", info.status != 200 || items.is_some(), &info);
        let items = items.unwrap_or_default();
        self.check("A55", items.iter().all(|item| item.contains_key("label") && item.contains_key("value")), &info);
        let labels: BTreeSet<_> = items.iter().filter_map(|item| item.get("label")).collect();
        self.check("A56", labels.len() == items.len() && labels.iter().all(|label| !label.is_empty()), &info);
        let unknown = self.ask("GET", &format!("/resources/{}", fresh())).await;
        self.check("A57", unknown.status != 200, &unknown);
        self.check("A58", unknown.status == 404, &unknown);
        let status = self.status(&name).await;
        self.check("A59", matches!(status.status, 200 | 202 | 204 | 404 | 500), &status);
        self.check("A62", status.status != 202, &status);
        let one_line = status.body.lines().count() == 1 && !status.body.ends_with('\n');
        self.check("A60", status.status != 200 || one_line, &status);
        let unknown = self.status(&fresh()).await;
        self.check("A61", unknown.status == 404, &unknown);
        for _ in 0..10 {
            let again = self.status(&name).await;
            self.check("A63", (again.status, &again.body) == (status.status, &status.body), &again);
        }
        self.remove(&name).await;
    }

    /// A64 to A85
    async fn bind_app(&mut self, opens: &impl AsyncFn(&Variables) -> bool) {
        let name = self.ready().await;
        let begun = Instant::now();
        let bound = self.bind(&name, "a", "&app-host=a.test&app-hosts=a.test&app-hosts=a.internal").await;
        self.check("A81", begun.elapsed() < Duration::from_secs(300), &bound);
        let first = variables(&bound);
        self.check("A64", is_2xx(&bound) && first.is_some(), &bound);
        let first = first.unwrap_or_default();
        self.check("A65", !first.is_empty() || bound.body.trim() == "{}" || bound.body.trim() == "null", &bound);
        self.check("A66", first.keys().all(|key| is_env_name(key)), &bound);
        self.check("A67", !bound.body.is_empty() && bound.status != 204, &bound);
        self.check("A68", matches!(bound.status, 200 | 201), &bound);
        self.check("A73", opens(&first).await, &bound);
        for (case, path) in [("A69", "bind-app"), ("A70", "bind")] {
            let body = format!("app-name=a&{ACTING}");
            let answer = self.form("POST", &format!("/resources/{}/{path}", fresh()), &body).await;
            self.check(case, answer.status == 404, &answer);
        }
        let again = self.bind(&name, "a", "").await;
        let same = variables(&again).is_some_and(|env| env.keys().eq(first.keys()));
        self.check("A72", is_2xx(&again) && same, &again);
        self.check("A73", opens(&first).await, &again);
        self.check("A75", is_2xx(&again) || is_4xx(&again), &again);
        let hosts = self.bind(&name, "b", "&app-host=b.test&app-hosts=b.test&app-hosts=").await;
        self.check("A76", hosts.status < 500, &hosts);
        let unbound = self.unbind(&name, "a").await;
        self.check("A74", is_2xx(&unbound) && opens(&variables(&hosts).unwrap_or_default()).await, &hosts);
        let path = format!("/resources/{name}/bind-app");
        let bodies = [self.ask("POST", &path).await, self.form("POST", &path, ACTING).await];
        for answer in &bodies {
            self.check("A77", is_4xx(answer), answer);
        }
        let json = self.json("POST", &path, r#"{"appName":"c","user":"u","eventID":"e","appHosts":["c.test"]}"#).await;
        self.check("A78", json.status == 415 || variables(&json).is_some(), &json);
        let parameters = self.bind(&name, "d", "&parameters.unknown=x").await;
        self.check("A79", parameters.status < 500, &parameters);
        let wrong = self.bind(&name, "Not_An_App", "").await;
        let right = self.bind(&name, "d", "").await;
        self.check("A80", !is_4xx(&wrong) || is_2xx(&right), &right);
        let (x, y, z) = tokio::join!(self.bind(&name, "x", ""), self.bind(&name, "y", ""), self.bind(&name, "z", ""));
        for answer in [x, y, z] {
            let usable = opens(&variables(&answer).unwrap_or_default()).await;
            self.check("A82", is_2xx(&answer) && usable, &answer);
        }
        let path = format!("/resources/{name}/bind");
        for (case, method) in [("A83", "POST"), ("A84", "DELETE")] {
            let answer = self.form(method, &path, "unit-host=10.0.0.1&app-host=a.test").await;
            self.check(case, is_2xx(&answer) || answer.status == 404, &answer);
        }
        let fallback = self.form("POST", &path, &format!("app-name=e&{ACTING}")).await;
        self.check("A85", fallback.status == 404 || variables(&fallback).is_some(), &fallback);
        self.remove(&name).await;
    }

    /// A86 to A93
    async fn unbind_app(&mut self, opens: &impl AsyncFn(&Variables) -> bool) {
        let name = self.ready().await;
        let path = format!("/resources/{name}/bind-app");
        let env = variables(&self.bind(&name, "a", "").await).unwrap_or_default();
        let unbound = self.unbind(&name, "a").await;
        self.check("A86", is_2xx(&unbound), &unbound);
        self.check("A93", !opens(&env).await, &unbound);
        let again = self.unbind(&name, "a").await;
        self.check("A87", is_2xx(&again) || again.status == 404, &again);
        let unknown = self.unbind(&fresh(), "a").await;
        self.check("A88", unknown.status == 404, &unknown);
        let back = self.bind(&name, "a", "").await;
        self.check("A89", opens(&variables(&back).unwrap_or_default()).await, &back);
        let nothing = self.ask("DELETE", &path).await;
        self.check("A90", is_4xx(&nothing), &nothing);
        let hostless = self.form("DELETE", &path, &format!("app-name=a&{ACTING}")).await;
        self.check("A91", is_2xx(&hostless), &hostless);
        for hosts in ["[]", "null"] {
            self.bind(&name, "a", "").await;
            let body = format!(r#"{{"appHosts":{hosts},"appName":"a","user":"u","eventID":"e"}}"#);
            let json = self.json("DELETE", &path, &body).await;
            self.check("A92", is_2xx(&json) || json.status == 415, &json);
        }
        self.remove(&name).await;
    }

    /// A94 to A100
    async fn bind_job(&mut self, opens: &impl AsyncFn(&Variables) -> bool) {
        let name = self.ready().await;
        let path = format!("/resources/{name}/binds/jobs/j");
        let body = format!("job-name=j&{ACTING}");
        let bound = self.form("PUT", &path, &body).await;
        if matches!(bound.status, 404 | 405) {
            self.check("A95", true, &bound);
            self.remove(&name).await;
            return;
        }
        let env = variables(&bound).unwrap_or_default();
        self.check("A94", opens(&env).await, &bound);
        let again = self.form("PUT", &path, &body).await;
        self.check("A96", variables(&again).is_some_and(|other| other.keys().eq(env.keys())), &again);
        let app = self.bind(&name, "j", "").await;
        let removed = self.form("DELETE", &path, ACTING).await;
        self.check("A98", is_2xx(&removed) && !opens(&env).await, &removed);
        self.check("A97", opens(&variables(&app).unwrap_or_default()).await, &app);
        let twice = self.form("DELETE", &path, ACTING).await;
        self.check("A98", is_2xx(&twice) || twice.status == 404, &twice);
        let unknown = self.form("PUT", &format!("/resources/{}/binds/jobs/j", fresh()), &body).await;
        self.check("A99", unknown.status == 404, &unknown);
        let json = self.json("PUT", &path, r#"{"jobName":"j","user":"u","eventID":"e"}"#).await;
        self.check("A100", json.status == 415 || variables(&json).is_some(), &json);
        self.remove(&name).await;
    }

    /// A101 to A108
    async fn destroy(&mut self) {
        let name = self.ready().await;
        let removed = self.remove(&name).await;
        self.check("A101", is_2xx(&removed), &removed);
        let again = self.remove(&name).await;
        self.check("A102", again.status == 404, &again);
        let info = self.ask("GET", &format!("/resources/{name}")).await;
        self.check("A103", info.status != 200, &info);
        let anew = self.create_with(&name, "").await;
        self.check("A104", is_2xx(&anew), &anew);
        self.until_ready(&name).await;
        self.bind(&name, "a", "").await;
        self.form("PUT", &format!("/resources/{name}/binds/jobs/j"), &format!("job-name=j&{ACTING}")).await;
        let bound = self.remove(&name).await;
        self.check("A105", bound.status < 500, &bound);
        let name = self.ready().await;
        let json = self.json("DELETE", &format!("/resources/{name}"), r#"{"eventID":"e","user":"u"}"#).await;
        self.check("A106", is_2xx(&json) || json.status == 415, &json);
        let name = self.ready().await;
        let bodiless = self.ask("DELETE", &format!("/resources/{name}")).await;
        self.check("A108", is_2xx(&bodiless), &bodiless);
    }

    /// A109 to A114
    async fn errors(&mut self) {
        let raw = |kind: &str, body: &str| {
            self.request("POST", "/resources").header("content-type", kind).body(body.to_owned())
        };
        let refused = [
            ("A111", raw(FORM, "name=%zz&team=data")),
            ("A112", raw(JSON, "{\"name\":")),
            ("A114", raw("text/csv", "name,team")),
        ];
        for (case, request) in refused {
            let answer = self.send(request).await;
            self.check(case, is_4xx(&answer), &answer);
        }
        let name = fresh();
        let body = format!("name={name}&plan={}&team=data&{ACTING}", self.target.plan);
        let request = self.request("POST", "/resources").header("content-type", format!("{FORM}; charset=UTF-8"));
        let answer = self.send(request.body(body)).await;
        self.check("A113", is_2xx(&answer), &answer);
        self.remove(&name).await;
        let refusals = std::mem::take(&mut *self.refusals());
        for answer in refusals {
            self.check("A109", matches!(answer.status, 404 | 405) || !answer.body.trim().is_empty(), &answer);
            let tells = ["panicked at", "stack backtrace", self.target.password];
            self.check("A110", !tells.iter().any(|text| answer.body.contains(text)), &answer);
        }
    }
}

/// Every path of the contract.
fn paths(name: &str) -> [(&'static str, String); 11] {
    let at = |path: &str| format!("/resources/{name}{path}");
    [
        ("GET", "/resources/plans".to_owned()),
        ("POST", "/resources".to_owned()),
        ("GET", at("")),
        ("PUT", at("")),
        ("POST", at("/bind-app")),
        ("POST", at("/bind")),
        ("DELETE", at("/bind-app")),
        ("PUT", at("/binds/jobs/nightly")),
        ("DELETE", at("/binds/jobs/nightly")),
        ("GET", at("/status")),
        ("DELETE", at("")),
    ]
}

/// A name that no instance has.
fn fresh() -> String {
    format!("conf-{}", &OpaqueId::generate().as_str()[..12])
}

fn is_2xx(answer: &Answer) -> bool {
    (200..300).contains(&answer.status)
}

fn is_4xx(answer: &Answer) -> bool {
    (400..500).contains(&answer.status)
}

/// What a bind gave; none when it is no answer that a platform can read.
fn variables(answer: &Answer) -> Option<Variables> {
    let read = || serde_json::from_str::<Option<Variables>>(&answer.body).ok();
    is_2xx(answer).then(read)?.map(Option::unwrap_or_default)
}

/// What an instance says about itself. Values are left out: a figure of what it uses may move.
fn labels(info: &Answer) -> Vec<String> {
    let items: Vec<BTreeMap<String, String>> = serde_json::from_str(&info.body).unwrap_or_default();
    items.into_iter().filter_map(|mut item| item.remove("label")).collect()
}

fn is_env_name(name: &str) -> bool {
    name.parse::<crate::EnvName>().is_ok() && !name.starts_with("TSURU_") && !matches!(name, "PORT" | "port")
}
