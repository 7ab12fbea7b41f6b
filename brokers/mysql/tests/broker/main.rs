//! The MySQL broker against real servers, which the tests start: `mariadbd` has to be installed.

mod accounts;
mod backups;
mod conformance;
mod containers;
mod crash;
mod dedicated;
mod doctor;
mod elsewhere;
mod fleet;
mod frameworks;
mod isolation;
mod moves;
mod quotas;
mod read_only;
mod reconcile;
mod removals;
mod servers;
mod support;
mod tls;
mod usage;
