//! What units write.

use std::{
    collections::{HashMap, HashSet},
    pin::Pin,
};

use bollard::{
    container::LogOutput,
    models::ContainerSummary,
    query_parameters::{ListContainersOptionsBuilder, LogsOptionsBuilder},
};
use chrono::{DateTime, Utc};
use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream, SelectAll},
};
use platform_core::{AppName, Result, ports::LogLine};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    client::Client,
    events::{Change, watch},
    unit::{APP, INSTANCE, ROLE},
};

/// Units whose output is read at once.
const AT_ONCE: usize = 8;

/// A container whose output is read.
#[derive(Clone)]
struct Writer {
    container: String,
    process: String,
    unit: String,
}

impl Writer {
    fn of(container: String, labels: &HashMap<String, String>) -> Option<Self> {
        let label = |name: &str| labels.get(name).cloned();
        Some(Self { container, process: label("tsuru.process")?, unit: label("tsuru.unit")? })
    }

    /// `2026-01-31T12:00:00.123456789Z text`
    fn line(&self, piece: &LogOutput) -> Option<LogLine> {
        let text = String::from_utf8_lossy(piece.as_ref()).into_owned();
        let (time, message) = text.split_once(' ')?;
        Some(LogLine {
            at: DateTime::parse_from_rfc3339(time).ok()?.with_timezone(&Utc),
            source: self.process.clone(),
            unit: self.unit.clone(),
            message: message.trim_end_matches(['\n', '\r']).to_owned(),
        })
    }
}

/// The engine's `logs`.
pub(crate) async fn logs(
    client: &Client,
    app: &AppName,
    lines: usize,
    follow: bool,
) -> Result<BoxStream<'static, LogLine>> {
    // Before the list is made, so that no unit falls between the two.
    let changes = watch(client, &[format!("{APP}={app}")]);
    let writers = writers(client, app).await?;
    let histories = writers.clone().into_iter().map(|writer| history(client.clone(), writer, lines.max(1)));
    let histories: Vec<Vec<LogLine>> = stream::iter(histories).buffered(AT_ONCE).collect().await;
    let seen: HashMap<String, DateTime<Utc>> = writers
        .iter()
        .zip(&histories)
        .filter_map(|(writer, history)| Some((writer.container.clone(), history.last()?.at)))
        .collect();
    let mut last: Vec<LogLine> = histories.into_iter().flatten().collect();
    last.sort_by_key(|line| line.at);
    let last = last.split_off(last.len().saturating_sub(lines));
    if !follow {
        return Ok(stream::iter(last).boxed());
    }
    let (sender, receiver) = mpsc::channel(1024);
    let mut following = Following {
        client: client.clone(),
        app: app.clone(),
        seen,
        reading: HashSet::new(),
        again: HashMap::new(),
        streams: SelectAll::new(),
        to: sender,
    };
    for writer in writers {
        following.read(writer);
    }
    let task = Task(tokio::spawn(async move { following.run(Box::pin(changes)).await }));
    let later = stream::unfold((receiver, task), |(mut receiver, task)| async move {
        receiver.recv().await.map(|line| (line, (receiver, task)))
    });
    Ok(stream::iter(last).chain(later).boxed())
}

/// Ends with whoever reads.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn writers(client: &Client, app: &AppName) -> Result<Vec<Writer>> {
    let labels = vec![format!("{INSTANCE}={}", client.config.instance), format!("{ROLE}=unit"), format!("{APP}={app}")];
    let filters: HashMap<String, Vec<String>> = [("label".to_owned(), labels)].into();
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    let listed = client.docker.list_containers(Some(options)).await;
    let listed = listed.map_err(|failure| client.failed("list units", failure))?;
    let writer = |summary: ContainerSummary| Writer::of(summary.id?, summary.labels.as_ref()?);
    Ok(listed.into_iter().filter_map(writer).collect())
}

async fn history(client: Client, writer: Writer, lines: usize) -> Vec<LogLine> {
    let options =
        LogsOptionsBuilder::default().stdout(true).stderr(true).timestamps(true).tail(&lines.to_string()).build();
    let pieces = client.docker.logs(&writer.container, Some(options));
    let reading = pieces.filter_map(|piece| async { piece.ok().and_then(|piece| writer.line(&piece)) });
    let mut lines = match tokio::time::timeout(client.config.call_timeout, reading.collect::<Vec<_>>()).await {
        Ok(lines) => lines,
        Err(_late) => {
            tracing::warn!(unit = %writer.unit, "the output of unit `{}` could not be read in time", writer.unit);
            Vec::new()
        }
    };
    // The two outputs of a process are not in order with each other.
    lines.sort_by_key(|line| line.at);
    lines
}

enum Heard {
    Line(String, LogLine),
    Ended(String),
}

struct Following {
    client: Client,
    app: AppName,
    /// The newest line of each container that was passed on.
    seen: HashMap<String, DateTime<Utc>>,
    reading: HashSet<String>,
    /// Started anew while its old output was still being read.
    again: HashMap<String, Writer>,
    streams: SelectAll<Pin<Box<dyn Stream<Item = Heard> + Send>>>,
    to: mpsc::Sender<LogLine>,
}

impl Following {
    async fn run(mut self, mut changes: Pin<Box<dyn Stream<Item = Change> + Send>>) {
        loop {
            tokio::select! {
                Some(heard) = self.streams.next(), if !self.streams.is_empty() => match heard {
                    Heard::Line(container, line) => {
                        if !self.pass_on(container, line).await {
                            return;
                        }
                    }
                    Heard::Ended(container) => {
                        self.reading.remove(&container);
                        if let Some(writer) = self.again.remove(&container) {
                            self.read(writer);
                        }
                    }
                },
                change = changes.next() => match change {
                    Some(Change::Unit { container, action, labels }) if action == "start" => {
                        if let Some(writer) = Writer::of(container, &labels) {
                            self.read(writer);
                        }
                    }
                    Some(Change::Unit { container, action, .. }) if action == "destroy" => {
                        self.seen.remove(&container);
                        self.again.remove(&container);
                    }
                    Some(Change::Unit { .. }) => {}
                    Some(Change::Anything) => {
                        for writer in writers(&self.client, &self.app).await.unwrap_or_default() {
                            self.read(writer);
                        }
                    }
                    None => return,
                },
            }
        }
    }

    /// Whether somebody still reads.
    async fn pass_on(&mut self, container: String, line: LogLine) -> bool {
        // Docker counts from whole seconds on: what was passed on already comes again.
        if self.seen.get(&container).is_some_and(|seen| line.at <= *seen) {
            return true;
        }
        self.seen.insert(container, line.at);
        self.to.send(line).await.is_ok()
    }

    fn read(&mut self, writer: Writer) {
        if !self.reading.insert(writer.container.clone()) {
            self.again.insert(writer.container.clone(), writer);
            return;
        }
        let since = self.seen.get(&writer.container).map_or(0, |seen| i32::try_from(seen.timestamp()).unwrap_or(0));
        let options =
            LogsOptionsBuilder::default().stdout(true).stderr(true).timestamps(true).follow(true).since(since).build();
        let pieces = self.client.docker.logs(&writer.container, Some(options));
        let container = writer.container.clone();
        let ended = stream::once(std::future::ready(Heard::Ended(container.clone())));
        let lines = pieces.filter_map(move |piece| {
            let line = piece.ok().and_then(|piece| writer.line(&piece));
            std::future::ready(line.map(|line| Heard::Line(container.clone(), line)))
        });
        self.streams.push(Box::pin(lines.chain(ended)));
    }
}
