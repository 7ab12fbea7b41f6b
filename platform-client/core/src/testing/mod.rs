//! In-memory ports, and the contract each port must keep: one function a port, run by its fake in
//! milliseconds and by the real adapter where it exists.

pub mod brokers;
pub mod engine;
pub mod routes;
pub mod store;
