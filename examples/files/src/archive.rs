//! A folder as a SQLite database and back. The files are rows of the table `sqlar`, SQLite's own format for archives:
//! `sqlite3 data.db -A --list` reads it.

use std::{
    fs,
    io::{self, Error, ErrorKind},
    os::unix::fs::PermissionsExt as _,
    path::{Component, Path, PathBuf},
    time::UNIX_EPOCH,
};

use rusqlite::Connection;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS sqlar (name TEXT PRIMARY KEY, mode INT, mtime INT, sz INT, data BLOB)";
/// What a row says of a regular file in `mode`, beside its permissions.
const REGULAR: u32 = 0o100_000;

/// Makes a database of a folder, or an empty one.
pub(crate) fn pack(folder: Option<&Path>, database: &Path) -> io::Result<()> {
    let mut connection = Connection::open(database).map_err(Error::other)?;
    let transaction = connection.transaction().map_err(Error::other)?;
    transaction.execute_batch(TABLE).map_err(Error::other)?;
    for file in folder.map(files_below).transpose()?.unwrap_or_default() {
        let name = file.strip_prefix(folder.unwrap_or(&file)).map_err(Error::other)?.to_str();
        let name = name.ok_or_else(|| refused("a file's name is not UTF-8 text, rename it first".to_owned()))?;
        let found = fs::symlink_metadata(&file)?;
        if !found.is_file() {
            return Err(refused(format!("\"{name}\" is no regular file, remove it first")));
        }
        let changed = found.modified()?.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let (mode, content) = (REGULAR | (found.permissions().mode() & 0o777), fs::read(&file)?);
        // A size that is the data's own means: not compressed.
        let row = rusqlite::params![name, mode, changed.cast_signed(), content.len().cast_signed(), content];
        transaction.execute("INSERT INTO sqlar VALUES (?1, ?2, ?3, ?4, ?5)", row).map_err(Error::other)?;
    }
    transaction.commit().map_err(Error::other)?;
    connection.close().map_err(|(_, error)| Error::other(error))?;
    fs::set_permissions(database, fs::Permissions::from_mode(0o666))
}

/// Makes a folder of a database's archive, or leaves it empty.
///
/// # Errors
/// `InvalidInput` when it can't hold what is in the database.
pub(crate) fn unpack(database: Option<&Path>, folder: &Path) -> io::Result<()> {
    let Some(database) = database else { return Ok(()) };
    let connection = Connection::open(database.join("data.db")).map_err(Error::other)?;
    let tables = "SELECT group_concat(name, ', ') FROM sqlite_schema WHERE type = 'table' AND name <> 'sqlar'";
    if let Some(tables) =
        connection.query_row(tables, [], |row| row.get::<_, Option<String>>(0)).map_err(Error::other)?
    {
        return Err(refused(format!("a folder cannot hold the tables {tables}: export and drop them first")));
    }
    connection.execute_batch(TABLE).map_err(Error::other)?;
    let mut rows = connection.prepare("SELECT name, mode, sz, data FROM sqlar").map_err(Error::other)?;
    let mut rows = rows.query([]).map_err(Error::other)?;
    while let Some(row) = rows.next().map_err(Error::other)? {
        let name: String = row.get(0).map_err(Error::other)?;
        let (mode, size): (u32, i64) = (row.get(1).map_err(Error::other)?, row.get(2).map_err(Error::other)?);
        if mode & 0o170_000 == 0o040_000 {
            fs::create_dir_all(folder.join(relative(&name)?))?;
            continue;
        }
        let content: Vec<u8> = row.get(3).map_err(Error::other)?;
        if mode & 0o170_000 != REGULAR || content.len().cast_signed() as i64 != size {
            return Err(refused(format!("\"{name}\" is compressed or no regular file, store it plainly first")));
        }
        write(&folder.join(relative(&name)?), &content, mode & 0o777)?;
    }
    Ok(())
}

fn write(file: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    file.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(file, content)?;
    fs::set_permissions(file, fs::Permissions::from_mode(mode))?;
    fs::File::open(file)?.sync_all()
}

/// A row's name as a path that stays in the folder: apps write the rows.
fn relative(name: &str) -> io::Result<&Path> {
    let path = Path::new(name);
    let stays = !name.is_empty() && path.components().all(|part| matches!(part, Component::Normal(_)));
    if stays {
        Ok(path)
    } else {
        Err(refused(format!("\"{name}\" cannot be a file's name in a folder, rename it first")))
    }
}

/// All that is in a folder and is no folder, without following links.
pub(crate) fn files_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let list = if entry.file_type()?.is_dir() { &mut folders } else { &mut files };
            list.push(entry.path());
        }
    }
    Ok(files)
}

fn refused(sentence: String) -> Error {
    Error::new(ErrorKind::InvalidInput, sentence)
}
