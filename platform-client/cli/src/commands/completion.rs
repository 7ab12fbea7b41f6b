//! Completion scripts.

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{args::Cli, session::Tsuru};

/// `completion SHELL`
#[derive(Args, Debug)]
#[command(after_help = "For example, in ~/.bashrc:\n  source <(tsuru completion bash)")]
pub(crate) struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    pub(crate) fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "tsuru", &mut script);
        tsuru.screen.write(&String::from_utf8_lossy(&script))
    }
}
