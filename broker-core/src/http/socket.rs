//! A connection's socket, which may be out of the server's hands: one that was upgraded, to a WebSocket for instance, is
//! an author's. It is ended from here all the same, and its end is noticed here (SPEC Y-5).

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures::task::AtomicWaker;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::oneshot,
};

/// A socket whose reads and writes come to nothing once it was ended.
pub(super) struct Socket {
    stream: TcpStream,
    end: Arc<End>,
    /// Whoever waits for it learns when this is dropped.
    _is_here: oneshot::Sender<()>,
}

#[derive(Default)]
struct End {
    has_come: AtomicBool,
    reader: AtomicWaker,
}

/// What is left with the server of a socket that it gave away.
pub(super) struct Remote {
    end: Arc<End>,
    is_gone: oneshot::Receiver<()>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> (Self, Remote) {
        let (end, (here, is_gone)) = (Arc::<End>::default(), oneshot::channel());
        (Self { stream, end: end.clone(), _is_here: here }, Remote { end, is_gone })
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

impl Remote {
    /// From now on there is nothing more to read, and nothing can be written.
    pub(super) fn end(&self) {
        self.end.has_come.store(true, Ordering::SeqCst);
        self.end.reader.wake();
    }

    /// Returns when nobody holds the socket any more.
    pub(super) async fn gone(&mut self) {
        // An error is what is waited for: nothing is ever sent.
        let _ = (&mut self.is_gone).await;
    }
}

impl End {
    fn has_come(&self) -> bool {
        self.has_come.load(Ordering::SeqCst)
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_pending() {
            self.end.reader.register(cx.waker());
            if self.end.has_come() {
                return Poll::Ready(Ok(()));
            }
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.end.has_come() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.end.has_come() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
