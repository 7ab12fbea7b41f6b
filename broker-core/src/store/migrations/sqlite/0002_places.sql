-- What instances take of plans that have limits, so that it can be counted. Empty where no plan has one.
CREATE TABLE place (
    instance_id TEXT NOT NULL,
    plan TEXT NOT NULL,
    team TEXT NOT NULL,
    PRIMARY KEY (instance_id, plan, team)
) STRICT, WITHOUT ROWID;

CREATE INDEX place_plan ON place (plan, team);
