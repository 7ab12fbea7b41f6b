//! A program's output as the source of a backup.

use std::{io, process::Stdio};

use futures::StreamExt as _;
use tokio::{io::AsyncRead, process::Command};
use tokio_util::io::{ReaderStream, StreamReader};

/// What a program writes, as a stream that ends with an error when the program fails: a dump that broke off does
/// not become a backup. The program is killed when the stream is dropped.
///
/// # Errors
/// When the program can't be started.
pub fn output_of(mut command: Command) -> io::Result<impl AsyncRead + Send + Unpin + 'static> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let output = child.stdout.take().ok_or_else(|| io::Error::other("the program has no output"))?;
    let end = futures::stream::once(async move {
        match child.wait().await {
            Ok(status) if status.success() => None,
            Ok(status) => Some(Err(io::Error::other(format!("{name} failed: {status}")))),
            Err(unknown) => Some(Err(unknown)),
        }
    });
    let end = end.filter_map(async |failure| failure);
    Ok(StreamReader::new(ReaderStream::with_capacity(output, 128 << 10).chain(end).boxed()))
}
