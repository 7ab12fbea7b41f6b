-- Bodies are sealed; what stands beside them is what is looked up. Names are compared by their bytes.
CREATE TABLE instance (
    name text COLLATE "C" PRIMARY KEY,
    id text NOT NULL,
    state text NOT NULL,
    -- The replica that works on it.
    holder text,
    -- None when nobody has to look after it without being asked.
    due timestamptz,
    revision bigint NOT NULL,
    body bytea NOT NULL
);

CREATE INDEX instance_due ON instance (due) WHERE due IS NOT NULL;

-- An instance's bindings go with it, in the same commit.
CREATE TABLE binding (
    instance_id text COLLATE "C",
    kind text COLLATE "C",
    consumer text COLLATE "C",
    state text NOT NULL,
    due timestamptz,
    revision bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (instance_id, kind, consumer)
);

CREATE INDEX binding_due ON binding (due) WHERE due IS NOT NULL;

-- What was done, in the order it ended. Holds no secret.
CREATE TABLE operation (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instance text COLLATE "C" NOT NULL,
    ended timestamptz NOT NULL,
    body text NOT NULL
);

CREATE INDEX operation_instance ON operation (instance, number);

-- Which processes share these records, and when each said last that it lives.
CREATE TABLE replica (
    id text PRIMARY KEY,
    seen timestamptz NOT NULL
);

-- One sealed row that only the right key opens.
CREATE TABLE seal (
    one integer PRIMARY KEY CHECK (one = 1),
    body bytea NOT NULL
);

-- One change of a commit. What can't be done since somebody was faster is a serialization failure.
CREATE FUNCTION apply_write(change jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    found_rows bigint;
BEGIN
    CASE change ->> 'do'
    WHEN 'insert instance' THEN
        INSERT INTO instance (name, id, state, holder, due, revision, body)
        VALUES (change ->> 'name', change ->> 'id', change ->> 'state', change ->> 'holder',
                (change ->> 'due')::timestamptz, 1, decode(change ->> 'body', 'base64'))
        ON CONFLICT DO NOTHING;
    WHEN 'update instance' THEN
        UPDATE instance
        SET state = change ->> 'state', holder = change ->> 'holder', due = (change ->> 'due')::timestamptz,
            revision = revision + 1, body = decode(change ->> 'body', 'base64')
        WHERE name = change ->> 'name' AND id = change ->> 'id' AND revision = (change ->> 'revision')::bigint;
    WHEN 'insert binding' THEN
        INSERT INTO binding (instance_id, kind, consumer, state, due, revision, body)
        SELECT change ->> 'id', change ->> 'kind', change ->> 'consumer', change ->> 'state',
               (change ->> 'due')::timestamptz, 1, decode(change ->> 'body', 'base64')
        FROM instance WHERE name = change ->> 'name' AND id = change ->> 'id'
        FOR SHARE
        ON CONFLICT DO NOTHING;
    WHEN 'update binding' THEN
        UPDATE binding
        SET state = change ->> 'state', due = (change ->> 'due')::timestamptz, revision = revision + 1,
            body = decode(change ->> 'body', 'base64')
        WHERE instance_id = change ->> 'id' AND kind = change ->> 'kind' AND consumer = change ->> 'consumer'
          AND revision = (change ->> 'revision')::bigint;
    WHEN 'require ready' THEN
        -- The lock lasts until the commit: what begins with the instance afterwards sees what it was for.
        PERFORM 1 FROM instance
        WHERE name = change ->> 'name' AND id = change ->> 'id' AND state = 'ready'
          AND (holder IS NULL OR holder = change ->> 'replica')
        FOR SHARE;
    WHEN 'delete instance' THEN
        DELETE FROM instance WHERE name = change ->> 'name' AND id = change ->> 'id';
        DELETE FROM binding WHERE instance_id = change ->> 'id';
        RETURN;
    WHEN 'delete binding' THEN
        DELETE FROM binding
        WHERE instance_id = change ->> 'id' AND kind = change ->> 'kind' AND consumer = change ->> 'consumer';
        RETURN;
    WHEN 'log' THEN
        INSERT INTO operation (instance, ended, body)
        VALUES (change ->> 'name', (change ->> 'due')::timestamptz, change ->> 'body');
        RETURN;
    END CASE;
    GET DIAGNOSTICS found_rows = ROW_COUNT;
    IF found_rows <> 1 THEN
        RAISE EXCEPTION 'overtaken' USING ERRCODE = 'BC001';
    END IF;
END $$;

-- A batch of commits, each whole or not at all: for each, whether it was done. All of them share one transaction.
CREATE FUNCTION commit_batch(commits jsonb) RETURNS boolean[] LANGUAGE plpgsql AS $$
DECLARE
    changes jsonb;
    change jsonb;
    outcomes boolean[] := '{}';
BEGIN
    FOR changes IN SELECT * FROM jsonb_array_elements(commits) LOOP
        BEGIN
            FOR change IN SELECT * FROM jsonb_array_elements(changes) LOOP
                PERFORM apply_write(change);
            END LOOP;
            outcomes := outcomes || true;
        EXCEPTION WHEN SQLSTATE 'BC001' THEN
            outcomes := outcomes || false;
        END;
    END LOOP;
    RETURN outcomes;
END $$;
