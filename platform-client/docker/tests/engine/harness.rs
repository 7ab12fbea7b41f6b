//! A Docker world of a test's own.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use platform_core::{
    AppName, Error, ProcessName, Progress, Result, Unit, UnitEnv, UnitId, UnitSpec,
    ports::{Build, Built, Engine},
};
use platform_docker::{BuildSettings, DockerConfig, DockerEngine};
use sha2::{Digest, Sha256};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// A server on port 8888 that needs nothing but what every Debian has. Answers each path with the
/// status that it names.
pub(crate) const SERVER: &str = r#"
use IO::Socket::INET;
$| = 1;
my $server = IO::Socket::INET->new(LocalPort => $ENV{PORT} || 8888, Listen => 64, ReuseAddr => 1) or die "no port";
print "listening\n";
while (my $client = $server->accept) {
    my $line = <$client> // '';
    my ($status) = $line =~ m{^GET /(\d+)};
    $status ||= 200;
    while (defined(my $header = <$client>)) { last if $header =~ /^\r?$/ }
    print $client "HTTP/1.1 $status Fine\r\nContent-Length: 3\r\nConnection: close\r\n\r\nhi\n";
    close $client;
}
"#;
/// A platform that source is copied into, with dependencies that can be counted.
pub(crate) const COPYING: &str = r#"FROM debian:bookworm-slim
RUN groupadd -g 1000 ubuntu && useradd -u 1000 -g 1000 -m ubuntu && mkdir -p /home/application/current \
 && chown -R 1000:1000 /home/application
LABEL tsuru.source=copy tsuru.dependencies.files="wishes.txt" \
      tsuru.dependencies.command="cat wishes.txt; cp wishes.txt /home/application/installed" \
      tsuru.dependencies.variables=WISH_
USER 1000:1000
"#;
/// A platform as others make them: a deploy script, and not a word about shorter ways.
pub(crate) const SCRIPTED: &str = r#"FROM debian:bookworm-slim
RUN groupadd -g 1000 ubuntu && useradd -u 1000 -g 1000 -m ubuntu && mkdir -p /home/application/current /var/lib/tsuru \
 && chown -R 1000:1000 /home/application
RUN printf '#!/bin/sh -e\ntest "$1" = archive\ncd /home/application/current\ntar -xzf "${2#file://}"\nif [ -f broken ]; then exit 9; fi\necho unpacked for $WHOM\n' >/var/lib/tsuru/deploy \
 && chmod 755 /var/lib/tsuru/deploy
"#;

