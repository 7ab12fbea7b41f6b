//! Runs one executable: JSON in, JSON or a sentence out, never longer than it may, nothing left behind.

use std::{
    io,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{ChildStderr, Command},
    time::timeout,
};
use tracing::info;

use crate::hidden::Hidden;

/// How much an executable may answer.
const LONGEST_ANSWER: u64 = 1 << 20;
/// How long a line of its standard error may be to go to the log, and how many go there.
const LONGEST_LINE: u64 = 4096;
const MOST_LINES: usize = 1000;
/// The broker's own settings may be secrets, and are nobody else's business.
const OWN_SETTINGS: &str = "BROKER_";

/// How an executable ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) output: String,
}

/// Runs `program` in `folder`, with `input` on its standard input; its standard error goes to the log. It gets a
/// process group of its own, all of which ends with it: also when it takes too long, or when this call is dropped.
///
/// # Errors
/// When it can't be run, takes too long, or answers too much or no text.
pub(crate) async fn run(
    program: &Path,
    folder: &Path,
    input: String,
    hidden: &Hidden,
    within: Duration,
) -> io::Result<Ended> {
    let mut command = Command::new(program);
    command.current_dir(folder).process_group(0).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with(OWN_SETTINGS)) {
        command.env_remove(name);
    }
    let mut child = command.spawn()?;
    let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let working = async {
        let tell = async {
            if let Some(mut stdin) = stdin {
                // One that does not read its input need not.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
        };
        let ended = async {
            let status = child.wait().await;
            // What it left running holds its pipes open.
            drop(group);
            status
        };
        let (status, output, (), ()) = tokio::join!(ended, read(stdout), tell, log(stderr, &name, hidden));
        Ok(Ended { status: status?, output: output? })
    };
    let late =
        || io::Error::new(io::ErrorKind::TimedOut, format!("`{name}` took longer than {} s", within.as_secs_f32()));
    timeout(within, working).await.map_err(|_| late())?
}

/// A process group, which ends when this is dropped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // It may be gone, which is as good.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// All of an answer, unless it is too long. What comes after the limit is read and forgotten, so that the executable
/// can end.
async fn read(from: Option<impl AsyncRead + Unpin>) -> io::Result<String> {
    let Some(mut from) = from else { return Ok(String::new()) };
    let mut answer = Vec::new();
    (&mut from).take(LONGEST_ANSWER).read_to_end(&mut answer).await?;
    let more = tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    if more > 0 {
        return Err(io::Error::other(format!("it answered more than {LONGEST_ANSWER} bytes")));
    }
    String::from_utf8(answer).map_err(|_| io::Error::other("its answer is not UTF-8 text"))
}

/// Its standard error, a line of ours for each of its own.
async fn log(from: Option<ChildStderr>, name: &str, hidden: &Hidden) {
    let Some(from) = from else { return };
    let mut from = BufReader::new(from);
    for _ in 0..MOST_LINES {
        let mut line = Vec::new();
        match (&mut from).take(LONGEST_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            // A secret that is cut in two would not be known again.
            Ok(_) if !line.ends_with(b"\n") && line.len() as u64 == LONGEST_LINE => {
                info!("{name}: a line of more than {LONGEST_LINE} bytes is left out");
                if skip_line(&mut from).await.is_err() {
                    return;
                }
            }
            Ok(_) => info!("{name}: {}", hidden.hide(String::from_utf8_lossy(&line).trim_end())),
        }
    }
    info!("{name}: further lines are left out");
    // Read on, so that it can end; there is nobody to tell of a failure.
    let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
}

/// Passes over the rest of a line, however long.
async fn skip_line(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<()> {
    loop {
        let ahead = from.fill_buf().await?;
        let (taken, ends) = match ahead.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (ahead.len(), ahead.is_empty()),
        };
        from.consume(taken);
        if ends {
            return Ok(());
        }
    }
}
