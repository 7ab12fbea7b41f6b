//! What takes long, told while it happens (contract 1.5 to 1.8).
//!
//! An operation runs in a task of its own, so that a caller who goes away changes nothing (SPEC
//! W-7). The answer begins with the operation's first word, or its end: a failure before that has
//! a status, a failure after it is told in the stream. While there is nothing to tell, something is
//! written every 30 seconds, so that nobody on the way cuts the line.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use chrono::Utc;
use futures::{Stream, StreamExt as _, stream};
use platform_core::{AppName, EventId, Platform, Progress, Result, Told as Lines, ports::LogLine};
use platform_wire::{DEPLOY_OK, EVENT_ID_HEADER, JSON_STREAM, LogEntry, StreamMessage, Time};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::respond::{Answer, Failure};

/// How long a stream may be silent.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a log that is followed waits for its first lines before it says that there are none.
const FIRST_LINES: Duration = Duration::from_secs(1);
/// Log lines in one array, at most.
const LINES_AT_ONCE: usize = 500;

/// Runs an operation to its end, whoever waits for it, and gives its outcome.
pub(crate) async fn finish<T, F>(platform: &Arc<Platform>, operation: impl FnOnce(Arc<Platform>) -> F) -> Answer<T>
where
    F: Future<Output = Result<T>> + Send + 'static,
    T: Send + 'static,
{
    Ok(platform.spawn(operation).await.map_err(|_| Failure::Interrupted)??)
}

/// Whether lines of a stream say when they were said.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// For what the platform says.
    Shown,
    /// For output of commands, which is shown as it is.
    Hidden,
}

/// Runs an operation and tells its progress as JSON messages (contract 1.6).
pub(crate) async fn messages<F>(
    platform: &Arc<Platform>,
    operation: impl FnOnce(Arc<Platform>, Progress) -> F,
) -> Answer
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let mut telling = Telling::of(platform, operation);
    match telling.next().await {
        Told::End(outcome) => outcome.map(|()| json_answer(Body::empty())),
        first => Ok(json_answer(message_body(telling, Some(first), Clock::Shown))),
    }
}

/// The same for a command of the user's: the answer begins at once, its failure is told in the
/// stream whatever it had written, and its lines carry no time (contract 7.8).
pub(crate) fn output<F>(platform: &Arc<Platform>, operation: impl FnOnce(Arc<Platform>, Progress) -> F) -> Response
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    json_answer(message_body(Telling::of(platform, operation), None, Clock::Hidden))
}

/// Tells a deploy that runs already as plain text (contract 1.7): `OK` in the end, and nothing after it.
pub(crate) fn deploy_text(event: &EventId, telling: Telling) -> Response {
    let ended_line = true;
    let body = stream::unfold(Some((telling, ended_line)), |state| async move {
        let (mut telling, ended_line) = state?;
        let break_line = if ended_line { "" } else { "\n" };
        Some(match telling.next().await {
            Told::Text(text) => {
                let ended_line = text.ends_with('\n');
                (text, Some((telling, ended_line)))
            }
            Told::Nothing => (format!("{break_line}please wait...\n"), Some((telling, true))),
            Told::End(Ok(())) => (format!("{break_line}{DEPLOY_OK}"), None),
            Told::End(Err(failure)) => (format!("{break_line}{failure}\n"), None),
        })
    });
    let mut answer = Body::from_stream(body.map(Ok::<_, Infallible>)).into_response();
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text"));
    if let (Ok(name), Ok(id)) = (HeaderName::try_from(EVENT_ID_HEADER), HeaderValue::from_str(event.as_str())) {
        answer.headers_mut().insert(name, id);
    }
    answer
}

/// What an operation has to tell next.
pub(crate) enum Told {
    Text(String),
    Nothing,
    End(Answer<()>),
}

/// An operation that runs, and what it tells.
pub(crate) struct Telling {
    lines: Lines,
    ending: JoinHandle<Result<()>>,
    ended: Option<Answer<()>>,
}

