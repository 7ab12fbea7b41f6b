//! `doctor`: whether the broker could do its work, and what its operator will regret (SPEC X-6).

use super::{Cli, check::Check, optional::Named};
use crate::Broker;

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Doctor<C: clap::Args> {
    #[command(flatten)]
    check: Check<C>,
}

impl<C: clap::Args> Named for Doctor<C> {
    const NAME: &str = "doctor";
    const ABOUT: &str = "Say whether the broker could do its work and what is set up badly, changing nothing";
}

impl<C: clap::Args> Doctor<C> {
    pub(super) async fn run<B: Broker, X: clap::Subcommand>(
        self,
        mut cli: Cli<C, X>,
        start: impl AsyncFnOnce(C) -> anyhow::Result<B>,
    ) -> anyhow::Result<()> {
        let doctor = cli.doctor.take();
        self.check.examine(cli, doctor, start).await
    }
}
