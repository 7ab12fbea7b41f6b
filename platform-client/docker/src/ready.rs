//! When a unit is ready, and why it is not.

use std::{net::SocketAddr, time::Duration};

use bollard::{
    errors::Error as Failure,
    models::ContainerInspectResponse,
    query_parameters::{InspectContainerOptions, LogsOptionsBuilder, WaitContainerOptionsBuilder},
};
use futures::StreamExt;
use platform_core::{Error, HealthCheck, PORT, Progress, Result, Unit, UnitEnv};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    client::{Client, found},
    text::Text,
    unit::{container_name, from_inspection},
    workshop::{Step, exec},
};

/// How long a process without a port has to stay up.
const STAYS_UP: Duration = Duration::from_secs(1);
/// Pauses between probes grow from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(250);
/// Lines of output that an error ends with.
const LAST_LINES: &str = "20";

/// What is asked of a unit.
enum Probe<'a> {
    Http { path: String, check: &'a HealthCheck },
    Command(&'a HealthCheck),
    Port,
    StaysUp,
}

impl<'a> Probe<'a> {
    fn of(check: Option<&'a HealthCheck>, listens: bool) -> Self {
        match check {
            Some(check) if !check.path.is_empty() => {
                let slash = if check.path.starts_with('/') { "" } else { "/" };
                Self::Http { path: format!("{slash}{}", check.path), check }
            }
            Some(check) if !check.command.is_empty() => Self::Command(check),
            _ if listens => Self::Port,
            _ => Self::StaysUp,
        }
    }

    /// How long one probe may take.
    fn limit(&self) -> Duration {
        match self {
            Self::Http { check, .. } | Self::Command(check) => {
                Duration::from_secs(if check.timeout_seconds == 0 { 60 } else { check.timeout_seconds })
            }
            Self::Port => Duration::from_secs(1),
            Self::StaysUp => STAYS_UP * 2,
        }
    }
}

/// The engine's `wait_ready`.
pub(crate) async fn wait_ready(
    client: &Client,
    http: &reqwest::Client,
    unit: &Unit,
    check: Option<&HealthCheck>,
    listens: bool,
    within: Duration,
) -> Result<()> {
    let name = container_name(&client.config, &unit.id);
    let deadline = Instant::now() + within;
    let probe = Probe::of(check, listens);
    let mut ended = Box::pin(ended(client, &name));
    let mut pause = FIRST_PAUSE;
    let mut last = "was not answered".to_owned();
    loop {
        let probing = timeout_at(deadline, timeout(probe.limit(), ask(client, http, &name, unit, &probe)));
        let answer = tokio::select! {
            biased;
            why = &mut ended => return Err(has_ended(client, unit, &name, why).await),
            answer = probing => answer,
        };
        match answer {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(reason))) => last = reason,
            Ok(Err(_slow)) => last = format!("took longer than {} s", probe.limit().as_secs()),
            Err(_late) => {}
        }
        let next = Instant::now() + pause;
        pause = (pause * 3 / 2).min(LAST_PAUSE);
        if next >= deadline {
            return Err(not_ready(client, unit, &name, &probe, &last, within).await);
        }
        tokio::select! {
            why = &mut ended => return Err(has_ended(client, unit, &name, why).await),
            () = tokio::time::sleep_until(next) => {}
        }
    }
}

/// One probe. The text says how it failed.
async fn ask(
    client: &Client,
    http: &reqwest::Client,
    name: &str,
    unit: &Unit,
    probe: &Probe<'_>,
) -> Result<(), String> {
    match probe {
        Probe::StaysUp => {
            tokio::time::sleep(STAYS_UP).await;
            Ok(())
        }
        Probe::Port => {
            let address = address(client, name, unit).await?;
            TcpStream::connect(address).await.map(drop).map_err(|reason| format!("was refused ({reason})"))
        }
        Probe::Http { path, check } => get(http, address(client, name, unit).await?, path, check).await,
        Probe::Command(check) => {
            let step = Step { user: "", command: check.command.clone(), env: UnitEnv::new() };
            match exec(client, name, step, None, &Progress::silent()).await {
                Ok(0) => Ok(()),
                Ok(status) => Err(format!("ended with exit status {status}")),
                Err(reason) => Err(format!("could not run: {reason}")),
            }
        }
    }
}

