//! The command line of a broker's binary: `serve` and `manifest`.
//!
//! ```no_run
//! use broker_core::cli::{self, About};
//! # use async_trait::async_trait;
//! # use broker_core::{Binding, Broker, Catalog, EnvVars, Instance, Notes, Plan, Result};
//! # struct Motd;
//! # #[async_trait]
//! # impl Broker for Motd {
//! #     fn catalog(&self) -> Catalog { Catalog::new("motd".parse().unwrap()) }
//! #     async fn provision(&self, _: &Instance) -> Result<Notes> { Ok(Notes::new()) }
//! #     async fn bind(&self, _: &Instance, _: &Binding) -> Result<EnvVars> { Ok(EnvVars::default()) }
//! # }
//!
//! #[derive(clap::Args)]
//! struct Config {
//!     /// The word of the day.
//!     #[arg(long, env = "MOTD_WORD", default_value = "be kind")]
//!     word: String,
//! }
//!
//! #[tokio::main]
//! async fn main() -> std::process::ExitCode {
//!     let about = About { service: "motd", version: env!("CARGO_PKG_VERSION"), about: "Hands out kind words." };
//!     cli::run(about, async |_: Config| Ok(Motd)).await
//! }
//! ```

use std::{
    io,
    io::{IsTerminal as _, Write as _},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::{CommandFactory as _, FromArgMatches as _};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tracing_subscriber::EnvFilter;

use crate::{Broker, BrokerServer, Secret, ServeError, State};

/// Where the password may come from, so that it is in no process list.
const PASSWORD: &str = "BROKER_PASSWORD";
/// Where the database's URL may come from: it has a password in it.
#[cfg(feature = "postgres")]
const DATABASE_URL: &str = "BROKER_DATABASE_URL";

/// What a broker says about itself.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// The service's name, as in its catalog.
    pub service: &'static str,
    /// The binary's version.
    pub version: &'static str,
    /// One sentence for `--help`.
    pub about: &'static str,
}

#[derive(Debug, clap::Parser)]
#[command(arg_required_else_help = true)]
struct Program<C: clap::Args> {
    #[command(subcommand)]
    command: Command<C>,
}

#[derive(Debug, clap::Subcommand)]
enum Command<C: clap::Args> {
    /// Serve the broker until it is told to stop
    Serve(Serve<C>),
    /// Print the manifest that registers this broker: `... manifest | tsuru service create -`
    Manifest(Manifest),
}

#[derive(Debug, clap::Args)]
struct Serve<C: clap::Args> {
    #[command(flatten)]
    common: Common,
    /// Answer after so many seconds that the work goes on; the platform gives up after 300
    #[arg(long, env = "BROKER_ANSWER_WITHIN", value_name = "SECONDS", default_value_t = 240)]
    answer_within: u64,
    /// How many seconds one step on the service's server may take
    #[arg(long, env = "BROKER_CALL_TIMEOUT", value_name = "SECONDS", default_value_t = 280)]
    call_timeout: u64,
    /// File with the URL of a PostgreSQL database for the broker's records, which several replicas can share;
    /// BROKER_DATABASE_URL in the environment comes first [default: records in the data folder]
    #[cfg(feature = "postgres")]
    #[arg(long, env = "BROKER_DATABASE_URL_FILE", value_name = "FILE")]
    database_url_file: Option<PathBuf>,
    /// File with the key that records in a database are sealed with, the same for all replicas, made when it is missing
    /// [default: the file `state.key` in the data folder]
    #[cfg(feature = "postgres")]
    #[arg(long, env = "BROKER_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
    #[command(flatten)]
    config: C,
}

#[derive(Debug, clap::Args)]
struct Manifest {
    #[command(flatten)]
    common: Common,
    /// Where the platform reaches this broker [default: http:// and the listen address]
    #[arg(long, env = "BROKER_ENDPOINT", value_name = "URL")]
    endpoint: Option<String>,
    /// The team that provides the service
    #[arg(long, env = "BROKER_TEAM", default_value = "admin")]
    team: String,
}

