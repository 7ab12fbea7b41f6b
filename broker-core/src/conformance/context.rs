//! What cases have in common: a caller, the shared instance, and what has to be removed.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    panic::Location,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reqwest::{Client, Method, Request, RequestBuilder};
use tokio::{
    sync::{OnceCell, Semaphore},
    time::{Instant, sleep},
};

use super::{
    Case, Dialect, End, Options, Outcome, Report, Unclear, Verdict,
    answer::Answer,
    dialect,
    osb::{Made, Offer},
};
use crate::OpaqueId;

/// Variables of a bind, as they came over the wire.
pub type Variables = BTreeMap<String, String>;

/// Tries a bind's variables on the service itself.
pub trait Probe {
    /// Whether they work; none when it can't be told.
    fn opens<'c>(&'c self, variables: &'c Variables) -> Pin<Box<dyn Future<Output = Option<bool>> + 'c>>;
}

impl<F: AsyncFn(&Variables) -> bool> Probe for F {
    fn opens<'c>(&'c self, variables: &'c Variables) -> Pin<Box<dyn Future<Output = Option<bool>> + 'c>> {
        Box::pin(async { Some(self(variables).await) })
    }
}

/// There is no way to try variables: cases that need one are skipped.
#[derive(Clone, Copy, Debug)]
pub struct NoProbe;

impl Probe for NoProbe {
    fn opens<'c>(&'c self, _: &'c Variables) -> Pin<Box<dyn Future<Output = Option<bool>> + 'c>> {
        Box::pin(async { None })
    }
}

/// The broker can't be reached.
#[derive(Debug, thiserror::Error)]
#[error("cannot reach the broker at {url}: {reason}")]
pub struct Unreachable {
    url: String,
    reason: String,
}

/// A run of cases against a broker.
pub struct Run<'p> {
    context: Context<'p>,
    /// The answers to the first request of each dialect.
    first: Vec<(Dialect, Answer)>,
}

impl std::fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("options", &self.context.options).finish_non_exhaustive()
    }
}

impl<'p> Run<'p> {
    /// Makes contact with a broker: asks for its plans and for its catalog.
    ///
    /// # Errors
    /// When it does not answer at all.
    pub async fn new(options: Options, probe: &'p dyn Probe) -> Result<Self, Unreachable> {
        let unreachable = |reason: String| Unreachable { url: options.url.clone(), reason };
        let http = client(&options).map_err(|error| unreachable(root(&error)))?;
        let permits = Semaphore::new(options.parallel.max(1));
        let mut context = Context {
            options: options.clone(),
            probe,
            http,
            permits,
            offer: None,
            shared: OnceCell::new(),
            osb: OsbShared::default(),
            made: Mutex::default(),
            made_v2: Mutex::default(),
            refusals: Mutex::default(),
            secrets: Mutex::default(),
        };
        let (mut first, mut lost) = (Vec::new(), None);
        for dialect in Dialect::ALL {
            let request = context.request("GET", dialect.first_request()).header("x-broker-api-version", "2.17");
            match context.send(request).await {
                Ok(answer) => first.push((dialect, answer)),
                Err(End::Failed { seen, .. } | End::Skipped(seen)) => lost = Some(seen),
            }
        }
        if let Some(lost) = lost.filter(|_| first.is_empty()) {
            return Err(unreachable(lost));
        }
        lock(&context.refusals).clear();
        context.learn(&first);
        Ok(Self { context, first })
    }

    /// The dialects that the broker speaks, found out from its answers: a list of plans for tsuru's, a catalog for
    /// the Open Service Broker API.
    ///
    /// # Errors
    /// When it answers in neither, with a sentence about what it does answer.
    pub fn dialects(&self) -> Result<Vec<Dialect>, Unclear> {
        dialect::spoken(&self.first)
    }

