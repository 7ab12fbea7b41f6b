//! What is checked, and how.

use std::time::Duration;

use super::{Case, Level};
use crate::Secret;

/// A broker, and what a checker may know about it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Its base URL.
    pub url: String,
    /// The user name it accepts.
    pub username: String,
    /// The password it accepts.
    pub password: Secret,
    /// A plan for the instances; none: the first that the broker lists.
    pub plan: Option<String>,
    /// A plan whose instances take a while, for cases about instances that are not ready.
    pub slow_plan: Option<String>,
    /// A pool and its cluster, for a broker that serves several clusters.
    pub pool: Option<(String, String)>,
    /// Parameters that every create needs.
    pub parameters: Vec<(String, String)>,
    /// The name of a whole-number parameter of create.
    pub integer_parameter: Option<String>,
    /// The name of a list parameter of create.
    pub list_parameter: Option<String>,
    /// The name and a value of a parameter of create that has a dot in its name.
    pub dotted_parameter: Option<(String, String)>,
    /// How many requests may be on their way at once, in cases that need several.
    pub parallel: usize,
    /// How long to wait after each request.
    pub delay: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long an instance may take to become ready, or to go.
    pub ready_within: Duration,
}

impl Options {
    /// Checks this broker with what needs no further knowledge of it.
    #[must_use]
    pub fn new(url: &str, username: &str, password: Secret) -> Self {
        Self {
            url: url.trim_end_matches('/').to_owned(),
            username: username.to_owned(),
            password,
            plan: None,
            slow_plan: None,
            pool: None,
            parameters: Vec::new(),
            integer_parameter: None,
            list_parameter: None,
            dotted_parameter: None,
            parallel: 3,
            delay: Duration::ZERO,
            timeout: Duration::from_secs(300),
            ready_within: Duration::from_secs(60),
        }
    }
}

/// Which cases are run.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Selection {
    /// Only these numbers and ranges (`A64`, `A70-A75`); empty: all.
    pub only: Vec<String>,
    /// Not these.
    pub skip: Vec<String>,
    /// Only cases that matter at least this much; none: all.
    pub level: Option<Level>,
}

impl Selection {
    /// Those of `cases` that are selected, in their order.
    ///
    /// # Errors
    /// With a sentence, when a number or range names no case.
    pub fn of(&self, cases: &[Case]) -> Result<Vec<Case>, String> {
        let (only, skip) = (ranges(&self.only, cases)?, ranges(&self.skip, cases)?);
        let holds = |ranges: &[Range], id| ranges.iter().any(|range| range.holds(id));
        let selected = cases.iter().filter(|case| {
            (only.is_empty() || holds(&only, case.id))
                && !holds(&skip, case.id)
                && self.level.is_none_or(|level| case.level <= level)
        });
        Ok(selected.copied().collect())
    }
}

/// Numbers of one letter.
struct Range {
    letter: char,
    first: u32,
    last: u32,
}

impl Range {
    fn holds(&self, id: &str) -> bool {
        number(id).is_some_and(|(letter, number)| letter == self.letter && (self.first..=self.last).contains(&number))
    }
}

fn number(id: &str) -> Option<(char, u32)> {
    let letter = id.chars().next()?;
    let number = id.get(letter.len_utf8()..)?.parse().ok()?;
    Some((letter.to_ascii_uppercase(), number))
}

fn ranges(texts: &[String], cases: &[Case]) -> Result<Vec<Range>, String> {
    texts.iter().map(|text| range(text.trim(), cases)).collect()
}

fn range(text: &str, cases: &[Case]) -> Result<Range, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let parsed = number(first).zip(number(last)).filter(|(first, last)| first.0 == last.0);
    let range = parsed.map(|(first, last)| Range { letter: first.0, first: first.1, last: last.1 });
    range
        .filter(|range| cases.iter().any(|case| range.holds(case.id)))
        .ok_or_else(|| format!("\"{text}\" names no case: give a number like A64, or a range like A70-A75"))
}
