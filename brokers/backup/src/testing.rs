//! A bucket for tests: that of moto, a server that speaks the protocol of S3; it is installed with pip when it is
//! missing, and asked with curl.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use crate::S3;

/// A running moto, which ends with its value.
#[derive(Debug)]
pub struct Moto {
    process: Child,
    port: u16,
}

impl Moto {
    /// One that writes its log into `folder`. It is installed below `install` on first use.
    ///
    /// # Panics
    /// When it can't be installed or started.
    #[must_use]
    pub fn start(folder: &Path, install: &Path) -> Self {
        let log = folder.join("moto.log");
        let said = fs::File::create(&log).unwrap();
        let mut command = Command::new(moto_server(install));
        command.args(["-H", "127.0.0.1", "-p", "0"]).env("PYTHONUNBUFFERED", "1").stdin(Stdio::null());
        let process = command.stdout(said.try_clone().unwrap()).stderr(said).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let port = loop {
            let text = fs::read_to_string(&log).unwrap();
            let port =
                text.split("http://127.0.0.1:").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
            if let Some(port) = port {
                break port;
            }
            assert!(Instant::now() < deadline, "moto does not start: {text}");
            std::thread::sleep(Duration::from_millis(20));
        };
        let moto = Self { process, port };
        // An unsigned request makes a bucket there.
        assert!(moto.ask("PUT", "/backups").status().unwrap().success());
        moto
    }

    /// A request about buckets and objects, as `/backups/name`, that is not sent yet.
    #[must_use]
    pub fn ask(&self, method: &str, path: &str) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "30", "--request", method]);
        // What it asks about has to name a region.
        curl.args(["--header", "Authorization: AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/s3/aws4_request"]);
        curl.arg(format!("http://127.0.0.1:{}{path}", self.port)).stdin(Stdio::null());
        curl
    }

    /// The names of all objects in the bucket.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn objects(&self) -> Vec<String> {
        let answer = self.ask("GET", "/backups?list-type=2").output().unwrap();
        let text = String::from_utf8(answer.stdout).unwrap();
        text.split("<Key>").skip(1).map(|rest| rest.split('<').next().unwrap().to_owned()).collect()
    }

    /// Its bucket.
    #[must_use]
    pub fn bucket(&self) -> S3 {
        let own = str::to_owned;
        S3 {
            endpoint: format!("http://127.0.0.1:{}", self.port),
            bucket: own("backups"),
            region: own("us-east-1"),
            access_key: own("k"),
            secret_key: own("s").into(),
        }
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // One that ended by itself is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where moto is.
fn moto_server(install: &Path) -> PathBuf {
    static INSTALLED: OnceLock<PathBuf> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| {
        let place = install.join("moto");
        let whole = place.join("whole");
        if !whole.exists() {
            let run = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
            run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&place));
            run(Command::new(place.join("bin/pip")).args(["install", "--quiet", "moto[server]>=5,<6"]));
            fs::write(whole, "").unwrap();
        }
        place.join("bin/moto_server")
    });
    installed.clone()
}
