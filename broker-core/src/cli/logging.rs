//! The log, on standard error.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// What is logged when nobody says otherwise.
const USUAL: &str = "info";

#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Log")]
pub(super) struct Logging {
    /// How lines of the log are written
    #[arg(long, env = "BROKER_LOG", value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    log: Format,
    /// What is logged: error, warn, info, debug, trace, or a list like `info,broker_core=debug`
    /// [default: RUST_LOG in the environment, or info]
    #[arg(long, env = "BROKER_LOG_LEVEL", value_name = "LEVEL", value_parser = level)]
    log_level: Option<String>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// An object a line, for programs
    Json,
}

fn level(text: &str) -> Result<String, String> {
    // A word alone would be taken for a part of the program, and nothing be logged.
    let is_level = |part: &str| part.contains(['=', '[']) || part.trim().parse::<LevelFilter>().is_ok();
    match EnvFilter::builder().parse(text) {
        Ok(_) if text.split(',').all(is_level) => Ok(text.to_owned()),
        _ => Err("it is no level: error, warn, info, debug, trace, or a list like info,broker_core=debug".to_owned()),
    }
}

impl Logging {
    pub(super) fn begin(&self) {
        let filter = match &self.log_level {
            Some(level) => EnvFilter::new(level),
            None => EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(USUAL)),
        };
        let logging = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
        let begun = match self.log {
            Format::Text => logging.with_target(false).with_ansi(io::stderr().is_terminal()).try_init(),
            Format::Json => logging.json().with_ansi(false).try_init(),
        };
        if let Err(already) = begun {
            eprintln!("warning: logging was set up before: {already}");
        }
    }
}
