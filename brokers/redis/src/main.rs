//! `redis-broker`: the command line of the Redis broker.

use std::process::ExitCode;

use broker_backup::ListBackups;
use broker_core::cli::{About, Cli, Drift, Findings};
use redis_broker::{Config, ReadBackup, RedisBroker};

const ABOUT: About = About::new("redis", env!("CARGO_PKG_VERSION"), "Hands out Redis to apps.");

#[derive(clap::Subcommand)]
enum Commands {
    /// List backups, of an instance or of all: an object a line
    ListBackups(ListBackups),
    /// Write a backup to standard output, as commands for `redis-cli --pipe`
    ReadBackup(ReadBackup),
}

#[tokio::main]
async fn main() -> ExitCode {
    Cli::<Config>::new(ABOUT)
        .catalog(async |config: &Config| RedisBroker::offer(config).await)
        .check(async |config: &Config, findings: &mut Findings| RedisBroker::check(config, findings).await)
        .doctor(async |config: &Config, findings: &mut Findings| RedisBroker::doctor(config, findings).await)
        .reconcile(async |config: &Config, drift: &mut Drift| RedisBroker::compare(config, drift).await)
        .commands(async |command| match command {
            Commands::ListBackups(wanted) => wanted.write_to("redis", tokio::io::stdout()).await,
            Commands::ReadBackup(wanted) => wanted.write_to(tokio::io::stdout()).await,
        })
        .run(async |config: Config| RedisBroker::start(config).await)
        .await
}
