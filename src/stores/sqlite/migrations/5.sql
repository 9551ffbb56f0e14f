-- Small notes of the process: alerts that were given, events under way, what was learned.
CREATE TABLE notes (
    topic TEXT    NOT NULL,
    key   TEXT    NOT NULL,
    text  TEXT    NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (topic, key)
) STRICT, WITHOUT ROWID;
