//! Servers come up, survive, come back and go away. The servers are real: `redis-server` has to be installed.

use std::{
    error::Error,
    ffi::OsString,
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU16, Ordering::Relaxed},
    time::Duration,
};

use async_trait::async_trait;
use broker_hosting::{Host, HostError, Hosting, Place, Program, RunAs, Running, ServerId, find_program};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A plain `redis-server`.
struct Plain {
    executable: PathBuf,
    settings: &'static str,
}

impl Plain {
    fn new(settings: &'static str) -> Self {
        Self { executable: find_program("redis-server").expect("redis-server is installed"), settings }
    }
}

#[async_trait]
impl Program for Plain {
    fn executable(&self) -> &Path {
        &self.executable
    }

    async fn prepare(&self, place: &Place) -> Result<Vec<OsString>, Box<dyn Error + Send + Sync>> {
        let data = place.folder("data")?;
        let settings = format!(
            "port {}\nbind 127.0.0.1\ndir {}\nappendonly yes\nappendfsync always\n{}\n",
            place.port,
            data.display(),
            self.settings
        );
        Ok(vec![place.write("redis.conf", &settings)?.into()])
    }

    async fn ready(&self, place: &Place) -> Result<(), Box<dyn Error + Send + Sync>> {
        let answer = say(place.port, "PING").await?;
        if answer == "+PONG" { Ok(()) } else { Err(answer.into()) }
    }
}

async fn say(port: u16, command: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(format!("{command}\r\n").as_bytes()).await?;
    let mut answer = vec![0; 256];
    let length = stream.read(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer[..length]).trim().replace("\r\n", " "))
}

/// A folder for servers, which ends with its test together with what runs there.
struct Grounds(tempfile::TempDir);

impl Grounds {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self(folder)
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("servers")
    }

    fn hosting(&self, ports: &str) -> Hosting {
        let (ports, run_as) = (ports.parse().unwrap(), RunAs::Packaged("redis"));
        Hosting { root: self.root(), ports, addresses: Vec::new(), run_as }
    }

    async fn open(&self) -> Host {
        Host::open(self.hosting(&free_ports(20))).await.unwrap()
    }
}

impl Drop for Grounds {
    fn drop(&mut self) {
        for entry in fs::read_dir(self.root()).into_iter().flatten().flatten() {
            let record = fs::read_to_string(entry.path().join("server.json")).unwrap_or_default();
            let pid = record.split("\"pid\": ").nth(1).and_then(|rest| rest.split(',').next());
            if let Some(pid) = pid.filter(|pid| is_redis(pid)) {
                kill(pid);
            }
        }
    }
}

fn is_redis(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("redis"))
}

fn kill(pid: &str) {
    assert!(std::process::Command::new("kill").args(["-9", pid]).status().unwrap().success());
}

/// A range of ports, different in each call, and outside of what the system gives to connections.
fn free_ports(count: u16) -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + u16::try_from(std::process::id() % 500).unwrap() * 40 + NEXT.fetch_add(count + 1, Relaxed);
    format!("{first}-{}", first + count)
}

fn id(name: &str) -> ServerId {
    name.parse().unwrap()
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn kill_and_wait(running: &Running) {
    kill(&running.pid().to_string());
    eventually("the server ends", async || say(running.port, "PING").await.is_err()).await;
}

#[tokio::test] // SPEC H-1
async fn a_server_that_runs_is_left_alone() {
    let grounds = Grounds::new();
    let host = grounds.open().await;

    let first = host.ensure(&id("a"), &Plain::new("")).await.unwrap();
    let again = host.ensure(&id("a"), &Plain::new("")).await.unwrap();
    let other = host.ensure(&id("b"), &Plain::new("")).await.unwrap();

    assert_eq!(first, again);
    assert_ne!(first.port, other.port);
}

#[tokio::test] // SPEC H-3
async fn a_killed_server_comes_back_on_its_port_with_its_data() {
    let grounds = Grounds::new();
    let host = grounds.open().await;
    let before = host.ensure(&id("a"), &Plain::new("")).await.unwrap();
    assert_eq!(say(before.port, "SET k v").await.unwrap(), "+OK");

    kill_and_wait(&before).await;
    let after = host.ensure(&id("a"), &Plain::new("")).await.unwrap();

    assert_eq!(after.port, before.port);
    assert_ne!(after.pid(), before.pid());
    assert_eq!(say(after.port, "GET k").await.unwrap(), "$1 v");
}

#[tokio::test] // SPEC H-2
async fn the_next_broker_takes_over_the_server_that_runs() {
    let grounds = Grounds::new();
    let host = grounds.open().await;
    let before = host.ensure(&id("a"), &Plain::new("")).await.unwrap();

    drop(host);
    let after = grounds.open().await.ensure(&id("a"), &Plain::new("")).await.unwrap();

    assert_eq!(after, before);
}

#[tokio::test] // SPEC H-2
async fn a_server_whose_process_was_never_recorded_is_found_and_not_started_twice() {
    let grounds = Grounds::new();
    let host = grounds.open().await;
    let before = host.ensure(&id("a"), &Plain::new("")).await.unwrap();
    drop(host);
    let record = format!("{{\"port\": {}, \"known\": false, \"process\": null}}", before.port);
    fs::write(grounds.root().join("a/server.json"), record).unwrap();

    let after = grounds.open().await.ensure(&id("a"), &Plain::new("")).await.unwrap();

    assert_eq!(after, before);
}

#[tokio::test] // SPEC H-2
async fn what_an_interrupted_preparation_left_running_is_ended_before_a_start() {
    let grounds = Grounds::new();
    fs::create_dir_all(grounds.root().join("a")).unwrap();
    let log = fs::OpenOptions::new().append(true).create(true).open(grounds.root().join("a/log")).unwrap();
    log.lock().unwrap();
    let mut rest = std::process::Command::new("sleep").arg("60").stdout(log).spawn().unwrap();

    grounds.open().await.ensure(&id("a"), &Plain::new("")).await.unwrap();

    assert!(!rest.wait().unwrap().success(), "it was killed");
}

#[tokio::test] // SPEC H-1
async fn a_taken_port_is_skipped() {
    let grounds = Grounds::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let first = taken.local_addr().unwrap().port().min(u16::MAX - 9);
    let host = Host::open(grounds.hosting(&format!("{first}-{}", first + 9))).await.unwrap();

    let running = host.ensure(&id("a"), &Plain::new("")).await.unwrap();

    assert!(running.port > first);
}

#[tokio::test] // SPEC H-3
async fn a_known_server_whose_port_was_taken_says_so_instead_of_moving() {
    let grounds = Grounds::new();
    let host = grounds.open().await;
    let running = host.ensure(&id("a"), &Plain::new("")).await.unwrap();
    host.stop(&id("a"), Duration::from_secs(5)).await.unwrap();
    let _taken = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], running.port))).unwrap();

    let refusal = host.ensure(&id("a"), &Plain::new("")).await.unwrap_err();

    let port = running.port;
    assert_eq!(
        refusal.to_string(),
        format!("port {port} of server \"a\" was taken by another program while it was down: stop that program")
    );
}

