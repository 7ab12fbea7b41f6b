//! What a deploy uploads: files and folders as a gzip tar, made while it is sent (contract section 8.1).

use std::{
    fs::{self, File, Metadata},
    io::{self, BufWriter, Read, Write},
    path::{Component, Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures::{Stream, stream};
use ignore::WalkBuilder;
use tokio::{sync::mpsc, task::JoinHandle};

/// Bytes in one piece of the upload.
const PIECE: usize = 64 * 1024;

/// What goes into an archive.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    /// Files and folders as they were given.
    pub(crate) paths: Vec<PathBuf>,
    /// Leave out the folders that lead to a file or folder that was given.
    pub(crate) files_only: bool,
    /// Files of patterns that name what is left out.
    pub(crate) ignore_files: Vec<&'static str>,
}

/// A source path and where it goes in the archive.
struct Source {
    path: PathBuf,
    name: PathBuf,
}

/// An archive on its way.
pub(crate) struct Archive {
    /// Its bytes.
    pub(crate) pieces: mpsc::Receiver<io::Result<Bytes>>,
    /// How many bytes were sent so far.
    pub(crate) sent: Arc<AtomicU64>,
    /// Ends when all is packed.
    pub(crate) packing: JoinHandle<Result<()>>,
}

impl Selection {
    /// Checks that everything is there and can be named.
    ///
    /// # Errors
    ///
    /// A path that cannot be read.
    pub(crate) fn check(&self) -> Result<()> {
        for path in &self.paths {
            fs::symlink_metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
        }
        Ok(())
    }

    /// Begins to pack in a thread of its own.
    pub(crate) fn pack(self) -> Archive {
        let (sender, pieces) = mpsc::channel(4);
        let sent = Arc::new(AtomicU64::new(0));
        let packing = tokio::task::spawn_blocking(move || {
            let outcome = self.write_to(Pieces(sender.clone()));
            if let Err(error) = &outcome {
                // The upload must not look complete. Nobody listens any more if the server has answered already.
                let _ = sender.blocking_send(Err(io::Error::other(error.to_string())));
            }
            outcome
        });
        Archive { pieces, sent, packing }
    }

    /// Writes the gzip tar.
    fn write_to(&self, out: impl Write) -> Result<()> {
        let gzip = GzEncoder::new(BufWriter::with_capacity(PIECE, out), Compression::default());
        let mut tar = tar::Builder::new(gzip);
        for source in self.sources() {
            self.add(&mut tar, &source)?;
        }
        let mut buffer = tar.into_inner()?.finish()?;
        buffer.flush()?;
        Ok(())
    }

    /// A single folder is the archive's root; several paths keep their own names.
    fn sources(&self) -> Vec<Source> {
        let root = |path: &Path| path.is_dir() && (self.files_only || self.paths.len() == 1);
        let name = |path: &Path| if root(path) { PathBuf::new() } else { self.name(path) };
        self.paths.iter().map(|path| Source { path: path.clone(), name: name(path) }).collect()
    }

    /// A path's name in the archive: itself if it lies below the current folder, or else its last part.
    fn name(&self, path: &Path) -> PathBuf {
        let below = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if below && !self.files_only {
            path.components().filter(|part| matches!(part, Component::Normal(_))).collect()
        } else {
            path.file_name().map(PathBuf::from).unwrap_or_default()
        }
    }

    fn add(&self, tar: &mut tar::Builder<impl Write>, source: &Source) -> Result<()> {
        for entry in self.walk(&source.path) {
            let entry = entry?;
            let below = entry.path().strip_prefix(&source.path).unwrap_or(Path::new(""));
            let name = if below.as_os_str().is_empty() { source.name.clone() } else { source.name.join(below) };
            if !name.as_os_str().is_empty() {
                add_one(tar, entry.path(), &name).with_context(|| format!("cannot pack {}", entry.path().display()))?;
            }
        }
        Ok(())
    }

    /// Everything below a path that is not left out, in order of names. A repository's own folder never travels.
    fn walk(&self, path: &Path) -> ignore::Walk {
        let mut walk = WalkBuilder::new(path);
        walk.standard_filters(false).follow_links(false).sort_by_file_name(Ord::cmp);
        walk.filter_entry(|entry| entry.file_name() != ".git" || entry.depth() == 0);
        for name in &self.ignore_files {
            walk.add_custom_ignore_filename(name);
            if self.paths.len() > 1 && Path::new(name).is_file() {
                walk.add_ignore(name);
            }
        }
        walk.build()
    }
}

/// Adds one file, folder or link, with its mode and time, owned by nobody in particular.
fn add_one(tar: &mut tar::Builder<impl Write>, path: &Path, name: &Path) -> Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    let mut header = tar::Header::new_gnu();
    header.set_metadata(&metadata);
    header.set_uid(0);
    header.set_gid(0);
    if metadata.is_symlink() {
        header.set_size(0);
        tar.append_link(&mut header, name, fs::read_link(path)?)?;
    } else if metadata.is_dir() {
        header.set_size(0);
        tar.append_data(&mut header, name, io::empty())?;
    } else if metadata.is_file() {
        add_file(tar, &mut header, path, name, &metadata)?;
    }
    Ok(())
}

