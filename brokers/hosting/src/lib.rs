//! Servers for service instances: processes of this machine, or containers, each with a folder of its own.
//!
//! They outlive the broker that starts them. A [`Host`] keeps one folder per server, and in it all
//! that a later broker has to know: the port, the process, the log. "Make it run" is the only verb
//! a broker needs ([`Host::ensure`]): it starts a server, adopts one that runs already, and brings
//! a dead one back on its port with its data.
//!
//! A server's log is its lock: the server holds an exclusive lock on the file for as long as it
//! lives, since the lock belongs to the open file that it inherits as standard output. So two servers never
//! share a data directory, whenever a broker crashed in between (SPEC H-2).

mod certifier;
mod cgroup;
mod contained;
mod container;
mod doctor;
mod engine;
mod error;

mod files;
mod fleet;
mod host;
mod limits;
mod place;
mod ports;
mod process;
mod program;
mod recent;
mod record;
mod size;
#[cfg(feature = "testing")]
pub mod testing;
mod tls;
mod trust;
mod turns;
mod usage;
mod user;
mod vessel;

pub use certifier::Certifier;
pub use container::{Container, Containers, Image};
pub use doctor::{look_at_advertised, look_at_memory};
pub use error::HostError;
pub use files::kept_secret;
pub use fleet::{Census, Fleet, FleetError, Given, InUse, Member, Placement, PlanServers, Site};
pub use host::{Host, Hosting, Running};
pub use limits::{Limits, Usage};
pub use place::{Place, ServerId};
pub use ports::{Ports, addresses_of, is_this_machine, seen_by_apps};
pub use program::{Program, find_program};
pub use recent::Recent;
pub use size::Size;
pub use tls::{Authority, Certificate, TlsError, look_at_authority};
pub use trust::{Address, Encryption, Trust, Trusted, wrong_with_tls};
pub use turns::Turns;
pub use user::RunAs;
