//! The command line of a broker's binary.
//!
//! | Subcommand | |
//! |---|---|
//! | `serve` | serves the broker until it is told to stop |
//! | `check` | says whether `serve` would start, without changing anything |
//! | `doctor` | says whether the broker could do its work, where the [author](Cli::doctor) looks at that |
//! | `manifest` | prints what registers the broker at a platform |
//! | `instances`, `operations` | show the records, also while the broker runs |
//! | `reconcile` | lists what differs between records and servers, and repairs it, where the [author](Cli::reconcile) can |
//! | `rotate-key` | seals the records with a new key |
//! | `hash-password` | prints a line for a file of credentials |
//! | `openapi` | prints the document of the HTTP interface |
//! | `catalog` | prints the plans and their parameters as a page in Markdown |
//! | `completions` | prints a shell's completions |
//!
//! Every setting is a flag, a variable in the environment, or a key in a TOML file (`--config`), the author's own ones
//! too; the first of these that names it wins (SPEC X-1).
//!
//! ```no_run
//! use broker_core::cli::{self, About};
//! # use async_trait::async_trait;
//! # use broker_core::{Binding, Broker, Catalog, EnvVars, Instance, Notes, Plan, Result};
//! # struct Motd;
//! # #[async_trait]
//! # impl Broker for Motd {
//! #     fn catalog(&self) -> Catalog { Catalog::new("motd".parse().unwrap()) }
//! #     async fn provision(&self, _: &Instance) -> Result<Notes> { Ok(Notes::new()) }
//! #     async fn bind(&self, _: &Instance, _: &Binding) -> Result<EnvVars> { Ok(EnvVars::default()) }
//! # }
//!
//! #[derive(clap::Args)]
//! struct Config {
//!     /// The word of the day.
//!     #[arg(long, env = "MOTD_WORD", default_value = "be kind")]
//!     word: String,
//! }
//!
//! #[tokio::main]
//! async fn main() -> std::process::ExitCode {
//!     let about = About::new("motd", env!("CARGO_PKG_VERSION"), "Hands out kind words.");
//!     cli::run(about, async |_: Config| Ok(Motd)).await
//! }
//! ```
//!
//! [`Cli`] is the same with subcommands and checks of the author's own.

mod author;
mod catalog;
mod catalog_page;
mod check;
mod completions;
mod doctor;
mod drift;
mod file;
mod findings;
mod hash_password;
mod instances;
mod logging;
mod login;
mod manifest;
mod network;
mod openapi;
mod operations;
mod optional;
mod program;
mod reconcile;
mod records;
mod rotate_key;
mod serve;
mod show;
mod timing;

pub use author::{Cli, NoCommands};
pub use drift::Drift;
pub use findings::Findings;
pub use records::Records;

use std::process::ExitCode;

use crate::Broker;

/// What a broker says about itself.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct About {
    /// The service's name, as in its catalog.
    pub service: &'static str,
    /// The binary's version.
    pub version: &'static str,
    /// One sentence for `--help`.
    pub about: &'static str,
}

impl About {
    /// The service's name, the binary's version, and one sentence for `--help`.
    #[must_use]
    pub const fn new(service: &'static str, version: &'static str, about: &'static str) -> Self {
        Self { service, version, about }
    }
}

/// Runs a broker's binary: reads the command line and does what it says with the broker that `start` makes of its
/// configuration. `check`, `catalog` and `openapi` start it too; where that starts servers, say so to [`Cli::catalog`].
///
/// What goes wrong is one sentence on standard error and exit status 1; a wrong command line or configuration file is 2.
pub async fn run<B, C>(about: About, start: impl AsyncFnOnce(C) -> anyhow::Result<B>) -> ExitCode
where
    B: Broker,
    C: clap::Args,
{
    Cli::<C>::new(about).run(start).await
}