#[derive(Debug, clap::Args)]
struct Common {
    /// Address to listen on
    #[arg(long, env = "BROKER_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8071")]
    listen: SocketAddr,
    /// Folder for the broker's records [default: SERVICE-broker-data]
    #[arg(long, env = "BROKER_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// User name that the platform presents [default: the service's name]
    #[arg(long, env = "BROKER_USERNAME", value_name = "NAME")]
    username: Option<String>,
    /// File with the password that the platform presents, made with a random one when it is missing;
    /// BROKER_PASSWORD in the environment comes first [default: the file `password` in the data folder]
    #[arg(long, env = "BROKER_PASSWORD_FILE", value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Runs a broker's binary: reads the command line, prints the manifest or serves the broker that
/// `start` makes of its configuration.
///
/// What goes wrong is one sentence on standard error and exit status 1; a wrong command line is 2.
pub async fn run<B, C>(about: About, start: impl AsyncFnOnce(C) -> anyhow::Result<B>) -> ExitCode
where
    B: Broker,
    C: clap::Args,
{
    let command = match parse::<C>(about) {
        Ok(program) => program.command,
        Err(usage) => usage.exit(),
    };
    let outcome = match command {
        Command::Serve(serve) => serve.run(about, start).await,
        Command::Manifest(manifest) => manifest.run(about),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure:#}");
            ExitCode::FAILURE
        }
    }
}

fn parse<C: clap::Args>(about: About) -> Result<Program<C>, clap::Error> {
    let command =
        Program::<C>::command().name(format!("{}-broker", about.service)).version(about.version).about(about.about);
    Program::from_arg_matches(&command.try_get_matches()?)
}

impl<C: clap::Args> Serve<C> {
    /// The cheap refusals come first: a taken port is known before the author starts any server.
    async fn run<B: Broker>(self, about: About, start: impl AsyncFnOnce(C) -> anyhow::Result<B>) -> anyhow::Result<()> {
        log_to_stderr();
        let password = self.common.password(about)?;
        let state = self.state(about).await?;
        let address = self.common.listen;
        let listener = TcpListener::bind(address).await.map_err(|cause| ServeError::Listen { address, cause })?;
        let broker = start(self.config).await?;
        let service = broker.catalog().service;
        anyhow::ensure!(
            service.as_str() == about.service,
            "the binary is for {}, its broker for {service}",
            about.service
        );
        let stop = stop_signal()?;
        BrokerServer::new(broker, state)
            .accept(self.common.username(about), &password)
            .answer_within(Duration::from_secs(self.answer_within))
            .call_timeout(Duration::from_secs(self.call_timeout))
            .on(listener)?
            .serve_until(stop)
            .await?;
        Ok(())
    }

    /// Where the records are: in the database, if there is one, else in the data folder.
    async fn state(&self, about: About) -> anyhow::Result<State> {
        let data = self.common.data(about);
        #[cfg(feature = "postgres")]
        if let Some(url) = self.database_url()? {
            let key_file = self.key_file.clone().unwrap_or_else(|| data.join("state.key"));
            return Ok(State::connect(&url, &key_file).await?);
        }
        Ok(State::open(&data).await?)
    }

    /// From the environment, else from the file.
    #[cfg(feature = "postgres")]
    fn database_url(&self) -> anyhow::Result<Option<Secret>> {
        match std::env::var(DATABASE_URL) {
            Ok(url) if !url.is_empty() => return Ok(Some(Secret::from(url))),
            Ok(_) | Err(std::env::VarError::NotPresent) => {}
            Err(std::env::VarError::NotUnicode(_)) => anyhow::bail!("{DATABASE_URL} is not UTF-8 text"),
        }
        let Some(file) = &self.database_url_file else { return Ok(None) };
        let unusable = || format!("cannot use the file with the database's URL, {}", file.display());
        let text = std::fs::read_to_string(file).with_context(unusable)?;
        match text.lines().next().unwrap_or_default().trim() {
            "" => anyhow::bail!("{}: its first line is empty, write the URL there", unusable()),
            url => Ok(Some(Secret::from(url))),
        }
    }
}

