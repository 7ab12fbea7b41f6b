//! Whether a broker keeps the contract: numbered cases, run over HTTP against a broker that is up, in either
//! [`Dialect`]: A1 to A114 for tsuru's service API, O1 to O186 for the Open Service Broker API.
//!
//! Every [`Case`] is a value with a number, a level and a sentence. It can be run alone, and ends
//! passed, failed (with what was expected and what was seen) or skipped (with the reason). The program
//! `broker-check` is this module with flags; [`testing::conformance`](crate::testing) is it for `cargo test`.
//!
//! The cases only send requests: they work against a broker in any language. What they make they
//! remove, also when a case fails; [`Run::clean_up`] does so when a run is ended early.

/// Lines of a chapter: number, level, function, sentence. Cases of the dialect `$through` get their context through
/// that.
macro_rules! chapter {
    ($chapter:literal, through $through:expr; $($id:literal $level:ident $run:ident $title:literal,)*) => {
        &[$($crate::conformance::Case {
            id: $id,
            level: $crate::conformance::Level::$level,
            chapter: $chapter,
            title: $title,
            run: |context| Box::pin($run($through(context))),
        }),*]
    };
    ($chapter:literal: $($lines:tt)*) => {
        chapter!($chapter, through std::convert::identity; $($lines)*)
    };
}

mod answer;
mod context;
mod dialect;
mod document;
mod options;
mod osb;
mod render;
mod report;
mod tsuru;

use std::{future::Future, panic::Location, pin::Pin};

pub use context::{NoProbe, Probe, Run, Unreachable, Variables};
pub use dialect::{Dialect, Unclear};
pub use document::document;
pub use options::{Options, Selection};
pub use render::{Format, list};
pub use report::{Outcome, Report, Verdict};

use context::Context;

/// How much a case matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Level {
    /// Without it, platforms do not work with the broker.
    Must,
    /// Nothing breaks at once, but drift, leaks or bad messages follow.
    Should,
    /// Only for brokers that claim the feature.
    Optional,
    /// For platforms of the past.
    Legacy,
}

impl Level {
    /// Its name, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Must => "must",
            Self::Should => "should",
            Self::Optional => "optional",
            Self::Legacy => "legacy",
        }
    }
}

/// How a case ends: nothing when it passed.
type Check = Result<(), End>;
type Checking<'c> = Pin<Box<dyn Future<Output = Check> + 'c>>;

/// Why a case did not pass.
enum End {
    /// `at` is the assertion: what asserts is `#[track_caller]`, so that tests can tell which assertions were seen to
    /// fail.
    Failed {
        expected: String,
        seen: String,
        at: &'static Location<'static>,
    },
    Skipped(String),
}

/// One thing that the contract asks of a broker.
#[derive(Clone, Copy)]
pub struct Case {
    /// Its number: `A64`, `O31`.
    pub id: &'static str,
    /// How much it matters.
    pub level: Level,
    /// The chapter it belongs to.
    pub chapter: &'static str,
    /// What is asked, as a sentence.
    pub title: &'static str,
    run: for<'c, 'p> fn(&'c Context<'p>) -> Checking<'c>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Case").field("id", &self.id).field("level", &self.level).finish_non_exhaustive()
    }
}

impl Case {
    /// The dialect it is about.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        if self.id.starts_with('O') { Dialect::Osb } else { Dialect::Tsuru }
    }
}

/// All cases of both dialects, in the order they are run.
#[must_use]
pub fn cases() -> Vec<Case> {
    Dialect::ALL.into_iter().flat_map(Dialect::cases).collect()
}
