//! From a stream of data to a stream of what is kept: compressed, sealed, counted, in a thread of its own.

use std::{io, io::Write, sync::Arc};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::{Receiver, Sender};

use crate::{BackupKey, seal::Sealer};

/// A piece of data, or its end: without one, the source broke off.
pub(crate) enum Piece {
    Data(Bytes),
    End,
}

/// What was packed.
pub(crate) struct Packed {
    pub(crate) size: u64,
    pub(crate) stored: u64,
    pub(crate) sha256: String,
}

/// Packs until the end.
pub(crate) fn pack(
    mut from: Receiver<Piece>,
    to: Sender<Bytes>,
    key: Option<Arc<BackupKey>>,
    name: &str,
) -> io::Result<Packed> {
    let counted = Counted { to, waiting: Vec::new(), stored: 0, hash: Sha256::new() };
    let mut packing = GzEncoder::new(Sealer::new(counted, key.as_deref(), name)?, Compression::fast());
    let mut size = 0;
    loop {
        match from.blocking_recv() {
            Some(Piece::Data(bytes)) => {
                size += bytes.len() as u64;
                packing.write_all(&bytes)?;
            }
            Some(Piece::End) => break,
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
    let counted = packing.finish()?.finish()?;
    Ok(Packed { size, stored: counted.stored, sha256: hex::encode(counted.hash.finalize()) })
}

/// Hands on what is written, in larger pieces, and adds it up.
struct Counted {
    to: Sender<Bytes>,
    waiting: Vec<u8>,
    stored: u64,
    hash: Sha256,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        self.stored += bytes.len() as u64;
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= 256 << 10 {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.waiting).into();
        self.to.blocking_send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
