//! A git server with a scripted platform behind it, and the real git in front.

use std::{
    collections::HashMap,
    fs,
    io::Read as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use platform_core::{AppName, Error, Progress, Result, Secret};
use platform_git::{GitConfig, GitServer, Pusher, Pushes};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::Notify,
};

pub(crate) const TOKEN: &str = "t0ken";
const DEADLINE: Duration = Duration::from_secs(60);

/// What a deploy got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deployed {
    pub(crate) app: String,
    pub(crate) user: String,
    pub(crate) commit: String,
    /// The files of the archive, by path.
    pub(crate) files: HashMap<String, usize>,
}

/// The platform: it knows the apps `blog` and `shop`, and does what the test scripted.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) deployed: Mutex<Vec<Deployed>>,
    /// The next deploys fail with these, first one first.
    pub(crate) failures: Mutex<Vec<Error>>,
    /// Told between the first and the second line, when `waits`.
    pub(crate) go_on: Notify,
    pub(crate) waits: std::sync::atomic::AtomicBool,
    /// Told when a deploy began.
    pub(crate) began: Notify,
}

impl Script {
    pub(crate) fn deployed(&self) -> Vec<Deployed> {
        self.deployed.lock().unwrap().clone()
    }

    pub(crate) fn fail_next(&self, error: Error) {
        self.failures.lock().unwrap().push(error);
    }

    pub(crate) fn wait_in_the_middle(&self, wait: bool) {
        self.waits.store(wait, std::sync::atomic::Ordering::SeqCst);
    }
}

#[async_trait]
impl Pushes for Script {
    async fn authorize(&self, app: &AppName, token: &Secret) -> Result<Pusher> {
        match (token.expose(), app.as_str()) {
            (TOKEN, "blog" | "shop") => Ok(Pusher { email: "alice@example.com".parse().unwrap() }),
            (TOKEN, _) => Err(Error::AppNotFound(app.clone())),
            ("guest", _) => Err(Error::Forbidden),
            _ => Err(Error::Unauthenticated("invalid token, log in again".to_owned())),
        }
    }

    async fn deploy(
        &self,
        app: &AppName,
        pusher: &Pusher,
        commit: &str,
        archive: &Path,
        progress: &Progress,
    ) -> Result<()> {
        let files = files_of(archive);
        progress.section("Building");
        self.began.notify_one();
        if self.waits.load(std::sync::atomic::Ordering::SeqCst) {
            self.go_on.notified().await;
        }
        progress.raw("half a li".to_owned());
        progress.raw("ne\n".to_owned());
        let failure = self.failures.lock().unwrap().pop();
        if let Some(error) = failure {
            return Err(error);
        }
        self.deployed.lock().unwrap().push(Deployed {
            app: app.to_string(),
            user: pusher.email.to_string(),
            commit: commit.to_owned(),
            files,
        });
        progress.line("OK");
        Ok(())
    }
}

/// By `tar`, as whoever builds does.
fn files_of(archive: &Path) -> HashMap<String, usize> {
    let folder = tempfile::tempdir().unwrap();
    let status = std::process::Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(folder.path()).status();
    assert!(status.unwrap().success(), "the archive is a gzip tar");
    let mut files = HashMap::new();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let mut content = Vec::new();
            fs::File::open(&path).unwrap().read_to_end(&mut content).unwrap();
            files.insert(path.file_name().unwrap().to_string_lossy().into_owned(), content.len());
        }
    }
    files
}

pub(crate) struct TestPlatform {
    pub(crate) folder: TempDir,
    pub(crate) script: Arc<Script>,
    pub(crate) address: SocketAddr,
    pub(crate) server: GitServer,
    /// Headers of the requests so far: `METHOD path encoding`.
    pub(crate) requests: Arc<Mutex<Vec<String>>>,
    serving: tokio::task::JoinHandle<()>,
}

