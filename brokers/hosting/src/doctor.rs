//! What an operator should know before the first server runs (SPEC H-11).

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use broker_core::cli::Findings;
use rustix::fs::Access;

use crate::{
    Containers, HostError, Hosting, RunAs, Size,
    cgroup::Means,
    engine::Engine,
    host::listen_at,
    ports::{is_free, look_up},
    user,
};

/// With less, a broker's servers will soon have no room.
const LITTLE_DISK: u64 = 1 << 30;
const FEW_PORTS: usize = 10;
const ENGINE_WITHIN: Duration = Duration::from_secs(5);

impl Hosting {
    /// Looks whether servers could run here, and at what the operator will regret: whom they run as, their folder,
    /// ports and limits, the engine of those in containers. Nothing is made or changed; each call has a time limit.
    ///
    /// ```no_run
    /// # use broker_core::cli::Findings;
    /// # use broker_hosting::Hosting;
    /// # async fn look(hosting: &Hosting, findings: &mut Findings) {
    /// hosting.doctor(findings).await;
    /// # }
    /// ```
    pub async fn doctor(&self, findings: &mut Findings) {
        match std::path::absolute(&self.root) {
            Ok(root) => self.look_at_folder(&root, findings),
            Err(cause) => findings.problem("servers' folder", HostError::Io { path: self.root.clone(), cause }),
        }
        self.look_at_ports(findings);
        let means = Means::look(Path::new("/sys/fs/cgroup"));
        if means.are_whole() {
            findings.found("limits", means.explain());
        } else {
            findings.warning("limits", means.explain());
        }
        if let Some(containers) = &self.containers {
            let engine = Engine::new(Containers { call_timeout: ENGINE_WITHIN, ..containers.clone() });
            let version = engine.version().await;
            findings.add_result("engine", version.map(|version| format!("Docker {version}")).map_err(Into::into));
        }
    }

    fn look_at_folder(&self, root: &Path, findings: &mut Findings) {
        let (there, root) = match there(root) {
            Ok(found) => found,
            Err(cause) => {
                return findings.problem("servers' folder", HostError::Io { path: root.to_owned(), cause });
            }
        };
        if !there.is_dir() || rustix::fs::access(&there, Access::WRITE_OK | Access::EXEC_OK).is_err() {
            let (root, there) = (root.display(), there.display());
            let sentence = format!("{root} cannot be used: {there} is no folder that the broker can write to");
            return findings.problem("servers' folder", format!("{sentence}, choose another servers' folder"));
        }
        match rustix::fs::statvfs(&there) {
            Ok(disk) => {
                let free = disk.f_bavail.saturating_mul(disk.f_frsize);
                let text = format!("{} free in {}", Size(free), root.display());
                if free < LITTLE_DISK {
                    findings.warning("servers' folder", format!("only {text}: make room, or servers stop writing"));
                } else {
                    findings.found("servers' folder", text);
                }
            }
            Err(cause) => findings.problem("servers' folder", HostError::Io { path: there, cause: cause.into() }),
        }
        self.look_at_user(&root, findings);
    }

    fn look_at_user(&self, root: &Path, findings: &mut Findings) {
        let is_root = rustix::process::geteuid().is_root();
        match (user::wanted(&self.run_as, root), &self.run_as) {
            (Ok(Some(owner)), _) => findings.found("user", format!("servers run as user {}", owner.uid)),
            (Ok(None), _) if !is_root => findings.found("user", "servers run as the broker's own user"),
            (Ok(None), _) => findings.warning(
                "user",
                "servers that are processes run as root: install the server's package, which makes a user for them, or \
                 name another one",
            ),
            (Err(why @ HostError::Unreachable { .. }), RunAs::Packaged(_)) => {
                findings.warning("user", format!("servers that are processes run as root: {why}"));
            }
            (Err(why), _) => findings.problem("user", why),
        }
    }

