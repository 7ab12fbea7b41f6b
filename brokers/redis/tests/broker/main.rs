//! The Redis broker against real servers, which the tests start: `redis-server` has to be installed.

mod accounts;
mod backups;
mod conformance;
mod crash;
mod doctor;
mod elsewhere;
mod fleet;
mod isolation;
mod moves;
mod plans;
mod reconcile;
mod removals;
mod restores;
mod servers;
mod support;
mod tls;
