//! `completions`: what a shell offers when somebody presses tab.

use std::io::{self, Write as _};

use anyhow::Context as _;
use clap_complete::{Shell, generate};

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Completions {
    /// Which shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, mut command: clap::Command) -> anyhow::Result<()> {
        let name = command.get_name().to_owned();
        let mut text = Vec::new();
        generate(self.shell, &mut command, name, &mut text);
        io::stdout().write_all(&text).context("cannot print the completions")
    }
}
