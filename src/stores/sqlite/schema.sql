-- The ledger's tables as a new file gets them. Times are milliseconds since the Unix epoch, money is
-- pico-USD. Text that is not there is '' in a kind.
--
-- What many requests have in common lies in a row of its own, a kind, so that the rows themselves are
-- short numbers: they cost little to write, and a report over a million of them reads some hundred
-- megabytes less. The views `requests`, `attempts` and `decisions` put rows and kinds together again,
-- for people and for questions about single requests.

CREATE TABLE request_kinds (
    request_kind   INTEGER PRIMARY KEY,
    team           TEXT NOT NULL,
    app            TEXT NOT NULL,
    key            TEXT NOT NULL,
    endpoint       TEXT NOT NULL,
    task           TEXT NOT NULL,
    level          TEXT NOT NULL,
    model          TEXT NOT NULL,
    response_model TEXT NOT NULL,
    provider       TEXT NOT NULL,
    reason         TEXT NOT NULL,
    cache          TEXT NOT NULL,
    outcome        TEXT NOT NULL,
    UNIQUE (team, app, key, endpoint, task, level, model, response_model, provider, reason, cache,
            outcome)
) STRICT;

-- One row for each request, in the order in which they ended.
CREATE TABLE request_rows (
    seq                 INTEGER PRIMARY KEY,
    request_id          TEXT    NOT NULL UNIQUE,
    started_at_ms       INTEGER NOT NULL,
    request_kind        INTEGER NOT NULL,
    cost_pico           INTEGER NOT NULL,
    estimated_cost_pico INTEGER NOT NULL,
    baseline_cost_pico  INTEGER,
    end_user            TEXT,
    latency_us          INTEGER NOT NULL,
    overhead_us         INTEGER NOT NULL,
    ttft_us             INTEGER,
    stream              INTEGER NOT NULL,
    status              INTEGER NOT NULL,
    propensity          REAL,
    config_version      TEXT    NOT NULL,
    error_code          TEXT,
    asked_model         TEXT    NOT NULL,
    tags                TEXT    NOT NULL,
    fingerprint         INTEGER
) STRICT;

CREATE INDEX request_rows_by_time ON request_rows (started_at_ms);

-- The long texts of a request apart, so that sums do not read past them.
CREATE TABLE decision_rows (
    seq      INTEGER PRIMARY KEY,
    features TEXT,
    decision TEXT
) STRICT;

-- Which price was applied is part of an attempt's kind: its version, the long-context step (the price
-- above this many input tokens, 0 for none), the service tier that the upstream named, and every price
-- per token. A status of 0 is none.
CREATE TABLE attempt_kinds (
    attempt_kind              INTEGER PRIMARY KEY,
    model                     TEXT    NOT NULL,
    provider                  TEXT    NOT NULL,
    deployment                TEXT    NOT NULL,
    response_model            TEXT    NOT NULL,
    outcome                   TEXT    NOT NULL,
    status                    INTEGER NOT NULL,
    usage                     TEXT    NOT NULL,
    input_price_pico          INTEGER NOT NULL,
    cached_input_price_pico   INTEGER NOT NULL,
    cache_write_price_pico    INTEGER NOT NULL,
    output_price_pico         INTEGER NOT NULL,
    reasoning_price_pico      INTEGER NOT NULL,
    cache_write_1h_price_pico INTEGER NOT NULL,
    per_image_price_pico      INTEGER NOT NULL,
    per_request_price_pico    INTEGER NOT NULL,
    price_version             TEXT    NOT NULL,
    price_step_tokens         INTEGER NOT NULL,
    service_tier              TEXT    NOT NULL,
    substituted               INTEGER NOT NULL,
    priced_model              TEXT    NOT NULL,
    UNIQUE (model, provider, deployment, response_model, outcome, status, usage, input_price_pico,
            cached_input_price_pico, cache_write_price_pico, output_price_pico,
            reasoning_price_pico, cache_write_1h_price_pico, per_image_price_pico,
            per_request_price_pico, price_version, price_step_tokens, service_tier, substituted,
            priced_model)
) STRICT;

-- One row for each try, with its request's kind, so that sums join nothing. `cache_write_tokens` counts
-- every write into the prompt cache, `cache_write_1h_tokens` those of them that are kept for an hour.
CREATE TABLE attempt_rows (
    seq                   INTEGER NOT NULL,
    attempt               INTEGER NOT NULL,
    started_at_ms         INTEGER NOT NULL,
    request_kind          INTEGER NOT NULL,
    attempt_kind          INTEGER NOT NULL,
    cost_pico             INTEGER NOT NULL,
    input_tokens          INTEGER NOT NULL,
    cached_input_tokens   INTEGER NOT NULL,
    cache_write_tokens    INTEGER NOT NULL,
    output_tokens         INTEGER NOT NULL,
    reasoning_tokens      INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    images                INTEGER NOT NULL,
    asked_cost_pico       INTEGER,
    latency_us            INTEGER NOT NULL,
    ttft_us               INTEGER,
    PRIMARY KEY (seq, attempt)
) STRICT, WITHOUT ROWID;

