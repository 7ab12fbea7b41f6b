-- Bodies are sealed; what stands beside them is what is looked up. Each table is one tree, by what it is asked for.
CREATE TABLE instance (
    name TEXT PRIMARY KEY,
    id TEXT NOT NULL,
    state TEXT NOT NULL,
    -- Milliseconds since 1970; none when nobody has to look after it without being asked.
    due INTEGER,
    revision INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX instance_due ON instance (due) WHERE due IS NOT NULL;

-- An instance's bindings go with it, in the same commit.
CREATE TABLE binding (
    instance_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    consumer TEXT NOT NULL,
    state TEXT NOT NULL,
    due INTEGER,
    revision INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (instance_id, kind, consumer)
) STRICT, WITHOUT ROWID;

CREATE INDEX binding_due ON binding (due) WHERE due IS NOT NULL;

-- What was done, in the order it ended. Holds no secret.
CREATE TABLE operation (
    number INTEGER PRIMARY KEY,
    instance TEXT NOT NULL,
    -- Milliseconds since 1970.
    ended INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;

-- One sealed row that only the right key opens.
CREATE TABLE seal (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    body BLOB NOT NULL
) STRICT;
