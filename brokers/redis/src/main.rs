//! `redis-broker`: serves the Redis broker, or prints its manifest.

use std::process::ExitCode;

use broker_core::cli::{self, About};
use redis_broker::{Config, RedisBroker};

#[tokio::main]
async fn main() -> ExitCode {
    let about = About { service: "redis", version: env!("CARGO_PKG_VERSION"), about: "Hands out Redis to apps." };
    cli::run(about, async |config: Config| RedisBroker::start(config).await).await
}
