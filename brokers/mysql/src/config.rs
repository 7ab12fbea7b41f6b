//! What the operator can set.

use std::{net::IpAddr, path::PathBuf};

use anyhow::Context as _;
use broker_backup::BackupConfig;
use broker_core::Secret;
use broker_hosting::{Ports, RunAs, Site, Size};

use crate::{SharedTrust, tenant::Limits};

/// The MySQL broker's own settings.
#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    /// TOML file of the plans, as the README shows [default: `shared`, and `dedicated` where the broker starts the
    /// servers]
    #[arg(long, env = "MYSQL_BROKER_PLANS", value_name = "FILE")]
    pub plans: Option<PathBuf>,
    /// Server for the databases: mysql://USER:PASSWORD@HOST:PORT, by TLS with ?require_ssl=true; better set in the environment or a file,
    /// since others see a command line [default: the broker starts one]
    #[arg(long, env = "MYSQL_BROKER_SHARED_URL", value_name = "URL", hide_env_values = true)]
    pub shared_url: Option<Secret>,
    /// File whose first line is the URL of the server for the databases
    #[arg(long, env = "MYSQL_BROKER_SHARED_URL_FILE", value_name = "FILE", conflicts_with = "shared_url")]
    pub shared_url_file: Option<PathBuf>,
    /// Whom the broker trusts there.
    #[command(flatten)]
    pub shared_trust: SharedTrust,
    /// Host that apps reach the broker's servers under, from inside their containers
    #[arg(long, env = "MYSQL_BROKER_ADVERTISE_HOST", value_name = "HOST", default_value = "127.0.0.1")]
    pub advertise_host: String,
    /// Addresses that the broker's servers listen at besides 127.0.0.1 [default: the advertised host's]
    #[arg(long, env = "MYSQL_BROKER_BIND", value_name = "ADDRESS", value_delimiter = ',')]
    pub bind: Vec<IpAddr>,
    /// Program of the broker's own servers, by name or path
    #[arg(long, env = "MYSQL_BROKER_MARIADBD", value_name = "PROGRAM", default_value = "mariadbd")]
    pub mariadbd: String,
    /// Program that makes the data folder of one of the broker's own servers, by name or path
    #[arg(long, env = "MYSQL_BROKER_MARIADB_INSTALL_DB", value_name = "PROGRAM", default_value = "mariadb-install-db")]
    pub mariadb_install_db: String,
    /// Program that dumps a database, by name or path, for moves and backups
    #[arg(long, env = "MYSQL_BROKER_MARIADB_DUMP", value_name = "PROGRAM", default_value = "mariadb-dump")]
    pub mariadb_dump: String,
    /// Program that loads a dump, by name or path, for moves and restores
    #[arg(long, env = "MYSQL_BROKER_MARIADB", value_name = "PROGRAM", default_value = "mariadb")]
    pub mariadb: String,
    /// Socket of the Docker engine, for plans whose servers run in containers
    #[arg(long, env = "MYSQL_BROKER_DOCKER", value_name = "SOCKET", default_value = "unix:///var/run/docker.sock")]
    pub docker: String,
    /// Network in which images of servers are built [default: the engine's choice]
    #[arg(long, env = "MYSQL_BROKER_BUILD_NETWORK", value_name = "NETWORK")]
    pub build_network: Option<String>,
    /// Folder for the broker's own servers: their data, settings and logs
    #[arg(long, env = "MYSQL_BROKER_SERVERS_DIR", value_name = "DIR", default_value = "mysql-servers")]
    pub servers_dir: PathBuf,
    /// Ports for the broker's own servers
    #[arg(long, env = "MYSQL_BROKER_PORTS", value_name = "FIRST-LAST", default_value = "21000-21999")]
    pub ports: Ports,
    /// User that the broker's own servers run as when the broker is root [default: mysql, if there is one]
    #[arg(long, env = "MYSQL_BROKER_RUN_AS", value_name = "USER")]
    pub run_as: Option<RunAs>,
    /// Memory in MiB in which each of the broker's own shared servers keeps data, all tenants together
    #[arg(long, env = "MYSQL_BROKER_BUFFER_POOL", value_name = "MIB", default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(5..))]
    pub buffer_pool: u32,
    /// Connections to each of the broker's own shared servers, all tenants together
    #[arg(id = "server_max_connections", long = "server-max-connections",
        env = "MYSQL_BROKER_SERVER_MAX_CONNECTIONS", value_name = "NUMBER", default_value_t = 300,
        value_parser = clap::value_parser!(u32).range(10..=100_000))]
    pub max_connections: u32,
    /// Connections of one binding
    #[arg(long, env = "MYSQL_BROKER_MAX_USER_CONNECTIONS", value_name = "NUMBER", default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub max_user_connections: u32,
    /// Seconds after which a binding's statement is ended, unless its app asks for longer; 0 for never (MariaDB only)
    #[arg(long, env = "MYSQL_BROKER_MAX_STATEMENT_TIME", value_name = "SECONDS", default_value_t = 600)]
    pub max_statement_time: u32,
    /// Disk that an instance may take, such as 1gb: what has more can be read and made smaller until it fits again
    /// [default: no limit]
    #[arg(long, env = "MYSQL_BROKER_MAX_STORAGE", value_name = "SIZE")]
    pub max_storage: Option<Size>,
    /// Refuse bindings' connections that are not encrypted, unless their plan has another `tls`; a server given by URL
    /// has to have TLS
    #[arg(long, env = "MYSQL_BROKER_REQUIRE_TLS")]
    pub require_tls: bool,
    /// Where backups are, and when they are made.
    #[command(flatten)]
    pub backups: BackupConfig,
}

impl Config {
    pub(crate) fn has_shared_url(&self) -> bool {
        self.shared_url.is_some() || self.shared_url_file.is_some()
    }

    /// What a binding may use unless its plan says otherwise.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            connections: self.max_user_connections,
            statement_time: self.max_statement_time,
            tls: self.require_tls,
        }
    }

    /// Where the server for the databases is, of plans that name none.
    pub(crate) fn shared_site(&self) -> anyhow::Result<Site> {
        let url = self.shared_url()?.map(|url| url.expose().to_owned().into());
        Site::of(url, self.shared_trust.trust()).map_err(anyhow::Error::msg)
    }

    /// The server's URL, if one was given.
    fn shared_url(&self) -> anyhow::Result<Option<Secret>> {
        let Some(file) = &self.shared_url_file else { return Ok(self.shared_url.clone()) };
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the server's URL from {}", file.display()))?;
        let url = text.lines().next().unwrap_or_default().trim();
        anyhow::ensure!(!url.is_empty(), "the first line of {} is empty, write a URL there", file.display());
        Ok(Some(Secret::from(url)))
    }
}
