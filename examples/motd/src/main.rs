//! The smallest whole broker: `motd-broker serve`, `motd-broker manifest`.

use std::process::ExitCode;

use async_trait::async_trait;
use broker_core::{
    Binding, Broker, Catalog, EnvVars, Instance, Notes, Plan, Result,
    cli::{self, About},
    env_vars,
};

/// What the operator can set.
#[derive(Debug, clap::Args)]
struct Config {
    /// The word of the day
    #[arg(long, env = "MOTD_WORD", default_value = "be kind")]
    word: String,
}

#[async_trait]
impl Broker for Config {
    fn catalog(&self) -> Catalog {
        Catalog::new("motd".parse().expect("a valid name")).plan(Plan::new("kind", "one kind word a day"))
    }

    async fn provision(&self, _: &Instance) -> Result<Notes> {
        Ok(Notes::new())
    }

    async fn bind(&self, _: &Instance, _: &Binding) -> Result<EnvVars> {
        Ok(env_vars! { "MOTD" => self.word.as_str() })
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let about = About::new("motd", env!("CARGO_PKG_VERSION"), "Hands out kind words.");
    cli::run(about, async |config: Config| Ok(config)).await
}
