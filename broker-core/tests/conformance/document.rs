//! The page of all cases is the code's, and the page of both contracts names what is there.

use std::{fs, path::Path};

#[test]
fn the_page_of_all_cases_is_in_step_with_the_code() {
    let page = include_str!("../../CONFORMANCE.md");

    assert!(page == broker_core::conformance::document(), "write it anew: broker-check --document > CONFORMANCE.md");
}

/// What a row names in its last two columns: rules, cases, tests.
fn named(row: &str) -> impl Iterator<Item = &str> {
    let columns = row.trim_matches('|').rsplitn(3, '|').take(2);
    columns.flat_map(|column| column.split([' ', ',', ';', ':', '|'])).filter(|word| !word.is_empty())
}

fn is_number_after(word: &str, prefix: &[char]) -> bool {
    let digits = word.trim_start_matches(prefix);
    digits.len() < word.len() && !digits.is_empty() && digits.chars().all(|digit| digit.is_ascii_digit())
}

/// Tests have long names, and fields short ones.
fn is_test(word: &str) -> bool {
    word.starts_with('`') && word.matches('_').count() > 2
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
fn what_shows_each_row_of_the_contracts_exists() {
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (cases, code) =
        (broker_core::conformance::document(), code(&crate_root.join("src")) + &code(&crate_root.join("tests")));
    let spec = fs::read_to_string(crate_root.join("../SPEC.md")).unwrap();
    let page = include_str!("../../CONTRACT.md");
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Section"));
    let mut checked = 0;
    for word in rows.flat_map(named) {
        let known = match word.split_once('-') {
            _ if is_test(word) => code.contains(&format!("fn {}(", word.trim_matches('`'))),
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
