-- One row for each request. Times are milliseconds since the Unix epoch, money is pico-USD.
CREATE TABLE requests (
    request_id          TEXT    NOT NULL PRIMARY KEY,
    started_at_ms       INTEGER NOT NULL,
    config_version      TEXT    NOT NULL,
    key                 TEXT,
    team                TEXT    NOT NULL,
    app                 TEXT    NOT NULL,
    end_user            TEXT,
    tags                TEXT    NOT NULL,
    endpoint            TEXT    NOT NULL,
    asked_model         TEXT    NOT NULL,
    stream              INTEGER NOT NULL,
    task                TEXT    NOT NULL,
    level               TEXT    NOT NULL,
    model               TEXT,
    provider            TEXT,
    reason              TEXT,
    propensity          REAL,
    cache               TEXT    NOT NULL,
    outcome             TEXT    NOT NULL,
    status              INTEGER NOT NULL,
    error_code          TEXT,
    cost_pico           INTEGER NOT NULL,
    estimated_cost_pico INTEGER NOT NULL,
    baseline_cost_pico  INTEGER,
    latency_us          INTEGER NOT NULL,
    overhead_us         INTEGER NOT NULL,
    ttft_us             INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX requests_by_time ON requests (started_at_ms);
CREATE INDEX requests_by_key ON requests (key, started_at_ms);

-- The long texts of a request apart, so that sums do not read past them.
CREATE TABLE decisions (
    request_id TEXT NOT NULL PRIMARY KEY,
    features   TEXT,
    decision   TEXT
) STRICT;

-- One row for each try.
CREATE TABLE attempts (
    request_id             TEXT    NOT NULL,
    attempt                INTEGER NOT NULL,
    started_at_ms          INTEGER NOT NULL,
    model                  TEXT    NOT NULL,
    provider               TEXT    NOT NULL,
    deployment             TEXT    NOT NULL,
    response_model         TEXT,
    outcome                TEXT    NOT NULL,
    status                 INTEGER,
    input_tokens           INTEGER NOT NULL,
    cached_input_tokens    INTEGER NOT NULL,
    cache_write_tokens     INTEGER NOT NULL,
    output_tokens          INTEGER NOT NULL,
    reasoning_tokens       INTEGER NOT NULL,
    usage                  TEXT    NOT NULL,
    cost_pico              INTEGER NOT NULL,
    input_price_pico       INTEGER NOT NULL,
    cached_input_price_pico INTEGER NOT NULL,
    cache_write_price_pico INTEGER NOT NULL,
    output_price_pico      INTEGER NOT NULL,
    reasoning_price_pico   INTEGER NOT NULL,
    latency_us             INTEGER NOT NULL,
    ttft_us                INTEGER,
    PRIMARY KEY (request_id, attempt)
) STRICT, WITHOUT ROWID;

CREATE INDEX attempts_by_time ON attempts (started_at_ms);
CREATE INDEX attempts_by_model ON attempts (model, started_at_ms);

-- One opinion for each request.
CREATE TABLE feedback (
    request_id TEXT    NOT NULL PRIMARY KEY,
    reward     REAL    NOT NULL,
    kind       TEXT    NOT NULL,
    comment    TEXT,
    at_ms      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Sums by quarter of an hour (every time zone's midnight falls on one), kept with each batch, so
-- that budgets at start and the dashboard read hundreds of rows instead of millions.
-- The cost is cost_hi * 1000000 + cost_lo.
CREATE TABLE spend (
    quarter_ms INTEGER NOT NULL,
    team       TEXT    NOT NULL,
    app        TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    model      TEXT    NOT NULL,
    provider   TEXT    NOT NULL,
    requests   INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    cost_hi    INTEGER NOT NULL,
    cost_lo    INTEGER NOT NULL,
    PRIMARY KEY (quarter_ms, team, app, key, model, provider)
) STRICT, WITHOUT ROWID;
