//! Values that must not be seen.

use std::{
    fmt, fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;

/// A credential: it cannot be printed, is compared in constant time, and is wiped when dropped.
///
/// It serialises in clear, so that it can travel in a body or a record that is sealed as a whole;
/// never serialise a structure that holds one into a log.
///
/// ```
/// # use broker_core::Secret;
/// let password = Secret::from("s3cret");
/// assert_eq!(format!("{password:?}"), "[secret]");
/// assert_eq!(password.expose(), "s3cret");
/// ```
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// 32 random characters of `A-Za-z0-9`: safe in URLs, shells and statements without quoting.
    #[must_use]
    pub fn generate() -> Self {
        use rand::distr::{Alphanumeric, SampleString};
        Self::from(Alphanumeric.sample_string(&mut rand::rng(), 32))
    }

    /// The first line of a file; a missing file is made from `generate`, for its owner only (SPEC S-4).
    ///
    /// The file appears under its name only when it is complete. Of two processes that make one at
    /// once, one wins and both use it.
    ///
    /// # Errors
    /// When the file can't be read or made, or its first line is empty.
    pub fn kept_in(file: &Path, generate: impl FnOnce() -> Self) -> io::Result<Self> {
        match fs::read_to_string(file) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Self::keep(generate(), file),
            read => Self::first_line(&Zeroizing::new(read?)),
        }
    }

    fn first_line(text: &str) -> io::Result<Self> {
        match text.lines().next().unwrap_or_default().trim() {
            "" => {
                let sentence = "its first line is empty, write a secret there or remove the file";
                Err(io::Error::new(io::ErrorKind::InvalidData, sentence))
            }
            line => Ok(Self::from(line)),
        }
    }

    fn keep(self, file: &Path) -> io::Result<Self> {
        if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            private_folder(folder)?;
        }
        let unfinished = file.with_extension(format!("new-{}", std::process::id()));
        let mut made = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        writeln!(made, "{}", self.expose())?;
        made.sync_all()?;
        let placed = fs::hard_link(&unfinished, file);
        fs::remove_file(&unfinished)?;
        match placed {
            Ok(()) => Ok(self),
            Err(taken) if taken.kind() == io::ErrorKind::AlreadyExists => {
                Self::first_line(&Zeroizing::new(fs::read_to_string(file)?))
            }
            Err(other) => Err(other),
        }
    }

    /// The value itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// A folder made for its owner only, when it is missing. Those above it are made as usual: there may be others
/// below them that somebody else has to enter.
pub(crate) fn private_folder(folder: &Path) -> io::Result<()> {
    if let Some(above) = folder.parent().filter(|above| !above.as_os_str().is_empty()) {
        fs::create_dir_all(above)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(there) if there.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        made => made,
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(SecretString::from(value))
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self::from(value.to_owned())
    }
}

impl std::str::FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(value: &str) -> Result<Self, Self::Err> {
        Ok(Self::from(value))
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose().as_bytes().ct_eq(other.expose().as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // SPEC S-4
    fn a_file_keeps_the_secret_it_was_made_with_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/password");
        let made = Secret::kept_in(&file, Secret::generate).unwrap();
        assert_eq!(Secret::kept_in(&file, Secret::generate).unwrap(), made);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
        fs::write(&file, "\nsecond line\n").unwrap();
        assert!(Secret::kept_in(&file, Secret::generate).unwrap_err().to_string().contains("first line is empty"));
    }

    #[test]
    fn a_generated_secret_is_long_and_plain() {
        let secret = Secret::generate();
        assert_eq!(secret.expose().len(), 32);
        assert!(secret.expose().bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_ne!(secret, Secret::generate());
    }
}
