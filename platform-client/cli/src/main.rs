//! `tsuru`, the platform's command line.
//!
//! Arguments are spelled out and parsed (`args`), a noun's file in `commands` says which call to make (`client`) and
//! what to print (`render`, `stream`). Nothing here knows how the platform works.

mod archive;
mod args;
mod client;
mod commands;
mod render;
mod session;
mod stream;
mod target;

use std::{env, io, process::ExitCode};

use anyhow::{Context as _, Result};

use crate::{args::Cli, client::InvalidSession, session::Tsuru};

fn main() -> ExitCode {
    let cli = match args::parse(env::args_os()) {
        Ok(cli) => cli,
        Err(usage) => return explain(&usage),
    };
    match start(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints help, or what is wrong with the arguments. The contract's exit status for the latter is 1 (section 1.4).
fn explain(usage: &clap::Error) -> ExitCode {
    // When not even this can be printed, the exit status is all that is left to say.
    let _ = usage.print();
    if usage.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn start(cli: &Cli) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let outcome = runtime.block_on(run(cli));
    // A thread that still waits for a line from the terminal must not keep the program from ending.
    runtime.shutdown_background();
    outcome
}

/// Runs the command; when the session has ended and somebody is there to ask, logs in and runs it again
/// (contract section 1.4).
async fn run(cli: &Cli) -> Result<()> {
    let tsuru = Tsuru::new(cli)?;
    match cli.command.run(&tsuru).await {
        Err(error) if error.is::<InvalidSession>() && cli.command.may_log_in() && tsuru.somebody_is_there() => {
            eprintln!("Invalid session");
            commands::login::Login::default().run(&tsuru).await?;
            cli.command.run(&Tsuru::new(cli)?).await
        }
        outcome => outcome,
    }
}

/// Whether the reader of our output went away, as `head` does: that is its right, not our failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
