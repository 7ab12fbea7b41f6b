//! An instance, from its making to its removal.

use std::{fmt::Write as _, time::Duration};

use broker_core::{OpaqueId, Secret};
use reqwest::{Client, Method, header};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{Arguments, report::Report};

/// Between two questions whether an instance is ready.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How often a removal is tried that the broker can't do just now.
const REMOVALS: u32 = 20;
/// The longest part of an answer that is shown.
const SHOWN: usize = 200;

/// Sends requests as a platform does.
pub(crate) struct Caller {
    http: Client,
    url: String,
    username: String,
    password: Secret,
    plan: String,
    parameters: Vec<(String, String)>,
    pause: Duration,
    ready_within: Duration,
    /// Tells this run's instances from another one's.
    run: String,
}

/// A status, and the time until the whole answer was there; or why there is none.
type Answered = Result<(u16, String), String>;

impl Caller {
    pub(crate) fn new(arguments: &Arguments, password: &Secret) -> Result<Self, String> {
        if !arguments.url.starts_with("http://") && !arguments.url.starts_with("https://") {
            return Err(format!("\"{}\" is no base URL: it begins with http:// or https://", arguments.url));
        }
        // Fails when there is a provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder()
            .no_proxy()
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(arguments.timeout))
            .user_agent(concat!("broker-load/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self {
            http: http.map_err(|error| format!("no HTTP client: {error}"))?,
            url: arguments.url.trim_end_matches('/').to_owned(),
            username: arguments.username.clone(),
            password: password.clone(),
            plan: arguments.plan.clone(),
            parameters: arguments.parameters.clone(),
            pause: arguments.pause(),
            ready_within: Duration::from_secs(arguments.ready_within),
            run: OpaqueId::generate().as_str().chars().take(8).collect(),
        })
    }

    /// Makes contact, so that a wrong address or password is one sentence.
    pub(crate) async fn reach(&self) -> Result<(), String> {
        match self.ask(Method::GET, "/resources/plans", &[]).await {
            Ok((401 | 403, _)) => Err("the broker does not accept the user name and password".to_owned()),
            Ok(_) => Ok(()),
            Err(reason) => Err(format!("cannot reach the broker at {}: {reason}", self.url)),
        }
    }

    async fn ask(&self, method: Method, path: &str, form: &[(&str, &str)]) -> Answered {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.url));
        request = request.basic_auth(&self.username, Some(self.password.expose()));
        if method != Method::GET {
            request = request.form(form);
        }
        let answer = request.header(header::ACCEPT, "*/*").send().await.map_err(|error| why(&error))?;
        let status = answer.status().as_u16();
        let body = answer.text().await.map_err(|error| why(&error))?;
        Ok((status, body))
    }
}

/// An error with its causes, without the URL.
fn why(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut next: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(cause) = next {
        let _ = write!(text, "{}{cause}", if text.is_empty() { "" } else { ": " });
        next = cause.source();
    }
    if text.is_empty() {
        if error.is_timeout() { "no answer in time".into() } else { "no answer".into() }
    } else {
        text
    }
}

/// One instance and what was measured with it.
pub(crate) struct Life<'l> {
    caller: &'l Caller,
    name: String,
    path: String,
    report: &'l mut Report,
}

impl<'l> Life<'l> {
    pub(crate) fn new(caller: &'l Caller, number: usize, report: &'l mut Report) -> Self {
        let name = format!("load-{}-{number}", caller.run);
        let path = format!("/resources/{name}");
        Self { caller, name, path, report }
    }

