//! A whole platform from outside: the real binaries, Docker, Redis, MariaDB and git, each world with
//! its own folder, ports and containers, gone when it is dropped.

mod apps;
mod command;
mod process;
mod world;

pub use apps::teacup;
pub use command::{Ran, run};
pub use process::{Daemon, free_port};
pub use world::{Page, World};
