//! A broker in any language: a catalog in a file, and an executable for each operation.
//!
//! `catalog` reads the file, `broker` asks and answers as the framework wants, `run` runs an executable, and
//! `hidden` keeps secrets out of the log. The contract with the executables is in the README.

mod broker;
mod catalog;
mod hidden;
mod run;

pub use broker::{CommandBroker, Config};
pub use catalog::Service;
