//! Mistakes of brokers, and how the cases about them fail.
//!
//! A line of a list has the mistake (the case's number, and more words where the case has several), what the case
//! expects, and the answer where that was not seen. A case that fails earlier, as in its preparations, has not looked at
//! the mistake.

use broker_core::conformance::{Case, Verdict};

pub(crate) struct Mistake<'l> {
    pub(crate) name: &'l str,
    pub(crate) case: Case,
    line: &'l str,
}

impl<'l> Mistake<'l> {
    /// All of a list, which has at least one for each case.
    pub(crate) fn all(list: &'l str, cases: &[Case]) -> Vec<Self> {
        let mistakes: Vec<_> = list.lines().map(|line| Self::read(line, cases)).collect();
        for case in cases {
            assert!(mistakes.iter().any(|mistake| mistake.case.id == case.id), "no broker is wrong in {}", case.id);
        }
        mistakes
    }

    fn read(line: &'l str, cases: &[Case]) -> Self {
        let (name, _) = line.split_once(" | ").expect("a mistake, and the failure");
        let id = name.split(' ').next().unwrap_or_default();
        let case = cases.iter().find(|case| case.id == id).unwrap_or_else(|| panic!("{id} is no case"));
        Self { name, case: *case, line }
    }

    /// The line as it would have to be; none when it is so.
    pub(crate) fn differs(&self, verdict: Option<&Verdict>) -> Option<String> {
        let line = match verdict {
            Some(Verdict::Failed { expected, seen }) => format!("{} | {expected} | {}", self.name, place(seen)),
            other => format!("{} | {other:?}", self.name),
        };
        (line != self.line).then_some(line)
    }
}

/// A request and its status, without what differs in each run: made-up names, and the body.
fn place(seen: &str) -> String {
    let answer = seen.split(" \"").next().unwrap_or_default().replace(crate::tsuru::PREFIX, "");
    let is_made_up = |part: &str| part.len() > 16 && part.contains('-');
    let words = answer.split(' ').map(|word| {
        let parts: Vec<_> = word.split('/').map(|part| if is_made_up(part) { "x" } else { part }).collect();
        parts.join("/")
    });
    words.collect::<Vec<_>>().join(" ")
}
