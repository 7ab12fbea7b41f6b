//! How an instance's keys are written into a backup (SPEC K-14): a head, records, and an end that says how many keys
//! there are. Numbers are big-endian. Names are without the prefix of a shared plan, so that a backup can be restored
//! under another one.
//!
//! ```text
//! head       "REDISKEYS", version 1 (1 byte), whether names had a prefix (1)
//! functions  1 (1), length (4), what `FUNCTION DUMP` says
//! key        2 (1), database (2), whether its name had the prefix (1), end in ms since 1970 or 0 (8),
//!            length (4), name, length (4), what `DUMP` says
//! end        0 (1), number of keys (8)
//! ```

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, BufReader};

use crate::copy::Entry;

/// What the format is called in a backup's manifest.
pub(super) const NAME: &str = "redis-keys";

const MAGIC: &[u8; 9] = b"REDISKEYS";
const VERSION: u8 = 1;
const END: u8 = 0;
const FUNCTIONS: u8 = 1;
const KEY: u8 = 2;

/// The beginning; `has_prefix` is whether the instance's apps were told a prefix.
pub(super) fn head(has_prefix: bool) -> Vec<u8> {
    [&MAGIC[..], &[VERSION, has_prefix.into()]].concat()
}

pub(super) fn put_functions(to: &mut Vec<u8>, payload: &[u8]) -> io::Result<()> {
    to.push(FUNCTIONS);
    put_bytes(to, payload)
}

/// Writes a key; a name that begins with `prefix` is written without it.
pub(super) fn put_key(to: &mut Vec<u8>, database: u16, prefix: &str, entry: &Entry) -> io::Result<()> {
    let bare = entry.name.strip_prefix(prefix.as_bytes());
    to.push(KEY);
    to.extend(database.to_be_bytes());
    to.push(bare.is_some().into());
    to.extend(entry.expires.to_be_bytes());
    put_bytes(to, bare.unwrap_or(&entry.name))?;
    put_bytes(to, &entry.value)
}

pub(super) fn put_end(to: &mut Vec<u8>, keys: u64) {
    to.push(END);
    to.extend(keys.to_be_bytes());
}

fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| io::Error::other("a value is too large for a backup"))?;
    to.extend(length.to_be_bytes());
    to.extend_from_slice(bytes);
    Ok(())
}

/// A part of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Libraries of functions.
    Functions(Vec<u8>),
    /// A key of a database; whether its name, which is without it, had the prefix.
    Key { database: u16, had_prefix: bool, entry: Entry },
}

/// What names become when a backup is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) prefix: String,
    /// Whether names get the prefix that had none.
    pub(super) is_for_all: bool,
}

impl Names {
    pub(super) fn renamed(&self, bare: Vec<u8>, had_prefix: bool) -> Vec<u8> {
        if had_prefix || self.is_for_all { [self.prefix.as_bytes(), &bare].concat() } else { bare }
    }
}

/// Reads a backup, record by record.
pub(super) struct Reader<R> {
    data: BufReader<R>,
    has_prefix: bool,
    keys: u64,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) async fn open(data: R) -> io::Result<Self> {
        let mut data = BufReader::with_capacity(128 << 10, data);
        let mut head = [0; MAGIC.len() + 2];
        data.read_exact(&mut head).await?;
        match head.strip_prefix(MAGIC) {
            Some([VERSION, has_prefix]) => Ok(Self { data, has_prefix: *has_prefix != 0, keys: 0 }),
            Some(_) => Err(wrong("it is of another version of the broker")),
            None => Err(wrong("it holds no keys of Redis")),
        }
    }

    /// Whether the instance's apps were told a prefix.
    pub(super) fn has_prefix(&self) -> bool {
        self.has_prefix
    }

    /// The next record; none after the last one, when all are known to be there.
    pub(super) async fn next(&mut self) -> io::Result<Option<Record>> {
        match self.data.read_u8().await? {
            FUNCTIONS => Ok(Some(Record::Functions(self.bytes().await?))),
            KEY => {
                let database = self.data.read_u16().await?;
                let had_prefix = self.data.read_u8().await? != 0;
                let expires = self.data.read_u64().await?;
                let (name, value) = (self.bytes().await?, self.bytes().await?);
                self.keys += 1;
                Ok(Some(Record::Key { database, had_prefix, entry: Entry { name, expires, value } }))
            }
            END => {
                let keys = self.data.read_u64().await?;
                // What the archive has to say against the data it says at the end.
                let more = self.data.read(&mut [0]).await?;
                if keys != self.keys || more != 0 { Err(wrong("its end is at the wrong place")) } else { Ok(None) }
            }
            _ => Err(wrong("it has a record of an unknown kind")),
        }
    }

    async fn bytes(&mut self) -> io::Result<Vec<u8>> {
        let length = self.data.read_u32().await?;
        // Memory grows with what is there, not with what a damaged length promises.
        let mut bytes = Vec::new();
        let read = (&mut self.data).take(length.into()).read_to_end(&mut bytes).await?;
        if read < length as usize { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes) }
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &[u8], expires: u64) -> Entry {
        Entry { name: name.to_vec(), expires, value: vec![0, 255, 10] }
    }

    fn written() -> Vec<u8> {
        let mut data = head(true);
        put_functions(&mut data, b"code").unwrap();
        put_key(&mut data, 0, "abc:", &entry(b"abc:\xff\0", 7)).unwrap();
        put_key(&mut data, 3, "abc:", &entry(b"", 0)).unwrap();
        put_end(&mut data, 2);
        data
    }

    async fn all(data: &[u8]) -> io::Result<Vec<Record>> {
        let mut reader = Reader::open(data).await?;
        let mut records = Vec::new();
        while let Some(record) = reader.next().await? {
            records.push(record);
        }
        Ok(records)
    }

    #[tokio::test] // SPEC K-14
    async fn what_is_written_is_read_again_without_the_prefix() {
        let key = |database, had_prefix, entry| Record::Key { database, had_prefix, entry };
        assert_eq!(
            all(&written()).await.unwrap(),
            [Record::Functions(b"code".to_vec()), key(0, true, entry(b"\xff\0", 7)), key(3, false, entry(b"", 0))]
        );
    }

    #[tokio::test] // SPEC K-14
    async fn data_that_is_cut_anywhere_or_has_more_or_less_than_it_says_is_refused() {
        let whole = written();
        for length in 0..whole.len() {
            assert!(all(&whole[..length]).await.is_err(), "{length}");
        }
        let last = whole.len() - 1;
        for bad in [[&whole[..], b"x"].concat(), [&whole[..last], b"\x03"].concat(), b"SOMETHING ELSE".to_vec()] {
            assert!(all(&bad).await.is_err());
        }
        let other_version = [&MAGIC[..], &[2, 0]].concat();
        assert!(all(&other_version).await.unwrap_err().to_string().contains("another version of the broker"));
    }

    #[test]
    fn names_get_the_prefix_that_had_it_or_all_do() {
        let names = |is_for_all| Names { prefix: "new:".to_owned(), is_for_all };
        assert_eq!(names(false).renamed(b"k".to_vec(), true), b"new:k");
        assert_eq!(names(false).renamed(b"k".to_vec(), false), b"k");
        assert_eq!(names(true).renamed(b"k".to_vec(), false), b"new:k");
    }
}
