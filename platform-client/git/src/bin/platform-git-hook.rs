//! git's `pre-receive` hook as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    platform_git::hook::run()
}