impl Telling {
    /// Starts an operation in a task of its own.
    fn of<F>(platform: &Arc<Platform>, operation: impl FnOnce(Arc<Platform>, Progress) -> F) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let (progress, lines) = Progress::channel();
        Self::listen(lines, platform.spawn(|platform| operation(platform, progress)))
    }

    /// Listens to an operation that was started elsewhere.
    pub(crate) fn listen(lines: Lines, ending: JoinHandle<Result<()>>) -> Self {
        Self { lines, ending, ended: None }
    }

    /// The next text, or that there was nothing for too long; all that was told comes before the end.
    async fn next(&mut self) -> Told {
        if self.ended.is_none() {
            tokio::select! {
                biased;
                Some(text) = self.lines.recv() => return Told::Text(text),
                outcome = &mut self.ending => {
                    self.ended = Some(outcome.map_err(|_| Failure::Interrupted).and_then(|outcome| Ok(outcome?)));
                }
                () = sleep(SILENCE) => return Told::Nothing,
            }
        }
        match self.lines.try_recv() {
            Some(text) => Told::Text(text),
            None => Told::End(self.ended.take().unwrap_or(Ok(()))),
        }
    }
}

fn json_answer(body: Body) -> Response {
    ([(header::CONTENT_TYPE, JSON_STREAM)], body).into_response()
}

fn message_body(telling: Telling, first: Option<Told>, clock: Clock) -> Body {
    let body = stream::unfold(Some((telling, first)), move |state| async move {
        let (mut telling, first) = state?;
        let told = match first {
            Some(first) => first,
            None => telling.next().await,
        };
        let goes_on = Some((telling, None));
        Some(match told {
            Told::Text(text) => (message(text, String::new(), clock), goes_on),
            Told::Nothing => ("\n".to_owned(), goes_on),
            Told::End(Ok(())) => (String::new(), None),
            Told::End(Err(failure)) => (message(String::new(), failure.to_string(), clock), None),
        })
    });
    Body::from_stream(body.map(Ok::<_, Infallible>))
}

fn message(message: String, error: String, clock: Clock) -> String {
    let timestamp = if clock == Clock::Shown { Utc::now().into() } else { Time::NEVER };
    line(&StreamMessage { message, timestamp, error })
}

/// One line of JSON.
fn line(value: &impl serde::Serialize) -> String {
    // Bodies are made of strings, numbers, lists and times: they always serialise.
    serde_json::to_string(value).map(|json| json + "\n").unwrap_or_default()
}

/// Log lines as arrays: what is there first, then what comes (contract 1.8, 7.9).
pub(crate) fn log(app: AppName, lines: impl Stream<Item = LogLine> + Send + 'static, follow: bool) -> Response {
    let entries = lines.map(move |line| entry(&app, line)).ready_chunks(LINES_AT_ONCE).boxed();
    if follow { json_answer(followed(entries)) } else { json_answer(collected(entries)) }
}

/// All of it as one array.
fn collected(entries: impl Stream<Item = Vec<LogEntry>> + Send + 'static) -> Body {
    let body = stream::once(async move { line(&entries.concat().await) });
    Body::from_stream(body.map(Ok::<_, Infallible>))
}

/// An array at once, even an empty one, and more as there are more.
fn followed(entries: impl Stream<Item = Vec<LogEntry>> + Send + Unpin + 'static) -> Body {
    let body = stream::unfold((entries, FIRST_LINES), |(mut entries, patience)| async move {
        let is_first = patience == FIRST_LINES;
        match timeout(patience, entries.next()).await {
            Ok(None) => None,
            Ok(Some(some)) => Some((line(&some), (entries, SILENCE))),
            Err(_) if is_first => Some((line(&Vec::<LogEntry>::new()), (entries, SILENCE))),
            Err(_) => Some(("\n".to_owned(), (entries, SILENCE))),
        }
    });
    Body::from_stream(body.map(Ok::<_, Infallible>))
}

fn entry(app: &AppName, line: LogLine) -> LogEntry {
    LogEntry {
        date: line.at.into(),
        message: line.message,
        source: line.source,
        name: app.to_string(),
        kind: "app".to_owned(),
        unit: line.unit,
    }
}
