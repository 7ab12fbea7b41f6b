//! The assertions of the cases: each has to be seen to fail, or nobody knows that it can.
//!
//! What asserts is a function that is `#[track_caller]`, so a failure knows the call that it comes from. The calls are
//! found in the code, and crossed out when a wrong broker makes them fail. One that is left needs a broker that is
//! wrong in just that.

use std::{collections::BTreeMap, fs, path::Path};

use broker_core::conformance::{Dialect, Report};

const CODE: &str = "src/conformance";

/// Assertions that were not seen to fail: their places, and what is there.
pub(crate) struct Unseen(BTreeMap<String, String>);

impl Unseen {
    /// All assertions that failures in a dialect may come from.
    pub(crate) fn all(dialect: Dialect) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(CODE);
        let files = files(&root);
        let names: Vec<_> = files.iter().flat_map(|(_, code)| asserting(code)).collect();
        let mut all = BTreeMap::new();
        for (path, code) in &files {
            let file = path.strip_prefix(&format!("{}/", root.display())).expect("a file below it");
            if file.starts_with("osb/") == (dialect == Dialect::Osb) {
                all.extend(calls(code, &names).map(|(place, line)| (format!("{file}:{place}"), line.to_owned())));
            }
        }
        Self(all)
    }

    /// Crosses out where the cases of a report failed.
    pub(crate) fn saw(&mut self, report: &Report) {
        for at in report.outcomes.iter().filter_map(|outcome| outcome.asked_at) {
            let (_, file) = at.file().rsplit_once(&format!("{CODE}/")).expect("the code of the cases");
            self.0.remove(&format!("{file}:{}:{}", at.line(), at.column()));
        }
    }

    #[track_caller]
    pub(crate) fn are_none(&self) {
        let left: Vec<_> = self.0.iter().map(|(place, line)| format!("{place}: {line}")).collect();
        assert!(left.is_empty(), "{} assertions that no wrong broker makes fail:\n{}", left.len(), left.join("\n"));
    }
}

/// Paths and texts of all code in a folder.
fn files(folder: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: &Path| (path.to_str().expect("a text").to_owned(), fs::read_to_string(path).unwrap());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![read(&path)] }).collect()
}

/// The functions that assert: what follows the attribute.
fn asserting(code: &str) -> impl Iterator<Item = &str> {
    let after = code.split("#[track_caller]\n").skip(1);
    after.filter_map(|text| text.split_once("fn ")?.1.split(['(', '<']).next())
}

/// Line and column of each call of these functions, and the line; but for calls in those functions themselves, whose
/// failures come from their callers.
fn calls<'c>(code: &'c str, names: &[&str]) -> impl Iterator<Item = (String, &'c str)> {
    let mut end: Option<String> = None;
    let lines = code.lines().enumerate().filter(move |(_, line)| {
        let (text, inside) = (line.trim_start(), end.is_some());
        if text == "#[track_caller]" {
            end = Some(line.replace(text, "}"));
        } else if end.as_deref() == Some(line) {
            end = None;
        }
        !inside && !text.starts_with("//")
    });
    lines.flat_map(|(number, line)| {
        let starts = names
            .iter()
            .flat_map(|name| line.match_indices(&format!("{name}(")).map(|(start, _)| start).collect::<Vec<_>>());
        let whole = |start: &usize| !line[..*start].ends_with(|before: char| before.is_alphanumeric() || before == '_');
        starts.filter(whole).map(|start| (format!("{}:{}", number + 1, start + 1), line.trim())).collect::<Vec<_>>()
    })
}

#[test]
fn an_assertion_is_a_call_of_what_knows_its_caller() {
    let code = "#[track_caller]\nfn must(x: bool) {\n    no_answer()\n}\n\nfn a1() {\n    answer.must(x); must_be(y);\n    \
                // must(z)\n    c.ask()?.must(\n}\n";

    assert_eq!(asserting(code).collect::<Vec<_>>(), ["must"]);
    let places: Vec<_> = calls(code, &["must", "no_answer"]).map(|(place, _)| place).collect();
    assert_eq!(places, ["7:12", "9:14"]);
}
