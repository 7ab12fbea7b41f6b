//! The platform's durable state in SQLite.
//!
//! One table of sealed records, one writer, a few readers. A commit that returned is on the disk
//! (SPEC D-1). Nothing here knows what a record means.

mod prefix;
mod sqlite;
mod trouble;

pub use sqlite::SqliteStore;
