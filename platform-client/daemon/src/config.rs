//! What a sysadmin can set: flags, or the environment.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use platform_core::Email;

/// The platform daemon: API, router, git endpoint and reconciler in one process.
#[derive(Debug, Parser)]
#[command(name = "tsurud", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the platform.
    Serve(Box<Serve>),
    /// Run the router as a process of its own: it keeps serving while the API is down.
    Router(RouterRole),
    /// What git runs when somebody pushes; not for people.
    #[command(hide = true)]
    GitHook,
    /// Print a completion script for a shell.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Settings of `tsurud serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Folder of everything the platform remembers; made when missing.
    #[arg(long, env = "TSURUD_DATA", default_value = "tsurud-data", value_name = "DIR")]
    pub(crate) data: PathBuf,

    /// Address of the API and the git endpoint.
    #[arg(long, env = "TSURUD_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,

    /// URL at which units and people reach the API; the address listened on if not set.
    #[arg(long, env = "TSURUD_API_URL", value_name = "URL")]
    pub(crate) api_url: Option<String>,

    /// Address of the router, where apps answer.
    #[arg(long, env = "TSURUD_ROUTER_LISTEN", default_value = "0.0.0.0:8090", value_name = "ADDRESS")]
    pub(crate) router_listen: SocketAddr,

    /// Control socket of a router that runs as a process of its own (`tsurud router`); without it the
    /// router runs in this process.
    #[arg(long, env = "TSURUD_ROUTER_SOCKET", value_name = "FILE")]
    pub(crate) router_socket: Option<PathBuf>,

    /// Apps answer at APP.DOMAIN.
    #[arg(long, env = "TSURUD_DOMAIN", default_value = "localhost", value_name = "DOMAIN")]
    pub(crate) domain: String,

    /// The first administrator, made on the first start.
    #[arg(long, env = "TSURUD_ADMIN_EMAIL", default_value = "admin@example.com", value_name = "EMAIL")]
    pub(crate) admin_email: Email,

    /// File that holds the first administrator's password; made with a generated one when missing.
    /// `admin-password` in the data folder if not set.
    #[arg(long, env = "TSURUD_ADMIN_PASSWORD_FILE", value_name = "FILE")]
    pub(crate) admin_password_file: Option<PathBuf>,

    /// Docker engine: unix:///path or http://host:port; DOCKER_HOST or the usual socket if not set.
    #[arg(long, env = "TSURUD_DOCKER_HOST", value_name = "URL")]
    pub(crate) docker_host: Option<String>,

    /// CA certificates (PEM) that build steps trust as well; running units never see them.
    #[arg(long, env = "TSURUD_BUILD_CA", value_name = "FILE")]
    pub(crate) build_ca: Option<PathBuf>,

    /// Variable that build steps see, such as HTTPS_PROXY or PIP_INDEX_URL; running units never see it.
    /// A name alone takes its value from tsurud's own environment, where it shows in no process list.
    /// Repeatable.
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = name_and_value)]
    pub(crate) build_env: Vec<(String, String)>,

    /// Docker network of build steps, such as `host`; Docker's default if not set.
    #[arg(long, env = "TSURUD_BUILD_NETWORK", value_name = "NETWORK")]
    pub(crate) build_network: Option<String>,

    /// Seconds that requests in flight get when their unit goes away.
    #[arg(long = "drain-seconds", env = "TSURUD_DRAIN_SECONDS", default_value = "30", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) drain: Duration,

    /// Seconds that a unit gets to stop before it is killed.
    #[arg(long = "stop-seconds", env = "TSURUD_STOP_SECONDS", default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) stop_grace: Duration,

    /// Seconds that a new unit gets to become ready, unless its check says more.
    #[arg(long = "ready-seconds", env = "TSURUD_READY_SECONDS", default_value = "120", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) ready: Duration,
}

/// Settings of `tsurud router`.
#[derive(Debug, Args)]
pub(crate) struct RouterRole {
    /// Address where apps answer.
    #[arg(long, env = "TSURUD_ROUTER_LISTEN", default_value = "0.0.0.0:8090", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,

    /// Control socket that the API talks to; made with mode 0600.
    #[arg(long, env = "TSURUD_ROUTER_SOCKET", value_name = "FILE")]
    pub(crate) socket: PathBuf,

    /// File of the last good route table, so that a restarted router serves at once.
    #[arg(long, env = "TSURUD_ROUTER_STATE", value_name = "FILE")]
    pub(crate) state: PathBuf,
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) => Err("write it as NAME or NAME=VALUE".to_owned()),
        None => match std::env::var(text) {
            Ok(value) => Ok((text.to_owned(), value)),
            Err(_) => Err(format!("{text} is not set in the environment: set it, or write {text}=VALUE")),
        },
    }
}

fn seconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_secs)
}