#[tokio::test]
async fn a_range_without_a_free_port_says_so() {
    let grounds = Grounds::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let host = Host::open(grounds.hosting(&format!("{port}-{port}"))).await.unwrap();

    let refusal = host.ensure(&id("a"), &Plain::new("")).await.unwrap_err();

    assert!(matches!(refusal, HostError::NoFreePort(_)), "{refusal}");
}

#[tokio::test]
async fn a_server_that_does_not_start_says_why() {
    let grounds = Grounds::new();
    let host = grounds.open().await;

    let refusal = host.ensure(&id("a"), &Plain::new("no-such-setting 1")).await.unwrap_err().to_string();

    assert!(refusal.starts_with("server \"a\" ended before it was ready"), "{refusal}");
    assert!(refusal.contains("no-such-setting"), "{refusal}");
}

#[tokio::test] // SPEC H-4
async fn a_removed_server_leaves_nothing_and_removing_it_again_is_fine() {
    let grounds = Grounds::new();
    let host = grounds.open().await;
    let running = host.ensure(&id("a"), &Plain::new("")).await.unwrap();

    host.remove(&id("a")).await.unwrap();
    host.remove(&id("a")).await.unwrap();
    host.stop(&id("a"), Duration::ZERO).await.unwrap();

    assert!(!host.knows(&id("a")));
    assert!(!Path::new(&format!("/proc/{}", running.pid())).join("exe").exists());
    let left: Vec<_> = fs::read_dir(grounds.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"]);
}

#[tokio::test] // SPEC H-4
async fn a_removal_that_was_interrupted_is_finished_by_the_next_broker() {
    let grounds = Grounds::new();
    fs::create_dir_all(grounds.root().join(".removed-a/data")).unwrap();

    let _host = grounds.open().await;

    assert!(!grounds.root().join(".removed-a").exists());
}

#[tokio::test]
async fn a_stopped_server_keeps_its_port_and_data() {
    let grounds = Grounds::new();
    let host = grounds.open().await;
    let before = host.ensure(&id("a"), &Plain::new("")).await.unwrap();
    say(before.port, "SET k v").await.unwrap();

    host.stop(&id("a"), Duration::from_secs(5)).await.unwrap();
    assert!(!host.is_running(&id("a")).unwrap());
    let after = host.ensure(&id("a"), &Plain::new("")).await.unwrap();

    assert_eq!(after.port, before.port);
    assert_eq!(say(after.port, "GET k").await.unwrap(), "$1 v");
}

#[tokio::test]
async fn a_second_broker_on_the_same_folder_is_refused() {
    let grounds = Grounds::new();
    let _host = grounds.open().await;

    let refusal = Host::open(grounds.hosting("20000-20999")).await.unwrap_err();

    assert!(refusal.to_string().starts_with("another broker uses the servers' folder"), "{refusal}");
}

#[tokio::test] // SPEC H-5
async fn servers_started_by_root_run_as_an_ordinary_user_and_see_no_environment() {
    let grounds = Grounds::new();
    let host = grounds.open().await;

    let running = host.ensure(&id("a"), &Plain::new("")).await.unwrap();

    let process = PathBuf::from(format!("/proc/{}", running.pid()));
    let environment = fs::read_to_string(process.join("environ")).unwrap();
    assert!(!environment.contains("CARGO"), "{environment}");
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let packaged = fs::read_to_string("/etc/passwd").unwrap().lines().any(|line| line.starts_with("redis:"));
    if root && packaged {
        assert_ne!(fs::metadata(&process).unwrap().uid(), 0);
        assert_ne!(fs::metadata(grounds.root().join("a/redis.conf")).unwrap().uid(), 0);
    }
    assert_eq!(fs::metadata(grounds.root().join("a/redis.conf")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn an_address_of_another_machine_is_named() {
    let grounds = Grounds::new();
    let hosting = Hosting { addresses: vec!["192.0.2.1".parse().unwrap()], ..grounds.hosting("20000-20999") };
    let host = Host::open(hosting).await.unwrap();

    let refusal = host.ensure(&id("a"), &Plain::new("")).await.unwrap_err();

    assert_eq!(
        refusal.to_string(),
        "this machine has no address 192.0.2.1 for servers to listen on: choose which addresses they bind to"
    );
}
