//! A scripted platform, and the binary with a home of its own.

use std::{
    collections::HashMap,
    fs,
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, Method, Response, Uri},
};
use tempfile::TempDir;

/// The token that the home holds.
pub(crate) const TOKEN: &str = "t0k3n";

/// What the platform answers to one request.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) uri: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The body as the form it says it is.
    pub(crate) fn form(&self) -> Vec<(String, String)> {
        assert_eq!(self.header("content-type"), "application/x-www-form-urlencoded");
        url::form_urlencoded::parse(&self.body).into_owned().collect()
    }

    /// The body as the JSON it says it is.
    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }
}

type Script = HashMap<String, Vec<Answer>>;

#[derive(Clone, Default)]
struct Shared {
    script: Arc<Mutex<Script>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A platform that says what it was told to say, and remembers what it was asked.
pub(crate) struct Platform {
    pub(crate) url: String,
    pub(crate) home: TempDir,
    shared: Shared,
}

impl Platform {
    /// Starts it. The binary's home has it as its target, and a token.
    pub(crate) fn start() -> Self {
        let shared = Shared::default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).layer(DefaultBodyLimit::disable()).with_state(shared.clone());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, router).await.unwrap();
            });
        });
        let platform = Self { url, home: tempfile::tempdir().unwrap(), shared };
        platform.write_home("target", &platform.url);
        platform.write_home("token", TOKEN);
        platform
    }

    /// Answers a request with a status and a body; a further answer is for a further request.
    pub(crate) fn on(self, request: &str, status: u16, body: &str) -> Self {
        self.on_with(request, status, body, &[])
    }

    /// The same, with headers.
    pub(crate) fn on_with(self, request: &str, status: u16, body: &str, headers: &[(&'static str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let answer = Answer { status, headers, body: body.to_owned() };
        lock(&self.shared.script).entry(request.to_owned()).or_default().push(answer);
        self
    }

    /// Runs the binary.
    pub(crate) fn tsuru(&self, line: &str) -> Ran {
        self.run(&words(line), "", &[], self.home.path())
    }

    /// Runs the binary with something to read.
    pub(crate) fn tsuru_reading(&self, line: &str, input: &str) -> Ran {
        self.run(&words(line), input, &[], self.home.path())
    }

    /// Runs the binary with variables of its own.
    pub(crate) fn tsuru_with(&self, line: &str, env: &[(&str, &str)]) -> Ran {
        self.run(&words(line), "", env, self.home.path())
    }

    /// Runs the binary in a folder.
    pub(crate) fn tsuru_in(&self, folder: &Path, line: &str) -> Ran {
        self.run(&words(line), "", &[], folder)
    }

    /// Runs the binary with arguments that hold spaces.
    pub(crate) fn tsuru_args(&self, args: &[&str]) -> Ran {
        self.run(args, "", &[], self.home.path())
    }

    fn run(&self, args: &[&str], input: &str, env: &[(&str, &str)], folder: &Path) -> Ran {
        let mut child = self
            .command(env!("CARGO_BIN_EXE_tsuru"), folder)
            .args(args)
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Who reads nothing may have gone already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        Ran {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// A program that sees this home and nothing else of the environment.
    pub(crate) fn command(&self, program: &str, folder: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("TZ", "UTC");
        command
    }

    /// Everything that was asked so far: method, path and query.
    pub(crate) fn asked(&self) -> Vec<String> {
        lock(&self.shared.seen).iter().map(|seen| format!("{} {}", seen.method, seen.uri)).collect()
    }

    /// The last request.
    pub(crate) fn last(&self) -> Seen {
        lock(&self.shared.seen).last().expect("nothing was asked").clone()
    }

    /// The path of a file below `.tsuru` in the home.
    pub(crate) fn in_home(&self, name: &str) -> PathBuf {
        self.home.path().join(".tsuru").join(name)
    }

    pub(crate) fn write_home(&self, name: &str, text: &str) {
        let path = self.in_home(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn read_home(&self, name: &str) -> String {
        fs::read_to_string(self.in_home(name)).unwrap_or_default()
    }
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

async fn answer(
    State(shared): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let request = format!("{method} {}", uri.path());
    lock(&shared.seen).push(Seen { method: method.to_string(), uri: uri.to_string(), headers, body });
    let mut script = lock(&shared.script);
    let answers = script.entry(request.clone()).or_default();
    // The last answer stays.
    let answer = match answers.len() {
        0 => Answer { status: 404, headers: vec![], body: format!("nothing is scripted for {request}\n") },
        1 => answers[0].clone(),
        _ => answers.remove(0),
    };
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(*name, value);
    }
    response.body(Body::from(answer.body)).unwrap()
}

/// What the binary printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// It went well and printed exactly this.
    #[track_caller]
    pub(crate) fn says(&self, out: &str) -> &Self {
        assert_eq!((self.out.as_str(), self.err.as_str(), self.code), (out, "", 0));
        self
    }

    /// It failed, and its complaint was exactly this.
    #[track_caller]
    pub(crate) fn complains(&self, err: &str) -> &Self {
        assert_eq!((self.err.as_str(), self.code), (err, 1), "{self:?}");
        self
    }

    /// It failed, and this was part of its complaint.
    #[track_caller]
    pub(crate) fn complains_of(&self, part: &str) -> &Self {
        assert!(self.err.contains(part) && self.code == 1, "{self:?}");
        self
    }
}

/// Fields of a form, for comparing.
pub(crate) fn fields(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
