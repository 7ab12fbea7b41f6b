//! A PostgreSQL server for tests.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::Secret;

/// Where Debian's packages put the server's programs, which are not on the path there.
const PACKAGED: &str = "/usr/lib/postgresql";
/// How long the server may take to start.
const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// A PostgreSQL server of a test's own, on a socket in a temporary folder. Dropping it ends it.
///
/// Run by root, it runs as the user `postgres`, which its package makes: the server refuses to run as root.
#[derive(Debug)]
pub struct Postgres {
    folder: TempDir,
    server: Child,
}

impl Postgres {
    /// Starts a server.
    ///
    /// # Panics
    /// When PostgreSQL is not installed, or does not start; the text has its log.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // Its own user has to get in.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("permissions");
        let data = folder.path().join("data");
        let mut initdb = program("initdb");
        initdb.args(["--auth=trust", "--username=broker", "--encoding=UTF8", "--no-locale"]);
        let made = initdb.arg("--pgdata").arg(&data).stdout(Stdio::null()).output().expect("initdb runs");
        assert!(made.status.success(), "no database cluster: {}", String::from_utf8_lossy(&made.stderr));
        let server = serve(folder.path());
        let postgres = Self { folder, server };
        postgres.wait();
        postgres
    }

    /// The URL of one of its databases, which is made when it is missing.
    ///
    /// # Panics
    /// When the database can't be made.
    #[must_use]
    pub fn url(&self, database: &str) -> Secret {
        let made = self.ask(&format!("CREATE DATABASE {database}"));
        let text = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(made.status.success() || text.contains("already exists"), "no database: {text}");
        Secret::from(format!("postgres://broker@localhost/{database}?host={}", self.folder.path().display()))
    }

    /// Stops the server at once, and starts it again.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.end();
        self.server = serve(self.folder.path());
        self.wait();
    }

    fn ask(&self, statement: &str) -> std::process::Output {
        let mut client = Command::new("psql");
        client.args(["--username=broker", "--dbname=postgres", "--command", statement, "--host"]);
        client.arg(self.folder.path()).output().expect("psql runs")
    }

    fn wait(&self) {
        let deadline = Instant::now() + STARTS_WITHIN;
        while !self.ask("SELECT 1").status.success() {
            let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "PostgreSQL does not start: {}", log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn end(&mut self) {
        // Immediate shutdown: as a crash, but its processes end together.
        let _ = Command::new("kill").args(["-QUIT", &self.server.id().to_string()]).status();
        let _ = self.server.wait();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.end();
    }
}

fn serve(folder: &Path) -> Child {
    let log = fs::File::options().append(true).create(true).open(folder.join("log")).expect("a log");
    let mut server = program("postgres");
    server.arg("-D").arg(folder.join("data")).arg("-k").arg(folder);
    server.args(["-c", "listen_addresses=", "-c", "max_connections=100", "-c", "deadlock_timeout=100ms"]);
    server.stdout(Stdio::null()).stderr(log).spawn().expect("postgres runs")
}

/// One of the server's programs, for its own user.
fn program(name: &str) -> Command {
    let path = find(name);
    let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if !is_root {
        return Command::new(path);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(path);
    command
}

/// The newest one that is installed.
fn find(name: &str) -> PathBuf {
    let packaged =
        fs::read_dir(PACKAGED).into_iter().flatten().flatten().map(|version| version.path().join("bin").join(name));
    let mut found: Vec<PathBuf> = packaged.filter(|path| path.exists()).collect();
    found.sort();
    found.pop().unwrap_or_else(|| PathBuf::from(name))
}
