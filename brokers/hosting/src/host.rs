//! Making servers run, and making them go away.

mod containers;
mod processes;
mod remains;

use std::{
    collections::HashMap,
    fs, io,
    io::{Read as _, Seek as _},
    net::IpAddr,
    os::unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::{
    Containers, HostError, Place, Ports, Program, RunAs, ServerId, Usage,
    cgroup::Means,
    engine::Engine,
    error::At as _,
    files, ports,
    process::Identity,
    record::Record,
    usage,
    user::{self, Owner},
};

/// Where and how servers run.
#[derive(Clone, Debug)]
pub struct Hosting {
    /// The folder that holds a folder for each server.
    pub root: PathBuf,
    /// The ports to give out.
    pub ports: Ports,
    /// The addresses that servers listen at besides 127.0.0.1.
    pub addresses: Vec<IpAddr>,
    /// Whom they run as.
    pub run_as: RunAs,
    /// The engine for those that run in containers; none when no plan offers them.
    pub containers: Option<Containers>,
}

/// A server that was ready when it was last looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Where it listens: at 127.0.0.1 and the other addresses.
    pub port: u16,
    life: Life,
}

/// What lives. Another life than before means that the server was started again.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Life {
    Process(Identity),
    Container { id: String, started: String, pid: u32 },
}

impl Running {
    /// The number of its process, as the machine counts.
    #[must_use]
    pub fn pid(&self) -> u32 {
        match &self.life {
            Life::Process(process) => process.pid,
            Life::Container { pid, .. } => *pid,
        }
    }

    fn is_living_process(&self) -> bool {
        matches!(&self.life, Life::Process(process) if process.is_alive())
    }
}

/// One broker's servers on this machine.
pub struct Host {
    hosting: Hosting,
    owner: Option<Owner>,
    means: Means,
    engine: Option<Arc<Engine>>,
    /// What is ours on this machine has this name: our folder's, which is ours alone.
    group: String,
    /// One server is in one pair of hands; what is in them is known of it.
    turns: Mutex<HashMap<ServerId, Turn>>,
    last_port: Mutex<u16>,
    /// Keeps other brokers out of the folder for as long as this one lives; none for one that only looks.
    _lock: Option<fs::File>,
}

type Turn = Arc<tokio::sync::Mutex<Option<Running>>>;

/// A log longer than this starts anew when its server does.
const LONGEST_LOG: u64 = 4 << 20;
/// How long ports that are snatched away and remains of a crash may be in the way. A process that was killed
/// holds its lock until its last thread has ended.
const LOCKED_WITHIN: Duration = Duration::from_secs(5);

impl Host {
    /// Takes a folder for servers into use, making it when there is none. Servers that run there
    /// go on running.
    ///
    /// # Errors
    /// When the folder can't be used, another broker uses it, or there is no such user.
    pub async fn open(hosting: Hosting) -> Result<Self, HostError> {
        let root = std::path::absolute(&hosting.root).at(&hosting.root)?;
        if !root.exists() {
            let mode = if rustix::process::geteuid().is_root() { 0o711 } else { 0o700 };
            files::folder(&root, mode).at(&root)?;
        }
        let root = root.canonicalize().at(&root)?;
        let lock = only_broker(&root).await?;
        let host = Self::at(root, hosting, Some(lock))?;
        // Said now; servers that run go on, and the address may come, as a container network's does.
        if let Err(missing @ HostError::NoAddress(_)) = ports::is_free(&host.hosting.addresses, 0) {
            warn!("no server can be started for now: {missing}");
        }
        if !host.means.are_whole() {
            warn!("{}", host.means.explain());
        }
        host.sweep()?;
        Ok(host)
    }

