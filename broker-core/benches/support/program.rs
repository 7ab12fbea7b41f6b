//! The example broker's binary, as its operator runs it: how long it takes to start, what memory it holds.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{Client, PASSWORD, USERNAME, block_on, request};

/// A broker that serves. Dropping it kills it: its records are as after a crash.
pub struct Program {
    child: Child,
    pub address: SocketAddr,
    /// From its start to its first answer that it is ready.
    pub ready_after: Duration,
}

/// Where `cargo build --release -p motd-broker` puts it.
///
/// # Panics
/// When it was not built.
pub fn binary() -> PathBuf {
    let own = std::env::current_exe().expect("a path");
    let folder = own.ancestors().nth(2).expect("the folder of the profile");
    let binary = folder.join("motd-broker");
    assert!(binary.exists(), "build it first: cargo build --release -p motd-broker");
    binary
}

impl Program {
    /// Starts it with its records in a folder.
    pub fn serve(folder: &Path) -> Self {
        let mut command = Command::new(binary());
        command.args(["serve", "--listen", "127.0.0.1:0", "--username", USERNAME, "--data"]).arg(folder);
        command.env("BROKER_PASSWORD", PASSWORD).env("RUST_LOG", "warn,broker_core::http::server=info");
        let begun = Instant::now();
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the broker runs");
        let mut lines = BufReader::new(child.stderr.take().expect("standard error")).lines().map_while(Result::ok);
        let line = lines.find(|line| line.contains("listening on ")).expect("the broker serves");
        let address = line.rsplit("http://").next().and_then(|text| text.trim().parse().ok()).expect("an address");
        block_on(async {
            let mut client = Client::connect(address).await;
            assert_eq!(client.ask(&request("GET", "/readyz", "")).await, 200);
        });
        let ready_after = begun.elapsed();
        // What it says from now on is trouble.
        thread::spawn(move || lines.for_each(|line| eprintln!("{line}")));
        Self { child, address, ready_after }
    }

    /// Its resident memory, in KiB.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
