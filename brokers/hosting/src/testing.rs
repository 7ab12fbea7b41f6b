//! For tests: a folder for servers, which ends with its test together with what runs there.

pub mod figures;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use tempfile::TempDir;

use crate::{Authority, Containers, Place, contained::Contained, engine::Engine, place::Bench, record::Record};

/// A folder for servers that are processes of one program.
#[derive(Debug)]
pub struct Grounds {
    folder: TempDir,
    program: &'static str,
    ports: String,
}

impl Grounds {
    /// For servers of a program, with a port for each of so many.
    ///
    /// # Panics
    /// When there is no place for temporary folders.
    #[must_use]
    pub fn new(program: &'static str, servers: u16) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // Servers may run as another user.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a folder to enter");
        Self { folder, program, ports: free_ports(servers) }
    }

    /// The servers' folder.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("servers")
    }

    /// Where a broker's binary keeps its records.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The servers' ports, as a broker's settings name them.
    #[must_use]
    pub fn ports(&self) -> &str {
        &self.ports
    }

    /// A file for the operator's settings.
    ///
    /// # Panics
    /// When it can't be written.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("a file");
        path
    }

    /// What is in the servers' folder, sorted, but for the broker's own files: the servers that were made and not
    /// removed.
    #[must_use]
    pub fn servers(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root()).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let mut servers: Vec<_> = folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        servers.sort();
        servers
    }

    /// A server's port.
    #[must_use]
    pub fn port(&self, server: &str) -> Option<u16> {
        self.record(server).map(|record| record.port)
    }

    /// The process of a server that was started last.
    #[must_use]
    pub fn pid(&self, server: &str) -> Option<u32> {
        self.record(server)?.process.map(|process| process.pid)
    }

    /// The processes of all servers that were started last, in the order of their names.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.servers().iter().filter_map(|server| self.pid(server)).collect()
    }

    /// Kills a server, and returns when it is dead.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn kill(&self, server: &str) {
        let pid = self.pid(server).expect("a server that was started");
        kill(pid);
        eventually("the server ends", async || !self.is_running(pid)).await;
    }

    /// Kills all servers, and returns when they are dead.
    pub async fn kill_all(&self) {
        for server in self.servers().into_iter().filter(|server| self.pid(server).is_some()) {
            self.kill(&server).await;
        }
    }

    fn record(&self, server: &str) -> Option<Record> {
        Record::read(&self.root().join(server).join("server.json")).expect("a record that can be read")
    }

    fn is_running(&self, pid: u32) -> bool {
        let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
        stat.contains(&format!("({})", self.program)) && !stat.contains(") Z ")
    }
}

impl Drop for Grounds {
    fn drop(&mut self) {
        self.pids().into_iter().filter(|pid| self.is_running(*pid)).for_each(kill);
    }
}

/// A server's certificate, made for a test.
#[derive(Debug)]
pub struct Certified {
    /// The file with the certificate and its key.
    pub certificate: PathBuf,
    /// The file with the certificate of the authority that signed it.
    pub authority: PathBuf,
}

impl Certified {
    /// For these names, made so long ago: after a year it has expired. All in one folder are of one authority.
    ///
    /// # Panics
    /// When its files can't be written.
    #[must_use]
    pub fn new(folder: &Path, names: &[&str], ago: Duration) -> Self {
        let own = folder.join(format!("{}-{}", names.join("-"), ago.as_secs()));
        fs::create_dir_all(&own).expect("a folder for certificates");
        let authority = Authority::open(folder, "test").expect("an authority");
        let place = place(&own);
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = authority.keep_at(&place, &names, SystemTime::now() - ago).expect("a certificate");
        Self { certificate: made.file, authority: made.authority }
    }
}

/// A server's place in a folder, where none ever runs.
#[must_use]
pub fn place(folder: &Path) -> Place {
    Place {
        port: 1,
        addresses: Vec::new(),
        published: Vec::new(),
        folder: folder.to_owned(),
        owner: None,
        lock: None,
        container: None,
    }
}

/// The same, of a server in a container; no engine is asked.
///
/// # Panics
/// Never: the name is one.
#[must_use]
pub fn place_in_container(folder: &Path) -> Place {
    let contained = Contained {
        engine: Arc::new(Engine::new(Containers::new("test"))),
        group: "test".to_owned(),
        id: "test".parse().expect("a name"),
        user: "0:0".to_owned(),
    };
    Place { container: Some(Bench { contained, image: None }), ..place(folder) }
}

fn kill(pid: u32) {
    let killed = Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(killed.expect("kill is installed").success(), "process {pid} cannot be killed");
}

/// A range of ports, different in each call, and outside of what the system gives to connections.
///
/// # Panics
/// When a process asks for more than there are.
#[must_use]
pub fn free_ports(count: u16) -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes of tests run side by side: each begins elsewhere. Where they meet, taken ports are skipped (SPEC H-1).
    let begin = u16::try_from(std::process::id() % 28 * 600).expect("a small number");
    let first = 10_000 + (begin + NEXT.fetch_add(count + 1, Relaxed)) % 22_000;
    format!("{first}-{}", first + count)
}

/// Waits for what happens in the background.
///
/// # Panics
/// When it does not happen.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
