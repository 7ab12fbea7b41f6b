//! Who may call.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::About;
use crate::{BrokerServer, Secret};

/// Where the password may come from, so that it is in no process list.
const PASSWORD: &str = "BROKER_PASSWORD";

/// The pair that the manifest names.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Who may call")]
pub(super) struct Login {
    /// User name that the platform presents [default: the service's name]
    #[arg(long, env = "BROKER_USERNAME", value_name = "NAME")]
    username: Option<String>,
    /// File with the password that the platform presents, made with a random one when it is missing;
    /// BROKER_PASSWORD in the environment comes first [default: the file `password` in the data folder]
    #[arg(long, env = "BROKER_PASSWORD_FILE", value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Where the password is.
pub(super) enum Password {
    Given(Secret),
    Kept(PathBuf),
}

impl Login {
    pub(super) fn username(&self, about: About) -> &str {
        self.username.as_deref().unwrap_or(about.service)
    }

    /// From the environment, else from the file, which is made when it is missing.
    pub(super) fn password(&self, folder: &Path) -> anyhow::Result<Secret> {
        match self.place(folder)? {
            Password::Given(password) => Ok(password),
            Password::Kept(file) => Secret::kept_in(&file, Secret::generate)
                .with_context(|| format!("cannot use the password file {}", file.display())),
        }
    }

    pub(super) fn place(&self, folder: &Path) -> anyhow::Result<Password> {
        match std::env::var(PASSWORD) {
            Ok(password) if !password.is_empty() => Ok(Password::Given(Secret::from(password))),
            Ok(_) | Err(std::env::VarError::NotPresent) => {
                Ok(Password::Kept(self.password_file.clone().unwrap_or_else(|| folder.join("password"))))
            }
            Err(std::env::VarError::NotUnicode(_)) => anyhow::bail!("{PASSWORD} is not UTF-8 text"),
        }
    }
}

/// Who else may call.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Who may call")]
pub(super) struct Guests {
    /// File with others who may call, closed to other users of the machine; it is read again when it changes, and on
    /// SIGHUP. A line each: `user:password`, `user:hash` (see hash-password; `htpasswd -nB` makes one too), `Bearer token`
    /// or `Bearer sha256:digest`
    #[arg(long, env = "BROKER_CREDENTIALS_FILE", value_name = "FILE")]
    pub(super) credentials_file: Option<PathBuf>,
    /// The same for those who may see /metrics and /openapi.json and nothing else
    #[arg(long, env = "BROKER_OPERATOR_CREDENTIALS_FILE", value_name = "FILE")]
    pub(super) operator_credentials_file: Option<PathBuf>,
    /// Let everybody see /metrics, without credentials
    #[arg(long, env = "BROKER_OPEN_METRICS")]
    open_metrics: bool,
}

impl Guests {
    pub(super) fn let_in(&self, mut server: BrokerServer) -> BrokerServer {
        if let Some(file) = &self.credentials_file {
            server = server.credentials_file(file);
        }
        if let Some(file) = &self.operator_credentials_file {
            server = server.operator_credentials_file(file);
        }
        if self.open_metrics { server.open_metrics() } else { server }
    }
}
