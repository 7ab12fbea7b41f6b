//! What the operator may choose.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// How a [`Router`](crate::Router) listens, and how patient it is.
#[derive(Clone, Debug)]
pub struct RouterConfig {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Threads that serve; 0 for one for each core.
    pub threads: usize,
    /// Where the last table is kept, so that a restarted router serves at once; `None` forgets it.
    pub state_file: Option<PathBuf>,
    /// How long a connection to a unit may take to be made.
    pub connect_within: Duration,
    /// How long a unit may take to begin its answer, counted from the last byte of the request that
    /// it took; afterwards the client gets a 504.
    pub answer_within: Duration,
    /// How long a client may take to send a request's head. A connection without a request is
    /// closed after the same time.
    pub head_within: Duration,
    /// How long a connection to a unit is kept without a request.
    pub unit_idle: Duration,
    /// How long a request is kept when no unit of its app accepts a connection, before the client
    /// gets a 502: units that are being replaced come back in that time.
    pub replaced_within: Duration,
    /// Bytes that a request's head may have; beyond, the client gets a 431.
    pub head_limit: usize,
    /// Whether `X-Forwarded-Proto`, `-Host`, `-Port` and `X-Request-Start` that clients send are
    /// kept: only where all clients are proxies of the operator's own.
    pub trust_forwarded: bool,
}

impl RouterConfig {
    /// A router on this address, with everything else as it usually is.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            threads: 0,
            state_file: None,
            connect_within: Duration::from_secs(5),
            answer_within: Duration::from_secs(60),
            head_within: Duration::from_secs(60),
            unit_idle: Duration::from_secs(30),
            replaced_within: Duration::from_secs(3),
            head_limit: 64 * 1024,
            trust_forwarded: false,
        }
    }

    pub(crate) fn thread_count(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            some => some,
        }
    }
}
