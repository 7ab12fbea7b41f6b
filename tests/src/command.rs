//! Programs that run to their end.

use std::{
    path::Path,
    process::{Command, Output},
};

/// What a program printed and how it ended.
#[derive(Debug)]
pub struct Ran {
    what: String,
    output: Output,
}

impl Ran {
    /// Runs it to its end.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn of(command: &mut Command) -> Self {
        let what = format!("{command:?}");
        let output = command.output().unwrap_or_else(|reason| panic!("{what} cannot be started: {reason}"));
        Self { what, output }
    }

    /// Standard output.
    #[must_use]
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    /// Standard error.
    #[must_use]
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// Whether it ended with status 0.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.output.status.success()
    }

    /// Its standard output, if it succeeded.
    ///
    /// # Panics
    /// When it failed.
    pub fn ok(&self) -> String {
        assert!(
            self.succeeded(),
            "{} failed ({})\n{}\n{}",
            self.what,
            self.output.status,
            self.stdout(),
            self.stderr()
        );
        self.stdout()
    }

    /// Asserts that it failed and said this on standard error.
    ///
    /// # Panics
    /// When it succeeded, or said something else.
    pub fn fails_with(&self, sentence: &str) {
        assert!(!self.succeeded(), "{} succeeded\n{}", self.what, self.stdout());
        let said = format!("{}{}", self.stderr(), self.stdout());
        assert!(said.contains(sentence), "{} should say {sentence:?}, and says\n{said}", self.what);
    }
}

/// Runs a program in a folder.
#[must_use]
pub fn run(folder: &Path, program: &str, arguments: &[&str]) -> Ran {
    Ran::of(Command::new(program).args(arguments).current_dir(folder))
}
