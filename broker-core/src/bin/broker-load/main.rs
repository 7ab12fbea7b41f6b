//! How fast a broker, in any language, lives through instances and bindings.

mod life;
#[path = "../shared/password.rs"]
mod password;
mod report;

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::Parser;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    life::{Caller, Life},
    report::{Format, Report},
};

/// Measure how fast a broker makes, binds and removes instances, over HTTP.
///
/// Each life makes an instance, waits until it is ready, asks about it, binds apps, unbinds them and removes it. A run
/// has a fixed number of lives and removes what it made, also after a failure or Ctrl-C: instances are named load-....
/// The exit status is 0 when every answer was a good one, 1 when one was not, 2 when the command line is wrong or the
/// broker can't be reached.
#[derive(Debug, Parser)]
#[command(name = "broker-load", version)]
struct Arguments {
    /// The broker's base URL.
    url: String,
    /// The user name the broker accepts.
    #[arg(long, env = "BROKER_USERNAME", default_value = "")]
    username: String,
    /// A file that holds the password; without it, the environment variable BROKER_PASSWORD does.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The plan of the instances that are made [default: the service's default plan].
    #[arg(long, value_name = "NAME", default_value = "")]
    plan: String,
    /// A parameter that every create needs; may be repeated.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = pair)]
    parameters: Vec<(String, String)>,
    /// How many instances are made, all in all.
    #[arg(long, value_name = "N", default_value_t = 40)]
    instances: usize,
    /// How many apps each instance is bound to, and each of them twice: a platform repeats its calls.
    #[arg(long, value_name = "N", default_value_t = 4)]
    bindings: usize,
    /// How many instances live at once, each on a connection of its own.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// How many milliseconds to wait after each request.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    delay: u64,
    /// How many seconds an answer may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// How many seconds an instance may take to be ready.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    ready_within: u64,
    /// How the report is written.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("there is no = in it")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(report) if report.is_good() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(sentence) => {
            eprintln!("broker-load: {sentence}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: Arguments) -> Result<Report, String> {
    let caller = Arc::new(Caller::new(&arguments, &password::read(arguments.password_file.as_deref())?)?);
    caller.reach().await?;
    let stop = CancellationToken::new();
    let interrupted = tokio::spawn({
        let stop = stop.clone();
        async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                eprintln!("broker-load: stopping, what was made is removed");
                stop.cancel();
            }
        }
    });
    let begun = Instant::now();
    let mut lanes = JoinSet::new();
    for lane in 0..usize::from(arguments.connections) {
        // Each lane has every how-manieth instance.
        let lives = (lane..arguments.instances).step_by(arguments.connections.into());
        lanes.spawn(live_all(caller.clone(), lives.collect(), arguments.bindings, stop.clone()));
    }
    let mut report = Report::default();
    while let Some(ended) = lanes.join_next().await {
        report.add(ended.map_err(|panic| format!("a connection's task ended: {panic}"))?);
    }
    interrupted.abort();
    report.took = begun.elapsed();
    report.write(arguments.output)?;
    Ok(report)
}

async fn live_all(caller: Arc<Caller>, lives: Vec<usize>, bindings: usize, stop: CancellationToken) -> Report {
    let mut report = Report::default();
    for number in lives {
        if stop.is_cancelled() {
            break;
        }
        Life::new(&caller, number, &mut report).live(bindings, &stop).await;
    }
    report
}

impl Arguments {
    fn pause(&self) -> Duration {
        Duration::from_millis(self.delay)
    }
}
