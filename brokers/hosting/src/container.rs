//! Servers in containers: what is configured once, and what a kind of server says of itself.

use std::{net::Ipv4Addr, time::Duration};

use sha2::{Digest as _, Sha256};

/// The Docker engine of this machine, and how servers run there.
///
/// The engine has to be on the broker's own machine: a server's folder is shared with its container under the
/// same path. A broker that runs in a container itself needs the servers' folder and the engine's socket, both
/// under the paths they have on the machine.
///
/// ```
/// # use broker_hosting::Containers;
/// let containers = Containers::new("redis-broker");
/// assert_eq!(containers.engine, "unix:///var/run/docker.sock");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Containers {
    /// The engine's socket, as `unix:///var/run/docker.sock`.
    pub engine: String,
    /// The broker's name, in names and labels of what it makes: `a-z0-9-`, at most 20 characters.
    pub service: String,
    /// Where networks of servers begin: 8 addresses for each port, so a whole `/13`. None leaves addresses to the
    /// engine, which has them for about 30 networks.
    pub networks: Option<Ipv4Addr>,
    /// The network of the steps that build images; none for the engine's own choice. Behind a proxy on this
    /// machine's loopback it is `host`.
    pub build_network: Option<String>,
    /// How long a call may take.
    pub call_timeout: Duration,
    /// How long building an image may take.
    pub build_timeout: Duration,
}

impl Containers {
    /// The engine at its usual socket, networks from 10.200.0.0 on.
    #[must_use]
    pub fn new(service: &str) -> Self {
        Self {
            engine: "unix:///var/run/docker.sock".to_owned(),
            service: service.to_owned(),
            networks: Some(Ipv4Addr::new(10, 200, 0, 0)),
            build_network: None,
            call_timeout: Duration::from_secs(30),
            build_timeout: Duration::from_secs(900),
        }
    }

    /// The network of the server on a port: no two servers of a machine have the same.
    pub(crate) fn subnet(&self, port: u16) -> Option<String> {
        let base = u32::from(self.networks?);
        Some(format!("{}/29", Ipv4Addr::from(base.checked_add(u32::from(port) * 8)?)))
    }
}

/// How a kind of server runs in a container.
///
/// What [`Program::prepare`](crate::Program::prepare) makes is the same as for a process: the server's folder
/// has the same path in the container, all else there is read-only but `/tmp` and `/run`, and the server runs
/// as an ordinary user without privileges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// What it runs from.
    pub image: Image,
    /// The program's path in the image.
    pub executable: String,
    /// The command that tells the engine whether the server is healthy, without secrets; none looks whether its
    /// port is open, by `bash`, which the image needs then.
    pub health: Option<Vec<String>>,
}

/// An image that is built from a Dockerfile when it is missing: `include_str!("Dockerfile")`.
///
/// Its tag is made of the Dockerfile's content, so a changed one makes another image. Servers that run go on
/// with the image they have until they are next recreated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The repository's name, as `redis-broker/server`.
    pub name: String,
    /// The content of the Dockerfile; it copies no files.
    pub dockerfile: String,
}

impl Image {
    /// An image of this name, built from this Dockerfile.
    #[must_use]
    pub fn new(name: &str, dockerfile: &str) -> Self {
        Self { name: name.to_owned(), dockerfile: dockerfile.to_owned() }
    }

    /// Name and tag.
    ///
    /// ```
    /// # use broker_hosting::Image;
    /// assert_eq!(Image::new("a/b", "FROM scratch\n").reference(), "a/b:bb57c7da220a");
    /// ```
    #[must_use]
    pub fn reference(&self) -> String {
        format!("{}:{}", self.name, &hex::encode(Sha256::digest(&self.dockerfile))[..12])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_has_a_network_of_its_own() {
        let containers = Containers::new("redis");
        assert_eq!(containers.subnet(20_000).unwrap(), "10.202.113.0/29");
        assert_eq!(containers.subnet(20_001).unwrap(), "10.202.113.8/29");
        assert_eq!(containers.subnet(u16::MAX).unwrap(), "10.207.255.248/29");
    }
}
