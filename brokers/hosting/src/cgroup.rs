//! How limits of processes are enforced: by the kernel's control groups, else by what remains.
//!
//! Version 1 and 2 say the same in other files, so both are one table of files and values. A server is put
//! into its group right after its start, before anybody is told its address.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::Access,
    process::{Pid, Resource, Rlimit, prlimit},
};

use crate::{Limits, ServerId};

/// Below this name are all groups of all brokers.
const FAMILY: &str = "broker-hosting";
const PERIOD: u64 = 100_000;
/// What version 1 has a tree each for.
const V1: [&str; 3] = ["memory", "cpu", "pids"];

/// What this machine lets us use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Means {
    /// One folder for each server.
    V2 { base: PathBuf },
    /// A folder for each server below each of `memory`, `cpu` and `pids`.
    V1 { root: PathBuf },
    /// Limits of a process alone, with the reason.
    Rlimits { why: String },
}

/// A file below a controller's folder, and what is written there.
type Setting = (&'static str, &'static str, String);

impl Means {
    /// Takes into use what can be used below `root`, which is `/sys/fs/cgroup`.
    pub(crate) fn find(root: &Path) -> Self {
        let found = Self::look(root);
        let made = match &found {
            Self::V2 { base } => delegate(root, base),
            Self::V1 { root } => V1.iter().try_for_each(|kind| fs::create_dir_all(root.join(kind).join(FAMILY))),
            Self::Rlimits { .. } => Ok(()),
        };
        made.map_or_else(|why| Self::Rlimits { why: why.to_string() }, |()| found)
    }

    /// Looks what can be used, and changes nothing.
    pub(crate) fn look(root: &Path) -> Self {
        let can_write = |folder: PathBuf| rustix::fs::access(folder, Access::WRITE_OK).map_err(io::Error::from);
        let found = if root.join("cgroup.controllers").exists() {
            delegated(root).and_then(|home| can_write(home.clone()).map(|()| Self::V2 { base: home.join(FAMILY) }))
        } else if root.join("memory/cgroup.procs").exists() {
            V1.iter().try_for_each(|kind| can_write(root.join(kind))).map(|()| Self::V1 { root: root.into() })
        } else {
            Err(io::Error::other("no control groups are mounted"))
        };
        found.unwrap_or_else(|why| Self::Rlimits { why: why.to_string() })
    }

    /// Whether limits hold for a server as a whole.
    pub(crate) fn are_whole(&self) -> bool {
        !matches!(self, Self::Rlimits { .. })
    }

    /// Which means these are, for an operator.
    pub(crate) fn explain(&self) -> String {
        match self {
            Self::V2 { base } => {
                format!("memory, CPU and processes by control groups (version 2) in {}", base.display())
            }
            Self::V1 { root } => {
                format!("memory, CPU and processes by control groups (version 1) in {}", root.display())
            }
            Self::Rlimits { why } => format!(
                "control groups cannot be used ({why}): memory is limited for each process alone, CPU and processes \
                 are not limited; run the broker as root, or in a systemd unit with Delegate=yes"
            ),
        }
    }

    /// Puts limits into force for a process and those it will start.
    pub(crate) fn apply(&self, group: &str, id: &ServerId, pid: u32, limits: &Limits) -> io::Result<()> {
        let process = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        if let Some(files) = limits.open_files {
            rlimit(process, Resource::Nofile, files)?;
        }
        if let (Self::Rlimits { .. }, Some(memory)) = (self, limits.memory) {
            return rlimit(process, Resource::Data, memory);
        }
        let settings = self.settings(limits);
        for folder in self.folders(group, id) {
            let is_needed = limits.memory.is_some() || limits.cpu_milli.is_some() || limits.processes.is_some();
            if !is_needed && !folder.exists() {
                continue;
            }
            fs::create_dir_all(&folder)?;
            self.write(&folder, &settings)?;
            fs::write(folder.join("cgroup.procs"), pid.to_string())?;
        }
        Ok(())
    }