fn add_file(
    tar: &mut tar::Builder<impl Write>,
    header: &mut tar::Header,
    path: &Path,
    name: &Path,
    metadata: &Metadata,
) -> Result<()> {
    let mut content = Counted { file: File::open(path)?.take(metadata.len()), read: 0 };
    tar.append_data(header, name, &mut content)?;
    if content.read != metadata.len() {
        bail!("it became shorter while it was read");
    }
    Ok(())
}

/// A reader that knows how much was read.
struct Counted {
    file: io::Take<File>,
    read: u64,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read += count as u64;
        Ok(count)
    }
}

/// A writer whose pieces are read elsewhere.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        match self.0.blocking_send(Ok(Bytes::copy_from_slice(piece))) {
            Ok(()) => Ok(piece.len()),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The pieces of an archive as the body of a request; `done` is called with the number of bytes when all are sent.
pub(crate) fn body(
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    sent: Arc<AtomicU64>,
    done: impl Fn(u64) + Send + Sync + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::unfold((pieces, sent, done), |(mut pieces, sent, done)| async move {
        let Some(piece) = pieces.recv().await else {
            done(sent.load(Ordering::Relaxed));
            return None;
        };
        if let Ok(bytes) = &piece {
            sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Some((piece, (pieces, sent, done)))
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, os::unix::fs::PermissionsExt};

    use flate2::read::GzDecoder;

    use super::*;

    /// Names in the archive, each with its mode and the target of a link.
    fn packed(selection: &Selection) -> BTreeMap<String, (u32, Option<PathBuf>)> {
        let mut bytes = Vec::new();
        selection.write_to(&mut bytes).unwrap();
        let mut archive = tar::Archive::new(GzDecoder::new(bytes.as_slice()));
        let entries = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let link = entry.link_name().unwrap().map(|link| link.into_owned());
            (name, (entry.header().mode().unwrap() & 0o777, link))
        });
        entries.collect()
    }

    fn sample() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("Procfile", "web: ./run");
        write("run", "#!/bin/sh");
        write("tmp/big.log", "x");
        write("src/app.py", "pass");
        write("src/app.pyc", "x");
        write(".git/HEAD", "ref");
        write(".tsuruignore", "/tmp\n*.pyc\n");
        fs::set_permissions(root.path().join("run"), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("run", root.path().join("link")).unwrap();
        root
    }

    fn selection(paths: Vec<PathBuf>) -> Selection {
        Selection { paths, files_only: false, ignore_files: vec![".tsuruignore"] }
    }

    #[test] // SPEC C-9
    fn a_folder_is_the_root_and_leaves_out_what_is_ignored() {
        let root = sample();

        let names = packed(&selection(vec![root.path().to_owned()]));

        let expected = [".tsuruignore", "Procfile", "link", "run", "src", "src/app.py"];
        assert_eq!(names.keys().collect::<Vec<_>>(), expected);
    }

    #[test] // SPEC C-9
    fn modes_and_links_are_kept() {
        let root = sample();

        let names = packed(&selection(vec![root.path().to_owned()]));

        assert_eq!(names["run"], (0o755, None));
        assert_eq!(names["link"].1, Some(PathBuf::from("run")));
    }

    #[test]
    fn several_paths_from_elsewhere_go_by_their_last_name() {
        let root = sample();

        let names = packed(&selection(vec![root.path().join("Procfile"), root.path().join("src")]));

        assert_eq!(names.keys().collect::<Vec<_>>(), ["Procfile", "src", "src/app.py", "src/app.pyc"]);
    }

    #[test]
    fn files_only_flattens_what_is_given() {
        let root = sample();
        let paths = vec![root.path().join("Procfile"), root.path().join("src")];

        let names = packed(&Selection { files_only: true, ..selection(paths) });

        assert_eq!(names.keys().collect::<Vec<_>>(), ["Procfile", "app.py", "app.pyc"]);
    }

    #[test]
    fn a_path_that_is_not_there_is_named() {
        let error = selection(vec!["/nowhere/at/all".into()]).check().unwrap_err();
        assert_eq!(format!("{error:#}"), "cannot read /nowhere/at/all: No such file or directory (os error 2)");
    }
}
