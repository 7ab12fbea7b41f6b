//! Files that a crash leaves whole: written under another name, synced, renamed.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use rand::distr::{Alphanumeric, SampleString as _};

use crate::user::Owner;

/// Replaces a file's content; readable by `owner` alone, or by the current user when there is none.
pub(crate) fn replace(path: &Path, content: &[u8], owner: Option<&Owner>) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    // One that a crash left behind may belong to somebody else by now.
    match fs::remove_file(&unfinished) {
        Err(other) if other.kind() != io::ErrorKind::NotFound => return Err(other),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(content)?;
    if let Some(owner) = owner {
        std::os::unix::fs::fchown(&file, Some(owner.uid), Some(owner.gid))?;
    }
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}

/// Adds to the end of a file that is for its owner only.
pub(crate) fn append(path: &Path, content: &[u8]) -> io::Result<()> {
    fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)?.write_all(content)
}

/// Adds to the end of a file that is there, and returns when that is on disk.
pub(crate) fn extend(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().append(true).open(path)?;
    file.write_all(content)?;
    file.sync_data()
}

/// A folder with exactly these permissions, made with its parents when it is missing.
pub(crate) fn folder(path: &Path, mode: u32) -> io::Result<()> {
    fs::create_dir_all(path)?;
    if fs::symlink_metadata(path)?.permissions().mode() & 0o7777 != mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Gives a folder and all below it to `owner`, without following links out of it. One that is
/// theirs already is left alone: the server made what is in it.
pub(crate) fn give(path: &Path, owner: &Owner) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if found.uid() == owner.uid && found.gid() == owner.gid {
        return Ok(());
    }
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), owner)?;
        }
    }
    // The folder itself last: a crash before this makes the next start begin anew.
    std::os::unix::fs::lchown(path, Some(owner.uid), Some(owner.gid))
}

/// A secret of 32 characters of `A-Za-z0-9` that stays the same: made on first use and kept in a
/// file of mode 0600.
///
/// # Errors
/// When the file can't be read or made, or holds something else.
pub fn kept_secret(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let secret = text.trim();
            if secret.len() >= 16 && secret.bytes().all(|b| b.is_ascii_alphanumeric()) {
                Ok(secret.to_owned())
            } else {
                let sentence = format!("{} holds no password of letters and digits", path.display());
                Err(io::Error::new(io::ErrorKind::InvalidData, sentence))
            }
        }
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
            let secret = Alphanumeric.sample_string(&mut rand::rng(), 32);
            replace(path, secret.as_bytes(), None)?;
            Ok(secret)
        }
        Err(other) => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_secret_is_made_once_and_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin");

        let secret = kept_secret(&path).unwrap();

        assert_eq!(secret.len(), 32);
        assert_eq!(kept_secret(&path).unwrap(), secret);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_holds_no_secret_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin");
        fs::write(&path, "it's; short").unwrap();

        assert!(kept_secret(&path).unwrap_err().to_string().contains("holds no password"));
    }
}
