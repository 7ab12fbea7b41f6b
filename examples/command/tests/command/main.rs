//! The broker of executables: the contract with them, and the services that come with it.

mod contract;
mod services;
mod support;
