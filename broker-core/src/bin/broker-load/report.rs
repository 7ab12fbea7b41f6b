//! What a run came to.

use std::{collections::BTreeMap, fmt::Write as _, io::Write as _, time::Duration};

use serde_json::json;

/// Operations in the order in which an instance lives through them.
const ORDER: [&str; 7] = ["create", "status", "info", "bind", "bind again", "unbind", "remove"];
/// How many failures are told in full.
const TOLD: usize = 10;

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// A line for each operation.
    Table,
    /// One JSON document; times are in milliseconds.
    Json,
}

/// Times and failures, by operation.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) took: Duration,
    times: BTreeMap<&'static str, Vec<Duration>>,
    failed: BTreeMap<&'static str, usize>,
    failures: Vec<String>,
}

impl Report {
    /// An operation was answered well.
    pub(crate) fn took(&mut self, what: &'static str, time: Duration) {
        self.times.entry(what).or_default().push(time);
    }

    /// An operation was not.
    pub(crate) fn failed(&mut self, what: &'static str, sentence: String) {
        *self.failed.entry(what).or_default() += 1;
        self.failures.push(sentence);
    }

    /// Takes in what another connection measured.
    pub(crate) fn add(&mut self, other: Self) {
        for (what, times) in other.times {
            self.times.entry(what).or_default().extend(times);
        }
        for (what, failed) in other.failed {
            *self.failed.entry(what).or_default() += failed;
        }
        self.failures.extend(other.failures);
    }

    pub(crate) fn is_good(&self) -> bool {
        self.failures.is_empty()
    }

    pub(crate) fn write(&self, format: Format) -> Result<(), String> {
        let text = match format {
            Format::Table => self.table(),
            Format::Json => self.json(),
        };
        let mut out = std::io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        written.map_err(|error| format!("cannot write the report: {error}"))
    }

    fn lines(&self) -> impl Iterator<Item = Line> + '_ {
        let is_known = |what: &&str| self.times.contains_key(*what) || self.failed.contains_key(*what);
        ORDER.into_iter().filter(is_known).map(|what| {
            let mut times = self.times.get(what).cloned().unwrap_or_default();
            times.sort_unstable();
            Line { what, times, failed: self.failed.get(what).copied().unwrap_or_default() }
        })
    }

    fn table(&self) -> String {
        let mut text = format!(
            "{:<12}{:>8}{:>8}{:>10}{:>10}{:>10}{:>10}{:>10}\n",
            "", "good", "failed", "per s", "p50 ms", "p90 ms", "p99 ms", "max ms"
        );
        let mut all = 0;
        for line in self.lines() {
            all += line.times.len();
            let _ = write!(text, "{:<12}{:>8}{:>8}{:>10.1}", line.what, line.times.len(), line.failed, line.rate());
            for share in [0.5, 0.9, 0.99, 1.0] {
                let _ = write!(text, "{:>10.2}", line.at(share));
            }
            text.push('\n');
        }
        let seconds = self.took.as_secs_f64();
        let _ = writeln!(text, "\n{all} operations in {seconds:.1} s, {:.1} per second", all as f64 / seconds);
        for failure in self.failures.iter().take(TOLD) {
            let _ = writeln!(text, "failed: {failure}");
        }
        if self.failures.len() > TOLD {
            let _ = writeln!(text, "and {} more", self.failures.len() - TOLD);
        }
        text
    }

    fn json(&self) -> String {
        let lines = self.lines().map(|line| {
            json!({
                "operation": line.what,
                "good": line.times.len(),
                "failed": line.failed,
                "per_second": line.rate(),
                "p50": line.at(0.5),
                "p90": line.at(0.9),
                "p99": line.at(0.99),
                "max": line.at(1.0),
            })
        });
        let whole = json!({
            "seconds": self.took.as_secs_f64(),
            "operations": lines.collect::<Vec<_>>(),
            "failures": self.failures,
        });
        format!("{whole:#}\n")
    }
}

/// An operation's times, the shortest first.
struct Line {
    what: &'static str,
    times: Vec<Duration>,
    failed: usize,
}

impl Line {
    /// What one connection does in a second of nothing else.
    fn rate(&self) -> f64 {
        let whole = self.times.iter().sum::<Duration>().as_secs_f64();
        if whole > 0.0 { self.times.len() as f64 / whole } else { 0.0 }
    }

    /// In milliseconds.
    fn at(&self, share: f64) -> f64 {
        let last = self.times.len().saturating_sub(1);
        self.times.get((last as f64 * share).round() as usize).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_a_line_for_each_operation_and_the_failures_below() {
        let mut report = Report { took: Duration::from_secs(2), ..Report::default() };
        for milliseconds in 1..=100 {
            report.took("bind", Duration::from_millis(milliseconds));
        }
        report.failed("create", "create of load-1: status 500".to_owned());

        let table = report.table();
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();

        assert!(table.contains("failed: create of load-1: status 500\n"), "{table}");
        assert!(table.contains("100 operations in 2.0 s, 50.0 per second"), "{table}");
        assert_eq!(json["operations"][0]["operation"], "create");
        assert_eq!((&json["operations"][1]["good"], &json["operations"][1]["max"]), (&json!(100), &json!(100.0)));
        assert!(!report.is_good());
    }

    #[test]
    fn what_two_connections_measured_is_one_report() {
        let (mut one, mut other) = (Report::default(), Report::default());
        one.took("bind", Duration::from_millis(1));
        other.took("bind", Duration::from_millis(3));

        one.add(other);

        assert_eq!(one.times["bind"].len(), 2);
    }
}
