-- Only what is due at a moment is looked up here. What is worked on right now is due at once, and known without it.
DROP INDEX instance_due;
CREATE INDEX instance_due ON instance (due) WHERE due > 0;
DROP INDEX binding_due;
CREATE INDEX binding_due ON binding (due) WHERE due > 0;