    /// Looks at a folder for servers, beside the broker that uses it: nothing is made there, and nobody is kept out. Only
    /// what changes nothing is to be asked of it.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn look(hosting: Hosting) -> Result<Self, HostError> {
        let root = std::path::absolute(&hosting.root).at(&hosting.root)?;
        let root = root.canonicalize().unwrap_or(root);
        Self::at(root, hosting, None)
    }

    fn at(root: PathBuf, hosting: Hosting, lock: Option<fs::File>) -> Result<Self, HostError> {
        let owner = user::choose(&hosting.run_as, &root)?;
        let addresses = listen_at(&hosting.addresses);
        let cgroups = Path::new("/sys/fs/cgroup");
        let means = if lock.is_some() { Means::find(cgroups) } else { Means::look(cgroups) };
        let engine = hosting.containers.clone().map(Engine::new).map(Arc::new);
        let service = hosting.containers.as_ref().map_or("servers", |containers| &containers.service);
        let group = format!("{service}-{}", &hex::encode(Sha256::digest(root.as_os_str().as_bytes()))[..8]);
        Ok(Self {
            hosting: Hosting { root, addresses, ..hosting },
            owner,
            means,
            engine,
            group,
            turns: Mutex::default(),
            last_port: Mutex::new(0),
            _lock: lock,
        })
    }

    /// Makes a server run and waits until it is ready: starts it, adopts it, or brings it back on
    /// its port with its data, whichever is needed. Cheap when it runs.
    ///
    /// # Errors
    /// When it can't be started or isn't ready in time; trying again is always safe.
    pub async fn ensure(&self, id: &ServerId, program: &dyn Program) -> Result<Running, HostError> {
        let turn = self.turn(id);
        let mut known = turn.lock().await;
        let running = self.make_run(id, program, known.as_ref()).await?;
        *known = Some(running.clone());
        Ok(running)
    }

    /// Ends a server, politely, and makes it run again: how a changed setting comes into force.
    ///
    /// # Errors
    /// Those of [`Host::stop`] and [`Host::ensure`].
    pub async fn restart(&self, id: &ServerId, program: &dyn Program) -> Result<Running, HostError> {
        let turn = self.turn(id);
        let mut known = turn.lock().await;
        *known = None;
        self.end(id, program.stop_within()).await?;
        let running = self.make_run(id, program, None).await?;
        *known = Some(running.clone());
        Ok(running)
    }

    /// Puts the program's limits into force, while the server runs where that can be done: else it is started
    /// again on the same data. A server that is down is started with them.
    ///
    /// # Errors
    /// Those of [`Host::ensure`], and when the limits are refused.
    pub async fn update(&self, id: &ServerId, program: &dyn Program) -> Result<Running, HostError> {
        let running = self.ensure(id, program).await?;
        let changed = match &running.life {
            Life::Process(process) => self.limit(id, process, &program.limits()).map(|()| true),
            Life::Container { .. } => self.contained(id)?.change(&program.limits()).await,
        };
        if changed? { Ok(running) } else { self.restart(id, program).await }
    }

    /// What a server uses now; none when it was not made. One that is down uses only disk.
    ///
    /// # Errors
    /// When its folder can't be read or the engine is away.
    pub async fn usage(&self, id: &ServerId) -> Result<Option<Usage>, HostError> {
        let Some(record) = Record::read(&self.record_path(id))? else { return Ok(None) };
        let used = if record.contained {
            self.contained(id)?.usage().await?
        } else {
            record.process.filter(Identity::is_alive).and_then(|process| usage::of_process(process.pid))
        };
        let folder = self.folder(id);
        let counted = tokio::task::spawn_blocking(move || usage::of_folder(&folder)).await.map_err(io::Error::other);
        let disk = counted.and_then(|counted| counted).at(self.folder(id))?;
        Ok(Some(Usage { disk, ..used.unwrap_or_default() }))
    }

    /// The servers that were made and not removed, in the order of their names.
    ///
    /// # Errors
    /// When the servers' folder can't be read.
    pub fn servers(&self) -> Result<Vec<ServerId>, HostError> {
        let root = &self.hosting.root;
        let mut servers = Vec::new();
        for entry in fs::read_dir(root).at(root)? {
            let id = entry.at(root)?.file_name().to_str().and_then(|name| name.parse::<ServerId>().ok());
            servers.extend(id.filter(|id| self.knows(id)));
        }
        servers.sort();
        Ok(servers)
    }

    /// Whether the server has a folder here: it was made and not removed.
    #[must_use]
    pub fn knows(&self, id: &ServerId) -> bool {
        self.record_path(id).exists()
    }

    /// The server's folder, to change its files while it runs; none when it was not made or was removed.
    ///
    /// # Errors
    /// When its record can't be read.
    pub fn find(&self, id: &ServerId) -> Result<Option<Place>, HostError> {
        let Some(record) = Record::read(&self.record_path(id))? else { return Ok(None) };
        let place = self.place(id, record.port, None);
        Ok(Some(if record.contained { self.place_in(self.contained(id)?, place, None) } else { place }))
    }

    /// Whether the server's process or container runs now.
    ///
    /// # Errors
    /// When its record can't be read, or the engine is away.
    pub async fn is_running(&self, id: &ServerId) -> Result<bool, HostError> {
        let record = Record::read(&self.record_path(id))?;
        if record.as_ref().is_some_and(|record| record.contained) {
            return Ok(self.contained(id)?.look().await?.is_some_and(|seen| seen.runs));
        }
        Ok(record.and_then(|record| record.process).is_some_and(|process| process.is_alive()))
    }

    /// The same after a start or an end of the server that goes on.
    ///
    /// # Errors
    /// Those of [`Host::is_running`].
    pub async fn settled(&self, id: &ServerId) -> Result<bool, HostError> {
        let turn = self.turn(id);
        let _settled = turn.lock().await;
        self.is_running(id).await
    }

    /// Ends a server, politely for as long as `within`, and keeps its data and its port. Nothing
    /// to do is a success.
    ///
    /// # Errors
    /// When its process can't be ended.
    pub async fn stop(&self, id: &ServerId, within: Duration) -> Result<(), HostError> {
        let turn = self.turn(id);
        let mut known = turn.lock().await;
        *known = None;
        self.end(id, within).await
    }

    /// Ends a server at once and removes all it had. Nothing to do is a success.
    ///
    /// # Errors
    /// When its process can't be ended or its folder can't be removed.
    pub async fn remove(&self, id: &ServerId) -> Result<(), HostError> {
        let turn = self.turn(id);
        let mut known = turn.lock().await;
        *known = None;
        self.end(id, Duration::ZERO).await?;
        self.means.forget(&self.group, id).await.map_err(|cause| HostError::Limits { id: id.clone(), cause })?;
        if Record::read(&self.record_path(id))?.is_some_and(|record| record.contained) {
            self.contained(id)?.clear().await?;
        }
        let (folder, doomed) = (self.folder(id), self.hosting.root.join(format!(".removed-{id}")));
        remove_all(&doomed).await?;
        match fs::rename(&folder, &doomed) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).at(folder),
            _ => remove_all(&doomed).await?,
        }
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        Ok(())
    }

    /// A file of the broker's own in the servers' folder, such as an administrator's password.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.hosting.root.join(name)
    }

    fn turn(&self, id: &ServerId) -> Turn {
        Arc::clone(self.turns.lock().unwrap_or_else(PoisonError::into_inner).entry(id.clone()).or_default())
    }

    fn folder(&self, id: &ServerId) -> PathBuf {
        self.hosting.root.join(id.as_str())
    }

    fn record_path(&self, id: &ServerId) -> PathBuf {
        self.folder(id).join("server.json")
    }

    fn place(&self, id: &ServerId, port: u16, lock: Option<Arc<fs::File>>) -> Place {
        let addresses = self.hosting.addresses.clone();
        let published = addresses.clone();
        Place { port, addresses, published, folder: self.folder(id), owner: self.owner.clone(), lock, container: None }
    }

    async fn make_run(
        &self,
        id: &ServerId,
        program: &dyn Program,
        known: Option<&Running>,
    ) -> Result<Running, HostError> {
        if let Some(container) = program.container() {
            return self.bring_up_contained(id, program, &container).await;
        }
        if let Some(running) = known.filter(|running| running.is_living_process()) {
            return Ok(running.clone());
        }
        self.leave_container(id).await?;
        self.bring_up(id, program).await
    }

    /// The server's record, with a port that was free just now, written down.
    fn record_with_port(&self, id: &ServerId) -> Result<Record, HostError> {
        let path = self.record_path(id);
        let found = Record::read(&path)?;
        if let Some(record) = found {
            if ports::is_free(&self.hosting.addresses, record.port)? {
                return Ok(record);
            }
            if record.known {
                return Err(HostError::PortTaken { id: id.clone(), port: record.port });
            }
        }
        // Two servers that start at once must not see the same port free.
        let mut last = self.last_port.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = self.recorded_ports()?;
        for port in self.hosting.ports.after(*last).filter(|port| !taken.contains(port)) {
            if ports::is_free(&self.hosting.addresses, port)? {
                *last = port;
                let record = Record { port, known: false, contained: false, process: None };
                record.write(&path)?;
                return Ok(record);
            }
        }
        Err(HostError::NoFreePort(self.hosting.ports.clone()))
    }

    /// The ports of all servers, also of those that are down.
    fn recorded_ports(&self) -> Result<Vec<u16>, HostError> {
        let root = &self.hosting.root;
        let mut ports = Vec::new();
        for entry in fs::read_dir(root).at(root)? {
            let record = Record::read(&entry.at(root)?.path().join("server.json"));
            // A file of the broker's own has no record below it.
            ports.extend(record.ok().flatten().map(|record| record.port));
        }
        Ok(ports)
    }

    /// Removes what an interrupted removal left.
    fn sweep(&self) -> Result<(), HostError> {
        let root = &self.hosting.root;
        for entry in fs::read_dir(root).at(root)? {
            let entry = entry.at(root)?;
            if entry.file_name().to_string_lossy().starts_with(".removed-") {
                fs::remove_dir_all(entry.path()).at(entry.path())?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("hosting", &self.hosting).finish_non_exhaustive()
    }
}

/// All addresses to listen at: the machine's own among them, and none twice.
pub(crate) fn listen_at(others: &[IpAddr]) -> Vec<IpAddr> {
    if let Some(all) = others.iter().find(|address| address.is_unspecified()) {
        return vec![*all];
    }
    let mut addresses = vec![IpAddr::from([127, 0, 0, 1])];
    for address in others {
        if !addresses.contains(address) {
            addresses.push(*address);
        }
    }
    addresses
}

/// The lock on the servers' folder. A broker that was just killed may hold it a moment longer.
async fn only_broker(root: &Path) -> Result<fs::File, HostError> {
    let path = root.join("lock");
    let lock = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).at(&path)?;
    let deadline = Instant::now() + Duration::from_secs(3);
    while lock.try_lock().is_err() {
        if Instant::now() > deadline {
            return Err(HostError::InUse(root.to_owned()));
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(lock)
}

async fn remove_all(folder: &Path) -> Result<(), HostError> {
    let doomed = folder.to_owned();
    let removed = tokio::task::spawn_blocking(move || fs::remove_dir_all(doomed)).await.map_err(io::Error::other);
    match removed.and_then(|removed| removed) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at(folder),
        _ => Ok(()),
    }
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut file = fs::File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(io::SeekFrom::Start(length.saturating_sub(600)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let lines: Vec<_> = text.lines().rev().take(4).collect();
        Ok(lines.into_iter().rev().map(str::trim).collect::<Vec<_>>().join(" | "))
    };
    read().unwrap_or_else(|error| format!("(unreadable: {error})"))
}
