//! The `tsuru` binary against a platform that follows a script: what it asks on the wire, and what it prints.

mod apps;
mod deploys;
mod git;
mod harness;
mod instances;
mod lists;
mod services;
mod session;
mod streams;
mod units;