pub(crate) struct World {
    pub(crate) engine: DockerEngine,
    pub(crate) config: DockerConfig,
    pub(crate) app: AppName,
    files: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let tag = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
        let config = DockerConfig {
            instance: format!("test-{tag}"),
            build: BuildSettings::from_environment(std::env::vars()),
            ..DockerConfig::default()
        };
        Self::with(config, format!("t{tag}")).await
    }

    pub(crate) async fn with(config: DockerConfig, app: String) -> Self {
        let engine = DockerEngine::connect(config.clone()).await.expect("a running Docker");
        let files = tempfile::tempdir().expect("room for files");
        Self { engine, config, app: app.parse().expect("a good name"), files }
    }

    /// A platform's image, made by the engine itself.
    pub(crate) async fn platform(&self, dockerfile: &str) -> String {
        let name = self.app.as_str().parse().expect("a good name");
        self.engine.build_platform(&name, 1, dockerfile, &Progress::silent()).await.expect("a platform")
    }

    /// A gzip tar of these files; those that start with `#!` can be run.
    pub(crate) fn archive(&self, files: &[(&str, &str)]) -> PathBuf {
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(if content.starts_with("#!") { 0o4755 } else { 0o644 });
            header.set_uid(4242);
            tar.append_data(&mut header, path, content.as_bytes()).expect("room in memory");
        }
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, "a-link", "Procfile").expect("room in memory");
        self.file(&tar.into_inner().and_then(GzEncoder::finish).expect("room in memory"))
    }

    pub(crate) fn file(&self, content: &[u8]) -> PathBuf {
        let path = self.files.path().join(uuid::Uuid::new_v4().simple().to_string());
        std::fs::write(&path, content).expect("room for files");
        path
    }

    pub(crate) async fn build(
        &self,
        platform: &str,
        version: u32,
        archive: &PathBuf,
        env: UnitEnv,
    ) -> (Result<Built>, String) {
        let build = Build { app: &self.app, version, platform_image: platform, archive, env };
        let progress = Progress::silent();
        let built = self.engine.build(&build, &progress).await;
        (built, progress.log())
    }

    pub(crate) async fn built(&self, platform: &str, version: u32, archive: &PathBuf) -> Built {
        let (built, log) = self.build(platform, version, archive, UnitEnv::new()).await;
        built.unwrap_or_else(|reason| panic!("{reason}\n{log}"))
    }

    pub(crate) fn spec(&self, name: &str, image: &str, command: &[&str]) -> UnitSpec {
        UnitSpec {
            id: UnitId(format!("{}.web.1-1.{name}", self.app)),
            app: self.app.clone(),
            process: ProcessName::web(),
            version: 1,
            generation: 1,
            image: image.to_owned(),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            env: BTreeMap::from([("PORT".to_owned(), "8888".into())]),
            memory: 64 << 20,
            cpu_milli: 1000,
        }
    }

    pub(crate) async fn start(&self, spec: &UnitSpec) -> Unit {
        self.engine.start(spec).await.expect("a unit that starts")
    }

    /// What a command prints in a fresh unit of an image.
    pub(crate) async fn output(&self, image: &str, script: &str) -> String {
        let progress = Progress::silent();
        let spec = self.spec("asked", image, &["/bin/sh", "-lc", script]);
        let status = self.engine.run_once(&spec, &progress).await.expect("a command that runs");
        assert_eq!(status, 0, "{}", progress.log());
        progress.log()
    }

    /// This world's containers of a role.
    pub(crate) fn containers(&self, role: &str) -> Vec<String> {
        let (instance, role) =
            (format!("label=tsuru.instance={}", self.config.instance), format!("label=tsuru.role={role}"));
        docker(&["ps", "-aq", "--filter", &instance, "--filter", &role])
    }

    /// The name of this world's image of an app (`app-`) or a platform (nothing).
    pub(crate) fn image(&self, what: &str, version: u32) -> String {
        format!("tsuru-{}/{what}{}:v{version}", self.config.instance, self.app)
    }

    pub(crate) fn image_is_there(&self, image: &str) -> bool {
        !docker(&["images", "-q", image]).is_empty()
    }

    /// Waits until something is as it should be.
    pub(crate) async fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let all = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, all).await.unwrap_or_else(|_| panic!("it never came to this: {what}"));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let label = format!("label=tsuru.instance={}", self.config.instance);
        let containers = docker(&["ps", "-aq", "--filter", &label]);
        remove(&["rm", "--force", "--volumes"], &containers);
        for _ in 0..3 {
            let mut images = docker(&["images", "-q", "--filter", &label]);
            images.extend(docker(&["images", "-q", &format!("tsuru-{}/app-{}", self.config.instance, self.app)]));
            remove(&["rmi", "--force"], &images);
        }
    }
}

fn remove(how: &[&str], what: &[String]) {
    if !what.is_empty() {
        docker(&[how, &what.iter().map(String::as_str).collect::<Vec<_>>()].concat());
    }
}

pub(crate) fn docker(arguments: &[&str]) -> Vec<String> {
    let output = Command::new("docker").args(arguments).output().expect("the docker command");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// A platform's image for tests, which stays: the next run finds it made.
pub(crate) fn test_platform(dockerfile: &str) -> String {
    static MADE: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let image = format!("tsuru-test/platform:{}", &hex::encode(Sha256::digest(dockerfile))[..16]);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if made.insert(image.clone()) {
        let mut building =
            Command::new("docker").args(["build", "--quiet", "-t", &image, "-"]).stdin(Stdio::piped()).spawn().unwrap();
        building.stdin.take().unwrap().write_all(dockerfile.as_bytes()).unwrap();
        assert!(building.wait().unwrap().success(), "{image} cannot be built");
    }
    image
}

/// The platforms of this repository, built once.
pub(crate) fn own_platforms() {
    static BUILT: OnceLock<bool> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/platform-images");
        Command::new(script).status().is_ok_and(|status| status.success())
    });
    assert!(built, "scripts/platform-images failed");
}

pub(crate) fn sentence(refusal: Result<impl std::fmt::Debug, Error>) -> String {
    refusal.expect_err("a refusal").to_string()
}
