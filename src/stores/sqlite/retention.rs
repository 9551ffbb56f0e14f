//! Rows that are too old to be kept: added to the archive's sums by day and kind, and deleted, some
//! hundred at a time.
//!
//! Adding and deleting are one transaction, so a report finds each request once, in a row or in the
//! archive. `spend` stays, so budgets without a period's end go on where they were.

use rusqlite::{Connection, TransactionBehavior};

use super::facts::DAY_MS;
use super::write::PART;

/// Moves up to `at_most` requests that began before `before_ms` into the archive; the oldest first.
/// Returns how many there were: fewer than `at_most` means that none is left.
pub(super) fn purge(
    connection: &mut Connection,
    before_ms: i64,
    at_most: usize,
) -> rusqlite::Result<usize> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(
        "CREATE TEMP TABLE IF NOT EXISTS going (seq INTEGER PRIMARY KEY); DELETE FROM temp.going;",
    )?;
    let going = transaction.execute(
        "INSERT INTO temp.going SELECT seq FROM main.request_rows \
         WHERE started_at_ms < ?1 ORDER BY started_at_ms LIMIT ?2",
        (before_ms, i64::try_from(at_most).unwrap_or(i64::MAX)),
    )?;
    if going > 0 {
        transaction.execute_batch(&archive_requests())?;
        transaction.execute_batch(&archive_attempts())?;
        transaction.execute_batch(
            "DELETE FROM main.feedback WHERE request_id IN \
               (SELECT r.request_id FROM temp.going JOIN main.request_rows r USING (seq)); \
             DELETE FROM main.decision_rows WHERE seq IN (SELECT seq FROM temp.going); \
             DELETE FROM main.attempt_rows WHERE seq IN (SELECT seq FROM temp.going); \
             DELETE FROM main.request_rows WHERE seq IN (SELECT seq FROM temp.going);",
        )?;
    }
    transaction.commit()?;
    Ok(going)
}

/// The sums of the archive, in the order of its columns.
const SUMS: [&str; 16] = [
    "requests",
    "attempts",
    "cost_hi",
    "cost_lo",
    "baselines",
    "baseline_hi",
    "baseline_lo",
    "savings_hi",
    "savings_lo",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cache_write_1h_tokens",
    "images",
];

/// Adds to what is there.
fn into_archive(select: &str) -> String {
    let add: Vec<_> = SUMS
        .iter()
        .map(|column| format!("{column} = {column} + excluded.{column}"))
        .collect();
    format!(
        "INSERT INTO main.archive (day, request_kind, attempt_kind, {columns}) {select} \
         ON CONFLICT DO UPDATE SET {add}",
        columns = SUMS.join(", "),
        add = add.join(", "),
    )
}

fn archive_requests() -> String {
    // What the baseline would have cost, and that less the cost, in two parts each: neither the
    // difference nor a sum can overflow.
    let of_baselines = |amount: &str| {
        let part = |operator: &str| {
            let amount = amount.replace('@', &format!("{operator} {PART}"));
            format!("coalesce(sum({amount}) FILTER (WHERE baseline_cost_pico IS NOT NULL), 0)")
        };
        format!("{}, {}", part("/"), part("%"))
    };
    into_archive(&format!(
        "SELECT started_at_ms / {DAY_MS}, request_kind, 0, count(*), 0, 0, 0, \
           count(baseline_cost_pico), {baseline}, {savings}, 0, 0, 0, 0, 0, 0, 0 \
         FROM temp.going JOIN main.request_rows USING (seq) GROUP BY 1, 2",
        baseline = of_baselines("baseline_cost_pico @"),
        savings = of_baselines("baseline_cost_pico @ - cost_pico @"),
    ))
}

fn archive_attempts() -> String {
    into_archive(&format!(
        "SELECT started_at_ms / {DAY_MS}, request_kind, attempt_kind, 0, count(*), \
           sum(cost_pico / {PART}), sum(cost_pico % {PART}), 0, 0, 0, 0, 0, sum(input_tokens), \
           sum(cached_input_tokens), sum(cache_write_tokens), sum(output_tokens), \
           sum(reasoning_tokens), sum(cache_write_1h_tokens), sum(images) \
         FROM temp.going JOIN main.attempt_rows USING (seq) GROUP BY 1, 2, 3"
    ))
}
