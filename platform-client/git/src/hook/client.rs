//! The hook: a tiny client that git runs. No async here, it only waits.

use std::{
    env,
    ffi::OsString,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    process::{Command, ExitCode, Output},
    time::Duration,
};

use platform_core::Secret;

use super::{
    push::{self, Deploy},
    wire::{Ask, Tell},
};

/// The daemon speaks every few seconds; one that doesn't for so long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs as git's `pre-receive` hook: reads what git says on its standard input, and deploys.
///
/// Everything it needs comes in its environment from the server that started git. Prints to
/// standard error, which git shows to the pusher. The exit code is 0 when the push may go on.
#[must_use]
pub fn run() -> ExitCode {
    match receive() {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            show(&format!("ERROR: {sentence}\n"));
            ExitCode::FAILURE
        }
    }
}

/// A hook that can't show anything has nobody to tell.
fn show(text: &str) {
    let mut terminal = io::stderr().lock();
    let _nobody_reads = terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush());
}

fn receive() -> Result<(), String> {
    let mut input = String::new();
    io::stdin().read_to_string(&mut input).map_err(|error| format!("git's hook can't read its input: {error}"))?;
    let branches = text(super::ENV_BRANCHES)?;
    let Some(deploy) = push::read(&input, &branches.split(' ').collect::<Vec<_>>())? else { return Ok(()) };
    warn_of_what_stays_behind(&deploy.new);
    archive(&deploy.new)?;
    ask_for(deploy)
}

fn variable(name: &str) -> Result<OsString, String> {
    env::var_os(name)
        .ok_or_else(|| format!("this is git's hook, which the platform's git server starts: {name} is not set"))
}

fn text(name: &str) -> Result<String, String> {
    variable(name)?.into_string().map_err(|_| format!("{name} is not text"))
}

fn git(args: &[&str]) -> Result<Output, String> {
    Command::new("git").args(args).output().map_err(|error| format!("git's hook can't start git: {error}"))
}

/// git archives what is in the repository: of submodules and large files that is only a pointer.
fn warn_of_what_stays_behind(commit: &str) {
    let content = |file: &str| match git(&["cat-file", "blob", &format!("{commit}:{file}")]) {
        Ok(found) if found.status.success() => found.stdout,
        _ => Vec::new(),
    };
    if !content(".gitmodules").is_empty() {
        show("note: submodules are not fetched, their folders will be empty: commit what the app needs\n");
    }
    if content(".gitattributes").windows(10).any(|window| window == b"filter=lfs") {
        show("note: files in Git LFS are not fetched, the app gets their pointers: commit what it needs\n");
    }
}

/// Packed lightly: it goes to the same machine.
fn archive(commit: &str) -> Result<(), String> {
    let output = format!("--output={}", text(super::ENV_ARCHIVE)?);
    let made = git(&["archive", "--format=tar.gz", "-1", &output, commit])?;
    if made.status.success() {
        return Ok(());
    }
    Err(format!("the commit can't be packed: {}", String::from_utf8_lossy(&made.stderr).trim()))
}

fn ask_for(deploy: Deploy) -> Result<(), String> {
    let app = text(super::ENV_APP)?;
    let gone = |error: &dyn std::fmt::Display| {
        format!("the platform is not there ({error}): nothing was deployed, push again in a moment")
    };
    let mut daemon = UnixStream::connect(variable(super::ENV_SOCKET)?).map_err(|error| gone(&error))?;
    let ask =
        Ask { secret: Secret::from(text(super::ENV_SECRET)?), branch: deploy.branch, old: deploy.old, new: deploy.new };
    let line = serde_json::to_string(&ask).map_err(|error| gone(&error))?;
    daemon
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| daemon.set_write_timeout(Some(PATIENCE)))
        .and_then(|()| daemon.write_all(format!("{line}\n").as_bytes()))
        .map_err(|error| gone(&error))?;
    listen(daemon, &app)
}

/// Shows what the daemon says until its verdict.
fn listen(daemon: UnixStream, app: &str) -> Result<(), String> {
    let lost = |why: &dyn std::fmt::Display| {
        format!(
            "the platform went away before the deploy was over ({why}): see `tsuru app deploy list -a {app}`, then push again"
        )
    };
    let mut at_line_start = true;
    for line in BufReader::new(daemon).lines() {
        let line = line.map_err(|error| lost(&error))?;
        match serde_json::from_str(&line).map_err(|error| lost(&error))? {
            Tell::Text(text) => {
                show(&text);
                at_line_start = if text.is_empty() { at_line_start } else { text.ends_with('\n') };
            }
            Tell::Alive(seconds) => {
                let start = if at_line_start { "" } else { "\n" };
                show(&format!("{start} ... still at it, silent for {seconds} s\n"));
                at_line_start = true;
            }
            Tell::Deployed => return Ok(()),
            Tell::Refused(sentence) => {
                if !at_line_start {
                    show("\n");
                }
                return Err(sentence);
            }
        }
    }
    Err(lost(&"it hung up"))
}
