-- Marks the file as this platform's ("tsrd"), so that another program's database is never written to.
PRAGMA application_id = 0x74737264;

-- Bodies are sealed about `kind/key`; a key is compared byte by byte.
CREATE TABLE record (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (kind, key)
);

-- One row, sealed: opens only with the key that the records are sealed with.
CREATE TABLE key_check (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    sealed BLOB NOT NULL
);
