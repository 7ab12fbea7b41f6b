-- A row with its body is too large for the tree of keys: with a handful of them to a page that tree is deep, and much of
-- it is rewritten when a row is added. Here rows are appended, and the tree of their keys is small.
CREATE TABLE instance_rows (
    name TEXT NOT NULL PRIMARY KEY,
    id TEXT NOT NULL,
    state TEXT NOT NULL,
    -- Milliseconds since 1970; none when nobody has to look after it without being asked.
    due INTEGER,
    revision INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
INSERT INTO instance_rows SELECT name, id, state, due, revision, body FROM instance;
DROP TABLE instance;
ALTER TABLE instance_rows RENAME TO instance;

CREATE TABLE binding_rows (
    instance_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    consumer TEXT NOT NULL,
    state TEXT NOT NULL,
    due INTEGER,
    revision INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (instance_id, kind, consumer)
) STRICT;
INSERT INTO binding_rows SELECT instance_id, kind, consumer, state, due, revision, body FROM binding;
DROP TABLE binding;
ALTER TABLE binding_rows RENAME TO binding;

-- Only what is due at a moment is looked up here. What is worked on right now is due at once, and known without it.
CREATE INDEX instance_due ON instance (due, name) WHERE due > 0;
CREATE INDEX binding_due ON binding (due, instance_id, kind, consumer) WHERE due > 0;