impl TestPlatform {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    pub(crate) async fn start_with(configure: impl FnOnce(&mut GitConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Self::config(&folder);
        configure(&mut config);
        let script = Arc::new(Script::default());
        let server = GitServer::new(config, script.clone()).await.unwrap();
        Self::serve(folder, script, server).await
    }

    /// The same platform in a new process, as far as the disk is concerned.
    pub(crate) async fn restart(self) -> Self {
        let Self { folder, script, server, serving, .. } = self;
        drop(server);
        serving.abort();
        let server =
            until("the old server ends", async || GitServer::new(Self::config(&folder), script.clone()).await.ok())
                .await;
        Self::serve(folder, script, server).await
    }

    fn config(folder: &TempDir) -> GitConfig {
        let mut config = GitConfig::new(folder.path().join("data")).unwrap();
        config.hook_command = vec![env!("CARGO_BIN_EXE_platform-git-hook").into()];
        config
    }

    async fn serve(folder: TempDir, script: Arc<Script>, server: GitServer) -> Self {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        let router = server.router().layer(axum::middleware::from_fn(
            move |request: axum::extract::Request, next: axum::middleware::Next| {
                let encoding = request.headers().get("content-encoding").map_or("", |value| value.to_str().unwrap());
                seen.lock().unwrap().push(format!("{} {} {encoding}", request.method(), request.uri().path()));
                next.run(request)
            },
        ));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { folder, script, address, server, requests, serving }
    }

    pub(crate) fn url(&self, app: &str) -> String {
        self.url_with("alice", TOKEN, app)
    }

    pub(crate) fn url_with(&self, user: &str, token: &str, app: &str) -> String {
        format!("http://{user}:{token}@{}/git/{app}.git", self.address)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.data().join("git/.hook.sock")
    }

    /// What the platform's repository has as `reference`.
    pub(crate) async fn at(&self, app: &str, reference: &str) -> Option<String> {
        let repository = self.data().join(format!("git/{app}.git"));
        let output = git(&repository, &["rev-parse", "--verify", "--quiet", reference]).output().await.unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }

    /// A working copy with one commit, whose remote `tsuru` is the app.
    pub(crate) async fn working_copy(&self, name: &str, app: &str) -> WorkingCopy {
        let copy = WorkingCopy { folder: self.folder.path().join(name) };
        fs::create_dir(&copy.folder).unwrap();
        copy.git(&["init", "--quiet", "--initial-branch=main"]).await.succeeds();
        copy.git(&["remote", "add", "tsuru", &self.url(app)]).await.succeeds();
        // The tests are not about zlib.
        copy.git(&["config", "core.compression", "0"]).await.succeeds();
        copy.commit("Procfile", b"web: serve\n").await;
        copy
    }
}

pub(crate) struct WorkingCopy {
    pub(crate) folder: PathBuf,
}

impl WorkingCopy {
    pub(crate) async fn commit(&self, file: &str, content: &[u8]) -> String {
        fs::write(self.folder.join(file), content).unwrap();
        self.git(&["add", "."]).await.succeeds();
        // Named after the folder: no two copies have the same commit.
        let message = format!("{file} in {}", self.folder.display());
        self.git(&["commit", "--quiet", "--message", &message]).await.succeeds();
        self.head().await
    }

    pub(crate) async fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"]).await.succeeds().out.trim().to_owned()
    }

    pub(crate) async fn git(&self, args: &[&str]) -> Said {
        let output = tokio::time::timeout(DEADLINE, git(&self.folder, args).output()).await;
        output.expect("git ends within a minute").unwrap().into()
    }

    /// Empty commits, a minute apart and in the future: git negotiates by time, the latest first.
    pub(crate) async fn later_commits(&self, count: u64) {
        for n in 0..count {
            let mut commit = git(&self.folder, &["commit", "--quiet", "--allow-empty", "--message", &n.to_string()]);
            commit.env("GIT_COMMITTER_DATE", format!("{} +0000", 4_000_000_000 + 60 * n));
            assert!(commit.status().await.unwrap().success());
        }
    }

    pub(crate) async fn push(&self) -> Said {
        self.git(&["push", "tsuru", "main"]).await
    }

    pub(crate) fn start(&self, args: &[&str]) -> Running {
        let mut child = git(&self.folder, args).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        Running { child, lines, seen: String::new() }
    }
}

/// git as a user without any configuration, or a terminal, has it.
fn git(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(args).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap());
    command.env("HOME", folder.parent().unwrap()).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "Alice").env(format!("GIT_{who}_EMAIL"), "alice@example.com");
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// A git that runs.
pub(crate) struct Running {
    child: Child,
    lines: BufReader<tokio::process::ChildStderr>,
    seen: String,
}

impl Running {
    /// Waits for a line on the user's terminal.
    pub(crate) async fn shows(&mut self, text: &str) {
        let wait = async {
            loop {
                let mut line = String::new();
                let read = self.lines.read_line(&mut line).await.unwrap();
                self.seen.push_str(&line);
                if line.contains(text) {
                    return;
                }
                assert!(read > 0, "git ended without {text:?}: {}", self.seen);
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.expect("the line comes within a minute");
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    pub(crate) async fn end(self) -> Said {
        let Self { child, mut lines, mut seen } = self;
        tokio::io::AsyncReadExt::read_to_string(&mut lines, &mut seen).await.unwrap();
        let mut said = Said::from(child.wait_with_output().await.unwrap());
        said.err = seen;
        said
    }
}

/// What git said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) success: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Self { success: output.status.success(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

impl Said {
    #[track_caller]
    pub(crate) fn succeeds(self) -> Self {
        assert!(self.success, "git failed:\n{}", self.err);
        self
    }

    #[track_caller]
    pub(crate) fn fails(self) -> Self {
        assert!(!self.success, "git should have failed:\n{}", self.err);
        self
    }

    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text), "{text:?} is not in:\n{}", self.err);
        self
    }
}

/// Waits until something is so.
pub(crate) async fn until<T>(what: &str, mut found: impl AsyncFnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = found().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("{what}: not within a minute"))
}
