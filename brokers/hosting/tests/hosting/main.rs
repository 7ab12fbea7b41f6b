//! Servers come up, survive, come back and go away. They are real: `redis-server` has to be installed, and a
//! Docker engine has to run.

mod backends;
mod containers;
mod doctor;
mod remains;
mod servers;
mod support;
