//! Runs the program as a broker's, and asks it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use broker_core::testing::eventually;

/// Tells the program what it is.
pub(crate) const IS_BROKER: &str = "PROGRAM_IS_BROKER";
/// The password of the platform.
pub(crate) const PASSWORD: &str = "planted-password-7b1f";

/// The program, with an environment of its own and nothing of ours.
pub(crate) fn program(arguments: &[&str], data: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.env_clear().env(IS_BROKER, "yes").env("BROKER_PASSWORD", PASSWORD).env("BROKER_DATA", data);
    command.args(arguments).stdin(Stdio::null()).current_dir(data.parent().expect("a folder above"));
    command
}

/// Runs it to its end.
pub(crate) fn run(arguments: &[&str], data: &Path) -> Ended {
    program(arguments, data).output().expect("it runs").into()
}

/// How it ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) errors: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        let status = output.status.code().expect("an exit status");
        Self { status, out: text(output.stdout), errors: text(output.stderr) }
    }
}

impl Ended {
    /// What it printed, when all went well.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.status, 0, "{}", self.errors);
        self.out
    }

    /// What it complained about, when not.
    pub(crate) fn fails(self, status: i32) -> String {
        assert_eq!(self.status, status, "{} {}", self.out, self.errors);
        self.errors
    }
}

/// A broker that serves, its output in files.
pub(crate) struct Running {
    child: Child,
    output: PathBuf,
    pub(crate) url: String,
    http: reqwest::Client,
}

impl Running {
    pub(crate) async fn start(arguments: &[&str], data: &Path) -> Self {
        let output = data.with_extension("output");
        let file = fs::File::create(&output).expect("a file for the output");
        let arguments = [&["serve", "--listen", "127.0.0.1:0", "--log-level", "trace"], arguments].concat();
        let mut command = program(&arguments, data);
        let child = command.stdout(file.try_clone().expect("a file")).stderr(file).spawn().expect("it runs");
        let mut running = Self { child, output, url: String::new(), http: http() };
        eventually("the broker listens", async || running.listening().is_some()).await;
        running.url = running.listening().expect("an address");
        running
    }

    fn listening(&self) -> Option<String> {
        let line =
            self.output().lines().find_map(|line| line.split_once("listening on ").map(|(_, url)| url.to_owned()));
        line.and_then(|url| url.split(['"', ' ']).next().map(str::to_owned))
    }

    /// All that it has said.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(&self.output).expect("its output")
    }

    pub(crate) async fn ask(&self, user: (&str, &str), method: &str, path: &str, body: Option<&str>) -> (u16, String) {
        self.ask_in("application/json", user, method, path, body).await
    }

    pub(crate) async fn ask_in(
        &self,
        kind: &str,
        (user, password): (&str, &str),
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> (u16, String) {
        let request = self.request(method, path).basic_auth(user, Some(password));
        let mut request = request.header("X-Broker-API-Version", "2.17");
        if let Some(body) = body {
            request = request.header("content-type", kind).body(body.to_owned());
        }
        let answer = request.timeout(Duration::from_secs(20)).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    }

    /// A request without credentials, to be completed.
    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method.parse().expect("a method"), format!("{}{path}", self.url))
    }

    /// As the platform asks.
    pub(crate) async fn platform(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        self.ask(("fake", PASSWORD), method, path, Some(body)).await
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("kill runs").success());
    }

    /// Stops it as its operator does.
    pub(crate) fn stop(mut self) {
        self.signal("TERM");
        assert!(self.child.wait().expect("its end").success(), "{}", self.output());
    }
}

fn http() -> reqwest::Client {
    // Fails when there is a provider already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
