//! What there is of servers on this machine, whoever remembers them: for an operator who compares (SPEC H-13).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use bollard::query_parameters::{ListContainersOptionsBuilder, ListNetworksOptionsBuilder};
use broker_core::{BrokerError, OpaqueId, cli::Drift};

use super::{Host, processes::kill};
use crate::{
    HostError, ServerId,
    error::At as _,
    process::Identity,
    vessel::{BROKER, SERVER},
};

impl Host {
    /// The names that have a folder here, in their order. A folder without a record is one, too: a server was begun
    /// there, or its record was lost.
    ///
    /// # Errors
    /// When the servers' folder can't be read.
    pub fn folders(&self) -> Result<BTreeSet<ServerId>, HostError> {
        let root = &self.hosting.root;
        let entries = match fs::read_dir(root) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            entries => entries.at(root)?,
        };
        let mut found = BTreeSet::new();
        for entry in entries {
            let entry = entry.at(root)?;
            if entry.file_type().at(entry.path())?.is_dir() {
                found.extend(entry.file_name().to_str().and_then(|name| name.parse::<ServerId>().ok()));
            }
        }
        Ok(found)
    }

    /// Servers whose processes run in a folder that is gone, with the numbers of the processes. Nobody finds them by
    /// their folder any more.
    ///
    /// # Errors
    /// When the machine's processes can't be listed.
    pub fn strays(&self) -> Result<BTreeMap<ServerId, Vec<u32>>, HostError> {
        let mut strays = BTreeMap::<_, Vec<u32>>::new();
        for (id, process) in self.stray_processes()? {
            strays.entry(id).or_default().push(process.pid);
        }
        Ok(strays)
    }

    /// Ends the processes of a server whose folder is gone. Nothing to do is a success.
    ///
    /// # Errors
    /// When one does not end.
    pub async fn end_strays(&self, id: &ServerId) -> Result<(), HostError> {
        for (_, process) in self.stray_processes()?.into_iter().filter(|(of, _)| of == id) {
            kill(id, &process, Duration::ZERO).await?;
        }
        Ok(())
    }

    /// The names of this broker's servers that have a container or a network in the engine. Without an engine there are
    /// none.
    ///
    /// # Errors
    /// When the engine is away.
    pub async fn contained_servers(&self) -> Result<BTreeSet<ServerId>, HostError> {
        let Some(engine) = &self.engine else { return Ok(BTreeSet::new()) };
        let docker = engine.docker().await?;
        let filters = HashMap::from([("label".to_owned(), vec![format!("{BROKER}={}", self.group)])]);
        let list = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let containers = docker.list_containers(Some(list)).await;
        let containers = containers.map_err(|failure| engine.failed("list containers", &failure))?;
        let list = ListNetworksOptionsBuilder::default().filters(&filters).build();
        let networks = docker.list_networks(Some(list)).await;
        let networks = networks.map_err(|failure| engine.failed("list networks", &failure))?;
        let labels = containers.into_iter().filter_map(|found| found.labels);
        let labels = labels.chain(networks.into_iter().filter_map(|found| found.labels));
        Ok(labels.filter_map(|labels| labels.get(SERVER)?.parse().ok()).collect())
    }

    /// Removes all that there is of a server: its folder with what runs there, processes whose folder is gone, and,
    /// where there is an engine, containers and networks, also of one that has no record. Nothing to do is a success.
    ///
    /// # Errors
    /// Those of [`Host::remove`].
    pub async fn remove_remains(&self, id: &ServerId) -> Result<(), HostError> {
        // A container without a record is not known to be one; after this the folder that it works in is free.
        if !self.knows(id) && self.engine.is_some() && self.contained_servers().await?.contains(id) {
            self.contained(id)?.clear().await?;
        }
        self.remove(id).await?;
        self.end_strays(id).await
    }

    /// Compares what there is of servers with what the records know, for brokers that name the servers of instances after
    /// the instances' identifiers: what has another name is none of theirs.
    pub async fn compare(&self, drift: &mut Drift, asks_engine: bool) {
        match self.strays() {
            Ok(strays) => {
                for (id, pids) in strays {
                    self.compare_stray(&id, &pids, drift).await;
                }
            }
            Err(why) => drift.unseen("processes", why),
        }
        let folders = match self.folders() {
            Ok(folders) => folders,
            Err(why) => return drift.unseen("servers' folder", why),
        };
        let containers = match asks_engine {
            true => self.contained_servers().await,
            false => Ok(BTreeSet::new()),
        };
        let containers = containers.unwrap_or_else(|why| {
            drift.unseen("containers", why);
            BTreeSet::new()
        });
        for id in folders.union(&containers) {
            let Ok(instance) = id.as_str().parse::<OpaqueId>() else { continue };
            let text = match (folders.contains(id), containers.contains(id)) {
                (true, true) => "a server's folder and its container",
                (true, false) => "a server's folder, with what runs there",
                (false, _) => "a server's container or its network, without a folder",
            };
            drift.orphan(&instance, "servers' folder", text, async || self.removed(id).await).await;
        }
    }

    async fn compare_stray(&self, id: &ServerId, pids: &[u32], drift: &mut Drift) {
        let Ok(instance) = id.as_str().parse::<OpaqueId>() else { return };
        let pids = pids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let text = format!("a server whose folder is gone still runs as process {pids}");
        let end = async || self.end_strays(id).await.map_err(BrokerError::unavailable);
        if drift.knows(&instance) {
            drift.differs(&instance, "processes", text, end).await;
        } else {
            drift.orphan(&instance, "processes", text, end).await;
        }
    }

    async fn removed(&self, id: &ServerId) -> broker_core::Result<()> {
        self.remove_remains(id).await.map_err(BrokerError::unavailable)
    }

    fn stray_processes(&self) -> Result<Vec<(ServerId, Identity)>, HostError> {
        let own = fs::read_link("/proc/self/ns/mnt").at("/proc/self/ns/mnt")?;
        let entries = fs::read_dir("/proc").at("/proc")?;
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        // What runs in a container sees paths of its own, and is the engine's.
        let here = pids.filter(|pid| fs::read_link(format!("/proc/{pid}/ns/mnt")).is_ok_and(|theirs| theirs == own));
        let stray = here.filter_map(|pid| {
            let folder = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
            Some((server_in(&self.hosting.root, &folder)?, Identity::of(pid)?))
        });
        Ok(stray.collect())
    }
}

/// The server that a process of this working folder is of, if the folder is gone.
fn server_in(root: &Path, folder: &Path) -> Option<ServerId> {
    let gone = PathBuf::from(folder.to_str()?.strip_suffix(" (deleted)")?);
    let id = gone.strip_prefix(root).ok()?.components().next()?;
    id.as_os_str().to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_of_the_server_whose_folder_it_was_in() {
        let of = |folder: &str| server_in(Path::new("/servers"), Path::new(folder)).map(|id| id.to_string());
        assert_eq!(of("/servers/abc/data (deleted)").as_deref(), Some("abc"));
        assert_eq!(of("/servers/abc (deleted)").as_deref(), Some("abc"));
        for other in
            ["/servers/abc/data", "/servers (deleted)", "/other/abc (deleted)", "/servers/.removed-a (deleted)"]
        {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