CREATE INDEX attempt_rows_by_time ON attempt_rows (started_at_ms);

-- One opinion for each request.
CREATE TABLE feedback (
    request_id TEXT    NOT NULL PRIMARY KEY,
    reward     REAL    NOT NULL,
    kind       TEXT    NOT NULL,
    comment    TEXT,
    at_ms      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Sums by quarter of an hour (every time zone's midnight falls on one), kept with each batch, so
-- that budgets at start and the dashboard read hundreds of rows instead of millions. They stay when
-- rows are too old to be kept. The cost is cost_hi * 1000000 + cost_lo.
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

-- What was summed up when its rows became too old to be kept: by UTC day (its number since 1970-01-01)
-- and kind, so that reports of old months still add up. `attempt_kind` is 0 for requests, which have
-- counts and the baseline; all else belongs to attempts. Amounts are hi * 1000000 + lo.
CREATE TABLE archive (
    day                   INTEGER NOT NULL,
    request_kind          INTEGER NOT NULL,
    attempt_kind          INTEGER NOT NULL,
    requests              INTEGER NOT NULL,
    attempts              INTEGER NOT NULL,
    cost_hi               INTEGER NOT NULL,
    cost_lo               INTEGER NOT NULL,
    baselines             INTEGER NOT NULL,
    baseline_hi           INTEGER NOT NULL,
    baseline_lo           INTEGER NOT NULL,
    savings_hi            INTEGER NOT NULL,
    savings_lo            INTEGER NOT NULL,
    input_tokens          INTEGER NOT NULL,
    cached_input_tokens   INTEGER NOT NULL,
    cache_write_tokens    INTEGER NOT NULL,
    output_tokens         INTEGER NOT NULL,
    reasoning_tokens      INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    images                INTEGER NOT NULL,
    PRIMARY KEY (day, request_kind, attempt_kind)
) STRICT, WITHOUT ROWID;

-- Small notes of the process: alerts that were given, events under way, what was learned.
CREATE TABLE notes (
    topic TEXT    NOT NULL,
    key   TEXT    NOT NULL,
    text  TEXT    NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (topic, key)
) STRICT, WITHOUT ROWID;

CREATE VIEW requests AS
SELECT r.request_id, r.started_at_ms, r.config_version, nullif(k.key, '') AS key, k.team, k.app,
       r.end_user, r.tags, k.endpoint, r.asked_model, r.stream, k.task, k.level,
       nullif(k.model, '') AS model, nullif(k.provider, '') AS provider,
       nullif(k.reason, '') AS reason, r.propensity, k.cache, k.outcome, r.status, r.error_code,
       r.cost_pico, r.estimated_cost_pico, r.baseline_cost_pico, r.latency_us, r.overhead_us,
       r.ttft_us, r.fingerprint, r.seq
FROM request_rows r CROSS JOIN request_kinds k ON k.request_kind = r.request_kind;

CREATE VIEW attempts AS
SELECT r.request_id, a.attempt, a.started_at_ms, k.model, k.provider, k.deployment,
       nullif(k.response_model, '') AS response_model, k.outcome, nullif(k.status, 0) AS status,
       a.input_tokens, a.cached_input_tokens, a.cache_write_tokens, a.output_tokens,
       a.reasoning_tokens, k.usage, a.cost_pico, k.input_price_pico, k.cached_input_price_pico,
       k.cache_write_price_pico, k.output_price_pico, k.reasoning_price_pico, a.latency_us,
       a.ttft_us, a.cache_write_1h_tokens, k.cache_write_1h_price_pico, a.images,
       k.per_image_price_pico, k.per_request_price_pico, k.price_version,
       nullif(k.price_step_tokens, 0) AS price_step_tokens,
       nullif(k.service_tier, '') AS service_tier, k.substituted,
       nullif(k.priced_model, '') AS priced_model, a.asked_cost_pico, a.seq
FROM attempt_rows a JOIN request_rows r ON r.seq = a.seq
     CROSS JOIN attempt_kinds k ON k.attempt_kind = a.attempt_kind;

CREATE VIEW decisions AS
SELECT r.request_id, d.features, d.decision, d.seq
FROM decision_rows d JOIN request_rows r ON r.seq = d.seq;
