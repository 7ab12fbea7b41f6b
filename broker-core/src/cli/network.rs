//! Where the broker is reached, and how much it takes on.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::{BrokerServer, PublicUrl, RequestIdHeader, Tls};

/// The address, for whoever names it.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Network")]
pub(super) struct Address {
    /// Address to listen on
    #[arg(long, env = "BROKER_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8071")]
    pub(super) listen: SocketAddr,
}

#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Network")]
pub(super) struct Network {
    /// File with the certificate, and those that vouch for it, in PEM: connections are encrypted; it is read again when
    /// it changes, and on SIGHUP
    #[arg(long, env = "BROKER_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// File with the certificate's key, in PEM
    #[arg(long, env = "BROKER_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Serve only clients with a certificate of the authorities in this file
    #[arg(long, env = "BROKER_TLS_CLIENT_CA", value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    /// How many connections there may be; further ones wait
    #[arg(long, env = "BROKER_MAX_CONNECTIONS", value_name = "NUMBER", default_value_t = 4096,
        value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: u32,
    /// How many requests that change something may be under way at once, and how many that ask; further ones are
    /// answered 503
    #[arg(long, env = "BROKER_MAX_REQUESTS", value_name = "NUMBER", default_value_t = 1024,
        value_parser = clap::value_parser!(u32).range(1..))]
    max_requests: u32,
    /// How many seconds a request's head may take to arrive, and a connection may be idle
    #[arg(long, env = "BROKER_HEAD_WITHIN", value_name = "SECONDS", default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(1..))]
    head_within: u64,
    /// Header that the platform names its requests by, before X-Request-Id, X-Correlation-ID, X-CorrelationID,
    /// X-ForRequest-ID and X-Vcap-Request-Id; the name is in the log and in the answer
    #[arg(long, env = "BROKER_REQUEST_ID_HEADER", value_name = "NAME")]
    request_id_header: Option<RequestIdHeader>,
    /// Where users' browsers reach the broker: each instance has a page there, for whoever has its link; without it
    /// there are none
    #[arg(long, env = "BROKER_PUBLIC_URL", value_name = "URL")]
    pub(super) public_url: Option<PublicUrl>,
}

impl Network {
    /// The files of TLS. A file of settings may name the one without the other, which no flag can.
    pub(super) fn tls(&self) -> anyhow::Result<Option<Tls>> {
        let (certificate, key) = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => (certificate, key),
            (None, None) => {
                anyhow::ensure!(self.tls_client_ca.is_none(), "tls-client-ca needs tls-cert and tls-key beside it");
                return Ok(None);
            }
            _ => anyhow::bail!("tls-cert and tls-key go together, only one of them is set"),
        };
        let tls = Tls::new(certificate, key);
        Ok(Some(match &self.tls_client_ca {
            Some(file) => tls.client_ca(file),
            None => tls,
        }))
    }

    pub(super) fn set(&self, server: BrokerServer) -> anyhow::Result<BrokerServer> {
        let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let server = server
            .max_connections(number(self.max_connections))
            .max_requests(number(self.max_requests))
            .head_within(Duration::from_secs(self.head_within));
        let server = match &self.request_id_header {
            Some(header) => server.request_id_header(header.clone()),
            None => server,
        };
        let server = match &self.public_url {
            Some(url) => server.public_url(url.clone()),
            None => server,
        };
        Ok(match self.tls()? {
            Some(tls) => server.tls(tls),
            None => server,
        })
    }
}