async fn get(http: &reqwest::Client, address: SocketAddr, path: &str, check: &HealthCheck) -> Result<(), String> {
    let scheme = if check.scheme.eq_ignore_ascii_case("https") { "https" } else { "http" };
    let mut request = http.get(format!("{scheme}://{address}{path}"));
    for (name, value) in &check.headers {
        request = request.header(name, value);
    }
    match request.send().await {
        Ok(answer) if (200..400).contains(&answer.status().as_u16()) => Ok(()),
        Ok(answer) => Err(format!("was answered with status {}", answer.status().as_u16())),
        Err(reason) if reason.is_connect() => Err("was refused".to_owned()),
        Err(reason) => Err(format!("failed ({})", reason.without_url())),
    }
}

async fn address(client: &Client, name: &str, unit: &Unit) -> Result<SocketAddr, String> {
    if let Some(address) = unit.address {
        return Ok(address);
    }
    let container = inspect(client, name).await.ok().flatten();
    let unit = container.and_then(|container| from_inspection(&client.config, &container));
    unit.and_then(|unit| unit.address).ok_or_else(|| "found no address".to_owned())
}

/// Why waiting for the container's end is over.
enum End {
    Status(i64),
    Gone,
    Unknown(Failure),
}

async fn ended(client: &Client, name: &str) -> End {
    let options = WaitContainerOptionsBuilder::default().condition("not-running").build();
    let mut waiting = Box::pin(client.docker.wait_container(name, Some(options)));
    match waiting.next().await {
        Some(Ok(answer)) => End::Status(answer.status_code),
        Some(Err(Failure::DockerContainerWaitError { code, .. })) => End::Status(code),
        None => End::Gone,
        Some(Err(failure)) => match found::<()>(Err(failure)) {
            Ok(_) => End::Gone,
            Err(failure) => End::Unknown(failure),
        },
    }
}

/// The exit status of a container that has ended or is about to.
pub(crate) async fn exit_status(client: &Client, name: &str) -> Result<i64> {
    match ended(client, name).await {
        End::Status(status) => Ok(status),
        End::Gone => Err(Error::Engine(format!("{name} was removed while it ran"))),
        End::Unknown(failure) => Err(client.failed(&format!("wait for {name}"), failure)),
    }
}

async fn has_ended(client: &Client, unit: &Unit, name: &str, end: End) -> Error {
    let status = match end {
        End::Status(status) => status,
        End::Gone => return Error::NotReady(format!("unit {} was removed before it was ready", unit.id)),
        End::Unknown(failure) => return client.failed(&format!("wait for unit {}", unit.id), failure),
    };
    let killed = inspect(client, name).await.ok().flatten().and_then(|container| container.state?.oom_killed);
    let why = if killed == Some(true) {
        "used more memory than its plan allows and was killed".to_owned()
    } else {
        format!("exited with status {status} before it was ready")
    };
    Error::NotReady(format!("unit {} {why}{}", unit.id, last_lines(client, name).await))
}

async fn not_ready(client: &Client, unit: &Unit, name: &str, probe: &Probe<'_>, last: &str, within: Duration) -> Error {
    let tried = match probe {
        Probe::Http { path, .. } => format!("GET {path} on port {PORT} {last}"),
        Probe::Command(check) => format!("the command `{}` {last}", check.command.join(" ")),
        Probe::Port => format!("a connection to port {PORT} {last}; the app has to listen on 0.0.0.0:$PORT"),
        Probe::StaysUp => "it did not stay up".to_owned(),
    };
    let within = within.as_secs_f64().round();
    Error::NotReady(format!(
        "unit {} was not ready after {within} s: {tried}{}",
        unit.id,
        last_lines(client, name).await
    ))
}

/// The end of an error: what the unit wrote last.
async fn last_lines(client: &Client, name: &str) -> String {
    let options = LogsOptionsBuilder::default().stdout(true).stderr(true).tail(LAST_LINES).build();
    let pieces = client.docker.logs(name, Some(options)).filter_map(|piece| async { piece.ok() }).collect::<Vec<_>>();
    let Ok(pieces) = timeout(client.config.call_timeout, pieces).await else {
        return "; its output cannot be read".to_owned();
    };
    let mut text = Text::default();
    let lines: String = pieces.into_iter().map(|piece| text.push(&piece.into_bytes())).collect();
    match lines.trim_end() {
        "" => "; it wrote nothing".to_owned(),
        lines => format!("; its last lines:\n{lines}"),
    }
}

/// A container; none where it is not there.
pub(crate) async fn inspect(client: &Client, name: &str) -> Result<Option<ContainerInspectResponse>> {
    let answer = found(client.docker.inspect_container(name, None::<InspectContainerOptions>).await);
    answer.map_err(|failure| client.failed(&format!("look at {name}"), failure))
}
