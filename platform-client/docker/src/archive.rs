//! An app's source as it was sent, checked and made ready for its place in the image.
//!
//! What is sent is not trusted: nothing in it can land outside the app's directory, belong to anyone
//! but the app's user, or take on another user's rights (SPEC U-3).

use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    io::{self, BufReader, Read, Seek},
    path::{Component, Path, PathBuf},
};

use flate2::read::MultiGzDecoder;
use platform_core::{Error, MANIFEST_NAMES, Result};
use tar::{Builder, Entry, EntryType, Header};

/// Where the source goes, below the root.
const PLACE: &str = "home/application/current";
/// The app's user and group.
pub(crate) const OWNER: u64 = 1000;
/// Bytes of a file that is read here.
const READ_LIMIT: u64 = 1 << 20;

/// Source, ready to be put into an image.
#[derive(Debug)]
pub(crate) struct Source {
    /// A tar to be unpacked at the root.
    pub(crate) tar: File,
    /// Files in it.
    pub(crate) files: u64,
    /// Bytes of them all.
    pub(crate) bytes: u64,
    /// The content of files that were asked for, by path within the source.
    pub(crate) read: BTreeMap<String, Vec<u8>>,
}

impl Source {
    /// A file's text, where it was asked for and is there.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        self.read.get(path).map(|content| String::from_utf8_lossy(content).into_owned())
    }

    pub(crate) fn procfile(&self) -> Option<String> {
        self.text("Procfile")
    }

    pub(crate) fn yaml(&self) -> Option<String> {
        MANIFEST_NAMES.iter().find_map(|name| self.text(name))
    }
}

/// Checks a gzip tar and rewrites it. Blocks: call it where that is allowed.
///
/// # Errors
/// When it is no such archive, is empty, is larger than `limit` unpacked, or holds what can't be.
pub(crate) fn prepare(archive: &Path, wanted: &[String], limit: u64) -> Result<Source> {
    let file = File::open(archive)
        .map_err(|reason| Error::Build(format!("the source archive cannot be read on the server: {reason}")))?;
    let mut reader = BufReader::new(file);
    let mut magic = [0; 2];
    let is_gzip = reader.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
    if !is_gzip {
        return Err(Error::invalid("the source is not a gzip-compressed tar archive: send one made by `tar -czf`"));
    }
    reader.rewind().map_err(|reason| broken(&reason))?;
    let tar = tempfile::tempfile().map_err(|reason| no_room(&reason))?;
    let mut rewriting = Rewriting {
        to: Builder::new(tar),
        wanted,
        limit,
        directories: HashSet::new(),
        links: HashSet::new(),
        files: 0,
        bytes: 0,
        read: BTreeMap::new(),
    };
    rewriting.directory(Path::new(""), 0o755, 0)?;
    for entry in tar::Archive::new(MultiGzDecoder::new(reader)).entries().map_err(|reason| broken(&reason))? {
        rewriting.entry(entry.map_err(|reason| broken(&reason))?)?;
    }
    rewriting.end()
}

struct Rewriting<'a> {
    to: Builder<File>,
    wanted: &'a [String],
    limit: u64,
    directories: HashSet<PathBuf>,
    links: HashSet<PathBuf>,
    files: u64,
    bytes: u64,
    read: BTreeMap<String, Vec<u8>>,
}

