//! The API from outside: HTTP in, HTTP out, over a platform on in-memory ports. Tests cite the
//! compatibility checklist of the platform's contract, section 23, as `checklist N`.

mod apps;
mod deploys;
mod harness;
mod people;
mod prepared;
mod services;
mod streams;
mod transport;
mod units;
