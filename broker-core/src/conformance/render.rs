//! A report as people and programs read it.

use std::fmt::Write as _;

use serde_json::json;

use super::{Case, Level, Outcome, Report, Verdict};

/// How a report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
#[non_exhaustive]
pub enum Format {
    /// A table by chapter, and what failed at its end.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// JUnit's XML.
    Junit,
}

impl Report {
    /// The report as text.
    #[must_use]
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Table => self.table(),
            Format::Json => self.json(),
            Format::Junit => self.junit(),
        }
    }

    fn table(&self) -> String {
        let mut text = String::new();
        let mut chapter = "";
        for outcome in &self.outcomes {
            if outcome.case.chapter != chapter {
                chapter = outcome.case.chapter;
                let _ = writeln!(text, "\n{chapter}");
            }
            let _ = writeln!(text, "  {:<8}{}", verdict(outcome), line(&outcome.case));
            if let Verdict::Skipped(reason) = &outcome.verdict {
                let _ = writeln!(text, "{:26}{reason}", "");
            }
        }
        for outcome in &self.outcomes {
            if let Verdict::Failed { expected, seen } = &outcome.verdict {
                let (id, level, title) = (outcome.case.id, outcome.case.level.name(), outcome.case.title);
                let _ = writeln!(text, "\n{id} ({level}): {title}\n  expected  {expected}\n  seen      {seen}");
            }
        }
        for left in &self.left_behind {
            let _ = writeln!(text, "\nLeft behind: {left}");
        }
        let (passed, failed, skipped) = self.counts();
        let took = self.took.as_secs_f64();
        let _ = writeln!(text, "\n{passed} passed, {failed} failed, {skipped} skipped in {took:.1} s");
        text
    }

    fn json(&self) -> String {
        let (passed, failed, skipped) = self.counts();
        let cases: Vec<_> = self.outcomes.iter().map(as_json).collect();
        let report = json!({
            "passed": passed, "failed": failed, "skipped": skipped, "seconds": self.took.as_secs_f64(),
            "left_behind": self.left_behind, "cases": cases,
        });
        format!("{report:#}\n")
    }

    /// The clean-up is a test of its own, after those of the cases.
    fn junit(&self) -> String {
        let (_, failed, skipped) = self.counts();
        let mut text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"broker-check\" tests=\"{}\" failures=\"{}\" \
             skipped=\"{skipped}\" time=\"{:.3}\">\n",
            self.outcomes.len() + 1,
            failed + usize::from(!self.left_behind.is_empty()),
            self.took.as_secs_f64()
        );
        for outcome in &self.outcomes {
            let (name, class) = (escaped(&format!("{} {}", outcome.case.id, outcome.case.title)), outcome.case.chapter);
            let time = outcome.took.as_secs_f64();
            let _ = write!(text, "  <testcase classname=\"{}\" name=\"{name}\" time=\"{time:.3}\">", escaped(class));
            let _ = match &outcome.verdict {
                Verdict::Passed => Ok(()),
                Verdict::Failed { expected, seen } => {
                    write!(text, "<failure message=\"expected {}\">{}</failure>", escaped(expected), escaped(seen))
                }
                Verdict::Skipped(reason) => write!(text, "<skipped message=\"{}\"/>", escaped(reason)),
            };
            text += "</testcase>\n";
        }
        text += "  <testcase classname=\"Clean-up\" name=\"What the cases made is removed\">";
        if !self.left_behind.is_empty() {
            let left = escaped(&self.left_behind.join("\n"));
            let _ = write!(text, "<failure message=\"expected nothing to be left behind\">{left}</failure>");
        }
        text + "</testcase>\n</testsuite>\n"
    }
}

/// The cases as a list, a line for each.
#[must_use]
pub fn list(cases: &[Case]) -> String {
    cases.iter().map(|case| format!("{}\n", line(case))).collect()
}

fn line(case: &Case) -> String {
    format!("{:<6}{:<10}{}", case.id, case.level.name(), case.title)
}

fn verdict(outcome: &Outcome) -> &'static str {
    match outcome.verdict {
        Verdict::Passed => "passed",
        Verdict::Failed { .. } if outcome.case.level == Level::Must => "FAILED",
        Verdict::Failed { .. } => "failed",
        Verdict::Skipped(_) => "skipped",
    }
}

fn as_json(outcome: &Outcome) -> serde_json::Value {
    let case = &outcome.case;
    let mut value = json!({
        "id": case.id, "level": case.level.name(), "chapter": case.chapter, "title": case.title,
        "verdict": verdict(outcome).to_lowercase(), "seconds": outcome.took.as_secs_f64(),
    });
    match &outcome.verdict {
        Verdict::Passed => {}
        Verdict::Failed { expected, seen } => {
            value["expected"] = expected.as_str().into();
            value["seen"] = seen.as_str().into();
        }
        Verdict::Skipped(reason) => value["reason"] = reason.as_str().into(),
    }
    value
}

fn escaped(text: &str) -> String {
    text.chars()
        .filter(|letter| !letter.is_control() || *letter == '\n')
        .map(|letter| match letter {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' => "&quot;".to_owned(),
            '\n' => "&#10;".to_owned(),
            other => other.to_string(),
        })
        .collect()
}
