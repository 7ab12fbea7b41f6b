//! TLS: whether servers of a plan speak it, and what apps are told of it.

use std::path::PathBuf;

use broker_hosting::Trust;
pub(crate) use broker_hosting::{Address, Encryption};
use serde::Deserialize;

/// How the broker's own servers of a plan are reached. Redis has another port for TLS, and an address is one port: so
/// it is one or the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Tls {
    /// In clear.
    #[default]
    Off,
    /// By TLS alone.
    Required,
}

impl Tls {
    /// The settings for it, what is closed first: both are the same port.
    pub(crate) fn ports(self, port: u16) -> [(&'static str, u16); 2] {
        match self {
            Self::Off => [("tls-port", 0), ("port", port)],
            Self::Required => [("port", 0), ("tls-port", port)],
        }
    }
}

/// Whom the broker trusts at the server of `--shared-url`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SharedTrust {
    /// File of the authorities that may sign the certificate of the server for the plan `shared`, in PEM, when its URL
    /// is rediss:// [default: those of the system]
    #[arg(long, env = "REDIS_BROKER_SHARED_CA_FILE", value_name = "FILE")]
    pub shared_ca_file: Option<PathBuf>,
    /// File of the broker's own certificate there, in PEM, when that server wants one
    #[arg(long, env = "REDIS_BROKER_SHARED_CERTIFICATE_FILE", value_name = "FILE", requires = "shared_key_file")]
    pub shared_certificate_file: Option<PathBuf>,
    /// File of that certificate's key, in PEM
    #[arg(long, env = "REDIS_BROKER_SHARED_KEY_FILE", value_name = "FILE", requires = "shared_certificate_file")]
    pub shared_key_file: Option<PathBuf>,
    /// INSECURE: take any certificate of that server; who is on the way then reads and changes everything
    #[arg(long, env = "REDIS_BROKER_SHARED_INSECURE_ACCEPT_ANY_CERTIFICATE", conflicts_with = "shared_ca_file")]
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
