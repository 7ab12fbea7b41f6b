//! `tsurud`: the one place that knows every adapter and puts the platform together.

mod config;
mod first_start;
mod pushes;
mod serve;
mod stop;

use std::{io::IsTerminal as _, process::ExitCode};

use clap::{CommandFactory as _, Parser as _};
use tracing_subscriber::EnvFilter;

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
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,bollard=warn,hyper=warn"));
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).with_writer(std::io::stderr).init();
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