impl Manifest {
    fn run(self, about: About) -> anyhow::Result<()> {
        let text = self.text(about, &self.common.password(about)?);
        io::stdout().write_all(text.as_bytes()).context("cannot print the manifest")
    }

    /// YAML (contract 7.1); a JSON string is a YAML string, whatever is in it.
    fn text(&self, about: About, password: &Secret) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let endpoint = self.endpoint.clone().unwrap_or_else(|| format!("http://{}", self.common.listen));
        format!(
            "id: {}\nusername: {}\npassword: {}\nteam: {}\nendpoint:\n  production: {}\n",
            about.service,
            quoted(self.common.username(about)),
            quoted(password.expose()),
            quoted(&self.team),
            quoted(&endpoint),
        )
    }
}

impl Common {
    fn data(&self, about: About) -> PathBuf {
        self.data.clone().unwrap_or_else(|| PathBuf::from(format!("{}-broker-data", about.service)))
    }

    fn username(&self, about: About) -> &str {
        self.username.as_deref().unwrap_or(about.service)
    }

    /// From the environment, else from the file.
    fn password(&self, about: About) -> anyhow::Result<Secret> {
        match std::env::var(PASSWORD) {
            Ok(password) if !password.is_empty() => Ok(Secret::from(password)),
            Ok(_) | Err(std::env::VarError::NotPresent) => {
                let file = self.password_file.clone().unwrap_or_else(|| self.data(about).join("password"));
                Secret::kept_in(&file, Secret::generate)
                    .with_context(|| format!("cannot use the password file {}", file.display()))
            }
            Err(std::env::VarError::NotUnicode(_)) => anyhow::bail!("{PASSWORD} is not UTF-8 text"),
        }
    }
}

/// Readable lines on standard error; `RUST_LOG` says how many.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let logging = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    let logging = logging.with_ansi(io::stderr().is_terminal());
    if let Err(already) = logging.try_init() {
        eprintln!("warning: logging was set up before: {already}");
    }
}

/// Completes when the process is asked to stop.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Args)]
    struct NoConfig {}

    const ABOUT: About = About { service: "motd", version: "1.0.0", about: "Hands out kind words." };

    fn manifest(arguments: &[&str]) -> Manifest {
        let program =
            <Program<NoConfig> as clap::Parser>::try_parse_from([&["motd-broker", "manifest"], arguments].concat());
        match program.unwrap().command {
            Command::Manifest(manifest) => manifest,
            Command::Serve(_) => panic!("not a manifest"),
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Program::<NoConfig>::command().debug_assert();
    }

    #[cfg(feature = "postgres")]
    #[test] // SPEC S-5
    fn the_databases_url_comes_from_a_file_and_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("url");
        let serve = |file: &std::path::Path| {
            let arguments = ["motd-broker", "serve", "--database-url-file", file.to_str().unwrap()];
            match <Program<NoConfig> as clap::Parser>::try_parse_from(arguments).unwrap().command {
                Command::Serve(serve) => serve,
                Command::Manifest(_) => panic!("not told to serve"),
            }
        };

        std::fs::write(&file, "postgres://broker:s3cret@db.test/records\n").unwrap();
        let url = serve(&file).database_url().unwrap().unwrap();
        assert_eq!(url.expose(), "postgres://broker:s3cret@db.test/records");
        assert!(!format!("{:?}", serve(&file)).contains("s3cret"));

        std::fs::write(&file, "\n").unwrap();
        assert!(serve(&file).database_url().unwrap_err().to_string().contains("its first line is empty"));
        let missing = serve(&folder.path().join("none")).database_url().unwrap_err();
        assert!(missing.to_string().contains("cannot use the file with the database's URL"), "{missing}");
    }

    #[test]
    fn the_manifest_is_what_the_platform_wants() {
        let text = manifest(&["--listen", "127.0.0.1:9", "--team", "data"]).text(ABOUT, &Secret::from("a\"b: c"));

        let wanted = "id: motd\nusername: \"motd\"\npassword: \"a\\\"b: c\"\nteam: \"data\"\n\
                      endpoint:\n  production: \"http://127.0.0.1:9\"\n";
        assert_eq!(text, wanted);
    }
}
