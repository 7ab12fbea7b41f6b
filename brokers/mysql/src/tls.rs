//! TLS: whether servers of a plan speak it, and what apps are told of it.

use std::path::PathBuf;

use broker_hosting::Trust;
pub(crate) use broker_hosting::{Address, Encryption};
use serde::Deserialize;

/// How apps reach the servers of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Tls {
    /// In clear.
    Off,
    /// By TLS if they like.
    Offered,
    /// By TLS alone: their accounts are refused without.
    Required,
}

/// Whom the broker trusts at the server of `--shared-url`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SharedTrust {
    /// File of the authorities that may sign the certificate of the server for the databases, in PEM; with it, that
    /// server is reached by TLS [default: those of the system, when its URL ends with ?require_ssl=true]
    #[arg(long, env = "MYSQL_BROKER_SHARED_CA_FILE", value_name = "FILE")]
    pub shared_ca_file: Option<PathBuf>,
    /// File of the broker's own certificate there, in PEM, when that server wants one
    #[arg(long, env = "MYSQL_BROKER_SHARED_CERTIFICATE_FILE", value_name = "FILE", requires = "shared_key_file")]
    pub shared_certificate_file: Option<PathBuf>,
    /// File of that certificate's key, in PEM
    #[arg(long, env = "MYSQL_BROKER_SHARED_KEY_FILE", value_name = "FILE", requires = "shared_certificate_file")]
    pub shared_key_file: Option<PathBuf>,
    /// INSECURE: take any certificate of that server; who is on the way then reads and changes everything
    #[arg(long, env = "MYSQL_BROKER_SHARED_INSECURE_ACCEPT_ANY_CERTIFICATE", conflicts_with = "shared_ca_file")]
    pub shared_insecure_accept_any_certificate: bool,
}

impl SharedTrust {
    pub(crate) fn trust(&self) -> Trust {
        Trust {
            ca_file: self.shared_ca_file.clone(),
            certificate_file: self.shared_certificate_file.clone(),
            key_file: self.shared_key_file.clone(),
            insecure_accept_any_certificate: self.shared_insecure_accept_any_certificate,
        }
    }
}
