//! The commands, a file for each noun.

pub(crate) mod app;
pub(crate) mod cname;
pub(crate) mod completion;
pub(crate) mod deploy;
pub(crate) mod env;
pub(crate) mod event;
pub(crate) mod git;
pub(crate) mod instance;
pub(crate) mod login;
pub(crate) mod password;
pub(crate) mod plan;
pub(crate) mod platform;
pub(crate) mod pool;
pub(crate) mod router;
pub(crate) mod service;
pub(crate) mod short_bind;
pub(crate) mod target;
pub(crate) mod team;
pub(crate) mod unit;
pub(crate) mod user;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use crate::session::Tsuru;

/// All commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Log in to a platform
    Login(login::Login),
    /// End the session
    Logout(login::Logout),
    /// Show the versions of this client and of the platform
    Version(login::Version),
    /// Choose the platform to talk to
    #[command(subcommand)]
    Target(target::TargetCommand),
    /// Create, deploy and run apps
    #[command(subcommand)]
    App(app::AppCommand),
    /// Say how many units an app has
    #[command(subcommand)]
    Unit(unit::UnitCommand),
    /// Environment variables of an app
    #[command(subcommand)]
    Env(env::EnvCommand),
    /// Domain names of your own for an app
    #[command(subcommand)]
    Cname(cname::CnameCommand),
    /// Services, and instances of them for your apps
    #[command(subcommand)]
    Service(service::ServiceCommand),
    /// Push code with git
    #[command(subcommand)]
    Git(git::GitCommand),
    /// What code is built on
    #[command(subcommand)]
    Platform(platform::PlatformCommand),
    /// Sizes of units
    #[command(subcommand)]
    Plan(plan::PlanCommand),
    /// Where units run
    #[command(subcommand)]
    Pool(pool::PoolCommand),
    /// What leads requests to apps
    #[command(subcommand)]
    Router(router::RouterCommand),
    /// Teams, who own apps and instances
    #[command(subcommand)]
    Team(team::TeamCommand),
    /// Users
    #[command(subcommand)]
    User(user::UserCommand),
    /// What was done, by whom, and how it went
    #[command(subcommand)]
    Event(event::EventCommand),
    /// Change your password
    ChangePassword(password::ChangePassword),
    /// Print a completion script for a shell
    Completion(completion::Completion),
}

impl Command {
    /// Does it.
    pub(crate) async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        match self {
            Self::Login(command) => command.run(tsuru).await,
            Self::Logout(command) => command.run(tsuru).await,
            Self::Version(command) => command.run(tsuru).await,
            Self::Target(command) => command.run(tsuru),
            Self::App(command) => command.run(tsuru).await,
            Self::Unit(command) => command.run(tsuru).await,
            Self::Env(command) => command.run(tsuru).await,
            Self::Cname(command) => command.run(tsuru).await,
            Self::Service(command) => command.run(tsuru).await,
            Self::Git(command) => command.run(tsuru).await,
            Self::Platform(command) => command.run(tsuru).await,
            Self::Plan(command) => command.run(tsuru).await,
            Self::Pool(command) => command.run(tsuru).await,
            Self::Router(command) => command.run(tsuru).await,
            Self::Team(command) => command.run(tsuru).await,
            Self::User(command) => command.run(tsuru).await,
            Self::Event(command) => command.run(tsuru).await,
            Self::ChangePassword(command) => command.run(tsuru).await,
            Self::Completion(command) => command.run(tsuru),
        }
    }

    /// Whether an ended session may be begun again for this command.
    pub(crate) fn may_log_in(&self) -> bool {
        !matches!(self, Self::Login(_) | Self::Logout(_) | Self::Git(_))
    }
}

/// The app a command is about, named with `-a`.
#[derive(Args, Clone, Debug)]
pub(crate) struct AppFlag {
    /// The app
    #[arg(short = 'a', long = "app", value_name = "APP")]
    app: Option<String>,
}

impl AppFlag {
    /// Its name.
    pub(crate) fn name(&self) -> Result<&str> {
        chosen_app(self.app.as_deref(), None)
    }

    /// Its name, if there is one.
    pub(crate) fn given(&self) -> Option<&str> {
        self.app.as_deref()
    }
}

/// The app a command is about, named as an argument or with `-a`.
#[derive(Args, Clone, Debug)]
pub(crate) struct AppArgument {
    /// The app
    #[arg(value_name = "APP")]
    positional: Option<String>,
    /// The app
    #[arg(short = 'a', long = "app", value_name = "APP")]
    app: Option<String>,
}

impl AppArgument {
    /// Its name.
    pub(crate) fn name(&self) -> Result<&str> {
        chosen_app(self.app.as_deref(), self.positional.as_deref())
    }
}

fn chosen_app<'a>(flag: Option<&'a str>, positional: Option<&'a str>) -> Result<&'a str> {
    match (flag, positional) {
        (Some(app), None) | (None, Some(app)) => Ok(app),
        (Some(_), Some(_)) => bail!("the app is named twice: give it either as an argument or with -a/--app"),
        (None, None) => bail!("The name of the app is required.\n\nUse the --app flag to specify it."),
    }
}

/// Whether to go on without asking.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct AssumeYes {
    /// Don't ask whether you are sure
    #[arg(short = 'y', long)]
    pub(crate) assume_yes: bool,
}

/// Parses `key=value`.
pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as key=value".to_owned()),
    }
}
