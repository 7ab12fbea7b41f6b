//! `mysql-broker`: serves the MySQL broker, or prints its manifest.

use std::process::ExitCode;

use broker_core::cli::{self, About};
use mysql_broker::{Config, MysqlBroker};

#[tokio::main]
async fn main() -> ExitCode {
    let about =
        About { service: "mysql", version: env!("CARGO_PKG_VERSION"), about: "Hands out MySQL databases to apps." };
    cli::run(about, async |config: Config| MysqlBroker::start(config).await).await
}
