//! From what is kept back to the data. The checksum is known at the end only: a reader that came there without an
//! error has read what was written.

use std::{
    io::{self, Read},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use flate2::read::GzDecoder;
use futures::{StreamExt as _, stream::BoxStream};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncRead, ReadBuf},
    sync::mpsc::{Receiver, Sender, channel},
};
use tokio_util::io::StreamReader;

use crate::{BackupKey, Manifest, seal::Opener};

/// A backup's data. It ends with an error when it is not what was written: what was read until then is not to be
/// used.
pub struct Restored(StreamReader<BoxStream<'static, io::Result<Bytes>>, Bytes>);

impl AsyncRead for Restored {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl std::fmt::Debug for Restored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Restored")
    }
}

/// Begins to unpack what is kept.
pub(crate) fn unpack(
    mut kept: BoxStream<'static, object_store::Result<Bytes>>,
    key: Option<Arc<BackupKey>>,
    manifest: &Manifest,
) -> Restored {
    let (to_thread, from_store) = channel(4);
    let (to_reader, from_thread) = channel(4);
    tokio::spawn(async move {
        while let Some(piece) = kept.next().await {
            if to_thread.send(piece.map_err(io::Error::other)).await.is_err() {
                return;
            }
        }
    });
    let manifest = manifest.clone();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = open(from_store, &to_reader, key.as_deref(), &manifest) {
            // A reader that is gone does not want to know.
            let _ = to_reader.blocking_send(Err(error));
        }
    });
    let pieces = futures::stream::unfold(from_thread, async |mut from| Some((from.recv().await?, from)));
    Restored(StreamReader::new(pieces.boxed()))
}

fn open(
    from: Receiver<io::Result<Bytes>>,
    to: &Sender<io::Result<Bytes>>,
    key: Option<&BackupKey>,
    manifest: &Manifest,
) -> io::Result<()> {
    let counted = Counted { from, piece: Bytes::new(), hash: Sha256::new() };
    let mut data = GzDecoder::new(Opener::new(counted, key, &manifest.id)?);
    let mut size = 0;
    loop {
        let mut piece = vec![0; 128 << 10];
        let length = data.read(&mut piece)?;
        if length == 0 {
            break;
        }
        size += length as u64;
        piece.truncate(length);
        if to.blocking_send(Ok(piece.into())).is_err() {
            return Ok(());
        }
    }
    let mut counted = data.into_inner().into_inner();
    // What follows the end belongs to the checksum too.
    io::copy(&mut counted, &mut io::sink())?;
    let sha256 = hex::encode(counted.hash.finalize());
    if sha256 != manifest.sha256 || size != manifest.size {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its checksum is another than when it was written"));
    }
    Ok(())
}

/// Reads what arrives, and adds it up.
struct Counted {
    from: Receiver<io::Result<Bytes>>,
    piece: Bytes,
    hash: Sha256,
}

impl Read for Counted {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.from.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let length = self.piece.len().min(bytes.len());
        bytes[..length].copy_from_slice(&self.piece.split_to(length));
        self.hash.update(&bytes[..length]);
        Ok(length)
    }
}
