//! What a server may use at most.

use serde::{Deserialize, Serialize};

/// What a server may use at most; nothing said is no limit. How each limit is enforced,
/// [`Hosting::doctor`](crate::Hosting::doctor) tells (SPEC H-6).
///
/// ```
/// # use broker_hosting::Limits;
/// let small = Limits { memory: Some(256 << 20), cpu_milli: Some(500), ..Limits::default() };
/// assert!(small.processes.is_none());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Memory in bytes, swap included. A server that wants more is killed, and started again when it is next needed.
    pub memory: Option<u64>,
    /// Processor time, in thousandths of one CPU.
    pub cpu_milli: Option<u32>,
    /// Processes and threads.
    pub processes: Option<u32>,
    /// Open files, which connections are too.
    pub open_files: Option<u64>,
}

/// What a server uses now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Memory in bytes, without what is only kept of files: of the server's process, or of its container.
    pub memory: u64,
    /// Processor time since its start.
    pub cpu: std::time::Duration,
    /// Processes and threads.
    pub processes: u64,
    /// Bytes on disk, in the server's folder. The one figure that a stopped server has too.
    pub disk: u64,
}
