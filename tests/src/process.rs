//! Programs that run until they are stopped.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use chrono::{DateTime, SecondsFormat, Utc};

/// How long anything may take to come up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What daemons write to their logs: each request of an app, too.
const LOGGED: &str = "info,hyper=warn,platform_router=debug";

/// A daemon: started, killed, started again, always the same way.
#[derive(Debug)]
pub struct Daemon {
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    address: SocketAddr,
    child: Option<Child>,
}

impl Daemon {
    /// Starts a daemon and waits until its port answers.
    #[must_use]
    pub fn start(program: &Path, arguments: Vec<String>, log: &Path, address: SocketAddr) -> Self {
        let mut daemon = Self { program: program.to_owned(), arguments, log: log.to_owned(), address, child: None };
        daemon.start_again();
        daemon
    }

    /// Starts it after it was killed, with the same arguments.
    ///
    /// # Panics
    /// When it ends, or its port does not answer in time.
    pub fn start_again(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).expect("the log can be written");
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .env("RUST_LOG", LOGGED)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file handle can be cloned"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|reason| panic!("{} cannot be started: {reason}", self.program.display()));
        self.child = Some(child);
        self.wait_until_it_answers();
    }

    fn wait_until_it_answers(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).is_err() {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            assert!(ended.is_none(), "{} ended: {ended:?}\n{}", self.program.display(), self.log());
            assert!(Instant::now() < deadline, "{} does not answer\n{}", self.program.display(), self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its process.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("the daemon runs").id()
    }

    /// Ends it as a crash does.
    pub fn kill_9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a child can be killed");
            child.wait().expect("a killed child ends");
        }
    }

    /// What it wrote.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What it wrote from a moment on; its lines begin with theirs.
    #[must_use]
    pub fn log_since(&self, moment: DateTime<Utc>) -> String {
        let moment = moment.to_rfc3339_opts(SecondsFormat::Micros, true);
        let log = self.log();
        log.lines().skip_while(|line| *line < moment.as_str()).flat_map(|line| [line, "\n"]).collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill_9();
    }
}

/// A port that nobody listens on at the moment.
///
/// # Panics
/// When there is none left.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("a listener has an address").port()
}
