//! `command-broker`: serves the service in the folder `COMMAND_DIR`, or prints its manifest.

use std::{path::PathBuf, process::ExitCode};

use broker_core::cli::{self, About};
use command_broker::{CommandBroker, Config, Service};

const ABOUT: &str = "Hands out what executables make. COMMAND_DIR in the environment names the folder of the service: \
    its catalog.toml and its operations [default: the current folder].";

#[tokio::main]
async fn main() -> ExitCode {
    let folder = std::env::var_os("COMMAND_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from);
    let service = match Service::open(&folder) {
        Ok(service) => service,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    // Once, for as long as the process runs.
    let name = String::leak(service.name().to_owned());
    let about = About::new(name, env!("CARGO_PKG_VERSION"), ABOUT);
    cli::run(about, async |config: Config| Ok(CommandBroker::new(service, &config))).await
}
