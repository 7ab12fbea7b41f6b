//! Real servers in folders of their own, for both backends.

use std::{
    error::Error,
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

use async_trait::async_trait;
pub(crate) use broker_hosting::testing::{eventually, free_ports};
use broker_hosting::{
    Container, Containers, Host, Hosting, Image, Limits, Place, Program, RunAs, Running, ServerId, find_program,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A plain `redis-server`.
pub(crate) struct Plain {
    pub(crate) executable: PathBuf,
    pub(crate) settings: &'static str,
    pub(crate) limits: Limits,
    pub(crate) is_contained: bool,
    /// A process that the first look at the server kills.
    pub(crate) victim: Mutex<Option<String>>,
}

impl Plain {
    pub(crate) fn new(settings: &'static str) -> Self {
        let executable = find_program("redis-server").expect("redis-server is installed");
        Self { executable, settings, limits: Limits::default(), is_contained: false, victim: Mutex::default() }
    }

    pub(crate) fn in_container(settings: &'static str) -> Self {
        Self { is_contained: true, ..Self::new(settings) }
    }
}

#[async_trait]
impl Program for Plain {
    fn executable(&self) -> &Path {
        &self.executable
    }

    fn container(&self) -> Option<Container> {
        let image = Image::new("hosting-tests/redis", include_str!("../../../redis/image/Dockerfile"));
        self.is_contained.then(|| Container { image, executable: "/usr/bin/redis-server".to_owned(), health: None })
    }

    fn limits(&self) -> Limits {
        self.limits.clone()
    }

    async fn prepare(&self, place: &Place) -> Result<Vec<OsString>, Box<dyn Error + Send + Sync>> {
        let data = place.folder("data")?;
        let settings = format!(
            "port {}\nbind {}\nprotected-mode no\ndir {}\nappendonly yes\nappendfsync always\n{}\n",
            place.port,
            place.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            data.display(),
            self.settings
        );
        Ok(vec![place.write("redis.conf", &settings)?.into()])
    }

    async fn ready(&self, place: &Place) -> Result<(), Box<dyn Error + Send + Sync>> {
        if let Some(victim) = self.victim.lock().unwrap().take() {
            kill(&victim);
            return Err("it was killed".into());
        }
        let answer = say(place.port, "PING").await?;
        if answer == "+PONG" { Ok(()) } else { Err(answer.into()) }
    }
}

pub(crate) async fn say(port: u16, command: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(format!("{command}\r\n").as_bytes()).await?;
    let mut answer = vec![0; 256];
    let length = stream.read(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer[..length]).trim().replace("\r\n", " "))
}

/// A folder for servers, which ends with its test together with what runs there.
pub(crate) struct Grounds {
    folder: tempfile::TempDir,
    /// In the names of all containers and networks made here.
    service: String,
}

impl Grounds {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let random: u32 = rand::random();
        Self { folder, service: format!("t{random:08x}") }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("servers")
    }

    pub(crate) fn hosting(&self, ports: &str) -> Hosting {
        let (ports, run_as) = (ports.parse().unwrap(), RunAs::Packaged("redis"));
        let containers = Some(Containers { build_network: build_network(), ..Containers::new(&self.service) });
        Hosting { root: self.root(), ports, addresses: Vec::new(), run_as, containers }
    }

    /// Names of containers and of networks that are here.
    pub(crate) fn in_the_engine(&self) -> Vec<String> {
        let filter = format!("name={}", self.service);
        let containers = docker(&["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"]);
        let networks = docker(&["network", "ls", "--filter", &filter, "--format", "{{.Name}}"]);
        containers.lines().chain(networks.lines()).map(str::to_owned).collect()
    }

    /// The name of a server's container.
    pub(crate) fn container(&self, server: &str) -> String {
        let all = self.in_the_engine();
        all.into_iter().find(|name| name.ends_with(&format!(".{server}"))).expect("the server has a container")
    }

    pub(crate) async fn open(&self) -> Host {
        Host::open(self.hosting(&free_ports(20))).await.unwrap()
    }
}

impl Drop for Grounds {
    fn drop(&mut self) {
        let filter = format!("name={}", self.service);
        for container in docker(&["ps", "--all", "--quiet", "--filter", &filter]).lines() {
            docker(&["rm", "--force", "--volumes", container]);
        }
        for network in docker(&["network", "ls", "--quiet", "--filter", &filter]).lines() {
            docker(&["network", "rm", network]);
        }
        for entry in fs::read_dir(self.root()).into_iter().flatten().flatten() {
            let record = fs::read_to_string(entry.path().join("server.json")).unwrap_or_default();
            let pid = record.split("\"pid\": ").nth(1).and_then(|rest| rest.split(',').next());
            if let Some(pid) = pid.filter(|pid| is_redis(pid)) {
                kill(pid);
            }
        }
    }
}

/// What `docker` says; nothing when there is none, which the test that needs it then tells.
pub(crate) fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// Steps of builds reach a proxy on this machine's loopback by its own network.
fn build_network() -> Option<String> {
    let proxies =
        ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"].map(|name| std::env::var(name).unwrap_or_default());
    proxies.iter().any(|proxy| proxy.contains("127.") || proxy.contains("localhost")).then(|| "host".to_owned())
}

fn is_redis(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("redis"))
}

pub(crate) fn kill(pid: &str) {
    assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success());
}

pub(crate) fn id(name: &str) -> ServerId {
    name.parse().unwrap()
}

pub(crate) async fn kill_and_wait(running: &Running) {
    kill(&running.pid().to_string());
    eventually("the server ends", async || say(running.port, "PING").await.is_err()).await;
}
