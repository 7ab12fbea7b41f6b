//! Processes, by more than their number: numbers are given out again.

use std::{
    fs, io,
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, getpgid, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// Which process, beyond doubt: a number is used again, but not within a clock tick of one boot
/// and for the same program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    /// When it started, in clock ticks since boot.
    started: u64,
    /// Which boot.
    boot: String,
    /// What it runs.
    pub(crate) program: PathBuf,
}

impl Identity {
    /// The living process of this number; none when it ended, or ended and was not waited for.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is a name in parentheses and may hold anything, so count from its end.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        if matches!(fields.next()?, "Z" | "X") {
            return None;
        }
        let started = fields.nth(18)?.parse().ok()?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
        Some(Self { pid, started, boot, program: program_of(pid)? })
    }

    /// Whether it was started as a server: those are put at the head of a process group of their own, while
    /// what a preparation starts is not.
    pub(crate) fn leads_its_group(&self) -> bool {
        let group = i32::try_from(self.pid).ok().and_then(Pid::from_raw).map(|pid| (pid, getpgid(Some(pid))));
        group.is_some_and(|(pid, group)| group == Ok(pid))
    }

    pub(crate) fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// A grip on the process; none when it is gone.
    pub(crate) fn grip(&self) -> io::Result<Option<Grip>> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        let fd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(other) => return Err(other.into()),
        };
        // The descriptor names one process for good; look again whether it is the one meant.
        if !self.is_alive() {
            return Ok(None);
        }
        Ok(Some(Grip(fd)))
    }
}

/// What a process runs. A package's upgrade removes the file from under it.
fn program_of(pid: u32) -> Option<PathBuf> {
    let link = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let text = link.to_str()?;
    Some(text.strip_suffix(" (deleted)").unwrap_or(text).into())
}

/// One process, safe to signal: never its successor under the same number.
pub(crate) struct Grip(OwnedFd);

impl Grip {
    /// Sends a signal; to a process that is gone, nothing.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.0, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(other) => Err(other.into()),
        }
    }

    /// Returns when the process has ended with all its threads, waited for or not. It is looked at,
    /// since handing the descriptor to the runtime is not a safe call.
    pub(crate) async fn ended(&self) {
        while !self.has_ended() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn has_ended(&self) -> bool {
        let mut asked = [PollFd::new(&self.0, PollFlags::IN)];
        matches!(poll(&mut asked, Some(&Timespec::default())), Ok(1..))
    }
}

/// Ends all processes of a group that `leader` was put in charge of.
pub(crate) fn kill_group(leader: u32) {
    if let Some(pid) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    }
}

/// Who writes to this file as standard output or standard error: the server whose log it is, or what is
/// left of its preparation.
pub(crate) fn writers(log: &Path) -> io::Result<Vec<Identity>> {
    let wanted = fs::metadata(log)?;
    let is_log =
        |path: String| fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()));
    let own = std::process::id();
    Ok(fs::read_dir("/proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| is_log(format!("/proc/{pid}/fd/1")) || is_log(format!("/proc/{pid}/fd/2")))
        .filter_map(Identity::of)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_another_of_its_number_is_not_it() {
        let own = Identity::of(std::process::id()).unwrap();
        assert!(own.is_alive());
        assert!(!Identity { started: own.started + 1, ..own.clone() }.is_alive());
        assert!(!Identity { boot: "other".to_owned(), ..own }.is_alive());
    }
}
