-- A ledger as version 4 writes it: what `v1.sql` becomes. Tests bring it to the present version, and hold
-- the tables of version 4 against those of a new file while it is the present one.
PRAGMA application_id = 1414285140;
PRAGMA user_version = 5;
BEGIN TRANSACTION;
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
INSERT INTO "attempt_kinds" VALUES(1,'large','anthropic','large#2','','upstream_error',503,'none',2500000,1250000,2500000,10000000,10000000,0,0,0,'',0,'',0,'');
INSERT INTO "attempt_kinds" VALUES(2,'small','openai','small','small-2026-08-06','ok',200,'reported',1,2,3,4,5,0,0,0,'',0,'',0,'');
INSERT INTO "attempt_kinds" VALUES(3,'embed','openai','embed','','ok',200,'estimated',1,1,1,1,1,0,0,0,'',0,'',0,'');
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
INSERT INTO "attempt_rows" VALUES(1,1,1794312000002,1,1,0,0,0,0,0,0,0,0,NULL,300,NULL);
INSERT INTO "attempt_rows" VALUES(1,2,1794312000005,1,2,700,100,20,3,40,5,0,0,NULL,1200,300);
INSERT INTO "attempt_rows" VALUES(2,1,1794398400004,2,3,9223372036854775807,7,0,0,0,0,0,0,NULL,700,NULL);
CREATE TABLE decision_rows (
    seq      INTEGER PRIMARY KEY,
    features TEXT,
    decision TEXT
) STRICT;
INSERT INTO "decision_rows" VALUES(1,NULL,'{"candidates":["small","large"]}');
CREATE TABLE feedback (
    request_id TEXT    NOT NULL PRIMARY KEY,
    reward     REAL    NOT NULL,
    kind       TEXT    NOT NULL,
    comment    TEXT,
    at_ms      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "feedback" VALUES('req_019a6c10000071238000000000000001',0.75,'score','good',1794312000009);
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
INSERT INTO "request_kinds" VALUES(1,'search','checkout','search-prod','chat_completions','translation','simple','small','small-2026-08-06','openai','fallback','miss','ok');
INSERT INTO "request_kinds" VALUES(2,'default','default','','embeddings','other','default','embed','','openai','pinned','bypass','truncated');
INSERT INTO "request_kinds" VALUES(3,'default','default','','chat_completions','other','default','','','','','bypass','denied');
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
INSERT INTO "request_rows" VALUES(1,'req_019a6c10000071238000000000000001',1794312000000,1,700,0,2100,'user-7',1500,90,400,1,200,0.25,'a1b2c3d4',NULL,'auto','[["feature","a \"quoted\"\nvalue"]]',-5);
INSERT INTO "request_rows" VALUES(2,'req_019a6c10000071238000000000000002',1794398399999,2,9223372036854775807,9223372036854775807,NULL,NULL,800,40,NULL,0,200,1.0,'a1b2c3d4',NULL,'embed','[]',NULL);
INSERT INTO "request_rows" VALUES(3,'req_019a6c10000071238000000000000003',1794312000003,3,0,0,NULL,NULL,80,60,NULL,0,401,NULL,'a1b2c3d5','invalid_api_key','auto','[]',NULL);
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
INSERT INTO "spend" VALUES(1794312000000,'default','default','','','',1,0,0,0);
INSERT INTO "spend" VALUES(1794312000000,'search','checkout','search-prod','large','anthropic',0,1,0,0);
INSERT INTO "spend" VALUES(1794312000000,'search','checkout','search-prod','small','openai',1,1,0,700);
INSERT INTO "spend" VALUES(1794397500000,'default','default','','embed','openai',1,0,0,0);
INSERT INTO "spend" VALUES(1794398400000,'default','default','','embed','openai',0,1,9223372036854,775807);
CREATE INDEX request_rows_by_time ON request_rows (started_at_ms);
CREATE INDEX attempt_rows_by_time ON attempt_rows (started_at_ms);
CREATE TABLE notes (
    topic TEXT    NOT NULL,
    key   TEXT    NOT NULL,
    text  TEXT    NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (topic, key)
) STRICT, WITHOUT ROWID;
INSERT INTO notes VALUES('alerted','everything/0/0.8/100','',1);
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
COMMIT;
