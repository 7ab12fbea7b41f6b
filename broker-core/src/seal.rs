//! Records at rest: sealed with a key that is kept beside them, not in them.

use std::{io, path::Path};

use chacha20poly1305::{
    Key, KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};

use crate::Secret;

/// A sealed record that does not open: another key, another place, or damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sealed record cannot be opened: the key is not the one it was sealed with, or the record is damaged")]
pub struct SealError;

/// Seals and opens records with XChaCha20-Poly1305 (SPEC S-3).
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
pub struct SealingKey(XChaCha20Poly1305);

const NONCE: usize = 24;

impl SealingKey {
    /// A key that nobody else has.
    #[must_use]
    pub fn generate() -> Self {
        Self::from_bytes(rand::random())
    }

    fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(&Key::from(bytes)))
    }

    /// The key in a file of 64 hexadecimal digits, made with mode 0600 when there is none yet.
    ///
    /// # Errors
    /// When the file can't be read or made, or holds something else.
    pub fn load_or_create(path: &Path) -> io::Result<Self> {
        let text = Secret::kept_in(path, || hex::encode(rand::random::<[u8; 32]>()).into())?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.expose(), &mut bytes).map_err(|_| {
            let sentence = format!("{} holds no key: 64 hexadecimal digits are wanted", path.display());
            io::Error::new(io::ErrorKind::InvalidData, sentence)
        })?;
        Ok(Self::from_bytes(bytes))
    }

    /// Seals a record that is about `about`.
    #[must_use]
    pub fn seal(&self, plain: &[u8], about: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE] = rand::random();
        let sealed = self.0.encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: about });
        let sealed = sealed.expect("a record is far below the cipher's limit of 256 GiB");
        [nonce.as_slice(), &sealed].concat()
    }

    /// Opens a record that was sealed about `about`.
    ///
    /// # Errors
    /// When it was sealed with another key or about something else, or is damaged.
    pub fn open(&self, sealed: &[u8], about: &[u8]) -> Result<Vec<u8>, SealError> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE).ok_or(SealError)?;
        let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| SealError)?;
        self.0.decrypt(&XNonce::from(nonce), Payload { msg: sealed, aad: about }).map_err(|_| SealError)
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[sealing key]")
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

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
}
