-- Bodies are sealed; what stands beside them is what is looked up.
CREATE TABLE instance (
    name TEXT PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;

CREATE TABLE binding (
    instance_id TEXT NOT NULL REFERENCES instance (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    consumer TEXT NOT NULL,
    state TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (instance_id, kind, consumer)
) STRICT;

-- One sealed row that only the right key opens.
CREATE TABLE seal (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    body BLOB NOT NULL
) STRICT;