    /// All of it, or as much as can be; in the end nothing is left.
    pub(crate) async fn live(&mut self, bindings: usize, stop: &CancellationToken) {
        let caller = self.caller;
        let name = self.name.clone();
        let mut form = vec![("name", name.as_str()), ("plan", &caller.plan), ("team", "load"), ("user", "load")];
        let parameters: Vec<_> =
            caller.parameters.iter().map(|(name, value)| (format!("parameters.{name}"), value)).collect();
        form.extend(parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let path = self.path.clone();
        if self.measure("create", Method::POST, "/resources", &form, &[201, 202]).await && self.is_ready(stop).await {
            self.measure("status", Method::GET, &format!("{path}/status"), &[], &[200, 204]).await;
            self.measure("info", Method::GET, &path, &[], &[200]).await;
            self.bind_and_unbind(bindings, stop).await;
        }
        self.remove().await;
    }

    async fn is_ready(&mut self, stop: &CancellationToken) -> bool {
        let deadline = Instant::now() + self.caller.ready_within;
        let path = format!("{}/status", self.path);
        loop {
            match self.caller.ask(Method::GET, &path, &[]).await {
                Ok((200 | 204, _)) => return true,
                Ok((202, _)) if Instant::now() < deadline && !stop.is_cancelled() => sleep(ASK_EVERY).await,
                Ok((202, _)) if stop.is_cancelled() => return false,
                Ok((202, _)) => {
                    self.report.failed("create", format!("{} is not ready in time", self.name));
                    return false;
                }
                other => {
                    self.report.failed("create", format!("{} is not ready: {}", self.name, shown(&other)));
                    return false;
                }
            }
        }
    }

    async fn bind_and_unbind(&mut self, bindings: usize, stop: &CancellationToken) {
        let path = format!("{}/bind-app", self.path);
        let apps: Vec<String> = (0..bindings).map(|number| format!("load-app-{number}")).collect();
        let form = |app: &'_ str| {
            [("app-name", app.to_owned()), ("app-host", format!("{app}.test")), ("user", "load".to_owned())]
        };
        for (what, method, good) in [
            ("bind", Method::POST, [200, 201]),
            ("bind again", Method::POST, [200, 201]),
            ("unbind", Method::DELETE, [200, 200]),
        ] {
            for app in apps.iter().take_while(|_| !stop.is_cancelled()) {
                let form = form(app);
                let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
                self.measure(what, method.clone(), &path, &form, &good).await;
            }
        }
    }

    /// Also an instance whose creation failed: perhaps it is there all the same. Bindings go with it.
    async fn remove(&mut self) {
        let path = self.path.clone();
        for _ in 1..REMOVALS {
            let begun = Instant::now();
            let answer = self.caller.ask(Method::DELETE, &path, &[("user", "load")]).await;
            match answer {
                Ok((200 | 202, _)) => return self.report.took("remove", begun.elapsed()),
                Ok((404 | 410, _)) => return,
                // Something goes on with it.
                Ok((409 | 412 | 503, _)) => sleep(ASK_EVERY * 5).await,
                other => {
                    return self.report.failed("remove", format!("{} is left behind: {}", self.name, shown(&other)));
                }
            }
        }
        self.report.failed("remove", format!("{} is left behind: the broker is busy with it", self.name));
    }

    async fn measure(
        &mut self,
        what: &'static str,
        method: Method,
        path: &str,
        form: &[(&str, &str)],
        good: &[u16],
    ) -> bool {
        let begun = Instant::now();
        let answer = self.caller.ask(method, path, form).await;
        let took = begun.elapsed();
        let is_good = answer.as_ref().is_ok_and(|(status, _)| good.contains(status));
        if is_good {
            self.report.took(what, took);
        } else {
            self.report.failed(what, format!("{what} of {}: {}", self.name, shown(&answer)));
        }
        if !self.caller.pause.is_zero() {
            sleep(self.caller.pause).await;
        }
        is_good
    }
}

/// What came instead of a good answer. The body of a refusal is a sentence for people.
fn shown(answer: &Answered) -> String {
    match answer {
        Ok((status, body)) => {
            let body: String = body.trim().chars().take(SHOWN).collect();
            if body.is_empty() { format!("status {status}") } else { format!("status {status}, \"{body}\"") }
        }
        Err(reason) => reason.clone(),
    }
}
