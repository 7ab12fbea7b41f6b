//! The router from outside: real sockets, small units, no fixed ports.

mod balance;
mod changes;
mod contract;
mod failures;
mod headers;
mod lifetime;
mod streams;
mod support;
