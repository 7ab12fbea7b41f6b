//! Records at rest: sealed with a key that is kept beside them, not in them.

#[cfg(feature = "server")]
mod rotation;

use std::{fs, io, path::Path, sync::Arc};

use chacha20poly1305::{
    Key, KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, AeadInPlace as _, Payload},
};
use sha2::{Digest as _, Sha256};

use crate::Secret;

/// A sealed record that does not open: another key, another place, or damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sealed record cannot be opened: the key is not the one it was sealed with, or the record is damaged")]
pub struct SealError;

/// Seals and opens records with XChaCha20-Poly1305 (SPEC S-3).
///
/// It may be a ring of several keys: the first seals, all of them open, so that keys can be changed (SPEC S-8). A sealed
/// record begins with the short name of the key it was sealed with.
///
/// What a record is about goes in as `about`: a sealed record that is moved to another place does not open there.
///
/// ```
/// # use broker_core::SealingKey;
/// let key = SealingKey::generate();
/// let sealed = key.seal(b"s3cret", b"instance/cache");
/// assert_eq!(key.open(&sealed, b"instance/cache").unwrap(), b"s3cret");
/// assert!(key.open(&sealed, b"instance/other").is_err());
/// ```
#[derive(Clone)]
pub struct SealingKey {
    first: OneKey,
    others: Arc<[OneKey]>,
}

/// A key and its short name, which tells nothing about it.
#[derive(Clone)]
struct OneKey {
    name: KeyName,
    cipher: XChaCha20Poly1305,
}

/// The first bytes of a key's digest.
pub(crate) type KeyName = [u8; 4];

const NONCE: usize = 24;
const TAG: usize = 16;

impl OneKey {
    fn from_bytes(bytes: [u8; 32]) -> Self {
        let digest = Sha256::new().chain_update(b"broker-core sealing key").chain_update(bytes).finalize();
        let name = [digest[0], digest[1], digest[2], digest[3]];
        Self { name, cipher: XChaCha20Poly1305::new(&Key::from(bytes)) }
    }

    fn open(&self, sealed: &[u8], about: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE)?;
        let nonce: [u8; NONCE] = nonce.try_into().ok()?;
        self.cipher.decrypt(&XNonce::from(nonce), Payload { msg: sealed, aad: about }).ok()
    }
}

impl SealingKey {
    /// A key that nobody else has.
    #[must_use]
    pub fn generate() -> Self {
        Self { first: OneKey::from_bytes(rand::random()), others: Arc::new([]) }
    }

    /// The keys in a file, each a line of 64 hexadecimal digits: the first seals, all of them open. The file is made
    /// with one key and mode 0600 when there is none yet.
    ///
    /// # Errors
    /// When the file can't be read or made, or holds something else.
    pub fn load_or_create(path: &Path) -> io::Result<Self> {
        Secret::kept_in(path, new_line)?;
        Self::load(path)
    }

    /// The keys in a file that is there.
    pub(crate) fn load(path: &Path) -> io::Result<Self> {
        let keys = key_lines(path)?.iter().map(|line| key_in(line, path)).collect::<io::Result<Vec<_>>>()?;
        let mut keys = keys.into_iter();
        let first = keys.next().ok_or_else(|| no_key(path))?;
        Ok(Self { first, others: keys.collect() })
    }

    /// Seals a record that is about `about`.
    #[must_use]
    pub fn seal(&self, plain: &[u8], about: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE] = rand::random();
        let mut sealed = Vec::with_capacity(self.first.name.len() + NONCE + plain.len() + TAG);
        sealed.extend_from_slice(&self.first.name);
        sealed.extend_from_slice(&nonce);
        let head = sealed.len();
        sealed.extend_from_slice(plain);
        let tag = self.first.cipher.encrypt_in_place_detached(&XNonce::from(nonce), about, &mut sealed[head..]);
        sealed.extend_from_slice(&tag.expect("a record is far below the cipher's limit of 256 GiB"));
        sealed
    }

    /// Opens a record that was sealed about `about`.
    ///
    /// # Errors
    /// When it was sealed with a key that is not in the ring or about something else, or is damaged.
    pub fn open(&self, sealed: &[u8], about: &[u8]) -> Result<Vec<u8>, SealError> {
        let named = sealed.split_first_chunk::<4>().and_then(|(name, rest)| {
            let key = self.keys().find(|key| key.name == *name)?;
            key.open(rest, about)
        });
        // The first releases named no key.
        let opened = named.or_else(|| self.keys().find_map(|key| key.open(sealed, about)));
        opened.ok_or(SealError)
    }

    fn keys(&self) -> impl Iterator<Item = &OneKey> {
        std::iter::once(&self.first).chain(self.others.iter())
    }
}

fn new_line() -> Secret {
    hex::encode(rand::random::<[u8; 32]>()).into()
}

fn key_lines(path: &Path) -> io::Result<Vec<Secret>> {
    let text = fs::read_to_string(path)?;
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(Secret::from).collect())
}

fn key_in(line: &Secret, path: &Path) -> io::Result<OneKey> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(line.expose(), &mut bytes).map_err(|_| no_key(path))?;
    Ok(OneKey::from_bytes(bytes))
}

fn no_key(path: &Path) -> io::Error {
    let sentence = format!("{} holds no key: 64 hexadecimal digits are wanted in each line", path.display());
    io::Error::new(io::ErrorKind::InvalidData, sentence)
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[sealing key]")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test] // SPEC S-3
    fn a_damaged_or_foreign_record_does_not_open() {
        let key = SealingKey::generate();
        let mut sealed = key.seal(b"s3cret", b"a");
        assert!(!sealed.windows(6).any(|window| window == b"s3cret"));
        assert_eq!(SealingKey::generate().open(&sealed, b"a"), Err(SealError));
        *sealed.last_mut().unwrap() ^= 1;
        assert_eq!(key.open(&sealed, b"a"), Err(SealError));
        assert_eq!(key.open(b"short", b"a"), Err(SealError));
    }

    #[test] // SPEC S-3
    fn a_key_file_is_made_once_and_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let sealed = SealingKey::load_or_create(&path).unwrap().seal(b"x", b"");
        assert_eq!(SealingKey::load_or_create(&path).unwrap().open(&sealed, b"").unwrap(), b"x");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_no_key_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "hello").unwrap();
        assert!(SealingKey::load_or_create(&path).unwrap_err().to_string().contains("holds no key"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "hello");
    }

    #[test] // SPEC S-8
    fn a_record_of_the_first_releases_that_names_no_key_opens() {
        let key = SealingKey::generate();
        let sealed = key.seal(b"x", b"a");

        assert_eq!(key.open(&sealed[4..], b"a").unwrap(), b"x");
    }
}
