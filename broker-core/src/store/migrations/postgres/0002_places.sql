-- What instances take of plans that have limits, so that it can be counted. Empty where no plan has one.
CREATE TABLE place (
    instance_id text COLLATE "C",
    plan text COLLATE "C",
    team text COLLATE "C",
    PRIMARY KEY (instance_id, plan, team)
);

CREATE INDEX place_plan ON place (plan, team);

-- One change of a commit. What can't be done since somebody was faster is a serialization failure.
CREATE OR REPLACE FUNCTION apply_write(change jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    found_rows bigint;
    taken bigint;
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
        DELETE FROM place WHERE instance_id = change ->> 'id';
        RETURN;
    WHEN 'places' THEN
        PERFORM 1 FROM instance
        WHERE name = change ->> 'name' AND id = change ->> 'id'
          AND (change ->> 'revision' IS NULL OR revision = (change ->> 'revision')::bigint)
        FOR SHARE;
        IF FOUND THEN
            DELETE FROM place WHERE instance_id = change ->> 'id';
            INSERT INTO place (instance_id, plan, team)
            SELECT change ->> 'id', one ->> 'plan', one ->> 'team'
            FROM jsonb_array_elements(change -> 'places') AS one;
        END IF;
        RETURN;
    WHEN 'within' THEN
        -- One after the other, whichever replica asks: each counts what those before it have committed.
        PERFORM pg_advisory_xact_lock(hashtextextended('place ' || (change ->> 'plan'), 0));
        SELECT count(DISTINCT instance_id) INTO taken FROM place
        WHERE plan = change ->> 'plan' AND (change ->> 'team' IS NULL OR team = change ->> 'team');
        IF taken > (change ->> 'most')::bigint THEN
            RAISE EXCEPTION '%', change ->> 'refusal' USING ERRCODE = 'BC002';
        END IF;
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

-- A batch of commits, each whole or not at all: for each nothing when it was done, an empty text when it was overtaken,
-- or else why it was refused. All of them share one transaction. Replicas of the first release call `commit_batch`.
CREATE FUNCTION commit_all(commits jsonb) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    changes jsonb;
    change jsonb;
    outcomes text[] := '{}';
BEGIN
    FOR changes IN SELECT * FROM jsonb_array_elements(commits) LOOP
        BEGIN
            FOR change IN SELECT * FROM jsonb_array_elements(changes) LOOP
                PERFORM apply_write(change);
            END LOOP;
            outcomes := array_append(outcomes, NULL);
        EXCEPTION
            WHEN SQLSTATE 'BC001' THEN
                outcomes := array_append(outcomes, '');
            WHEN SQLSTATE 'BC002' THEN
                outcomes := array_append(outcomes, SQLERRM);
        END;
    END LOOP;
    RETURN outcomes;
END $$;
