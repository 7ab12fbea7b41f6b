//! Sealing of backups: XChaCha20-Poly1305 in pieces of 64 KiB, the last one marked, so that nothing can be cut
//! off, exchanged or put elsewhere.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305,
    aead::{
        Payload,
        stream::{DecryptorBE32, EncryptorBE32},
    },
};
use secrecy::{ExposeSecret as _, SecretBox};
use sha2::{Digest as _, Sha256};

use crate::BackupError;

const PIECE: usize = 64 << 10;
const TAG: usize = 16;
const NONCE: usize = 19;

/// The key that seals backups: 32 random bytes, in a file of 64 hexadecimal digits. Without it no sealed backup can
/// be restored: keep a copy away from the backups.
pub struct BackupKey(SecretBox<[u8; 32]>);

impl BackupKey {
    /// Reads the key, making the file, of mode 0600, when there is none.
    ///
    /// # Errors
    /// When the file can't be used, others may read it, or it holds something else.
    pub fn kept(path: &Path) -> Result<Self, BackupError> {
        let refused = |cause: String| BackupError::Key { path: path.to_owned(), cause };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
                let bytes: [u8; 32] = rand::random();
                let text = hex::encode(bytes);
                make(path, &text).map_err(|cause| refused(cause.to_string()))?;
                text
            }
            Err(cause) => return Err(refused(cause.to_string())),
        };
        let mode = fs::metadata(path).map_err(|cause| refused(cause.to_string()))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(refused("others may read it: give it mode 0600".to_owned()));
        }
        let mut key = Box::new([0; 32]);
        hex::decode_to_slice(text.trim(), key.as_mut_slice())
            .map_err(|_| refused("it does not hold 64 hexadecimal digits".to_owned()))?;
        Ok(Self(SecretBox::new(key)))
    }

    /// What tells keys apart, and nothing about them.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        hex::encode(&Sha256::digest(self.0.expose_secret())[..8])
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.0.expose_secret().into())
    }
}

impl std::fmt::Debug for BackupKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BackupKey({})", self.fingerprint())
    }
}

/// Whole or not at all: another process that makes one at the same time is met by an error.
fn make(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::hard_link(&unfinished, path)?;
    fs::remove_file(&unfinished)
}

/// Seals what is written to it. [`Sealer::finish`] writes the last piece.
pub(crate) struct Sealer<W> {
    to: W,
    sealing: Option<EncryptorBE32<XChaCha20Poly1305>>,
    waiting: Vec<u8>,
    name: String,
}

impl<W: Write> Sealer<W> {
    /// A sealer for the backup of this name; without a key it only passes on.
    pub(crate) fn new(mut to: W, key: Option<&BackupKey>, name: &str) -> io::Result<Self> {
        let sealing = match key {
            Some(key) => {
                let nonce: [u8; NONCE] = rand::random();
                to.write_all(&nonce)?;
                Some(EncryptorBE32::from_aead(key.cipher(), (&nonce).into()))
            }
            None => None,
        };
        Ok(Self { to, sealing, waiting: Vec::new(), name: name.to_owned() })
    }

    pub(crate) fn finish(mut self) -> io::Result<W> {
        if let Some(sealing) = self.sealing {
            let last = sealing.encrypt_last(Payload { msg: &self.waiting, aad: self.name.as_bytes() });
            self.to.write_all(&last.map_err(|_| io::Error::other("it is too long to be sealed"))?)?;
        }
        self.to.flush()?;
        Ok(self.to)
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(sealing) = &mut self.sealing else { return self.to.write(bytes) };
        self.waiting.extend_from_slice(bytes);
        // The last piece is sealed differently, so one is always kept back.
        while self.waiting.len() > PIECE {
            let sealed = sealing.encrypt_next(Payload { msg: &self.waiting[..PIECE], aad: self.name.as_bytes() });
            self.to.write_all(&sealed.map_err(|_| io::Error::other("it is too long to be sealed"))?)?;
            self.waiting.drain(..PIECE);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Opens what was sealed; without a key it only passes on.
pub(crate) struct Opener<R> {
    from: R,
    opening: Option<DecryptorBE32<XChaCha20Poly1305>>,
    is_sealed: bool,
    /// Read, and not yet opened: a piece and the beginning of the next.
    waiting: Vec<u8>,
    open: io::Cursor<Vec<u8>>,
    name: String,
}

impl<R: Read> Opener<R> {
    pub(crate) fn new(mut from: R, key: Option<&BackupKey>, name: &str) -> io::Result<Self> {
        let opening = match key {
            Some(key) => {
                let mut nonce = [0; NONCE];
                from.read_exact(&mut nonce)?;
                Some(DecryptorBE32::from_aead(key.cipher(), (&nonce).into()))
            }
            None => None,
        };
        let (waiting, open) = (Vec::new(), io::Cursor::new(Vec::new()));
        Ok(Self { from, is_sealed: opening.is_some(), opening, waiting, open, name: name.to_owned() })
    }

    /// What this reads from.
    pub(crate) fn into_inner(self) -> R {
        self.from
    }

    fn open_next(&mut self) -> io::Result<()> {
        let Some(mut opening) = self.opening.take() else { return Ok(()) };
        let wanted = (PIECE + TAG + 1 - self.waiting.len()) as u64;
        (&mut self.from).take(wanted).read_to_end(&mut self.waiting)?;
        let refused = |_| io::Error::new(io::ErrorKind::InvalidData, "it does not open with its key");
        let aad = self.name.as_bytes();
        let opened = if self.waiting.len() > PIECE + TAG {
            let piece: Vec<u8> = self.waiting.drain(..PIECE + TAG).collect();
            let opened = opening.decrypt_next(Payload { msg: &piece, aad }).map_err(refused)?;
            self.opening = Some(opening);
            opened
        } else {
            opening.decrypt_last(Payload { msg: &self.waiting, aad }).map_err(refused)?
        };
        self.open = io::Cursor::new(opened);
        Ok(())
    }
}

impl<R: Read> Read for Opener<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if !self.is_sealed {
            return self.from.read(bytes);
        }
        if self.open.position() >= self.open.get_ref().len() as u64 {
            self.open = io::Cursor::new(Vec::new());
            self.open_next()?;
        }
        self.open.read(bytes)
    }
}
