//! Subcommands that are there only when their author has something for them to do.

use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand, error::ErrorKind};

/// The arguments of such a subcommand.
pub(super) trait Named: Args {
    const NAME: &str;
    const ABOUT: &str;
    const LONG_ABOUT: Option<&str> = None;
}

/// The subcommand, which is no part of the command before it is added.
#[derive(Debug)]
pub(super) struct Optional<A: Named>(pub(super) Box<A>);

impl<A: Named> Optional<A> {
    pub(super) fn added_to(command: Command, settings: &'static str) -> Command {
        // What the author's settings say of themselves would else be said of the subcommand.
        let own = A::augment_args(Command::new(A::NAME)).about(A::ABOUT).long_about(A::LONG_ABOUT);
        command.subcommand(own.after_help(settings))
    }
}

impl<A: Named> FromArgMatches for Optional<A> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        match matches.subcommand() {
            Some((name, ours)) if name == A::NAME => Ok(Self(Box::new(A::from_arg_matches(ours)?))),
            _ => Err(clap::Error::new(ErrorKind::InvalidSubcommand)),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<A: Named> Subcommand for Optional<A> {
    fn augment_subcommands(command: Command) -> Command {
        command
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        command
    }

    fn has_subcommand(name: &str) -> bool {
        name == A::NAME
    }
}
