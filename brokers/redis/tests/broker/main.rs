//! The Redis broker against real servers, which the tests start: `redis-server` has to be installed.

mod accounts;
mod conformance;
mod crash;
mod doctor;
mod fleet;
mod isolation;
mod moves;
mod plans;
mod reconcile;
mod servers;
mod support;
mod tls;
