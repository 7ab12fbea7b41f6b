//! What the operator can set.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use broker_backup::BackupConfig;
use broker_core::Secret;
use broker_hosting::{Ports, RunAs, Site, Size};

use crate::SharedTrust;

/// The Redis broker's own settings.
#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    /// Server for the plan `shared`: redis://USER:PASSWORD@HOST:PORT, or rediss:// for TLS; better set in the environment or a
    /// file, since others see a command line [default: the broker starts one]
    #[arg(long, env = "REDIS_BROKER_SHARED_URL", value_name = "URL", hide_env_values = true)]
    pub shared_url: Option<Secret>,
    /// File whose first line is the URL of the server for the plan `shared`
    #[arg(long, env = "REDIS_BROKER_SHARED_URL_FILE", value_name = "FILE", conflicts_with = "shared_url")]
    pub shared_url_file: Option<PathBuf>,
    /// Whom the broker trusts there.
    #[command(flatten)]
    pub shared_trust: SharedTrust,
    /// Host that apps reach the broker's servers under, from inside their containers
    #[arg(long, env = "REDIS_BROKER_ADVERTISE_HOST", value_name = "HOST", default_value = "127.0.0.1")]
    pub advertise_host: String,
    /// Addresses that the broker's servers listen at besides 127.0.0.1 [default: the advertised host's]
    #[arg(long, env = "REDIS_BROKER_BIND", value_name = "ADDRESS", value_delimiter = ',')]
    pub bind: Vec<IpAddr>,
    /// Program of the broker's own servers, by name or path
    #[arg(long, env = "REDIS_BROKER_REDIS_SERVER", value_name = "PROGRAM", default_value = "redis-server")]
    pub redis_server: String,
    /// Folder for the broker's own servers: their data, settings and logs
    #[arg(long, env = "REDIS_BROKER_SERVERS_DIR", value_name = "DIR", default_value = "redis-servers")]
    pub servers_dir: PathBuf,
    /// Ports for the broker's own servers
    #[arg(long, env = "REDIS_BROKER_PORTS", value_name = "FIRST-LAST", default_value = "20000-20999")]
    pub ports: Ports,
    /// Memory for data in an instance of the plan `dedicated`
    #[arg(long, env = "REDIS_BROKER_MAXMEMORY", value_name = "SIZE", default_value = "64mb")]
    pub maxmemory: Size,
    /// Memory for data in the broker's own server of the plan `shared`, all tenants together
    #[arg(long, env = "REDIS_BROKER_SHARED_MAXMEMORY", value_name = "SIZE", default_value = "256mb")]
    pub shared_maxmemory: Size,
    /// File of plans (TOML), see the broker's README [default: the plans `dedicated` and `shared`]
    #[arg(long, env = "REDIS_BROKER_PLANS", value_name = "FILE", conflicts_with_all = ["shared_url", "shared_url_file"])]
    pub plans: Option<PathBuf>,
    /// Socket of the Docker engine, for plans whose servers run in containers
    #[arg(
        long,
        env = "REDIS_BROKER_DOCKER_ENGINE",
        value_name = "SOCKET",
        default_value = "unix:///var/run/docker.sock"
    )]
    pub docker_engine: String,
    /// Network of the steps that build the servers' image [default: the engine's choice]
    #[arg(long, env = "REDIS_BROKER_DOCKER_BUILD_NETWORK", value_name = "NETWORK")]
    pub docker_build_network: Option<String>,
    /// User that the broker's own servers run as when the broker is root [default: redis or valkey, as the
    /// program is called, if there is one]
    #[arg(long, env = "REDIS_BROKER_RUN_AS", value_name = "USER")]
    pub run_as: Option<RunAs>,
    /// Where backups are, and when they are made.
    #[command(flatten)]
    pub backups: BackupConfig,
}

impl Config {
    /// Where the server of the plan `shared` is, when there is no file of plans.
    pub(crate) fn shared_site(&self) -> anyhow::Result<Site> {
        let url = self.shared_url()?.map(|url| url.expose().to_owned().into());
        Site::of(url, self.shared_trust.trust()).map_err(anyhow::Error::msg)
    }

    /// The shared server's URL, if one was given.
    fn shared_url(&self) -> anyhow::Result<Option<Secret>> {
        let Some(file) = &self.shared_url_file else { return Ok(self.shared_url.clone()) };
        Ok(Some(Secret::from(first_line(file)?)))
    }
}

/// The URL of a shared server, from a file.
pub(crate) fn first_line(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the shared server's URL from {}", file.display()))?;
    let url = text.lines().next().unwrap_or_default().trim();
    anyhow::ensure!(!url.is_empty(), "the first line of {} is empty, write a URL there", file.display());
    Ok(url.to_owned())
}
