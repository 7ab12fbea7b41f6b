//! Where an instance is reached, for platforms that open networks.

use serde::Serialize;

/// An address of an instance: a platform may have to let apps through to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Endpoint {
    /// A host's name, or an IP address.
    pub host: String,
    /// Ports, or ranges of them such as `9000-9010`.
    pub ports: Vec<String>,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
}

impl Endpoint {
    /// A port that takes connections.
    #[must_use]
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), ports: vec![port.to_string()], protocol: "tcp" }
    }

    /// A port that takes datagrams.
    #[must_use]
    pub fn udp(host: impl Into<String>, port: u16) -> Self {
        Self { protocol: "udp", ..Self::tcp(host, port) }
    }
}
