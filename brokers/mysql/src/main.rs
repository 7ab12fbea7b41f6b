//! `mysql-broker`: the command line of the MySQL broker.

use std::process::ExitCode;

use broker_backup::{ListBackups, ReadBackup};
use broker_core::cli::{About, Cli, Drift, Findings};
use mysql_broker::{Config, MysqlBroker};

const ABOUT: About = About::new("mysql", env!("CARGO_PKG_VERSION"), "Hands out MySQL databases to apps.");

#[derive(clap::Subcommand)]
enum Commands {
    /// List backups, of an instance or of all: an object a line
    ListBackups(ListBackups),
    /// Write a backup to standard output, as SQL
    ReadBackup(ReadBackup),
}

#[tokio::main]
async fn main() -> ExitCode {
    Cli::<Config>::new(ABOUT)
        .catalog(async |config: &Config| MysqlBroker::offer(config))
        .check(async |config: &Config, findings: &mut Findings| MysqlBroker::check(config, findings).await)
        .doctor(async |config: &Config, findings: &mut Findings| MysqlBroker::doctor(config, findings).await)
        .reconcile(async |config: &Config, drift: &mut Drift| MysqlBroker::compare(config, drift).await)
        .commands(async |command| match command {
            Commands::ListBackups(wanted) => wanted.write_to("mysql", tokio::io::stdout()).await,
            Commands::ReadBackup(wanted) => wanted.write_to("mysql", tokio::io::stdout()).await,
        })
        .run(async |config: Config| MysqlBroker::start(config).await)
        .await
}
