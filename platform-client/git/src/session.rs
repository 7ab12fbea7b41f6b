//! One git process behind one request: the body goes in, what git says comes out, nothing is kept.

use std::{
    io,
    pin::pin,
    process::ExitStatus,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, Command},
    sync::mpsc,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;

use crate::gunzip::Decoder;

/// How much of git's complaints the log gets.
const COMPLAINT: u64 = 16 << 10;

/// How long git may take to end once nobody speaks to it any more.
const GRACE: Duration = Duration::from_secs(5);

/// What a client that goes away means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// The answer is for nobody: stop.
    Needed,
    /// Once the request is whole, its work is done whoever listens.
    Dispensable,
}

/// A request to be served.
pub(crate) struct Session {
    pub(crate) command: Command,
    pub(crate) body: Body,
    pub(crate) decoder: Decoder,
    pub(crate) client: Client,
    /// How long the client may be silent, or not take what it is sent.
    pub(crate) idle: Duration,
}

/// What git says, as it says it.
pub(crate) type Answer = ReceiverStream<io::Result<Bytes>>;

impl Session {
    /// Starts git. `over` hears how it ended, whether or not anybody still reads the answer.
    pub(crate) fn start(mut self, over: impl FnOnce(io::Result<ExitStatus>) + Send + 'static) -> io::Result<Answer> {
        let child = self.command.stdin(std::process::Stdio::piped()).spawn()?;
        let (sender, answer) = mpsc::channel(16);
        tokio::spawn(async move { over(self.serve(child, sender).await) });
        Ok(ReceiverStream::new(answer))
    }

    async fn serve(self, mut child: Child, answer: mpsc::Sender<io::Result<Bytes>>) -> io::Result<ExitStatus> {
        let stdin = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let stderr = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let broken = AtomicBool::new(false);
        let listen = async {
            let tell = tell(stdout, &answer, self.client, self.idle, &broken);
            tokio::join!(tell, complain(stderr));
        };
        let ask = ask(self.body.into_data_stream(), self.decoder, stdin, self.idle);
        let gone = async {
            match self.client {
                Client::Needed => answer.closed().await,
                Client::Dispensable => std::future::pending().await,
            }
        };
        let Err(error) = converse(ask, listen, gone, &broken).await else { return child.wait().await };
        // Its input has ended, so that it may have ended by itself, and tidied up what it received.
        child.kill().await?;
        // The answer breaks off, so that the client doesn't take it for whole.
        let text = error.to_string();
        let _nobody_reads = timeout(self.idle, answer.send(Err(io::Error::new(error.kind(), text)))).await;
        Err(error)
    }
}

/// The request goes in while the answer comes out. The answer ends after the request: a client in the
/// middle of an upload would not read it. Returns when git has nothing more to say, or when the
/// client broke off and git had its time to tidy up.
async fn converse(
    ask: impl Future<Output = io::Result<()>>,
    listen: impl Future<Output = ()>,
    gone: impl Future<Output = ()>,
    broken: &AtomicBool,
) -> io::Result<()> {
    let mut gone = pin!(gone);
    let (mut listen, mut listening) = (pin!(listen), true);
    // In a box, so that it can end here, and with it git's input.
    let mut ask = Box::pin(ask);
    let asked = loop {
        tokio::select! {
            asked = &mut ask => break asked,
            () = &mut listen, if listening => listening = false,
            () = &mut gone => break Err(went_away()),
        }
    };
    drop(ask);
    if !listening {
        return asked;
    }
    if asked.is_err() {
        broken.store(true, Ordering::Relaxed);
        let _late_ones_are_killed = timeout(GRACE, listen).await;
        return asked;
    }
    tokio::select! {
        () = listen => Ok(()),
        () = gone => Err(went_away()),
    }
}

fn went_away() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the client went away")
}

/// Passes the request on. A body that breaks off or stalls is an error; what git doesn't want to
/// hear any more is swallowed.
async fn ask(
    mut body: impl Stream<Item = Result<Bytes, axum::Error>> + Unpin,
    mut decoder: Decoder,
    stdin: ChildStdin,
    idle: Duration,
) -> io::Result<()> {
    let mut stdin = Some(stdin);
    let silent = |_| io::Error::new(io::ErrorKind::TimedOut, format!("the client was silent for {idle:?}"));
    while let Some(chunk) = timeout(idle, body.next()).await.map_err(silent)? {
        for piece in decoder.decode(chunk.map_err(io::Error::other)?) {
            feed(&mut stdin, &piece?).await?;
        }
    }
    feed(&mut stdin, &decoder.finish()?).await
}

async fn feed(stdin: &mut Option<ChildStdin>, piece: &[u8]) -> io::Result<()> {
    let Some(open) = stdin else { return Ok(()) };
    match open.write_all(piece).await {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => *stdin = None,
        other => other?,
    }
    Ok(())
}

/// Passes the answer on until git has no more to say: to nobody once the client is gone, or `broken`
/// off.
async fn tell(
    mut stdout: impl AsyncRead + Unpin,
    answer: &mpsc::Sender<io::Result<Bytes>>,
    client: Client,
    idle: Duration,
    broken: &AtomicBool,
) {
    let mut listens = true;
    let mut buffer = vec![0; 16 << 10];
    loop {
        let Ok(read @ 1..) = stdout.read(&mut buffer).await else { return };
        if listens && !broken.load(Ordering::Relaxed) {
            let chunk = Bytes::copy_from_slice(&buffer[..read]);
            listens = matches!(timeout(idle, answer.send(Ok(chunk))).await, Ok(Ok(())));
        }
        if !listens && client == Client::Needed {
            return;
        }
    }
}

/// What git complains about beside the protocol is for our log.
async fn complain(stderr: impl AsyncRead + Unpin) {
    let mut text = Vec::new();
    let mut limited = stderr.take(COMPLAINT);
    if let Err(error) = limited.read_to_end(&mut text).await {
        tracing::debug!(%error, "git's complaints can't be read: {error}");
    }
    // To the end, so that git never waits for us.
    if let Err(error) = tokio::io::copy(&mut limited.into_inner(), &mut tokio::io::sink()).await {
        tracing::debug!(%error, "git's complaints can't be read: {error}");
    }
    for line in String::from_utf8_lossy(&text).lines() {
        tracing::debug!("git: {line}");
    }
}
