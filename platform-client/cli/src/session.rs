//! What a command has at hand: the platform it talks to, and the screen it prints on.

use std::{env, io, io::IsTerminal};

use anyhow::{Result, bail};
use broker_core::Secret;

use crate::{
    args::Cli,
    client::Api,
    render::Screen,
    target::{Files, Target},
};

/// What a command has at hand.
#[derive(Debug)]
pub(crate) struct Tsuru {
    /// What the client remembers.
    pub(crate) files: Files,
    /// Where the output goes.
    pub(crate) screen: Screen,
    chosen: Option<String>,
    verbosity: u8,
}

impl Tsuru {
    /// Reads the environment. Nothing is asked of the platform yet.
    pub(crate) fn new(cli: &Cli) -> Result<Self> {
        let verbosity = match cli.verbosity {
            Some(level) => level,
            None => variable("TSURU_VERBOSITY").and_then(|level| level.parse().ok()).unwrap_or(0),
        };
        Ok(Self {
            files: Files::of_user()?,
            screen: Screen::of_process(),
            chosen: cli.target.clone().or_else(|| variable("TSURU_TARGET")),
            verbosity,
        })
    }

    /// The platform to talk to.
    pub(crate) fn target(&self) -> Result<Target> {
        self.files.target(self.chosen.as_deref())
    }

    /// A client of that platform, with the user's token.
    pub(crate) fn api(&self) -> Result<Api> {
        let target = self.target()?;
        let token = self.token(&target)?;
        Api::new(target, token, self.verbosity)
    }

    /// The user's token for a platform.
    pub(crate) fn token(&self, target: &Target) -> Result<Option<Secret>> {
        match token_from_environment() {
            Some(token) => Ok(Some(token)),
            None => self.files.token(target),
        }
    }

    /// Whether somebody can be asked for a password now.
    pub(crate) fn somebody_is_there(&self) -> bool {
        io::stdin().is_terminal() && io::stdout().is_terminal() && token_from_environment().is_none()
    }

    /// Refuses when the token is set by the environment: then there is no session to begin or end.
    pub(crate) fn needs_no_token_variable(&self) -> Result<()> {
        if token_from_environment().is_some() {
            bail!("this command can't run with $TSURU_TOKEN environment variable set. Did you forget to unset?");
        }
        Ok(())
    }
}

/// The token that `TSURU_TOKEN` holds.
pub(crate) fn token_from_environment() -> Option<Secret> {
    variable("TSURU_TOKEN").map(Secret::from)
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
