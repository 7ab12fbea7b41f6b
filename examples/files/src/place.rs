//! Where an instance is on disk. Every change is "make it so": it can be repeated, and stopped at any point.
//!
//! ```text
//! ROOT/instances/<instance>/folder/            the plan `folder`, or
//! ROOT/instances/<instance>/database/data.db   the plan `database`
//! ROOT/instances/<instance>/was-...            the other one, while it is carried over
//! ROOT/bindings/<binding> -> ../instances/<instance>
//! ```
//!
//! A binding's link is what an app gets. Nobody but the broker can list the links, and their names can't be guessed.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use broker_core::OpaqueId;

use crate::archive;

/// How many instances can be worked on at once.
const LOCKS: u64 = 64;

/// What an instance is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Folder,
    Database,
}

impl Form {
    fn name(self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::Database => "database",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Folder => Self::Database,
            Self::Database => Self::Folder,
        }
    }

    /// What an app uses, from the instance's place.
    pub(crate) fn inside(self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::Database => "database/data.db",
        }
    }
}

/// All instances.
pub(crate) struct Places {
    instances: PathBuf,
    bindings: PathBuf,
    locks: Vec<Mutex<()>>,
}

impl Places {
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let root = root.canonicalize()?;
        let (instances, bindings) = (root.join("instances"), root.join("bindings"));
        for folder in [&instances, &bindings] {
            fs::create_dir_all(folder)?;
            // Others can go through by a name they know, and list nothing.
            fs::set_permissions(folder, fs::Permissions::from_mode(0o711))?;
        }
        Ok(Self { instances, bindings, locks: (0..LOCKS).map(|_| Mutex::default()).collect() })
    }

    /// An instance's place, for one caller at a time.
    pub(crate) fn of(&self, id: &OpaqueId) -> Place<'_> {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let lock = &self.locks[usize::try_from(hasher.finish() % LOCKS).unwrap_or_default()];
        Place {
            places: self,
            id: id.clone(),
            folder: self.instances.join(id.as_str()),
            _turn: lock.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

/// One instance on disk, and the right to work on it.
pub(crate) struct Place<'a> {
    places: &'a Places,
    id: OpaqueId,
    folder: PathBuf,
    _turn: MutexGuard<'a, ()>,
}

impl Place<'_> {
    /// Whether it is there, as this.
    pub(crate) fn is_a(&self, form: Form) -> bool {
        self.folder.join(form.inside()).exists()
    }

    /// Makes it this, whatever it is: new, half-made, or the other form, whose content is carried over.
    ///
    /// A form under its own name is whole. While it is carried over it is named `was-...`, so that apps no longer
    /// write to it, and it goes only when the new one is in place.
    pub(crate) fn become_a(&self, form: Form) -> io::Result<()> {
        let other = form.other();
        let (target, source) = (self.folder.join(form.name()), self.folder.join(other.name()));
        let (was_target, was_source) = (self.was(form), self.was(other));
        if target.exists() {
            return self.remove_all(&[&was_target, &was_source]);
        }
        fs::create_dir_all(&self.folder)?;
        if source.exists() {
            // One that is left of an earlier change may be half removed.
            self.remove_all(&[&was_target])?;
            self.put(&source, &was_source)?;
        }
        if was_target.exists() {
            return self.put(&was_target, &target);
        }
        let unfinished = self.folder.join("unfinished");
        self.remove_all(&[&unfinished])?;
        fs::create_dir(&unfinished)?;
        let carried = was_source.exists().then_some(was_source.as_path());
        let filled = match form {
            Form::Folder => archive::unpack(carried, &unfinished),
            Form::Database => archive::pack(carried, &unfinished.join("data.db")),
        };
        if let Err(refused) = filled {
            // It stays as it was.
            if was_source.exists() {
                self.put(&was_source, &source)?;
            }
            return Err(refused);
        }
        self.put(&unfinished, &target)?;
        self.remove_all(&[&was_source])
    }

    /// Lets a binding in; where it finds the instance.
    pub(crate) fn link(&self, binding: &OpaqueId) -> io::Result<PathBuf> {
        let link = self.places.bindings.join(binding.as_str());
        match symlink(Path::new("../instances").join(self.id.as_str()), &link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(link),
        }
    }

    /// Lets a binding in no more.
    pub(crate) fn unlink(&self, binding: &OpaqueId) -> io::Result<()> {
        gone(fs::remove_file(self.places.bindings.join(binding.as_str())))
    }

    /// Removes it with all that is in it.
    pub(crate) fn remove(&self) -> io::Result<()> {
        gone(fs::remove_dir_all(&self.folder))
    }

    /// How many bytes it holds.
    pub(crate) fn used(&self) -> io::Result<u64> {
        archive::files_below(&self.folder)?.iter().try_fold(0, |sum, file| match fs::symlink_metadata(file) {
            Ok(found) => Ok(sum + found.len()),
            // Apps remove files while we look.
            Err(error) => gone(Err(error)).map(|()| sum),
        })
    }

    /// Opens or closes it to writing, for everybody but root. What is open already stays so.
    pub(crate) fn allow_writing(&self, allowed: bool) -> io::Result<()> {
        for form in [Form::Folder, Form::Database] {
            let top = self.folder.join(form.name());
            let Ok(found) = fs::metadata(&top) else { continue };
            let mode = if allowed { 0o777 } else { 0o555 };
            if found.permissions().mode() & 0o777 == mode {
                continue;
            }
            let files = if form == Form::Database { archive::files_below(&top)? } else { Vec::new() };
            for file in files {
                fs::set_permissions(file, fs::Permissions::from_mode(mode & 0o666))?;
            }
            fs::set_permissions(&top, fs::Permissions::from_mode(mode))?;
        }
        Ok(())
    }

    fn was(&self, form: Form) -> PathBuf {
        self.folder.join(format!("was-{}", form.name()))
    }

    /// Gives something its name, for good.
    fn put(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        fs::File::open(&self.folder)?.sync_all()
    }

    fn remove_all(&self, paths: &[&Path]) -> io::Result<()> {
        paths.iter().try_for_each(|path| gone(fs::remove_dir_all(path)))
    }
}

/// What is gone already was removed.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