    /// Runs cases one after the other, and removes what they made. `done` hears of each.
    pub async fn cases(&self, cases: &[Case], mut done: impl FnMut(&Outcome)) -> Report {
        let begun = Instant::now();
        let mut report = Report::default();
        for case in cases {
            let outcome = self.case(*case).await;
            done(&outcome);
            report.outcomes.push(outcome);
        }
        report.left_behind = self.clean_up().await;
        report.took = begun.elapsed();
        report
    }

    async fn case(&self, case: Case) -> Outcome {
        let begun = Instant::now();
        let (verdict, asked_at) = match (case.run)(&self.context).await {
            Ok(()) => (Verdict::Passed, None),
            Err(End::Failed { expected, seen, at }) => (Verdict::Failed { expected, seen }, Some(at)),
            Err(End::Skipped(reason)) => (Verdict::Skipped(reason), None),
        };
        Outcome { case, verdict, asked_at, took: begun.elapsed() }
    }

    /// Removes every instance that cases made and that may still be there; says what could not be removed.
    pub async fn clean_up(&self) -> Vec<String> {
        self.context.clean_up().await
    }
}

pub(super) struct Context<'p> {
    pub(super) options: Options,
    probe: &'p dyn Probe,
    http: Client,
    permits: Semaphore,
    /// An instance that is ready, for all cases that leave it as it was.
    pub(super) shared: OnceCell<String>,
    /// What the catalog of the Open Service Broker dialect offers, if it can be used at all.
    pub(super) offer: Option<Offer>,
    /// As `shared`, in the other dialect.
    pub(super) osb: OsbShared,
    /// Names that may have an instance.
    made: Mutex<BTreeSet<String>>,
    /// Instances and bindings that may be there, in the other dialect.
    pub(super) made_v2: Mutex<BTreeSet<Made>>,
    /// All refusals so far.
    refusals: Mutex<Vec<Answer>>,
    /// What binds gave that nobody else may see.
    pub(super) secrets: Mutex<BTreeSet<String>>,
}

/// What cases of the Open Service Broker dialect have in common.
#[derive(Default)]
pub(super) struct OsbShared {
    /// An instance that is ready.
    pub(super) instance: OnceCell<String>,
    /// One on the slow plan.
    pub(super) slow_instance: OnceCell<String>,
    /// Whether a provision on the slow plan goes on after its answer.
    pub(super) goes_on: OnceCell<bool>,
}