    /// Removes a server's groups, which the last process may just be leaving.
    pub(crate) async fn forget(&self, group: &str, id: &ServerId) -> io::Result<()> {
        for folder in self.folders(group, id) {
            let mut tries = 0;
            while let Err(error) = fs::remove_dir(&folder) {
                match error.kind() {
                    io::ErrorKind::NotFound => break,
                    io::ErrorKind::ResourceBusy if tries < 200 => tries += 1,
                    _ => return Err(error),
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Ok(())
    }

    fn folders(&self, group: &str, id: &ServerId) -> Vec<PathBuf> {
        let name = format!("{group}.{id}");
        match self {
            Self::V2 { base } => vec![base.join(name)],
            Self::V1 { root } => V1.iter().map(|kind| root.join(kind).join(FAMILY).join(&name)).collect(),
            Self::Rlimits { .. } => Vec::new(),
        }
    }

    fn settings(&self, limits: &Limits) -> Vec<Setting> {
        let or = |value: Option<u64>, none: &str| value.map_or_else(|| none.to_owned(), |value| value.to_string());
        let quota = limits.cpu_milli.map(|milli| (u64::from(milli) * PERIOD / 1000).max(1000));
        let processes = or(limits.processes.map(u64::from), "max");
        match self {
            Self::V2 { .. } => vec![
                ("", "memory.max", or(limits.memory, "max")),
                ("", "memory.swap.max", limits.memory.map_or("max", |_| "0").to_owned()),
                ("", "cpu.max", format!("{} {PERIOD}", or(quota, "max"))),
                ("", "pids.max", processes),
            ],
            Self::V1 { .. } => vec![
                // What is allowed with swap is never less than without: whichever order fits, is the second or third.
                ("memory", "memory.limit_in_bytes", or(limits.memory, "-1")),
                ("memory", "memory.memsw.limit_in_bytes", or(limits.memory, "-1")),
                ("memory", "memory.limit_in_bytes", or(limits.memory, "-1")),
                ("cpu", "cpu.cfs_period_us", PERIOD.to_string()),
                ("cpu", "cpu.cfs_quota_us", or(quota, "-1")),
                ("pids", "pids.max", processes),
            ],
            Self::Rlimits { .. } => Vec::new(),
        }
    }

    /// Writes those settings that are for a folder. Not every kernel limits swap.
    fn write(&self, folder: &Path, settings: &[Setting]) -> io::Result<()> {
        let is_here = |controller: &str| folder.components().any(|part| part.as_os_str() == controller);
        let here: Vec<_> = settings.iter().filter(|(kind, ..)| kind.is_empty() || is_here(kind)).collect();
        for (at, (_, file, value)) in here.iter().enumerate() {
            let comes_again = here[at + 1..].iter().any(|(_, later, _)| later == file);
            match fs::write(folder.join(file), value) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && file.contains("sw") => {}
                Err(_) if comes_again => {}
                other => other?,
            }
        }
        Ok(())
    }
}

/// The group that was handed to us, whose folder ours is made in.
fn delegated(root: &Path) -> io::Result<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let home = root.join(own.trim_end_matches("/broker"));
    if !own.is_empty() {
        let is_ours = ["trusted.delegate", "user.delegate"].iter().any(|name| {
            let mut value = [0_u8; 8];
            rustix::fs::getxattr(&home, *name, &mut value).is_ok_and(|length| value[..length] == *b"1")
        });
        if !is_ours {
            return Err(io::Error::other(format!("the group {} was not delegated to the broker", home.display())));
        }
    }
    Ok(home)
}

/// Makes the folder for our groups.
fn delegate(root: &Path, base: &Path) -> io::Result<()> {
    let home = base.parent().unwrap_or(root);
    if home != root {
        // A group with groups below it holds no process of its own.
        fs::create_dir_all(home.join("broker"))?;
        fs::write(home.join("broker/cgroup.procs"), std::process::id().to_string())?;
    }
    fs::create_dir_all(base)?;
    for folder in [home, base] {
        fs::write(folder.join("cgroup.subtree_control"), "+memory +cpu +pids")?;
    }
    Ok(())
}

fn rlimit(process: Pid, resource: Resource, value: u64) -> io::Result<()> {
    prlimit(Some(process), resource, Rlimit { current: Some(value), maximum: Some(value) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_control_groups_the_operator_is_told_what_is_not_limited() {
        let nothing = tempfile::tempdir().unwrap();

        let means = Means::find(nothing.path());

        assert!(!means.are_whole() && Means::look(nothing.path()) == means);
        assert!(means.explain().contains("CPU and processes are not limited"), "{}", means.explain());
    }

    #[test] // SPEC H-11
    fn a_look_makes_no_group() {
        let mounted = tempfile::tempdir().unwrap();
        for kind in V1 {
            fs::create_dir(mounted.path().join(kind)).unwrap();
        }
        fs::write(mounted.path().join("memory/cgroup.procs"), "").unwrap();
        let ours = mounted.path().join("cpu").join(FAMILY);

        let look = Means::look(mounted.path());
        assert!(look.are_whole() && !ours.exists());
        assert_eq!(Means::find(mounted.path()), look);
        assert!(ours.exists());
    }

    #[test]
    fn both_versions_are_told_the_same() {
        let limits = Limits { memory: Some(64 << 20), cpu_milli: Some(250), processes: Some(32), open_files: None };
        let said = |means: Means| {
            let settings = means.settings(&limits);
            settings.into_iter().map(|(_, file, value)| format!("{file}={value}")).collect::<Vec<_>>().join(" ")
        };

        assert_eq!(
            said(Means::V2 { base: "/x".into() }),
            "memory.max=67108864 memory.swap.max=0 cpu.max=25000 100000 pids.max=32"
        );
        assert!(said(Means::V1 { root: "/x".into() }).ends_with("cpu.cfs_quota_us=25000 pids.max=32"));
    }
}
