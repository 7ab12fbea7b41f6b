//! What a dashboard looks like: the templates' fields, and the headers that every page has.

use std::sync::LazyLock;

use askama::Template;
use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use tracing::error;

use crate::{
    Consumer, InfoItem,
    lifecycle::{BindingState, Condition, ConsumerView, Dashboard, InstanceState, Operation, OperationKind},
    line::one_line,
};

const STYLE: &str = include_str!("../../../templates/dashboard.css");
/// After how many seconds a page is loaded again while something goes on.
const AGAIN_AFTER: u32 = 5;

/// A page with headers that keep it, and the key in its address, to whoever asked: nothing is loaded, run, framed,
/// stored or told to another site.
pub(super) fn page(template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => (HEADERS.clone(), Html(html)).into_response(),
        Err(cause) => {
            error!("a dashboard cannot be written: {cause}");
            (StatusCode::INTERNAL_SERVER_ERROR, HEADERS.clone(), "the page cannot be shown").into_response()
        }
    }
}

static HEADERS: LazyLock<[(HeaderName, HeaderValue); 6]> = LazyLock::new(|| {
    let style = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    [
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_str(&policy).expect("visible characters")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("noindex, nofollow")),
    ]
});

/// A page that says one thing.
#[derive(Template)]
#[template(path = "sentence.html")]
pub(super) struct Sentence {
    style: &'static str,
    again_after: Option<u32>,
    title: &'static str,
    sentence: &'static str,
}

impl Sentence {
    pub(super) fn new(title: &'static str, sentence: &'static str) -> Self {
        Self { style: STYLE, again_after: None, title, sentence }
    }
}

/// An instance's page.
#[derive(Template)]
#[template(path = "dashboard.html")]
pub(super) struct Page<'a> {
    style: &'static str,
    again_after: Option<u32>,
    now: Moment,
    of: &'a Dashboard,
    status: Status<'a>,
    consumers: Vec<ConsumerRow<'a>>,
    operations: Vec<OperationRow<'a>>,
}

impl<'a> Page<'a> {
    pub(super) fn of(dashboard: &'a Dashboard) -> Self {
        Self {
            style: STYLE,
            again_after: dashboard.is_about_to_change().then_some(AGAIN_AFTER),
            now: Moment(Utc::now()),
            of: dashboard,
            status: Status::of(dashboard),
            consumers: dashboard.consumers.iter().map(ConsumerRow::of).collect(),
            operations: dashboard.operations.iter().map(OperationRow::of).collect(),
        }
    }

    fn info(&self) -> &[InfoItem] {
        self.of.info.as_deref().unwrap_or_default()
    }

    fn why_no_info(&self) -> Option<&str> {
        self.of.info.as_ref().err().map(String::as_str)
    }
}

struct Status<'a> {
    /// For the style.
    kind: &'static str,
    word: &'static str,
    line: Option<&'a str>,
}

impl<'a> Status<'a> {
    fn of(dashboard: &'a Dashboard) -> Self {
        let (kind, word, line) = match (&dashboard.condition, dashboard.state) {
            (Condition::Up, _) => ("up", "Up", Some("It works.")),
            (Condition::Notice(line), _) => ("up", "Up", Some(line.as_str())),
            (Condition::Pending(line), InstanceState::Updating) => ("pending", "Being changed", line.as_deref()),
            (Condition::Pending(line), _) => ("pending", "Being made", line.as_deref()),
            (Condition::Down(_), InstanceState::Deprovisioning) => ("pending", "Being removed", None),
            (Condition::Down(line), _) => ("down", "Down", Some(line.as_str())),
        };
        Self { kind, word, line }
    }
}

struct ConsumerRow<'a> {
    kind: &'static str,
    name: &'a str,
    state: &'static str,
    since: Moment,
    expires: Option<Moment>,
}

impl<'a> ConsumerRow<'a> {
    fn of(consumer: &'a ConsumerView) -> Self {
        let (kind, name) = named(&consumer.consumer);
        let state = match consumer.state {
            BindingState::Binding => "is being bound since",
            BindingState::Bound | BindingState::Restoring => "has credentials since",
            BindingState::Unbinding => "is being unbound since",
            BindingState::Rotating => "is getting new credentials since",
            BindingState::Gone => "is unbound since",
        };
        Self { kind, name, state, since: Moment(consumer.since), expires: consumer.expires.map(Moment) }
    }
}

fn named(consumer: &Consumer) -> (&'static str, &str) {
    match consumer {
        Consumer::App(name) => ("App", name.as_str()),
        Consumer::Job(name) => ("Job", name.as_str()),
        Consumer::Binding(id) => ("Binding", id.as_str()),
    }
}

struct OperationRow<'a> {
    what: String,
    began: Moment,
    /// For the style.
    kind: &'static str,
    outcome: String,
    line: Option<&'a str>,
}

impl<'a> OperationRow<'a> {
    fn of(operation: &'a Operation) -> Self {
        let progress = operation.progress.as_deref();
        let (kind, outcome, line) = match (operation.ended, operation.failure.as_deref()) {
            (None, _) => ("pending", "goes on".to_owned(), progress),
            (Some(_), Some(why)) => ("down", "failed".to_owned(), Some(why)),
            (Some(ended), None) => ("up", format!("done in {}", duration(operation.began, ended)), progress),
        };
        Self { what: what(operation), began: Moment(operation.began), kind, outcome, line }
    }
}

fn what(operation: &Operation) -> String {
    let whom = operation.consumer.as_ref().map(|consumer| format!(" {consumer}")).unwrap_or_default();
    let of_whom = operation.consumer.as_ref().map(|consumer| format!(" of {consumer}")).unwrap_or_default();
    match operation.kind {
        OperationKind::Create => "Create".to_owned(),
        OperationKind::Update => "Update".to_owned(),
        OperationKind::Remove => "Remove".to_owned(),
        OperationKind::Retry => "Try again".to_owned(),
        OperationKind::Bind => format!("Bind{whom}"),
        OperationKind::Unbind => format!("Unbind{whom}"),
        OperationKind::Rotate => format!("New credentials{of_whom}"),
        OperationKind::Call => operation.request.as_deref().map_or_else(|| "Call".to_owned(), one_line),
    }
}

/// In the unit that one would say it in.
fn duration(began: DateTime<Utc>, ended: DateTime<Utc>) -> String {
    let took = (ended - began).max(chrono::TimeDelta::zero());
    match took.num_seconds() {
        0 => format!("{} ms", took.num_milliseconds()),
        seconds @ 1..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

/// A moment, for people and for programs.
struct Moment(DateTime<Utc>);

impl Moment {
    fn exact(&self) -> impl std::fmt::Display {
        self.0.format("%Y-%m-%dT%H:%M:%SZ")
    }

    fn to_the_minute(&self) -> impl std::fmt::Display {
        self.0.format("%-d %b %Y, %H:%M UTC")
    }

    fn to_the_second(&self) -> impl std::fmt::Display {
        self.0.format("%-d %b %Y, %H:%M:%S UTC")
    }
}
