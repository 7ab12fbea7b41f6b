//! `files-broker`: serves the broker of files, or prints its manifest.

use std::process::ExitCode;

use broker_core::cli::{self, About};
use files_broker::{Config, FilesBroker};

#[tokio::main]
async fn main() -> ExitCode {
    let about = About::new("files", env!("CARGO_PKG_VERSION"), "Hands out folders and databases.");
    cli::run(about, async |config: Config| Ok(FilesBroker::open(config)?)).await
}
