//! One platform, its brokers and its user.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{Daemon, Ran, free_port, run};

/// How long anything may take to come true.
const PATIENCE: Duration = Duration::from_secs(60);

/// A platform that runs, with both brokers registered and an administrator logged in.
#[derive(Debug)]
pub struct World {
    /// Everything it writes.
    pub folder: TempDir,
    /// The platform.
    pub tsurud: Daemon,
    /// The Redis broker.
    pub redis: Daemon,
    /// The MySQL broker.
    pub mysql: Daemon,
    api: SocketAddr,
    router: SocketAddr,
}

/// What a host answered.
#[derive(Debug)]
pub struct Page {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Page {
    /// The value in a line such as `unit: blog.web.1-1.1`.
    ///
    /// # Panics
    /// When there is no such line.
    #[must_use]
    pub fn field(&self, name: &str) -> String {
        let line = self.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("no {name} in {self:?}")).to_owned()
    }
}

/// The repository's root.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests' folder lies in the repository")
}

/// The binaries under test, built once.
fn binaries() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let packages = ["-p", "tsurud", "-p", "tsuru", "-p", "redis-broker", "-p", "mysql-broker"];
        Ran::of(Command::new(cargo).args(["build", "--bins"]).args(packages).current_dir(root())).ok();
        let test = std::env::current_exe().expect("a test knows its own path");
        test.ancestors().nth(2).expect("tests are built in target/<profile>/deps").to_owned()
    })
}

/// The images that apps are built on, made once.
fn images() {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        run(root(), "scripts/base-image", &[]).ok();
        run(root(), "scripts/platform-images", &[]).ok();
    });
}

/// A folder whose path is short enough for a socket in it.
fn new_folder() -> TempDir {
    TempDir::with_prefix("tsuru-world-").expect("a folder can be made")
}

