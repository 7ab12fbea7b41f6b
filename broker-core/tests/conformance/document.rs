//! The page of all cases is the code's, and the page of both contracts names what is there.

use std::{collections::BTreeSet, fs, path::Path};

#[test]
fn the_page_of_all_cases_is_in_step_with_the_code() {
    let page = include_str!("../../CONFORMANCE.md");

    assert!(page == broker_core::conformance::document(), "write it anew: broker-check --document > CONFORMANCE.md");
}

/// What a line names: tests anywhere, rules and cases in the last two columns of a row.
fn named(line: &str) -> Vec<&str> {
    let is_row = line.starts_with("| ") && !line.starts_with("| Section");
    let columns: Vec<_> = line.trim_matches('|').rsplitn(3, '|').take(if is_row { 2 } else { 0 }).collect();
    let words = columns.into_iter().flat_map(|column| column.split([' ', ',', ';', ':', '|']));
    let quoted = line.split('`').skip(1).step_by(2);
    words.filter(|word| !word.is_empty() && !word.contains('`')).chain(quoted.filter(|word| is_test(word))).collect()
}

fn is_number_after(word: &str, prefix: &[char]) -> bool {
    let digits = word.trim_start_matches(prefix);
    digits.len() < word.len() && !digits.is_empty() && digits.chars().all(|digit| digit.is_ascii_digit())
}

/// Tests have long names, and fields short ones.
fn is_test(word: &str) -> bool {
    word.matches('_').count() > 2
        && word.chars().all(|letter| letter.is_ascii_lowercase() || "_0123456789".contains(letter))
}

/// The functions in some code that are run as tests.
fn tests(code: &str) -> BTreeSet<&str> {
    let (mut tests, mut is_next) = (BTreeSet::new(), false);
    for line in code.lines().map(str::trim_start) {
        is_next |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let function = line.trim_start_matches("async ").strip_prefix("fn ");
        if let Some((name, _)) = function.and_then(|function| function.split_once('(')).filter(|_| is_next) {
            tests.insert(name);
        }
        is_next &= line.starts_with("#[") || line.starts_with("//");
    }
    tests
}

/// All code of the crate, its tests included.
fn code(folder: &Path) -> String {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.fold(String::new(), |code, path| match path.extension() {
        _ if path.is_dir() => code + &self::code(&path),
        Some(kind) if kind == "rs" => code + &fs::read_to_string(path).unwrap(),
        _ => code,
    })
}

#[test]
fn a_function_is_a_test_by_its_attribute_alone() {
    let code = "#[test] // SPEC N-1\n#[cfg(unix)]\nfn one_that_is_run() {\n}\n\nfn one_that_is_not(x: u8) {}\n\
                #[tokio::test]\nasync fn another_that_is_run() {}";

    assert_eq!(tests(code), BTreeSet::from(["another_that_is_run", "one_that_is_run"]));
}

#[test]
fn tests_are_named_in_prose_and_rules_in_rows() {
    assert_eq!(named("It `is_what_it_is`: `a_b` B-1"), ["is_what_it_is"]);
    assert_eq!(named("| 4.1 | What A1 is | T-2 | A36, `is_what_it_is` |"), ["A36", "T-2", "is_what_it_is"]);
}

#[test]
fn what_shows_each_row_of_the_contracts_exists() {
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (cases, code) =
        (broker_core::conformance::document(), code(&crate_root.join("src")) + &code(&crate_root.join("tests")));
    let spec = fs::read_to_string(crate_root.join("../SPEC.md")).unwrap();
    let page = include_str!("../../CONTRACT.md");
    let tests = tests(&code);
    let mut checked = 0;
    for word in page.lines().flat_map(named) {
        let known = match word.split_once('-') {
            _ if is_test(word) => tests.contains(word),
            Some((chapter, number)) if chapter.len() == 1 && number.parse::<u32>().is_ok() => {
                spec.contains(&format!("**{word}**"))
            }
            _ if is_number_after(word, &['A', 'O']) => cases.contains(&format!("\n| {word} |")),
            _ => continue,
        };
        assert!(known, "CONTRACT.md names {word}, which does not exist");
        checked += 1;
    }
    assert!(checked > 400, "only {checked} were found");
}