    fn look_at_ports(&self, findings: &mut Findings) {
        let (addresses, range) = (listen_at(&self.addresses), self.ports.range());
        let all = range.clone().count();
        let free = range.clone().map(|port| is_free(&addresses, port)).filter(|free| !matches!(free, Ok(false)));
        match free.collect::<Result<Vec<_>, _>>().map(|free| free.len()) {
            Err(missing) => findings.problem("ports", missing),
            Ok(0) => findings.problem("ports", HostError::NoFreePort(self.ports.clone())),
            Ok(free) if free < FEW_PORTS => findings
                .warning("ports", format!("only {free} of {all} ports are free in {}: give a wider range", self.ports)),
            Ok(free) => findings.found("ports", format!("{free} of {all} are free in {}", self.ports)),
        }
        let outgoing = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        if let Some((first, last)) = two_numbers(&outgoing)
            && *range.start() <= last
            && first <= *range.end()
        {
            findings.warning(
                "ports",
                format!(
                    "the system gives {first}-{last} to outgoing connections, which may take the port of a server that \
                     is down: choose a range beside it"
                ),
            );
        }
    }
}

/// Whether apps can reach servers under the host that they are told.
pub async fn look_at_advertised(host: &str, findings: &mut Findings) {
    let addresses = look_up(host).await;
    if addresses.is_empty() {
        findings.warning(
            "reach",
            format!("the host \"{host}\" is unknown on this machine: make sure that apps can look it up"),
        );
    } else if addresses.iter().all(|address| address.is_loopback() || address.is_unspecified()) {
        findings.warning(
            "reach",
            format!(
                "apps are told to connect to {host}, which inside of a container is the container itself: advertise an \
                 address of this machine that containers reach"
            ),
        );
    } else {
        let addresses: Vec<_> = addresses.iter().map(IpAddr::to_string).collect();
        findings.found("reach", format!("apps are told to connect to {host} ({})", addresses.join(", ")));
    }
}

/// Whether the machine has the memory that has been promised.
pub fn look_at_memory(promised: u64, findings: &mut Findings) {
    let all = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib =
        all.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    match kib.map(|kib| kib.saturating_mul(1024)) {
        Some(memory) if promised > memory => findings.warning(
            "memory",
            format!(
                "the plans promise {} in all and this machine has {}: lower `at-most` or `memory` of a plan, or servers \
                 are killed when all are used",
                Size(promised),
                Size(memory)
            ),
        ),
        Some(memory) => findings.found("memory", format!("{} promised, of {}", Size(promised), Size(memory))),
        None => findings.warning("memory", "how much this machine has cannot be read from /proc/meminfo"),
    }
}

/// The nearest folder that is there, and the whole path without links.
fn there(root: &Path) -> io::Result<(PathBuf, PathBuf)> {
    for above in root.ancestors() {
        match above.canonicalize() {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {}
            Err(other) => return Err(other),
            Ok(found) => {
                let missing = root.strip_prefix(above).unwrap_or(Path::new(""));
                // Joined to nothing, a path would end in a slash.
                let whole = missing.iter().fold(found.clone(), |folder, part| folder.join(part));
                return Ok((found, whole));
            }
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

fn two_numbers(text: &str) -> Option<(u16, u16)> {
    let mut numbers = text.split_whitespace().map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test] // SPEC H-11
    async fn an_address_that_containers_take_for_themselves_is_warned_of() {
        for (host, said) in [
            ("127.0.0.1", "warning  reach  apps are told to connect to 127.0.0.1, which inside of a container is"),
            ("localhost", "warning  reach  apps are told to connect to localhost, which inside"),
            ("0.0.0.0", "warning  reach  apps are told to connect to 0.0.0.0"),
            ("nowhere.invalid", "warning  reach  the host \"nowhere.invalid\" is unknown"),
            ("172.17.0.1", "ok       reach  apps are told to connect to 172.17.0.1 (172.17.0.1)"),
        ] {
            let mut findings = Findings::default();
            look_at_advertised(host, &mut findings).await;
            assert!(findings.to_string().starts_with(said), "{findings}");
        }
    }

    #[test] // SPEC H-11
    fn more_memory_than_there_is_is_warned_of() {
        for (promised, said) in
            [(1 << 20, "ok       memory  1.0 MiB promised, of"), (1 << 60, "warning  memory  the plans promise")]
        {
            let mut findings = Findings::default();
            look_at_memory(promised, &mut findings);
            assert!(findings.to_string().starts_with(said), "{findings}");
        }
    }
}