impl Context<'_> {
    /// Takes plans from what the broker lists. A plan may be named by its id, which only one dialect knows.
    fn learn(&mut self, first: &[(Dialect, Answer)]) {
        for (dialect, answer) in first {
            let listed = answer.json().unwrap_or_default();
            match dialect {
                Dialect::Osb => self.offer = Offer::of(&listed, &self.options),
                Dialect::Tsuru if self.options.plan.is_none() => self.options.plan = dialect::first_plan(&listed),
                Dialect::Tsuru => {}
            }
        }
        let Some(offer) = &self.offer else { return };
        for plan in [&mut self.options.plan, &mut self.options.slow_plan] {
            let name = plan.as_deref().and_then(|named| offer.name_of(named));
            *plan = name.or_else(|| plan.clone());
        }
    }

    pub(super) fn anonymous(&self, method: &str, path: &str) -> RequestBuilder {
        // Only cases name methods, and each is one.
        let method = Method::from_bytes(method.as_bytes()).unwrap_or_default();
        self.http.request(method, format!("{}{path}", self.options.url))
    }

    pub(super) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.anonymous(method, path).basic_auth(&self.options.username, Some(self.options.password.expose()))
    }

    /// The answer to a request, whatever it is.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Answer, End> {
        let _permit = self.permits.acquire().await;
        let request = built(request)?;
        let path = request.url().path().to_owned();
        let line = format!("{} {path}", request.method());
        let begun = Instant::now();
        let lost = |error: reqwest::Error| no_answer("a whole answer", format!("{line}: {}", root(&error)));
        let response = self.http.execute(request).await.map_err(lost)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await.map_err(lost)?.to_vec();
        let body = String::from_utf8_lossy(&bytes).into_owned();
        let password = self.options.password.expose().to_owned();
        let answer = Answer { request: line, status, headers, bytes, body, took: begun.elapsed(), password };
        if status >= 400 {
            lock(&self.refusals).push(answer.clone());
        }
        sleep(self.options.delay).await;
        Ok(answer)
    }

    pub(super) fn refusals(&self) -> Vec<Answer> {
        lock(&self.refusals).clone()
    }

    /// Whether variables work. Skips the case when that can't be told.
    pub(super) async fn opens(&self, variables: &Variables) -> Result<bool, End> {
        let opens = self.probe.opens(variables).await;
        opens.ok_or_else(|| skip("needs a way to try credentials: --probe COMMAND"))
    }

    /// Whether variables work, where that can be told; else they are believed to.
    pub(super) async fn opens_if_known(&self, variables: &Variables) -> bool {
        self.probe.opens(variables).await.unwrap_or(true)
    }

    /// A new name, whose instance will be removed in the end.
    pub(super) fn fresh(&self) -> String {
        let name = fresh();
        self.will_remove(&name);
        name
    }

    pub(super) fn will_remove(&self, name: &str) {
        lock(&self.made).insert(name.to_owned());
    }

    async fn clean_up(&self) -> Vec<String> {
        let mut left = self.clean_up_v2().await;
        let names: Vec<_> = lock(&self.made).iter().cloned().collect();
        for name in names {
            match self.remove(&name).await {
                Ok(answer) if answer.is_2xx() || matches!(answer.status, 404 | 410) => {
                    lock(&self.made).remove(&name);
                }
                Ok(answer) => left.push(format!("instance \"{name}\" was not removed: {}", answer.shown())),
                Err(End::Failed { seen, .. } | End::Skipped(seen)) => {
                    left.push(format!("instance \"{name}\" was not removed: {seen}"));
                }
            }
        }
        left
    }

    /// Asks until something holds, and gives the last answer when the time is over.
    pub(super) async fn until(&self, method: &str, path: &str, holds: impl Fn(&Answer) -> bool) -> Result<Answer, End> {
        self.until_answer(|| self.request(method, path), holds).await
    }

    /// As `until`, with a request of one's own.
    pub(super) async fn until_answer(
        &self,
        request: impl Fn() -> RequestBuilder,
        holds: impl Fn(&Answer) -> bool,
    ) -> Result<Answer, End> {
        let deadline = Instant::now() + self.options.ready_within;
        let mut pause = Duration::from_millis(10);
        loop {
            let answer = self.send(request()).await?;
            if holds(&answer) || Instant::now() > deadline {
                return Ok(answer);
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }
}

pub(super) fn fresh() -> String {
    format!("conf-{}", &OpaqueId::generate().as_str()[..12])
}

pub(super) fn skip(reason: &str) -> End {
    End::Skipped(reason.to_owned())
}

#[track_caller]
pub(super) fn no_answer(expected: &str, seen: String) -> End {
    End::Failed { expected: expected.to_owned(), seen, at: Location::caller() }
}

/// A request as it is sent.
pub(super) fn built(request: RequestBuilder) -> Result<Request, End> {
    request.build().map_err(|error| no_answer("a request that can be sent", root(&error)))
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client that goes straight to the broker and follows nothing.
fn client(options: &Options) -> reqwest::Result<Client> {
    // Fails when there is a provider already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let policy = reqwest::redirect::Policy::none();
    let mut builder = Client::builder().no_proxy().redirect(policy).timeout(options.timeout);
    if options.url.starts_with("http://") {
        // No certificate is looked at: reading the system's would take longer than a case.
        builder = builder.tls_certs_only([]);
    }
    builder.build()
}

/// The innermost cause, which says most in fewest words.
fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// A text as it is written in a form or a path.
pub(super) fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
