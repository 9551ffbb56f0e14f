-- Times are milliseconds since the Unix epoch, money is pico-USD (10^-12 USD).

-- One row for each request.
CREATE TABLE tollgate.requests (
    request_id          text    NOT NULL PRIMARY KEY,
    started_at_ms       bigint  NOT NULL,
    config_version      text    NOT NULL,
    key                 text,
    team                text    NOT NULL,
    app                 text    NOT NULL,
    end_user            text,
    tags                text    NOT NULL,
    endpoint            text    NOT NULL,
    asked_model         text    NOT NULL,
    stream              boolean NOT NULL,
    task                text    NOT NULL,
    level               text    NOT NULL,
    model               text,
    provider            text,
    reason              text,
    propensity          double precision,
    cache               text    NOT NULL,
    fingerprint         bigint,
    outcome             text    NOT NULL,
    status              bigint  NOT NULL,
    error_code          text,
    cost_pico           bigint  NOT NULL,
    estimated_cost_pico bigint  NOT NULL,
    baseline_cost_pico  bigint,
    latency_us          bigint  NOT NULL,
    overhead_us         bigint  NOT NULL,
    ttft_us             bigint
);

CREATE INDEX requests_by_time ON tollgate.requests (started_at_ms, request_id);

-- The whole record as it was journalled (JSON), apart, so that sums do not read past it.
CREATE TABLE tollgate.records (
    request_id text NOT NULL PRIMARY KEY,
    record     text NOT NULL
);

-- One row for each try. `cache_write_tokens` counts every write into the prompt cache,
-- `cache_write_1h_tokens` those of them that are kept for an hour.
CREATE TABLE tollgate.attempts (
    request_id                text    NOT NULL,
    attempt                   bigint  NOT NULL,
    started_at_ms             bigint  NOT NULL,
    model                     text    NOT NULL,
    provider                  text    NOT NULL,
    deployment                text    NOT NULL,
    response_model            text,
    outcome                   text    NOT NULL,
    status                    bigint,
    input_tokens              bigint  NOT NULL,
    cached_input_tokens       bigint  NOT NULL,
    cache_write_tokens        bigint  NOT NULL,
    cache_write_1h_tokens     bigint  NOT NULL,
    output_tokens             bigint  NOT NULL,
    reasoning_tokens          bigint  NOT NULL,
    usage                     text    NOT NULL,
    cost_pico                 bigint  NOT NULL,
    input_price_pico          bigint  NOT NULL,
    cached_input_price_pico   bigint  NOT NULL,
    cache_write_price_pico    bigint  NOT NULL,
    cache_write_1h_price_pico bigint  NOT NULL,
    output_price_pico         bigint  NOT NULL,
    reasoning_price_pico      bigint  NOT NULL,
    per_request_price_pico    bigint  NOT NULL,
    per_image_price_pico      bigint  NOT NULL,
    images                    bigint  NOT NULL,
    price_version             text    NOT NULL,
    price_step_tokens         bigint,
    service_tier              text,
    substituted               boolean NOT NULL,
    priced_model              text,
    asked_cost_pico           bigint,
    latency_us                bigint  NOT NULL,
    ttft_us                   bigint,
    PRIMARY KEY (request_id, attempt)
);

CREATE INDEX attempts_by_time ON tollgate.attempts (started_at_ms);

-- One opinion for each request.
CREATE TABLE tollgate.feedback (
    request_id text             NOT NULL PRIMARY KEY,
    reward     double precision NOT NULL,
    kind       text             NOT NULL,
    comment    text,
    at_ms      bigint           NOT NULL
);

-- Sums by quarter of an hour (every time zone's midnight falls on one), kept with each batch, so
-- that budgets at start and dashboards read hundreds of rows instead of millions. Empty text where
-- there is no key, model or provider.
CREATE TABLE tollgate.spend (
    quarter_ms bigint  NOT NULL,
    team       text    NOT NULL,
    app        text    NOT NULL,
    key        text    NOT NULL,
    model      text    NOT NULL,
    provider   text    NOT NULL,
    requests   bigint  NOT NULL,
    attempts   bigint  NOT NULL,
    cost_pico  numeric NOT NULL,
    PRIMARY KEY (quarter_ms, team, app, key, model, provider)
);
