//! What operators measure. Labels are routes, operations and states: never a name, a user or a secret (SPEC T-4).

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    encoding::{
        EncodeLabelSet,
        text::{encode_eof, encode_registry},
    },
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};

use crate::{Metric, author_metrics::AuthorMetrics, store::Counts};

/// Upper bounds in seconds: of requests and of the author's calls, which may take minutes.
const SECONDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 20.0, 60.0, 300.0];

/// The measurements of one server. Nothing here is global: a process may have several.
pub(crate) struct Metrics {
    service: String,
    registry: Registry,
    authors: AuthorMetrics,
    authors_registry: Registry,
    requests: Family<Request, Counter>,
    request_seconds: Family<Route, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    refused: Family<Limit, Counter>,
    connections: Gauge,
    accepted: Counter,
    calls: Family<Call, Counter>,
    call_seconds: Family<Operation, Histogram, fn() -> Histogram>,
    operations: Family<Call, Counter>,
    running: Gauge,
    instances: Family<State, Gauge>,
    bindings: Family<State, Gauge>,
    /// The states that were counted last: one that is empty now is 0, not what it was.
    counted: Mutex<Counts>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Limit {
    limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: String,
}

impl Metrics {
    /// For the broker of a service; the version is that of this framework.
    pub(crate) fn new(service: &str) -> Arc<Self> {
        let seconds: fn() -> Histogram = || Histogram::new(SECONDS);
        let authors = AuthorMetrics::default();
        let mut metrics = Self {
            service: service.to_owned(),
            registry: Registry::with_prefix("broker"),
            authors_registry: authors.registry(service),
            authors,
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            in_flight: Gauge::default(),
            refused: Family::default(),
            connections: Gauge::default(),
            accepted: Counter::default(),
            calls: Family::default(),
            call_seconds: Family::new_with_constructor(seconds),
            operations: Family::default(),
            running: Gauge::default(),
            instances: Family::default(),
            bindings: Family::default(),
            counted: Mutex::default(),
        };
        metrics.register(service);
        Arc::new(metrics)
    }

    fn register(&mut self, service: &str) {
        let registry = &mut self.registry;
        let build = vec![("service", service.to_owned()), ("framework", env!("CARGO_PKG_VERSION").to_owned())];
        registry.register("build", "The service, and the version of the framework that serves it", Info::new(build));
        registry.register("requests", "Requests answered, by route, method and status", self.requests.clone());
        let help = "Seconds until requests were answered, by route and method";
        registry.register("request_seconds", help, self.request_seconds.clone());
        registry.register("requests_in_flight", "Requests that are being answered", self.in_flight.clone());
        registry.register("requests_refused", "Requests refused by a limit of the server", self.refused.clone());
        registry.register("connections", "Connections that are open", self.connections.clone());
        registry.register("connections_accepted", "Connections accepted since the start", self.accepted.clone());
        registry.register("author_calls", "Calls of the author's code, by outcome", self.calls.clone());
        registry.register("author_call_seconds", "Seconds that the author's code took", self.call_seconds.clone());
        registry.register("operations", "Operations ended, by kind and outcome", self.operations.clone());
        registry.register("operations_running", "Operations that callers began and that go on", self.running.clone());
        registry.register("instances", "Service instances that are remembered, by state", self.instances.clone());
        registry.register("bindings", "Bindings that are remembered, by state", self.bindings.clone());
    }

    /// A request was answered. `route` is the template, such as `/resources/{name}`.
    pub(crate) fn request(&self, route: &str, method: &str, status: u16, took: Duration) {
        let (route, method) = (route.to_owned(), known(method));
        self.requests.get_or_create(&Request { route: route.clone(), method, status }).inc();
        self.request_seconds.get_or_create(&Route { route, method }).observe(took.as_secs_f64());
    }

    /// A request is being answered, until what is returned is dropped.
    pub(crate) fn in_flight(&self) -> Held {
        Held::of(&self.in_flight)
    }

    /// A limit kept a request out.
    pub(crate) fn refused(&self, limit: &'static str) {
        self.refused.get_or_create(&Limit { limit }).inc();
    }

    /// A connection is open, until what is returned is dropped.
    pub(crate) fn connection(&self) -> Held {
        self.accepted.inc();
        Held::of(&self.connections)
    }

    /// A call of the author's ended.
    pub(crate) fn author_call(&self, operation: &'static str, outcome: &'static str, took: Duration) {
        self.calls.get_or_create(&Call { operation, outcome }).inc();
        self.call_seconds.get_or_create(&Operation { operation }).observe(took.as_secs_f64());
    }

    /// An operation goes on, until what is returned is dropped.
    pub(crate) fn operation_begun(&self) -> Held {
        Held::of(&self.running)
    }

    /// An operation ended, as its log says.
    pub(crate) fn operation_ended(&self, kind: &'static str, succeeded: bool) {
        let outcome = if succeeded { "succeeded" } else { "failed" };
        self.operations.get_or_create(&Call { operation: kind, outcome }).inc();
    }

    /// All of it in the text format, with what was counted in the records and what the author measured.
    pub(crate) fn text(&self, counts: Counts, authors: Vec<Metric>) -> Result<String, fmt::Error> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        set(&self.instances, &counted.instances, &counts.instances);
        set(&self.bindings, &counted.bindings, &counts.bindings);
        *counted = counts;
        self.authors.set(authors);
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        encode_registry(&mut text, &self.authors_registry)?;
        encode_eof(&mut text)?;
        Ok(text)
    }

    /// These measurements of the author's alone, in the text format.
    pub(crate) fn text_of(&self, authors: Vec<Metric>) -> Result<String, fmt::Error> {
        let some = AuthorMetrics::default();
        let registry = some.registry(&self.service);
        some.set(authors);
        let mut text = String::new();
        encode_registry(&mut text, &registry)?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn set(family: &Family<State, Gauge>, before: &[(String, u64)], now: &[(String, u64)]) {
    for (state, _) in before {
        family.get_or_create(&State { state: state.clone() }).set(0);
    }
    for (state, count) in now {
        family.get_or_create(&State { state: state.clone() }).set(i64::try_from(*count).unwrap_or(i64::MAX));
    }
}

/// Methods are the caller's text: those that nobody knows are one.
fn known(method: &str) -> &'static str {
    match method {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// Counts as long as it lives.
#[derive(Debug)]
pub(crate) struct Held(Gauge);

impl Held {
    fn of(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_is_empty_now_is_counted_as_none() {
        let metrics = Metrics::new("fake");
        let count = |state: &str| Counts { instances: vec![(state.to_owned(), 2)], bindings: Vec::new() };
        metrics.text(count("provisioning"), Vec::new()).unwrap();

        let text = metrics.text(count("ready"), Vec::new()).unwrap();

        assert!(text.contains("broker_instances{state=\"ready\"} 2\n"), "{text}");
        assert!(text.contains("broker_instances{state=\"provisioning\"} 0\n"), "{text}");
    }

    #[test] // SPEC T-4
    fn a_made_up_method_makes_no_series_of_its_own() {
        let metrics = Metrics::new("fake");

        for method in ["BREW", "PUSH"] {
            metrics.request("/resources", method, 405, Duration::from_millis(1));
        }

        let text = metrics.text(Counts::default(), Vec::new()).unwrap();
        assert!(text.contains("method=\"other\",status=\"405\"} 2"), "{text}");
    }
}