/// The address at which containers reach this machine, found out as the demo does.
fn bridge() -> String {
    let script = ". scripts/lib/settings.sh && . scripts/lib/say.sh && . scripts/lib/engine.sh && bridge_address";
    run(root(), "bash", &["-euc", script]).ok().trim().to_owned()
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl World {
    /// Starts everything and registers both services.
    ///
    /// # Panics
    /// When anything does not come up.
    #[must_use]
    pub fn start() -> Self {
        Self::start_in(new_folder(), local(free_port()), None)
    }

    /// The same with the router in a process of its own.
    ///
    /// # Panics
    /// When anything does not come up.
    #[must_use]
    pub fn start_with_router() -> (Self, Daemon) {
        let folder = new_folder();
        let router = local(free_port());
        let path = |name: &str| folder.path().join(name).display().to_string();
        let socket = path("router.sock");
        let arguments =
            owned(&["router", "--listen", &router.to_string(), "--socket", &socket, "--state", &path("router.json")]);
        let daemon = Daemon::start(&binaries().join("tsurud"), arguments, &folder.path().join("router.log"), router);
        (Self::start_in(folder, router, Some(socket)), daemon)
    }

    fn start_in(folder: TempDir, router: SocketAddr, router_socket: Option<String>) -> Self {
        images();
        let api = local(free_port());
        let mut arguments = serve_arguments(folder.path(), api, router);
        arguments.extend(router_socket.into_iter().flat_map(|socket| ["--router-socket".to_owned(), socket]));
        let tsurud = Daemon::start(&binaries().join("tsurud"), arguments, &folder.path().join("tsurud.log"), api);
        let redis = broker(folder.path(), "redis");
        let mysql = broker(folder.path(), "mysql");
        let world = Self { folder, tsurud, redis: redis.0, mysql: mysql.0, api, router };
        world.furnish(&[("redis", redis.1), ("mysql", mysql.1)]);
        world
    }

    fn furnish(&self, brokers: &[(&str, SocketAddr)]) {
        self.tsuru(&["target", "add", "test", &format!("http://{}", self.api), "-s"]).ok();
        self.log_in();
        for platform in ["python", "static"] {
            self.tsuru(&["platform", "add", platform]).ok();
        }
        for (service, address) in brokers {
            let manifest = self.folder.path().join(format!("{service}.yaml"));
            let endpoint = format!("http://{address}");
            let password = self.folder.path().join(format!("{service}-password"));
            let printed = Ran::of(
                Command::new(binaries().join(format!("{service}-broker")))
                    .args(["manifest", "--endpoint", &endpoint, "--team", "admin", "--password-file"])
                    .arg(&password),
            );
            fs::write(&manifest, printed.ok()).expect("a manifest can be written");
            self.tsuru(&["service", "create", manifest.to_str().expect("temporary paths are text")]).ok();
        }
    }

    /// Logs the administrator in anew.
    ///
    /// # Panics
    /// When that is refused.
    pub fn log_in(&self) {
        let password =
            fs::File::open(self.folder.path().join("data/admin-password")).expect("the daemon made a password");
        Ran::of(self.command(&["login", "admin@example.com"]).stdin(password)).ok();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binaries().join("tsuru"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", path())
            .env("HOME", self.folder.path())
            .current_dir(self.folder.path());
        command
    }

    /// Runs the command line.
    #[must_use]
    pub fn tsuru(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    /// Runs the command line in a folder.
    #[must_use]
    pub fn tsuru_in(&self, folder: &Path, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).current_dir(folder))
    }

    /// Runs git as the user would, in a folder below the world's.
    #[must_use]
    pub fn git(&self, folder: &Path, arguments: &[&str]) -> Ran {
        let paths = format!("{}:{}", binaries().display(), path());
        Ran::of(
            Command::new("git")
                .args(["-c", "user.name=Alice", "-c", "user.email=alice@example.com", "-c", "init.defaultBranch=main"])
                .args(arguments)
                .current_dir(folder)
                .env("HOME", self.folder.path())
                .env("PATH", paths)
                .env("GIT_CONFIG_NOSYSTEM", "1")
                .env("GIT_TERMINAL_PROMPT", "0"),
        )
    }

    /// A folder with these files, committed to git, with the app as its remote `tsuru`.
    ///
    /// # Panics
    /// When it can't be made.
    #[must_use]
    pub fn repository(&self, app: &str, files: &[(&str, String)]) -> PathBuf {
        let folder = self.source(app, files);
        self.git(&folder, &["init", "-q", "."]).ok();
        self.commit(&folder, files);
        self.tsuru_in(&folder, &["git", "setup", "-a", app]).ok();
        folder
    }

    /// Writes files and commits them.
    ///
    /// # Panics
    /// When there is nothing to commit.
    pub fn commit(&self, folder: &Path, files: &[(&str, String)]) {
        write_files(folder, files);
        self.git(folder, &["add", "-A"]).ok();
        self.git(folder, &["commit", "-qm", "change"]).ok();
    }

    /// A folder with these files.
    #[must_use]
    pub fn source(&self, name: &str, files: &[(&str, String)]) -> PathBuf {
        let folder = self.folder.path().join("source").join(name);
        write_files(&folder, files);
        folder
    }

    /// A copy of an app from the examples.
    ///
    /// # Panics
    /// When there is no such app.
    #[must_use]
    pub fn example(&self, app: &str) -> PathBuf {
        let folder = self.folder.path().join("source").join(app);
        fs::create_dir_all(folder.parent().expect("a joined path has a parent")).expect("a folder can be made");
        let example = root().join("examples/apps").join(app);
        run(root(), "cp", &["-r", &example.display().to_string(), &folder.display().to_string()]).ok();
        folder
    }

    /// Makes an app and pushes the teacup to it.
    ///
    /// # Panics
    /// When the push is rejected.
    #[must_use]
    pub fn pushed_teacup(&self, app: &str) -> PathBuf {
        self.tsuru(&["app", "create", app, "python"]).ok();
        let folder = self.repository(app, &crate::teacup("version 1"));
        self.git(&folder, &["push", "tsuru", "main"]).ok();
        folder
    }

    /// The API's URL.
    #[must_use]
    pub fn api(&self) -> String {
        format!("http://{}", self.api)
    }

    /// Asks an app by its host name, through the router.
    pub async fn get(&self, app: &str, path: &str) -> Page {
        self.ask(&format!("{app}.localhost"), path).await
    }

    /// Asks a host through the router. No answer at all is status 0.
    pub async fn ask(&self, host: &str, path: &str) -> Page {
        let url = format!("http://{}{path}", self.router);
        match client().get(url).header("Host", host).send().await {
            Ok(answer) => Page { status: answer.status().as_u16(), body: answer.text().await.unwrap_or_default() },
            Err(reason) => Page { status: 0, body: whole(&reason) },
        }
    }

    /// Sends a form to an app.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn post(&self, app: &str, path: &str, form: &[(&str, &str)]) -> Page {
        let url = format!("http://{}{path}", self.router);
        let answer = client().post(url).header("Host", format!("{app}.localhost")).form(form).send().await;
        let answer = answer.expect("the app answers a form");
        Page { status: answer.status().as_u16(), body: answer.text().await.unwrap_or_default() }
    }

    /// Waits until an app answers as wanted.
    ///
    /// # Panics
    /// When it does not come to that.
    pub async fn eventually(&self, app: &str, path: &str, wanted: impl Fn(&Page) -> bool) -> Page {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let page = self.get(app, path).await;
            if wanted(&page) {
                return page;
            }
            assert!(Instant::now() < deadline, "{app}{path} still answers {page:?}\n{}", self.tsurud.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Containers of this world's units, by name.
    ///
    /// # Panics
    /// When Docker does not answer.
    #[must_use]
    pub fn containers(&self) -> Vec<String> {
        let label = format!("label=tsuru.instance={}", self.label());
        let listed = run(root(), "docker", &["ps", "-aq", "--filter", &label, "--format", "{{.Names}}"]).ok();
        listed.lines().map(str::to_owned).collect()
    }

    /// What this platform's containers are marked with.
    fn label(&self) -> String {
        fs::read_to_string(self.folder.path().join("data/platform-id")).unwrap_or_default().trim().to_owned()
    }
}

impl Drop for World {
    /// Daemons end first, so that nothing brings back what is removed here.
    fn drop(&mut self) {
        for daemon in [&mut self.tsurud, &mut self.redis, &mut self.mysql] {
            daemon.kill_9();
        }
        let containers = self.containers();
        if !containers.is_empty() {
            let mut arguments = vec!["rm", "-f", "-v"];
            arguments.extend(containers.iter().map(String::as_str));
            run(root(), "docker", &arguments).ok();
        }
        stop_servers(self.folder.path());
        if std::thread::panicking() {
            eprintln!(
                "---- tsurud\n{}\n---- redis-broker\n{}\n---- mysql-broker\n{}",
                self.tsurud.log(),
                self.redis.log(),
                self.mysql.log()
            );
        }
    }
}

/// Servers outlive their broker: end those that work in this world's folder.
fn stop_servers(folder: &Path) {
    let folder = folder.display().to_string();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let working = fs::read_link(entry.path().join("cwd")).map(|cwd| cwd.display().to_string()).unwrap_or_default();
        let arguments = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        if pid != std::process::id() && (working.starts_with(&folder) || arguments.contains(&folder)) {
            // It may have ended by itself meanwhile.
            let _ended = run(root(), "kill", &["-9", &pid.to_string()]).succeeded();
        }
    }
}

fn serve_arguments(folder: &Path, api: SocketAddr, router: SocketAddr) -> Vec<String> {
    let data = folder.join("data").display().to_string();
    let mut arguments =
        owned(&["serve", "--data", &data, "--listen", &api.to_string(), "--router-listen", &router.to_string()]);
    arguments.extend(owned(&["--ready-seconds", "20", "--stop-seconds", "3", "--drain-seconds", "10"]));
    if let Ok(ca) = std::env::var("SSL_CERT_FILE") {
        arguments.extend(owned(&["--build-ca", &ca]));
    }
    for (name, value) in std::env::vars() {
        let proxy = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"].contains(&name.to_uppercase().as_str());
        let index = name.starts_with("PIP_") && !["PIP_CERT", "PIP_FIND_LINKS"].contains(&name.as_str());
        if proxy || index {
            arguments.extend(owned(&["--build-env", &format!("{name}={value}")]));
        }
    }
    arguments
}

fn broker(folder: &Path, service: &str) -> (Daemon, SocketAddr) {
    let address = local(free_port());
    let path = |name: String| folder.join(name).display().to_string();
    let arguments = owned(&[
        "serve",
        "--listen",
        &address.to_string(),
        "--data",
        &path(format!("{service}-broker")),
        "--password-file",
        &path(format!("{service}-password")),
        "--servers-dir",
        &path(format!("{service}-servers")),
        "--advertise-host",
        &bridge(),
    ]);
    let program = binaries().join(format!("{service}-broker"));
    (Daemon::start(&program, arguments, &folder.join(format!("{service}-broker.log")), address), address)
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn write_files(folder: &Path, files: &[(&str, String)]) {
    for (name, content) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a joined path has a parent")).expect("a folder can be made");
        fs::write(path, content).expect("a file can be written");
    }
}

fn path() -> String {
    std::env::var("PATH").unwrap_or_default()
}

/// An error with all its causes.
fn whole(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn client() -> reqwest::Client {
    // A second call finds the provider in place already.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let builder =
        reqwest::Client::builder().timeout(Duration::from_secs(20)).redirect(reqwest::redirect::Policy::none());
    builder.build().expect("a client can be made")
}
