//! Misuse that the compiler refuses, and what it says then. After a change:
//! `TRYBUILD=overwrite cargo test -p broker-core --test ui`, and read the difference.

use std::process::Command;

/// The compiler whose words are compared: the oldest that this workspace builds with. Another one may say the same
/// thing differently.
const COMPILER: &str = concat!("rustc ", env!("CARGO_PKG_RUST_VERSION"), ".");

#[test]
fn misuse_does_not_compile() {
    let rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("--version").output();
    let version = String::from_utf8(rustc.unwrap().stdout).unwrap();
    if version.starts_with(COMPILER) {
        trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
    } else {
        eprintln!("not compared: this is {}, the words are those of {COMPILER}*", version.trim());
    }
}
