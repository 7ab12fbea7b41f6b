//! What came of a run.

use std::{collections::BTreeSet, panic::Location, time::Duration};

use super::{Case, Level};

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The broker does what is asked.
    Passed,
    /// It does not.
    Failed {
        /// What the contract asks for.
        expected: String,
        /// What the broker did. Long bodies are cut, credentials left out.
        seen: String,
    },
    /// The case could not be tried, and why.
    Skipped(String),
}

/// A case, and how it ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// The case.
    pub case: Case,
    /// How it ended.
    pub verdict: Verdict,
    /// Where the checker's code asks for what was not seen; none when the case did not fail.
    pub asked_at: Option<&'static Location<'static>>,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// Whether the broker does not do what is asked.
    #[must_use]
    pub fn failed(&self) -> bool {
        matches!(self.verdict, Verdict::Failed { .. })
    }
}

/// What came of the cases.
#[derive(Clone, Debug, Default)]
#[must_use]
#[non_exhaustive]
pub struct Report {
    /// The cases, in the order they were run.
    pub outcomes: Vec<Outcome>,
    /// Instances that could not be removed, with the reason.
    pub left_behind: Vec<String>,
    /// How long all took.
    pub took: Duration,
}

impl Report {
    /// How many cases were tried: all but the skipped ones.
    #[must_use]
    pub fn count(&self) -> usize {
        self.outcomes.iter().filter(|outcome| !matches!(outcome.verdict, Verdict::Skipped(_))).count()
    }

    /// The numbers of the cases that were skipped: a test that names them hears when one is skipped that was not before.
    #[must_use]
    pub fn skipped(&self) -> BTreeSet<&'static str> {
        let skipped = self.outcomes.iter().filter(|outcome| matches!(outcome.verdict, Verdict::Skipped(_)));
        skipped.map(|outcome| outcome.case.id).collect()
    }

    /// How many passed, failed and were skipped.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let failed = self.failed(None);
        (self.count() - failed, failed, self.outcomes.len() - self.count())
    }

    /// How many failed, of a level or of all.
    #[must_use]
    pub fn failed(&self, level: Option<Level>) -> usize {
        let failed = self.outcomes.iter().filter(|outcome| outcome.failed());
        failed.filter(|outcome| level.is_none_or(|level| outcome.case.level == level)).count()
    }

    /// How a case ended; none when it was not run.
    #[must_use]
    pub fn verdict(&self, id: &str) -> Option<&Verdict> {
        self.outcomes.iter().find(|outcome| outcome.case.id == id).map(|outcome| &outcome.verdict)
    }

    /// Insists that no case failed, whatever its level, and that nothing was left behind.
    ///
    /// # Panics
    /// Otherwise; the text lists all failures.
    #[track_caller]
    pub fn is_clean(&self) {
        let failures = self.outcomes.iter().filter_map(|outcome| match &outcome.verdict {
            Verdict::Failed { expected, seen } => Some(format!("{}: expected {expected}; {seen}", outcome.case.id)),
            _ => None,
        });
        let failures: Vec<_> = failures.chain(self.left_behind.iter().cloned()).collect();
        assert!(
            failures.is_empty(),
            "{} of {} cases failed:\n{}",
            self.failed(None),
            self.count(),
            failures.join("\n")
        );
    }
}
