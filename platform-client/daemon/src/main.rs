//! `tsurud`: the one place that knows every adapter and puts the platform together.

mod config;
mod first_start;
mod pushes;
mod serve;
mod stop;
mod telemetry;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::config::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        // Git's hook is a process of a few milliseconds: it needs none of what follows.
        Command::GitHook => platform_git::hook::run(),
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "tsurud", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
        Command::Serve(settings) => run(serve::platform(*settings)),
        Command::Router(settings) => run(serve::router(settings)),
    }
}

/// Runs a role to its end; a failure is one sentence on standard error.
fn run(role: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    telemetry::begin();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(reason) => {
            eprintln!("Error: the runtime cannot be started: {reason}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(role) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("Error: {reason:#}");
            ExitCode::FAILURE
        }
    }
}