impl Rewriting<'_> {
    fn entry(&mut self, mut entry: Entry<'_, impl Read>) -> Result<()> {
        let kind = entry.header().entry_type();
        // Notes about the archive as a whole, such as the commit that it was made of.
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let path = inside(&entry.path().map_err(|reason| broken(&reason))?)?;
        // Some programs leave these out where they mean nothing.
        let mode = entry.header().mode().unwrap_or(0o755);
        let time = entry.header().mtime().unwrap_or(0);
        self.parents(&path, time)?;
        self.links.remove(&path);
        match kind {
            EntryType::Directory => self.directory(&path, mode, time),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(&path, mode, time, &mut entry)
            }
            EntryType::Symlink | EntryType::Link => self.link(&path, kind, time, &entry),
            _ => Err(Error::invalid(format!(
                "\"{}\" in the source is neither a file, a directory nor a link: leave it out",
                path.display()
            ))),
        }
    }

    /// Directories that the archive takes for granted. None of them may be a link that leads away.
    fn parents(&mut self, path: &Path, time: u64) -> Result<()> {
        let parents: Vec<PathBuf> = path.ancestors().skip(1).map(Path::to_path_buf).collect();
        for parent in parents.into_iter().rev() {
            if self.links.contains(&parent) {
                return Err(Error::invalid(format!(
                    "\"{}\" in the source lies behind the link \"{}\": leave one of them out",
                    path.display(),
                    parent.display()
                )));
            }
            if !self.directories.contains(&parent) {
                self.directory(&parent, 0o755, time)?;
            }
        }
        Ok(())
    }

    fn directory(&mut self, path: &Path, mode: u32, time: u64) -> Result<()> {
        self.directories.insert(path.to_path_buf());
        let mut header = header(EntryType::Directory, mode | 0o700, time, 0);
        self.to.append_data(&mut header, Path::new(PLACE).join(path), io::empty()).map_err(|reason| no_room(&reason))
    }

    fn file(&mut self, path: &Path, mode: u32, time: u64, entry: &mut Entry<'_, impl Read>) -> Result<()> {
        let size = entry.size();
        self.files += 1;
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.limit {
            let megabytes = self.limit / 1_000_000;
            return Err(Error::invalid(format!(
                "the source is larger than {megabytes} MB: leave out what the app does not need, such as build results"
            )));
        }
        let mut header = header(EntryType::Regular, mode | 0o400, time, size);
        let place = Path::new(PLACE).join(path);
        let name = path.to_str().filter(|name| self.is_wanted(name)).map(str::to_owned);
        let Some(name) = name else {
            return self.to.append_data(&mut header, place, entry).map_err(|reason| broken(&reason));
        };
        if size > READ_LIMIT {
            return Err(Error::invalid(format!("{name} is larger than 1 MB, which can't be meant")));
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(|reason| broken(&reason))?;
        self.to.append_data(&mut header, place, content.as_slice()).map_err(|reason| no_room(&reason))?;
        self.read.insert(name, content);
        Ok(())
    }

    fn is_wanted(&self, name: &str) -> bool {
        name == "Procfile" || MANIFEST_NAMES.contains(&name) || self.wanted.iter().any(|wanted| wanted == name)
    }

    fn link(&mut self, path: &Path, kind: EntryType, time: u64, entry: &Entry<'_, impl Read>) -> Result<()> {
        let target = entry.link_name().map_err(|reason| broken(&reason))?;
        let target = target.ok_or_else(|| {
            Error::invalid(format!("the link \"{}\" in the source leads nowhere: leave it out", path.display()))
        })?;
        let target = if kind == EntryType::Link {
            Path::new(PLACE).join(inside(&target)?)
        } else {
            self.links.insert(path.to_path_buf());
            target.into_owned()
        };
        let mut header = header(kind, 0o777, time, 0);
        self.to.append_link(&mut header, Path::new(PLACE).join(path), target).map_err(|reason| no_room(&reason))
    }

    fn end(self) -> Result<Source> {
        if self.directories.len() <= 1 && self.files == 0 && self.links.is_empty() {
            return Err(Error::invalid("the source is empty: there is nothing to deploy"));
        }
        let mut tar = self.to.into_inner().map_err(|reason| no_room(&reason))?;
        tar.rewind().map_err(|reason| no_room(&reason))?;
        Ok(Source { tar, files: self.files, bytes: self.bytes, read: self.read })
    }
}

fn header(kind: EntryType, mode: u32, time: u64, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    // No set-user-ID, set-group-ID or sticky bit.
    header.set_mode(mode & 0o777);
    header.set_uid(OWNER);
    header.set_gid(OWNER);
    header.set_mtime(time);
    header.set_size(size);
    header
}

/// A path within the app's directory, without `.`.
fn inside(path: &Path) -> Result<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(Error::invalid(format!(
                    "\"{}\" in the source leads out of the app's directory: leave it out",
                    path.display()
                )));
            }
        }
    }
    Ok(clean)
}

fn broken(reason: &io::Error) -> Error {
    Error::invalid(format!("the source archive is broken ({reason}): send it again"))
}

