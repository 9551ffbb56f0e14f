//! Rows that are too old to be kept: added to the archive's sums by day and kind, and deleted, some
//! hundred at a time.
//!
//! Adding and deleting are one statement, so a report finds each request once, in a row or in the
//! archive. One replica at a time does it; `spend` stays, so budgets go on where they were.

use std::sync::LazyLock;

use tokio_postgres::Client;

use super::query::{PRICE_COLUMNS, TOKEN_COLUMNS};
use super::server::Failure;

const DAY_MS: i64 = 86_400_000;

/// The advisory lock of the replica that lets rows go (`TLGR`).
const RETENTION_LOCK: i64 = 0x544c_4752;

/// What requests of a line have in common beside what served them.
const OF_REQUEST: [&str; 9] = [
    "team", "app", "key", "endpoint", "task", "level", "reason", "cache", "outcome",
];

/// Sums beside those of tokens.
const SUMS: [&str; 7] = [
    "requests",
    "attempts",
    "baselines",
    "images",
    "cost_pico",
    "baseline_pico",
    "savings_pico",
];

/// Moves up to `at_most` requests that began before `before_ms` into the archive; the oldest first.
/// Returns how many there were: fewer than `at_most` means that none is left, or that another replica
/// is at it.
pub(super) async fn purge(
    client: &mut Client,
    before_ms: i64,
    at_most: usize,
) -> Result<usize, Failure> {
    let transaction = client.transaction().await?;
    let alone = transaction
        .query_one("SELECT pg_try_advisory_xact_lock($1)", &[&RETENTION_LOCK])
        .await?;
    if !alone.try_get::<_, bool>(0)? {
        return Ok(0);
    }
    let at_most = i64::try_from(at_most).unwrap_or(i64::MAX);
    let gone = transaction
        .query_one(&*PURGE, &[&before_ms, &at_most])
        .await?;
    transaction.commit().await?;
    let gone: i64 = gone.try_get(0)?;
    Ok(usize::try_from(gone).unwrap_or(0))
}

/// Everything that says what a line is about, in the order of its digest.
fn kind_columns() -> Vec<&'static str> {
    let served = ["model", "provider", "response_model", "usage"];
    let rest = ["price_version", "service_tier"];
    let all = ["of_attempts"].into_iter().chain(OF_REQUEST);
    all.chain(served).chain(PRICE_COLUMNS).chain(rest).collect()
}

/// The statement: what goes is deleted, and added to the archive as lines of requests and of attempts.
static PURGE: LazyLock<String> = LazyLock::new(|| {
    let listed = |columns: &[&str], each: &dyn Fn(&str) -> String| {
        let columns: Vec<_> = columns.iter().map(|column| each(column)).collect();
        columns.join(", ")
    };
    let plain = |column: &str| column.to_owned();
    let kind = listed(&kind_columns(), &plain);
    let sums: Vec<&str> = SUMS.into_iter().chain(TOKEN_COLUMNS).collect();
    let deleted = |table: &str| {
        format!(
            "DELETE FROM tollgate.{table} AS t USING going WHERE t.request_id = going.request_id"
        )
    };
    format!(
        "WITH going AS MATERIALIZED ( \
           SELECT request_id FROM tollgate.requests WHERE started_at_ms < $1 \
           ORDER BY started_at_ms, request_id LIMIT $2), \
         r AS ({requests} RETURNING t.*), \
         a AS ({attempts} RETURNING t.*), \
         gone_records AS ({records}), \
         gone_feedback AS ({feedback}), \
         lines AS ( \
           SELECT r.started_at_ms, false AS of_attempts, {of_request}, r.model, r.provider, \
             (SELECT l.response_model FROM a l WHERE l.request_id = r.request_id \
              ORDER BY l.attempt DESC LIMIT 1) AS response_model, \
             NULL::text AS usage, {no_prices}, NULL::text AS price_version, \
             NULL::text AS service_tier, 1 AS requests, 0 AS attempts, \
             (r.baseline_cost_pico IS NOT NULL)::int AS baselines, 0::bigint AS images, \
             0::bigint AS cost_pico, coalesce(r.baseline_cost_pico, 0) AS baseline_pico, \
             coalesce(r.baseline_cost_pico::numeric - r.cost_pico, 0) AS savings_pico, {no_tokens} \
           FROM r \
           UNION ALL \
           SELECT a.started_at_ms, true, {of_request}, a.model, a.provider, a.response_model, \
             a.usage, {prices}, a.price_version, a.service_tier, 0, 1, 0, a.images, a.cost_pico, \
             0, 0, {tokens} \
           FROM a JOIN r USING (request_id)), \
         added AS ( \
           INSERT INTO tollgate.archive AS s (day, kind, {kind}, {sums}) \
           SELECT started_at_ms / {DAY_MS}, md5(ROW({kind})::text), {kind}, {summed} \
           FROM lines GROUP BY 1, 2, {kind} ORDER BY 1, 2 \
           ON CONFLICT (day, kind) DO UPDATE SET {add}) \
         SELECT count(*) FROM going",
        requests = deleted("requests"),
        attempts = deleted("attempts"),
        records = deleted("records"),
        feedback = deleted("feedback"),
        of_request = listed(&OF_REQUEST, &|column| format!("r.{column}")),
        no_prices = listed(&PRICE_COLUMNS, &|column| format!(
            "NULL::bigint AS {column}"
        )),
        no_tokens = listed(&TOKEN_COLUMNS, &|column| format!("0::bigint AS {column}")),
        prices = listed(&PRICE_COLUMNS, &|column| format!("a.{column}")),
        tokens = listed(&TOKEN_COLUMNS, &|column| format!("a.{column}")),
        summed = listed(&sums, &|column| format!("sum({column})")),
        add = listed(&sums, &|column| format!(
            "{column} = s.{column} + excluded.{column}"
        )),
        sums = listed(&sums, &plain),
    )
});
