//! The daemon's end of the hook's socket.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use platform_core::{Progress, Told};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    task::JoinHandle,
    time::timeout,
};

use super::wire::{Ask, Tell};
use crate::{git, push::Push, server::Shared};

/// A hook asks at once, in one short line, and takes what it is told.
const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST_ASK: u64 = 64 << 10;

/// Whether somebody listens there.
pub(crate) async fn is_served(path: &Path) -> bool {
    UnixStream::connect(path).await.is_ok()
}

/// The socket that hooks come to: for this user alone, in a folder that is too.
pub(crate) struct Socket(UnixListener);

impl Socket {
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        // `sockaddr_un` holds 107 bytes and a zero.
        if path.as_os_str().len() > 107 {
            let sentence = "its path has more than 107 bytes, choose a data folder with a shorter path";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, sentence));
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(Self(listener))
    }

    /// Answers hooks, until it is dropped.
    pub(crate) async fn serve(self, shared: Arc<Shared>) {
        loop {
            match self.0.accept().await {
                Ok((hook, _)) => {
                    tokio::spawn(attend(hook, Arc::clone(&shared)));
                }
                Err(error) => {
                    tracing::error!(%error, "a git hook can't be heard: {error}");
                    // Most likely too many open files: others have to end first.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn attend(hook: UnixStream, shared: Arc<Shared>) {
    let (read, write) = hook.into_split();
    let mut voice = Voice { hook: write, said: Instant::now() };
    let verdict = match heard(BufReader::new(read.take(LONGEST_ASK))).await {
        Ok(ask) => consider(ask, &shared, &mut voice).await,
        Err(error) => Err(format!("the platform did not understand git's hook: {error}")),
    };
    let told = match verdict {
        Ok(()) => voice.say(&Tell::Deployed).await,
        Err(sentence) => voice.say(&Tell::Refused(sentence)).await,
    };
    if let Err(error) = told {
        tracing::info!(%error, "a git hook went away before it heard the verdict: {error}");
    }
}

async fn heard(mut hook: impl AsyncBufRead + Unpin) -> io::Result<Ask> {
    let mut line = String::new();
    timeout(PATIENCE, hook.read_line(&mut line)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    Ok(serde_json::from_str(&line)?)
}

async fn consider(ask: Ask, shared: &Arc<Shared>, voice: &mut Voice) -> Result<(), String> {
    let push = shared.on_their_way.redeem(&ask.secret).ok_or("this push is not known here: push again")?;
    push.take_turn()?;
    expect_unmoved(&ask, &push, shared).await?;
    let (progress, lines) = Progress::channel();
    let deploy = tokio::spawn(deploy(Arc::clone(shared), Arc::clone(&push), ask.new, progress));
    let verdict = voice.relay(lines, deploy, shared.config.heartbeat).await;
    if verdict.is_ok() {
        // It has one turn, so that this is the first time.
        push.deployed.get_or_init(|| ask.branch);
    }
    verdict
}

/// A branch that moved since this push came in would be refused by git, but only after the deploy.
async fn expect_unmoved(ask: &Ask, push: &Push, shared: &Shared) -> Result<(), String> {
    let repository = shared.repositories.path(&push.app);
    let at = git::branch_at(&repository, &ask.branch).await.map_err(|error| {
        tracing::error!(app.name = %push.app, %error, "the repository of `{}` can't be read: {error}", push.app);
        "the platform can't read the repository, try again later".to_owned()
    })?;
    let expected = Some(&ask.old).filter(|old| old.bytes().any(|byte| byte != b'0'));
    if at.as_ref() == expected {
        return Ok(());
    }
    Err(format!("somebody else pushed to {} meanwhile: fetch that, then push again", ask.branch))
}

/// A task of its own: it goes on when the pusher goes away. It keeps the push, and with it the archive.
async fn deploy(shared: Arc<Shared>, push: Arc<Push>, commit: String, progress: Progress) -> Result<(), String> {
    let Push { app, pusher, .. } = &*push;
    tracing::info!(app.name = %app, user = %pusher.email, commit, "`{}` pushed {commit} to `{app}`", pusher.email);
    let result = shared.pushes.deploy(app, pusher, &commit, &push.archive(), &progress).await;
    result.map_err(|error| {
        tracing::info!(app.name = %app, %error, "the push of {commit} to `{app}` is rejected: {error}");
        error.to_string()
    })
}

/// What the hook hears.
struct Voice {
    hook: OwnedWriteHalf,
    said: Instant,
}

impl Voice {
    /// Passes lines on until the deploy ends. A hook that went away only makes it silent.
    async fn relay(
        &mut self,
        mut lines: Told,
        mut deploy: JoinHandle<Result<(), String>>,
        heartbeat: Duration,
    ) -> Result<(), String> {
        let mut listens = true;
        let verdict = loop {
            let tell = tokio::select! {
                biased;
                Some(text) = lines.recv() => Tell::Text(text),
                ended = &mut deploy => break ended,
                () = tokio::time::sleep(heartbeat) => Tell::Alive(self.said.elapsed().as_secs()),
            };
            listens = listens && self.say(&tell).await.is_ok();
        };
        // The deploy's last lines; it may have kept the other end.
        while let Some(text) = lines.try_recv() {
            listens = listens && self.say(&Tell::Text(text)).await.is_ok();
        }
        verdict.unwrap_or_else(|error| {
            tracing::error!(%error, "a deploy broke off: {error}");
            Err("the deploy broke off by an error of the platform itself: see `tsuru app deploy list`, then push again"
                .to_owned())
        })
    }

    async fn say(&mut self, tell: &Tell) -> io::Result<()> {
        let line = format!("{}\n", serde_json::to_string(tell)?);
        timeout(PATIENCE, self.hook.write_all(line.as_bytes())).await.map_err(|_| io::ErrorKind::TimedOut)??;
        if matches!(tell, Tell::Text(_)) {
            self.said = Instant::now();
        }
        Ok(())
    }
}