fn no_room(reason: &io::Error) -> Error {
    Error::Build(format!("the source cannot be unpacked on the server: {reason}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use tempfile::NamedTempFile;

    use super::*;

    /// An entry as a hostile program would write it: the library that writes ours refuses such names.
    fn entry(name: &str, kind: EntryType, link: &str, content: &[u8]) -> Vec<u8> {
        let mut header = Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o6755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    fn file(name: &str, content: &[u8]) -> Vec<u8> {
        entry(name, EntryType::Regular, "", content)
    }

    fn archive(entries: &[Vec<u8>]) -> NamedTempFile {
        let mut packer = GzEncoder::new(NamedTempFile::new().unwrap(), Compression::fast());
        packer.write_all(&entries.concat()).unwrap();
        packer.write_all(&[0; 1024]).unwrap();
        packer.finish().unwrap()
    }

    fn refusal(entries: &[Vec<u8>]) -> String {
        prepare(archive(entries).path(), &[], 1000).unwrap_err().to_string()
    }

    #[test] // SPEC U-3
    fn everything_is_put_in_the_apps_directory_and_given_to_its_user() {
        let archive = archive(&[file("./a/b.sh", b"hi"), entry("link", EntryType::Symlink, "/etc/passwd", b"")]);

        let source = prepare(archive.path(), &[], 1000).unwrap();

        let mut seen = Vec::new();
        for entry in tar::Archive::new(source.tar).entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!(
                (header.uid().unwrap(), header.gid().unwrap(), header.mode().unwrap() & 0o7000),
                (OWNER, OWNER, 0)
            );
            seen.push((entry.path().unwrap().display().to_string(), header.mode().unwrap()));
        }
        let below = |path: &str| format!("home/application/current/{path}");
        let expected = [(below(""), 0o755), (below("a"), 0o755), (below("a/b.sh"), 0o755), (below("link"), 0o777)];
        assert_eq!(seen, expected);
    }

    #[test]
    fn files_that_are_asked_for_are_read() {
        let archive = archive(&[file("Procfile", b"web: x"), file("lock", b"1"), file("sub/lock", b"2")]);

        let source = prepare(archive.path(), &["lock".to_owned()], 1000).unwrap();

        assert_eq!(source.procfile().as_deref(), Some("web: x"));
        assert_eq!(source.text("lock").as_deref(), Some("1"));
        assert_eq!((source.files, source.bytes, source.yaml()), (3, 8, None));
    }

    #[test] // SPEC U-3
    fn what_leads_out_of_the_apps_directory_is_refused() {
        for name in ["../x", "a/../../x", "/etc/x"] {
            assert!(refusal(&[file(name, b"")]).ends_with("leads out of the app's directory: leave it out"), "{name}");
        }
        let behind = refusal(&[entry("out", EntryType::Symlink, "/etc", b""), file("out/x", b"")]);
        assert_eq!(behind, "\"out/x\" in the source lies behind the link \"out\": leave one of them out");
        let hard = refusal(&[entry("hard", EntryType::Link, "../../etc/shadow", b"")]);
        assert!(hard.contains("leads out of the app's directory"), "{hard}");
        let device = refusal(&[entry("sda", EntryType::Block, "", b"")]);
        assert!(device.starts_with("\"sda\" in the source is neither a file"), "{device}");
    }

    #[test] // SPEC U-3
    fn what_is_no_archive_is_refused_in_a_sentence() {
        let plain = |content: &[u8]| {
            let mut plain = NamedTempFile::new().unwrap();
            plain.write_all(content).unwrap();
            prepare(plain.path(), &[], 1000).unwrap_err().to_string()
        };
        assert!(plain(b"PK").starts_with("the source is not a gzip-compressed tar archive"));
        assert!(plain(b"").starts_with("the source is not a gzip-compressed tar archive"));
        assert!(plain(b"\x1f\x8b and then rubbish").starts_with("the source archive is broken"));
        assert!(refusal(&[vec![7; 512]]).starts_with("the source archive is broken"));
        assert!(refusal(&[]).starts_with("the source is empty"));
        assert!(refusal(&[file("big", &[b'x'; 1001])]).starts_with("the source is larger than"));
    }
}
