-- A ledger as version 1 wrote it: a request that fell back, one over midnight whose cost fills a row to
-- the brim, one that was refused. Tests bring it to the present version.
PRAGMA application_id = 1414285140;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
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
INSERT INTO "attempts" VALUES('req_019a6c10000071238000000000000001',1,1794312000002,'large','anthropic','large#2',NULL,'upstream_error',503,0,0,0,0,0,'none',0,2500000,1250000,2500000,10000000,10000000,300,NULL);
INSERT INTO "attempts" VALUES('req_019a6c10000071238000000000000001',2,1794312000005,'small','openai','small','small-2026-08-06','ok',200,100,20,3,40,5,'reported',700,1,2,3,4,5,1200,300);
INSERT INTO "attempts" VALUES('req_019a6c10000071238000000000000002',1,1794398400004,'embed','openai','embed',NULL,'ok',200,7,0,0,0,0,'estimated',9223372036854775807,1,1,1,1,1,700,NULL);
CREATE TABLE decisions (
    request_id TEXT NOT NULL PRIMARY KEY,
    features   TEXT,
    decision   TEXT
) STRICT;
INSERT INTO "decisions" VALUES('req_019a6c10000071238000000000000001',NULL,'{"candidates":["small","large"]}');
CREATE TABLE feedback (
    request_id TEXT    NOT NULL PRIMARY KEY,
    reward     REAL    NOT NULL,
    kind       TEXT    NOT NULL,
    comment    TEXT,
    at_ms      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "feedback" VALUES('req_019a6c10000071238000000000000001',0.75,'score','good',1794312000009);
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
INSERT INTO "requests" VALUES('req_019a6c10000071238000000000000001',1794312000000,'a1b2c3d4','search-prod','search','checkout','user-7','[["feature","a \"quoted\"\nvalue"]]','chat_completions','auto',1,'translation','simple','small','openai','fallback',0.25,'miss','ok',200,NULL,700,0,2100,1500,90,400);
INSERT INTO "requests" VALUES('req_019a6c10000071238000000000000002',1794398399999,'a1b2c3d4',NULL,'default','default',NULL,'[]','embeddings','embed',0,'other','default','embed','openai','pinned',1.0,'bypass','truncated',200,NULL,9223372036854775807,9223372036854775807,NULL,800,40,NULL);
INSERT INTO "requests" VALUES('req_019a6c10000071238000000000000003',1794312000003,'a1b2c3d5',NULL,'default','default',NULL,'[]','chat_completions','auto',0,'other','default',NULL,NULL,NULL,NULL,'bypass','denied',401,'invalid_api_key',0,0,NULL,80,60,NULL);
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
CREATE INDEX requests_by_time ON requests (started_at_ms);
CREATE INDEX requests_by_key ON requests (key, started_at_ms);
CREATE INDEX attempts_by_time ON attempts (started_at_ms);
CREATE INDEX attempts_by_model ON attempts (model, started_at_ms);
COMMIT;
