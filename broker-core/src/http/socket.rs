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
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A socket whose reads and writes come to nothing once it was ended.
pub(super) struct Socket {
    stream: TcpStream,
    end: Arc<End>,
    /// Whoever waits for it learns when this is dropped.
    _is_here: DropGuard,
}

#[derive(Default)]
struct End {
    has_come: AtomicBool,
    reader: AtomicWaker,
}

/// What is left with the server of a socket that it gave away.
pub(super) struct Remote {
    end: Arc<End>,
    is_gone: CancellationToken,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> (Self, Remote) {
        let (end, is_gone) = (Arc::<End>::default(), CancellationToken::new());
        (Self { stream, end: end.clone(), _is_here: is_gone.clone().drop_guard() }, Remote { end, is_gone })
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
    pub(super) async fn gone(&self) {
        self.is_gone.cancelled().await;
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

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt as _, net::TcpListener};

    use super::*;

    #[tokio::test] // SPEC Y-5
    async fn a_socket_is_ended_from_afar_and_its_end_is_told_as_often_as_it_is_asked_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut socket, remote) = Socket::new(listener.accept().await.unwrap().0);
        let reading = tokio::spawn(async move { socket.read(&mut [0; 8]).await });
        tokio::task::yield_now().await;
        assert!(!remote.is_gone.is_cancelled());

        remote.end();

        assert_eq!(reading.await.unwrap().unwrap(), 0);
        remote.gone().await;
        remote.gone().await;
    }
}
