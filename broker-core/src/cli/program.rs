//! Which subcommands there are, and what is done with each.

use std::{ffi::OsString, io, path::PathBuf, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _, error::ErrorKind};

use super::{
    About, Cli,
    catalog::ShowCatalog,
    check::Check,
    completions::Completions,
    doctor::Doctor,
    file,
    hash_password::HashPassword,
    instances::Instances,
    manifest::Manifest,
    openapi::OpenApi,
    operations::Operations,
    optional::Optional,
    reconcile::{Differs, Reconcile},
    rotate_key::RotateKey,
    serve::Serve,
};
use crate::Broker;

const SETTINGS: &str = "Settings that no flag names come from the environment, then from the file given by --config, \
                        a key of the flag's name for each: `max-requests = 100`. Passwords are in files of their own \
                        or in the environment, where other users of the machine don't see them.";

#[derive(Debug, clap::Parser)]
#[command(arg_required_else_help = true, after_help = SETTINGS)]
#[group(skip)]
pub(super) struct Program<C: clap::Args, X: clap::Subcommand> {
    /// TOML file with settings
    #[arg(long, global = true, env = "BROKER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    pub(super) command: Command<C, X>,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command<C: clap::Args, X: clap::Subcommand> {
    /// Serve the broker until it is told to stop
    #[command(after_help = SETTINGS)]
    Serve(Box<Serve<C>>),
    /// Say whether `serve` would start, without changing anything
    #[command(after_help = SETTINGS)]
    Check(Box<Check<C>>),
    /// Print the manifest that registers this broker: `... manifest | tsuru service create -`
    Manifest(Manifest),
    /// List the instances, also while the broker runs
    Instances(Instances),
    /// Show what was done to an instance, the latest first, also while the broker runs
    Operations(Operations),
    /// Seal the records with a new key and forget the old one; the broker must not run
    #[command(long_about = RotateKey::ABOUT)]
    RotateKey(RotateKey),
    /// Print a line with a password's hash, for the files of credentials: `... hash-password NAME >> FILE`
    #[command(long_about = HashPassword::ABOUT)]
    HashPassword(HashPassword),
    /// Print the OpenAPI document of the broker's HTTP interface
    #[command(name = "openapi")]
    OpenApi(OpenApi<C>),
    /// Print the plans and their parameters as a page in Markdown
    Catalog(ShowCatalog<C>),
    /// Print completions for a shell
    Completions(Completions),
    #[command(flatten)]
    Author(X),
    /// The last, so that an author without one may have an own subcommand of its name.
    #[command(flatten)]
    Doctor(Optional<Doctor<C>>),
    #[command(flatten)]
    Reconcile(Optional<Reconcile<C>>),
}

/// Does what the process's arguments say.
pub(super) async fn run<B, C, X>(cli: Cli<C, X>, start: impl AsyncFnOnce(C) -> anyhow::Result<B>) -> ExitCode
where
    B: Broker,
    C: clap::Args,
    X: clap::Subcommand,
{
    let about = cli.about;
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let command = match parse(&cli, &arguments) {
        Ok(program) => program.command,
        Err(Wrong::Usage(usage)) => usage.exit(),
        Err(Wrong::File(refusal)) => {
            eprintln!("error: {refusal}");
            return ExitCode::from(2);
        }
    };
    let outcome = match command {
        Command::Serve(serve) => serve.run(cli, start).await,
        Command::Check(check) => check.run(cli, start).await,
        Command::Doctor(doctor) => doctor.0.run(cli, start).await,
        Command::Reconcile(reconcile) => reconcile.0.run(cli).await,
        Command::Manifest(manifest) => manifest.run(about),
        Command::Instances(instances) => instances.run(about).await,
        Command::Operations(operations) => operations.run(about).await,
        Command::RotateKey(rotate) => rotate.run(about).await,
        Command::HashPassword(hash) => hash.run(),
        Command::OpenApi(openapi) => openapi.run(cli, start).await,
        Command::Catalog(catalog) => catalog.run(cli, start).await,
        Command::Completions(completions) => completions.run(command_of(&cli)),
        Command::Author(command) => (cli.commands)(command).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if is_closed_pipe(&failure) => ExitCode::SUCCESS,
        Err(failure) if failure.is::<Differs>() => {
            eprintln!("{failure}");
            ExitCode::from(Differs::STATUS)
        }
        Err(failure) => {
            eprintln!("error: {failure:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whoever reads our output has seen enough of it: `... instances | head`.
fn is_closed_pipe(failure: &anyhow::Error) -> bool {
    let io = failure.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    io.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Why there is nothing to be done.
#[derive(Debug)]
enum Wrong {
    Usage(clap::Error),
    File(file::Refusal),
}

fn command_of<C: clap::Args, X: clap::Subcommand>(cli: &Cli<C, X>) -> clap::Command {
    let About { service, version, about } = cli.about;
    let command = Program::<C, X>::command().name(format!("{service}-broker")).version(version).about(about);
    let command = if cli.doctor.is_some() { Optional::<Doctor<C>>::added_to(command, SETTINGS) } else { command };
    if cli.reconcile.is_some() { Optional::<Reconcile<C>>::added_to(command, SETTINGS) } else { command }
}

/// Reads the arguments twice: once for the file they name, then with the file's values as defaults, so that every
/// setting is defined in one place.
fn parse<C, X>(cli: &Cli<C, X>, arguments: &[OsString]) -> Result<Program<C, X>, Wrong>
where
    C: clap::Args,
    X: clap::Subcommand,
{
    let command = command_of(cli);
    let command = match file_in(&command, arguments).map_err(Wrong::Usage)? {
        Some(file) => file::apply(command, &file).map_err(Wrong::File)?,
        None => command,
    };
    let matches = command.try_get_matches_from(arguments).map_err(Wrong::Usage)?;
    Program::from_arg_matches(&matches).map_err(Wrong::Usage)
}

/// The file that the arguments or the environment name, whatever else is wrong with them.
fn file_in(command: &clap::Command, arguments: &[OsString]) -> Result<Option<PathBuf>, clap::Error> {
    match command.clone().ignore_errors(true).try_get_matches_from(arguments) {
        Ok(matches) => {
            // What writes a file of the shell's, or nothing, needs no settings.
            let needs_none = matches!(matches.subcommand_name(), None | Some("completions"));
            Ok(matches.get_one::<PathBuf>("config").filter(|_| !needs_none).cloned())
        }
        Err(asked) if matches!(asked.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => Err(asked),
        Err(_) => Ok(None),
    }
}
