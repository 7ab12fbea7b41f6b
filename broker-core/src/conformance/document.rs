//! All cases as a page for people: what is asked of a broker, in order.

use std::fmt::Write as _;

use super::Dialect;

const OPENING: &str = "\
# What is asked of a broker

Every line is a case of the checker: a number that stays, how much it matters, and what has to be so. `broker-check URL`
runs them against any broker, `broker_core::testing::conformance` in a test. This page is written by
`broker-check --document`; a test keeps it in step with the code.

- **must**: without it, platforms do not work with the broker;
- **should**: nothing breaks at once, but drift, leaks or bad messages follow;
- **optional**: only for brokers that claim the feature;
- **legacy**: for platforms of the past.

A case that can't be tried on a broker is skipped, and says why: there is no work that goes on (`--slow-plan`), no way to
try credentials (`--probe`), or the catalog does not claim the feature.

The checker is itself checked: a broker that is right passes every case, and every assertion of the cases is seen to fail
on a broker that is wrong in just that. A new assertion needs a wrong broker (`tests/conformance`).

What both texts demand beyond these cases, and what shows it of this framework, is in [CONTRACT.md](CONTRACT.md).
";

/// The cases of both dialects in Markdown, a table for each chapter.
#[must_use]
pub fn document() -> String {
    let mut text = OPENING.to_owned();
    for dialect in Dialect::ALL {
        let mut chapter = "";
        let cases = dialect.cases();
        let _ = writeln!(text, "\n## {}: {} cases", dialect.name(), cases.len());
        for case in cases {
            if case.chapter != chapter {
                chapter = case.chapter;
                let _ = writeln!(text, "\n### {chapter}\n\n| Case | Level | What has to be so |\n|---|---|---|");
            }
            let title = case.title.replace('|', "\\|");
            let _ = writeln!(text, "| {} | {} | {title} |", case.id, case.level.name());
        }
    }
    text
}
