//! Misuse that the compiler refuses, and what it says then. After a change:
//! `TRYBUILD=overwrite cargo test -p broker-core --test ui`, and read the difference.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The compiler whose words are compared: the oldest that this workspace builds with. Another one may say the same
/// thing differently.
const COMPILER: &str = concat!("rustc ", env!("CARGO_PKG_RUST_VERSION"), ".");

/// Where copies of the programs are, whose messages are written down and not compared.
const COPIES: &str = "BROKER_CORE_TESTS_UI_COPIES";

#[test]
fn misuse_does_not_compile() {
    match env::var(COPIES) {
        Ok(copies) => trybuild::TestCases::new().compile_fail(format!("{copies}/*.rs")),
        Err(_) if compiler().starts_with(COMPILER) => trybuild::TestCases::new().compile_fail("tests/ui/*.rs"),
        Err(_) => misuse_does_not_compile_whatever_the_words(),
    }
}

fn compiler() -> String {
    let rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("--version").output();
    String::from_utf8(rustc.unwrap().stdout).unwrap()
}

/// Has this test run on copies, in the mode of trybuild that writes down what a compiler says and fails where it says
/// nothing, and compares the heads only.
fn misuse_does_not_compile_whatever_the_words() {
    let copies = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ui");
    fs::create_dir_all(&copies).unwrap();
    let programs = programs(Path::new("tests/ui"));
    for program in &programs {
        fs::copy(program, copies.join(program.file_name().unwrap())).unwrap();
    }

    let mut again = Command::new(env::current_exe().unwrap());
    again.args(["--exact", "misuse_does_not_compile"]).env("TRYBUILD", "overwrite").env(COPIES, &copies);
    let output = again.output().unwrap();

    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(!programs.is_empty(), "there are no programs");
    for program in programs {
        let said = program.with_extension("stderr");
        let (wanted, head) = (head(&said), head(&copies.join(said.file_name().unwrap())));
        assert_eq!(gist(&head), gist(&wanted), "{} is refused for another reason: {head}", program.display());
    }
}

fn programs(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|kind| kind == "rs")).collect()
}

/// The first line of what a compiler said.
fn head(said: &Path) -> String {
    fs::read_to_string(said).unwrap().lines().next().unwrap_or_default().to_owned()
}

/// An error's code, and the names in it.
fn gist(head: &str) -> Vec<&str> {
    let (before, after) = head.split_once(": ").unwrap_or((head, ""));
    std::iter::once(before).chain(after.split('`').skip(1).step_by(2)).collect()
}
