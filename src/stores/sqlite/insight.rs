//! What insights are made from, as SQL. These read rows: the feedback and, for repeats, every paid
//! request of the range.

use rusqlite::Connection;

use super::query::{count, money, over, parameters, two_parts};
use crate::stores::report::{CellScore, Repeated, Repeats};
use crate::stores::usage::TimeRange;

/// Rewards by task, level and model. What the cache answered says nothing about a model's price.
pub(super) fn scores(
    connection: &Connection,
    schemas: &[&str],
    range: TimeRange,
) -> rusqlite::Result<Vec<CellScore>> {
    // Feedback goes to the file at once, so the journal's copy has none.
    let feedback = schemas.first().copied().unwrap_or("main");
    let requests = |schema: &str| {
        format!(
            "SELECT r.request_id, r.task, r.level, r.model FROM {schema}.requests r \
             WHERE r.started_at_ms >= :from AND r.started_at_ms < :to AND r.model IS NOT NULL \
               AND EXISTS (SELECT 1 FROM {schema}.attempts a WHERE a.request_id = r.request_id)"
        )
    };
    let sql = format!(
        "SELECT task, level, model, count(*) AS scored, sum(f.reward) AS reward_sum, \
           sum(f.reward * f.reward) AS reward_square_sum \
         FROM {feedback}.feedback f JOIN ({requests}) USING (request_id) \
         GROUP BY task, level, model ORDER BY task, level, model",
        requests = over(schemas, requests),
    );
    let mut statement = connection.prepare(&sql)?;
    let scores = statement.query_map(&parameters(&range), |row| {
        Ok(CellScore {
            task: row.get("task")?,
            level: row.get("level")?,
            model: row.get("model")?,
            scored: count(row, "scored")?,
            reward_sum: row.get("reward_sum")?,
            reward_square_sum: row.get("reward_square_sum")?,
        })
    })?;
    scores.collect()
}

/// Paid, whole answers to requests that have an earlier one of the same fingerprint.
pub(super) fn repeats(
    connection: &Connection,
    schemas: &[&str],
    range: TimeRange,
) -> rusqlite::Result<Vec<Repeats>> {
    let paid = |schema: &str| {
        format!(
            "SELECT fingerprint, started_at_ms, request_id, team, app, task, cost_pico AS cost \
             FROM {schema}.requests WHERE started_at_ms >= :from AND started_at_ms < :to \
               AND fingerprint IS NOT NULL AND outcome = 'ok' AND cost_pico > 0"
        )
    };
    let sql = format!(
        "SELECT team, app, task, \
           sum(in_hour) AS hour_requests, {hour_cost}, sum(in_day) AS day_requests, {day_cost}, \
           count(*) AS ever_requests, {ever_cost} \
         FROM (SELECT team, app, task, cost AS ever_cost, \
                 gap <= {hour} AS in_hour, iif(gap <= {hour}, cost, 0) AS hour_cost, \
                 gap <= {day} AS in_day, iif(gap <= {day}, cost, 0) AS day_cost \
               FROM (SELECT team, app, task, cost, started_at_ms - lag(started_at_ms) OVER \
                       (PARTITION BY fingerprint ORDER BY started_at_ms, request_id) AS gap \
                     FROM ({paid})) \
               WHERE gap IS NOT NULL) \
         GROUP BY team, app, task ORDER BY team, app, task",
        hour_cost = two_parts("hour_cost"),
        day_cost = two_parts("day_cost"),
        ever_cost = two_parts("ever_cost"),
        hour = Repeated::HOUR_MS,
        day = Repeated::DAY_MS,
        paid = over(schemas, paid),
    );
    let mut statement = connection.prepare(&sql)?;
    let repeats = statement.query_map(&parameters(&range), |row| {
        let of = |requests, cost| -> rusqlite::Result<Repeated> {
            Ok(Repeated {
                requests: count(row, requests)?,
                cost: money(row, cost)?,
            })
        };
        Ok(Repeats {
            team: row.get("team")?,
            app: row.get("app")?,
            task: row.get("task")?,
            within_hour: of("hour_requests", "hour_cost")?,
            within_day: of("day_requests", "day_cost")?,
            ever: of("ever_requests", "ever_cost")?,
        })
    })?;
    repeats.collect()
}
