//! `doctor`: whether the broker could do its work, and what its operator will regret (SPEC X-6).

use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand, error::ErrorKind};

use super::{Cli, check::Check};
use crate::Broker;

const NAME: &str = "doctor";
const ABOUT: &str = "Say whether the broker could do its work and what is set up badly, changing nothing";

/// A subcommand that is there only when its author looks at something.
#[derive(Debug)]
pub(super) struct Doctor<C: Args>(Box<Check<C>>);

impl<C: Args> Doctor<C> {
    pub(super) fn added_to(command: Command, settings: &'static str) -> Command {
        // What the author's settings say of themselves would else be said of the subcommand.
        command.subcommand(Check::<C>::augment_args(Command::new(NAME)).about(ABOUT).after_help(settings))
    }

    pub(super) async fn run<B: Broker, X: Subcommand>(
        self,
        mut cli: Cli<C, X>,
        start: impl AsyncFnOnce(C) -> anyhow::Result<B>,
    ) -> anyhow::Result<()> {
        let doctor = cli.doctor.take();
        self.0.examine(cli, doctor, start).await
    }
}

impl<C: Args> FromArgMatches for Doctor<C> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        match matches.subcommand() {
            Some((NAME, ours)) => Ok(Self(Box::new(Check::from_arg_matches(ours)?))),
            _ => Err(clap::Error::new(ErrorKind::InvalidSubcommand)),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<C: Args> Subcommand for Doctor<C> {
    fn augment_subcommands(command: Command) -> Command {
        command
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        command
    }

    fn has_subcommand(name: &str) -> bool {
        name == NAME
    }
}
