//! One git process behind one request: the body goes in, what git says comes out, nothing is kept.

use std::{io, process::ExitStatus, time::Duration};

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
        // The answer ends after the request: a client in the middle of an upload would not read it.
        let work = async {
            let ask = ask(self.body.into_data_stream(), self.decoder, stdin, self.idle);
            let listen = async {
                tokio::join!(tell(stdout, &answer, self.client, self.idle), complain(stderr));
                Ok(())
            };
            tokio::try_join!(ask, listen).map(drop)
        };
        let result = tokio::select! {
            result = work => result,
            () = answer.closed(), if self.client == Client::Needed => {
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the client went away"))
            }
        };
        if let Err(error) = result {
            child.kill().await?;
            // The answer breaks off, so that the client doesn't take it for whole.
            let broken = io::Error::new(error.kind(), error.to_string());
            let _nobody_reads = timeout(self.idle, answer.send(Err(broken))).await;
            return Err(error);
        }
        child.wait().await
    }
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

/// Passes the answer on until git has no more to say, to nobody once the client is gone.
async fn tell(
    mut stdout: impl AsyncRead + Unpin,
    answer: &mpsc::Sender<io::Result<Bytes>>,
    client: Client,
    idle: Duration,
) {
    let mut listens = true;
    let mut buffer = vec![0; 16 << 10];
    loop {
        let Ok(read @ 1..) = stdout.read(&mut buffer).await else { return };
        if listens {
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
