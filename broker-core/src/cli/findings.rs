//! What `check` and `doctor` found, a line each (SPEC X-4, X-6).

use std::{
    fmt::{self, Display},
    io::Write as _,
};

use anyhow::Context as _;
use serde::Serialize;

use super::show::{json_line, output, plain};

/// What a check found: a line each, good or wrong.
///
/// ```
/// # use broker_core::cli::Findings;
/// # fn look(version: &str, is_persistent: bool, findings: &mut Findings) {
/// findings.found("server", format!("Redis {version} at 10.0.0.9"));
/// if !is_persistent {
///     findings.warning("server", "it keeps nothing on disk: set `appendonly yes`, or a restart loses all data");
/// }
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Findings(Vec<Finding>);

#[derive(Debug, Serialize)]
struct Finding {
    level: Level,
    what: String,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warning,
    Error,
}

impl Findings {
    /// Something that works, in a few words: `findings.found("server", "Redis 8.0 at 10.0.0.9")`.
    pub fn found(&mut self, what: impl Display, text: impl Display) {
        self.add(Level::Ok, what, text);
    }

    /// Something that works and that the operator will regret, in a sentence that says why, and what to do.
    pub fn warning(&mut self, what: impl Display, sentence: impl Display) {
        self.add(Level::Warning, what, sentence);
    }

    /// Something that keeps the broker from working, in a sentence that says what to do. Never put a secret into it.
    pub fn problem(&mut self, what: impl Display, sentence: impl Display) {
        self.add(Level::Error, what, sentence);
    }

    /// What works, or a problem.
    pub fn add_result(&mut self, what: impl Display, outcome: anyhow::Result<impl Display>) {
        match outcome {
            Ok(text) => self.found(what, text),
            Err(problem) => self.problem(what, format!("{problem:#}")),
        }
    }

    fn add(&mut self, level: Level, what: impl Display, text: impl Display) {
        self.0.push(Finding { level, what: plain(&what.to_string()), text: plain(&text.to_string()) });
    }

    pub(super) fn append(&mut self, mut further: Self) {
        self.0.append(&mut further.0);
    }

    /// All of them on standard output, and an error when one of them is.
    pub(super) fn print(&self, as_json: bool) -> anyhow::Result<()> {
        let mut out = output();
        if as_json {
            self.0.iter().try_for_each(|finding| json_line(&mut out, finding))?;
        } else {
            write!(out, "{self}").context("cannot print")?;
        }
        out.flush().context("cannot print")?;
        match self.0.iter().filter(|finding| finding.level == Level::Error).count() {
            0 => Ok(()),
            1 => anyhow::bail!("one thing keeps the broker from working, see above"),
            number => anyhow::bail!("{number} things keep the broker from working, see above"),
        }
    }
}

/// A line each, as they are printed.
impl Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|finding| finding.what.chars().count()).max().unwrap_or_default();
        self.0.iter().try_for_each(|Finding { level, what, text }| {
            let level = match level {
                Level::Ok => "ok",
                Level::Warning => "warning",
                Level::Error => "error",
            };
            writeln!(f, "{level:<7}  {what:<width$}  {text}")
        })
    }
}
