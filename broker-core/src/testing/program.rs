//! A broker's binary, run as its operator would.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
};

use super::{PASSWORD, PATIENCE, Target};

/// A broker's binary that serves, on a free port. Dropping it kills it; its servers stay.
#[derive(Debug)]
pub struct Program {
    child: Child,
    service: String,
    url: String,
    log: Arc<Mutex<String>>,
}

impl Program {
    /// Runs `serve` of a service's broker with its records in `data` and the most talkative log.
    ///
    /// # Panics
    /// When it ends, or does not serve within 20 s; the text has its log.
    pub fn serve<A: AsRef<OsStr>>(binary: &str, service: &str, data: &Path, arguments: &[A]) -> Self {
        Self::serve_by(Command::new(binary), service, data, arguments)
    }

    /// As [`serve`](Self::serve), by a command that has been given its environment already.
    ///
    /// # Panics
    /// As there.
    pub fn serve_by<A: AsRef<OsStr>>(mut command: Command, service: &str, data: &Path, arguments: &[A]) -> Self {
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data).args(arguments);
        command.env("BROKER_PASSWORD", PASSWORD).env("RUST_LOG", "trace");
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary runs");
        let errors = child.stderr.take().expect("standard error is piped");
        let log = Arc::new(Mutex::new(String::new()));
        let (serving, served) = mpsc::channel();
        thread::spawn({
            let log = log.clone();
            move || keep(errors, &log, &serving)
        });
        let url = served.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            let _ = child.kill();
            panic!("the broker does not serve: {}", log.lock().expect("a log"))
        });
        Self { child, service: service.to_owned(), url, log }
    }

    /// How to reach it, for an instance of this plan.
    #[must_use]
    pub fn target<'a>(&'a self, plan: &'a str) -> Target<'a> {
        Target::new(&self.url, plan).accepting(&self.service, PASSWORD)
    }

    /// All it has written to its log.
    ///
    /// # Panics
    /// When reading the log panicked.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().expect("a log").clone()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps the log, and says where the broker serves as soon as that is in it.
fn keep(errors: ChildStderr, log: &Mutex<String>, serving: &mpsc::Sender<String>) {
    for line in BufReader::new(errors).lines().map_while(Result::ok) {
        if let Some((_, url)) = line.split_once("listening on ") {
            // Nobody waits any more when it took too long.
            let _ = serving.send(url.trim().to_owned());
        }
        let mut log = log.lock().expect("a log");
        log.push_str(&line);
        log.push('\n');
    }
}
