-- Rows of short numbers in place of rows of words: what many requests share becomes a kind. `feedback`
-- and `spend` stay as they are.
DROP INDEX requests_by_time;
DROP INDEX requests_by_key;
DROP INDEX attempts_by_time;
DROP INDEX attempts_by_model;
ALTER TABLE requests RENAME TO old_requests;
ALTER TABLE attempts RENAME TO old_attempts;
ALTER TABLE decisions RENAME TO old_decisions;

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

CREATE TABLE decision_rows (
    seq      INTEGER PRIMARY KEY,
    features TEXT,
    decision TEXT
) STRICT;

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

-- What the upstream called itself in the last attempt of each request.
CREATE TEMP TABLE last_called AS
SELECT request_id, coalesce(response_model, '') AS response_model, max(attempt)
FROM old_attempts GROUP BY request_id;
CREATE UNIQUE INDEX temp.last_called_by_id ON last_called (request_id);

INSERT INTO request_kinds (team, app, key, endpoint, task, level, model, response_model, provider,
       reason, cache, outcome)
SELECT DISTINCT team, app, coalesce(key, ''), endpoint, task, level, coalesce(model, ''),
       coalesce(l.response_model, ''), coalesce(provider, ''), coalesce(reason, ''), cache, outcome
FROM old_requests r LEFT JOIN temp.last_called l ON l.request_id = r.request_id;

INSERT INTO request_rows (request_id, started_at_ms, request_kind, cost_pico, estimated_cost_pico,
       baseline_cost_pico, end_user, latency_us, overhead_us, ttft_us, stream, status, propensity,
       config_version, error_code, asked_model, tags, fingerprint)
SELECT r.request_id, r.started_at_ms, k.request_kind, r.cost_pico, r.estimated_cost_pico,
       r.baseline_cost_pico, r.end_user, r.latency_us, r.overhead_us, r.ttft_us, r.stream, r.status,
       r.propensity, r.config_version, r.error_code, r.asked_model, r.tags,
       r.fingerprint
FROM old_requests r LEFT JOIN temp.last_called l ON l.request_id = r.request_id
     CROSS JOIN request_kinds k
     ON k.team = r.team AND k.app = r.app AND k.key = coalesce(r.key, '') AND k.endpoint = r.endpoint
    AND k.task = r.task AND k.level = r.level AND k.model = coalesce(r.model, '')
    AND k.response_model = coalesce(l.response_model, '') AND k.provider = coalesce(r.provider, '') AND k.reason = coalesce(r.reason, '')
    AND k.cache = r.cache AND k.outcome = r.outcome
ORDER BY r.request_id;

INSERT INTO decision_rows (seq, features, decision)
SELECT r.seq, d.features, d.decision
FROM request_rows r CROSS JOIN old_decisions d ON d.request_id = r.request_id
ORDER BY r.seq;

INSERT INTO attempt_kinds (model, provider, deployment, response_model, outcome, status, usage,
       input_price_pico, cached_input_price_pico, cache_write_price_pico, output_price_pico,
       reasoning_price_pico, cache_write_1h_price_pico, per_image_price_pico,
       per_request_price_pico, price_version, price_step_tokens, service_tier, substituted,
       priced_model)
SELECT DISTINCT model, provider, deployment, coalesce(response_model, ''), outcome,
       coalesce(status, 0), usage, input_price_pico, cached_input_price_pico,
       cache_write_price_pico, output_price_pico, reasoning_price_pico, cache_write_1h_price_pico,
       per_image_price_pico, per_request_price_pico, price_version,
       coalesce(price_step_tokens, 0), coalesce(service_tier, ''), substituted,
       coalesce(priced_model, '')
FROM old_attempts;

INSERT INTO attempt_rows (seq, attempt, started_at_ms, request_kind, attempt_kind, cost_pico,
       input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens,
       cache_write_1h_tokens, images, asked_cost_pico, latency_us, ttft_us)
SELECT r.seq, a.attempt, a.started_at_ms, r.request_kind, k.attempt_kind, a.cost_pico,
       a.input_tokens, a.cached_input_tokens, a.cache_write_tokens, a.output_tokens,
       a.reasoning_tokens, a.cache_write_1h_tokens, a.images, a.asked_cost_pico, a.latency_us,
       a.ttft_us
FROM request_rows r CROSS JOIN old_attempts a ON a.request_id = r.request_id
     CROSS JOIN attempt_kinds k
     ON k.model = a.model AND k.provider = a.provider AND k.deployment = a.deployment
    AND k.response_model = coalesce(a.response_model, '') AND k.outcome = a.outcome
    AND k.status = coalesce(a.status, 0) AND k.usage = a.usage
    AND k.input_price_pico = a.input_price_pico
    AND k.cached_input_price_pico = a.cached_input_price_pico
    AND k.cache_write_price_pico = a.cache_write_price_pico
    AND k.output_price_pico = a.output_price_pico
    AND k.reasoning_price_pico = a.reasoning_price_pico
    AND k.cache_write_1h_price_pico = a.cache_write_1h_price_pico
    AND k.per_image_price_pico = a.per_image_price_pico
    AND k.per_request_price_pico = a.per_request_price_pico
    AND k.price_version = a.price_version
    AND k.price_step_tokens = coalesce(a.price_step_tokens, 0)
    AND k.service_tier = coalesce(a.service_tier, '') AND k.substituted = a.substituted
    AND k.priced_model = coalesce(a.priced_model, '')
ORDER BY r.seq, a.attempt;

DROP TABLE temp.last_called;
DROP TABLE old_decisions;
DROP TABLE old_attempts;
DROP TABLE old_requests;

CREATE INDEX request_rows_by_time ON request_rows (started_at_ms);

CREATE INDEX attempt_rows_by_time ON attempt_rows (started_at_ms);

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
