//! Running git, cut off from whatever the host's users configured.

use std::{ffi::OsStr, io, path::Path, process::Stdio, time::Duration};

use tokio::process::Command;

/// For commands that only look at, or make, a repository.
const QUICK: Duration = Duration::from_secs(60);

/// A git command without the daemon's environment. It dies with its handle.
pub(crate) fn command(config: impl IntoIterator<Item = (&'static str, String)>) -> Command {
    let mut command = Command::new("git");
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.envs([
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("HOME", "/nonexistent"),
        ("LC_ALL", "C.UTF-8"),
    ]);
    for (name, value) in config {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs git to its end. Returns what it wrote.
pub(crate) async fn run<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> io::Result<Vec<u8>> {
    let mut command = command([]);
    command.args(args);
    finish(command, QUICK).await
}

/// Waits for a command, at most `within`. Its failure is an error with its last line of complaint.
pub(crate) async fn finish(mut command: Command, within: Duration) -> io::Result<Vec<u8>> {
    let output = tokio::time::timeout(within, command.output())
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("git took longer than {within:?}")))??;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let last = complaint.trim_end().lines().next_back().unwrap_or("it said nothing");
    Err(io::Error::other(format!("git failed ({}): {last}", output.status)))
}

/// The commit a branch is at; None when there is no such branch.
pub(crate) async fn branch_at(repository: &Path, branch: &str) -> io::Result<Option<String>> {
    let mut command = command(safe(repository));
    command.arg("-C").arg(repository);
    command.args(["for-each-ref", "--format=%(objectname)", &format!("refs/heads/{branch}")]);
    let found = finish(command, QUICK).await?;
    // The pattern would find `main/x` too, but no repository has both.
    let found = String::from_utf8_lossy(&found).lines().next().map(str::to_owned);
    Ok(found)
}

/// git works in a repository of another owner (a mounted volume) only when told that it may.
pub(crate) fn safe(repository: &Path) -> [(&'static str, String); 1] {
    [("safe.directory", repository.display().to_string())]
}
