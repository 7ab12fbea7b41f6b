//! What may go wrong with a server, each in a sentence for its operator.

use std::{io, net::IpAddr, path::PathBuf, time::Duration};

use crate::{Ports, ServerId};

/// Why a server could not be started, stopped or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The program is not installed.
    #[error("the program {0} is not installed: install its package, or give its path")]
    NoProgram(String),
    /// There is no such user on this machine.
    #[error("there is no user \"{0}\" on this machine to run servers as")]
    NoUser(String),
    /// The user that servers shall run as cannot enter the servers' folder.
    #[error(
        "user \"{user}\" cannot enter {folder}, which is above the servers' folder: choose another servers' folder, or another user"
    )]
    Unreachable {
        /// Whom the servers shall run as.
        user: String,
        /// The folder that keeps them out.
        folder: PathBuf,
    },
    /// Another broker uses the folder.
    #[error("another broker uses the servers' folder {0}: stop it, or choose another folder")]
    InUse(PathBuf),
    /// An address to listen on is not one of this machine's.
    #[error("this machine has no address {0} for servers to listen on: choose which addresses they bind to")]
    NoAddress(IpAddr),
    /// The host that apps shall use is a name that stands for no address.
    #[error("the host \"{0}\" is unknown on this machine: choose which addresses servers bind to")]
    UnknownHost(String),
    /// No port of the range is free.
    #[error("no port is free in {0}: give a wider range, or remove unused instances")]
    NoFreePort(Ports),
    /// Somebody else listens on the port that a server was known under.
    #[error("port {port} of server \"{id}\" was taken by another program while it was down: stop that program")]
    PortTaken {
        /// The server.
        id: ServerId,
        /// Its port.
        port: u16,
    },
    /// The server ended before it was ready.
    #[error("server \"{id}\" ended before it was ready; the end of its log {}: {tail}", log.display())]
    Ended {
        /// The server.
        id: ServerId,
        /// Where it wrote why.
        log: PathBuf,
        /// The last lines there.
        tail: String,
    },
    /// The server runs but is not ready in time.
    #[error("server \"{id}\" was not ready within {}s: {cause}", waited.as_secs())]
    NotReady {
        /// The server.
        id: ServerId,
        /// How long it was waited for.
        waited: Duration,
        /// What it answered last.
        cause: String,
    },
    /// Preparing its files failed.
    #[error("server \"{id}\" could not be prepared: {cause}")]
    Preparation {
        /// The server.
        id: ServerId,
        /// What failed.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Somebody holds the server's lock who is not the server.
    #[error("an unknown process holds {} locked, the lock of server \"{id}\": end that process", log.display())]
    Locked {
        /// The server.
        id: ServerId,
        /// Its log, which is its lock.
        log: PathBuf,
    },
    /// A process would not end.
    #[error("process {pid} of server \"{id}\" does not end")]
    Immortal {
        /// The server.
        id: ServerId,
        /// Its process.
        pid: u32,
    },
    /// A server is to run in a container, and the broker knows of no engine.
    #[error(
        "server \"{0}\" runs in a container, and no Docker engine is configured: configure one, or choose another plan"
    )]
    NoEngine(ServerId),
    /// The engine does not answer.
    #[error("Docker does not answer at {engine}: start the Docker engine, then try again")]
    EngineAway {
        /// Its address.
        engine: String,
    },
    /// The engine refused something.
    #[error("Docker could not {what}: {cause}")]
    Engine {
        /// What was asked of it.
        what: String,
        /// What it answered.
        cause: String,
    },
    /// An image could not be built.
    #[error("image {image} could not be built: {tail}")]
    Image {
        /// Its name and tag.
        image: String,
        /// What the build said last.
        tail: String,
    },
    /// Limits could not be put into force.
    #[error("the limits of server \"{id}\" could not be put into force: {cause}")]
    Limits {
        /// The server.
        id: ServerId,
        /// Why.
        cause: io::Error,
    },
    /// The server was not made, or was removed.
    #[error("there is no server \"{0}\"")]
    Unknown(ServerId),
    /// A folder or file could not be used.
    #[error("cannot use {}: {cause}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

/// Names the path that an I/O error is about.
pub(crate) trait At<T> {
    fn at(self, path: impl Into<PathBuf>) -> Result<T, HostError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: impl Into<PathBuf>) -> Result<T, HostError> {
        self.map_err(|cause| HostError::Io { path: path.into(), cause })
    }
}
