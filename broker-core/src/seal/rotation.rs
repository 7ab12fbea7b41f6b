//! A key file whose key changes, while records sealed with the old one are still about (SPEC S-8).

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use super::{KeyName, SealingKey, key_lines, new_line};
use crate::Secret;

impl SealingKey {
    /// Puts a new key before the one in the file. A file that has several keys is left alone: what put them there has
    /// still to be finished.
    pub(crate) fn begin_rotation(path: &Path) -> io::Result<Self> {
        Self::load(path)?;
        let mut lines = key_lines(path)?;
        if lines.len() == 1 {
            lines.insert(0, new_line());
            replace_lines(path, &lines)?;
        }
        Self::load(path)
    }

    /// Leaves the first key alone in the file: nothing must be sealed with another one any more.
    pub(crate) fn finish_rotation(path: &Path) -> io::Result<()> {
        let mut lines = key_lines(path)?;
        lines.truncate(1);
        replace_lines(path, &lines)
    }

    /// The short name of the key that seals.
    pub(crate) fn name(&self) -> KeyName {
        self.first.name
    }
}

/// Writes a key file anew: whoever reads it finds the old lines or the new ones, also after a crash.
fn replace_lines(path: &Path, lines: &[Secret]) -> io::Result<()> {
    let unfinished = path.with_extension("key-new");
    match fs::remove_file(&unfinished) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    for line in lines {
        writeln!(file, "{}", line.expose())?;
    }
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::SealError;

    #[test] // SPEC S-8
    fn a_ring_opens_what_any_of_its_keys_sealed_and_seals_with_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let old = SealingKey::load_or_create(&path).unwrap();

        let ring = SealingKey::begin_rotation(&path).unwrap();
        let repeated = SealingKey::begin_rotation(&path).unwrap();

        assert_eq!(repeated.name(), ring.name());
        assert_eq!(ring.open(&old.seal(b"x", b"a"), b"a").unwrap(), b"x");
        assert_eq!(old.open(&ring.seal(b"x", b"a"), b"a"), Err(SealError));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        SealingKey::finish_rotation(&path).unwrap();
        let new = SealingKey::load(&path).unwrap();
        assert_eq!(new.open(&ring.seal(b"x", b"a"), b"a").unwrap(), b"x");
        assert_eq!(new.open(&old.seal(b"x", b"a"), b"a"), Err(SealError));
    }
}
