//! The sums of reports, as SQL over the stored rows and, beside them, over the records that are
//! still in this machine's journal (the `pg_temp` schema, filled by the reader).
//!
//! Sums of `bigint` are `numeric` here, which is exact and has no end; they come as text.

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use super::read::{amount, count};
use super::server::Failure;
use crate::stores::report::{
    CellScore, Dimension, FocusGroup, Repeated, Repeats, Report, ReportQuery, ReportRow, Sums,
};
use crate::stores::usage::TimeRange;
use crate::types::{PicoUsd, Price, TokenPrice, Tokens};

/// The columns of tokens. `cache_write_tokens` counts every write into the prompt cache, the next
/// those of them that are kept for an hour.
pub(super) const TOKEN_COLUMNS: [&str; 6] = [
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
];

/// What a dimension is called in a row of requests `r` and of attempts `a`. `tag` is the parameter
/// that holds a tag's name.
fn expression(dimension: &Dimension, of_attempt: bool, schema: &str, tag: usize) -> String {
    let time = if of_attempt { "a" } else { "r" };
    let column = match dimension {
        Dimension::Model if of_attempt => "a.model",
        Dimension::ResponseModel if of_attempt => "coalesce(a.response_model, a.model)",
        Dimension::Provider if of_attempt => "a.provider",
        Dimension::Model => "r.model",
        Dimension::Provider => "r.provider",
        Dimension::Team => "r.team",
        Dimension::App => "r.app",
        Dimension::Task => "r.task",
        Dimension::Level => "r.level",
        Dimension::Key => "r.key",
        Dimension::User => "r.end_user",
        Dimension::Outcome => "r.outcome",
        Dimension::Cache => "r.cache",
        Dimension::Endpoint => "r.endpoint",
        Dimension::Reason => "r.reason",
        // A request is called as its last attempt was answered.
        Dimension::ResponseModel => &format!(
            "coalesce((SELECT l.response_model FROM {schema}.attempts l \
             WHERE l.request_id = r.request_id ORDER BY l.attempt DESC LIMIT 1), r.model)"
        ),
        Dimension::Tag(_) => &format!(
            "(SELECT t.pair ->> 1 FROM json_array_elements(r.tags::json) WITH ORDINALITY \
             AS t (pair, at) WHERE t.pair ->> 0 = ${tag} ORDER BY t.at LIMIT 1)"
        ),
        Dimension::Hour => return instant("YYYY-MM-DD\"T\"HH24:00\"Z\"", time),
        Dimension::Day => return instant("YYYY-MM-DD", time),
        Dimension::Month => return instant("YYYY-MM", time),
    };
    format!("coalesce(nullif({column}, ''), '-')")
}

fn instant(format: &str, of: &str) -> String {
    format!("to_char(to_timestamp({of}.started_at_ms / 1000) AT TIME ZONE 'UTC', '{format}')")
}

/// Days of which any part is in the range count when they begin in it.
const ARCHIVED: &str = "r.day * 86400000 >= $1 AND r.day * 86400000 < $2";

/// True when requests of the range are sums already.
async fn has_archive(client: &Client, range: TimeRange) -> Result<bool, Failure> {
    let sql = format!("SELECT EXISTS (SELECT 1 FROM tollgate.archive r WHERE {ARCHIVED})");
    let row = client
        .query_one(&sql, &[&range.from_ms, &range.to_ms])
        .await?;
    Ok(row.try_get(0)?)
}

/// What a dimension is called in a line `r` of the archive, which knows no end users, no tags and no
/// time of day.
fn archived_expression(dimension: &Dimension) -> String {
    let column = match dimension {
        Dimension::User | Dimension::Tag(_) => return "'-'".to_owned(),
        Dimension::Hour | Dimension::Day => return archived_day("YYYY-MM-DD"),
        Dimension::Month => return archived_day("YYYY-MM"),
        Dimension::ResponseModel => "coalesce(r.response_model, r.model)".to_owned(),
        named => format!("r.{}", named.name()),
    };
    format!("coalesce(nullif({column}, ''), '-')")
}

fn archived_day(format: &str) -> String {
    format!("to_char(to_timestamp(r.day * 86400) AT TIME ZONE 'UTC', '{format}')")
}

/// The archive's lines, with the same columns as [`facts`].
fn archived_facts(by: &[Dimension]) -> String {
    let columns = by.iter().enumerate();
    let dimensions = columns
        .map(|(at, dimension)| format!("{} AS d{at}, ", archived_expression(dimension)))
        .collect::<Vec<_>>()
        .concat();
    let tokens = TOKEN_COLUMNS.map(|column| format!("r.{column}")).join(", ");
    format!(
        " UNION ALL \
         SELECT {dimensions} r.requests, r.attempts, r.cost_pico, \
           CASE WHEN r.usage = 'estimated' THEN r.cost_pico ELSE 0 END, r.baselines, \
           r.baseline_pico, r.savings_pico, {tokens} \
         FROM tollgate.archive r WHERE {ARCHIVED}"
    )
}

/// One line for each request and each attempt of a schema from `$1` to `$2`, with the same columns;
/// tags' names from `$3` on.
fn facts(schema: &str, by: &[Dimension]) -> String {
    let dimensions = |of_attempt| -> String {
        let mut tag = 2;
        let columns = by.iter().enumerate().map(|(at, dimension)| {
            tag += usize::from(matches!(dimension, Dimension::Tag(_)));
            let expression = expression(dimension, of_attempt, schema, tag);
            format!("{expression} AS d{at}, ")
        });
        columns.collect()
    };
    let no_tokens = TOKEN_COLUMNS
        .map(|column| format!("0::bigint AS {column}"))
        .join(", ");
    let tokens = TOKEN_COLUMNS.map(|column| format!("a.{column}")).join(", ");
    format!(
        "SELECT {of_request} 1 AS requests, 0 AS attempts, 0::bigint AS cost, \
           0::bigint AS estimated, (r.baseline_cost_pico IS NOT NULL)::int AS baselines, \
           coalesce(r.baseline_cost_pico, 0) AS baseline, \
           coalesce(r.baseline_cost_pico::numeric - r.cost_pico, 0) AS savings, {no_tokens} \
         FROM {schema}.requests r WHERE r.started_at_ms >= $1 AND r.started_at_ms < $2 \
         UNION ALL \
         SELECT {of_attempt} 0, 1, a.cost_pico, \
           CASE WHEN a.usage = 'estimated' THEN a.cost_pico ELSE 0 END, 0, 0, 0, {tokens} \
         FROM {schema}.attempts a JOIN {schema}.requests r USING (request_id) \
         WHERE a.started_at_ms >= $1 AND a.started_at_ms < $2",
        of_request = dimensions(false),
        of_attempt = dimensions(true),
    )
}

/// `sum` of a column, exact.
fn sum(column: &str) -> String {
    format!("sum({column})::text AS {column}")
}

fn token_sums() -> String {
    TOKEN_COLUMNS.map(sum).join(", ")
}

fn tokens(row: &Row) -> Result<Tokens, Failure> {
    let of = |column| -> Result<u64, Failure> {
        let sum = amount(row, column)?.pico();
        Ok(u64::try_from(sum).unwrap_or(u64::MAX))
    };
    let [
        input,
        cached_input,
        all_cache_write,
        cache_write_1h,
        output,
        reasoning,
    ] = TOKEN_COLUMNS;
    let cache_write_1h = of(cache_write_1h)?;
    Ok(Tokens {
        input: of(input)?,
        cached_input: of(cached_input)?,
        cache_write: of(all_cache_write)?.saturating_sub(cache_write_1h),
        cache_write_1h,
        output: of(output)?,
        reasoning: of(reasoning)?,
    })
}

/// `part` for each schema, one below the other.
fn over(schemas: &[&str], part: impl Fn(&str) -> String) -> String {
    let parts: Vec<_> = schemas.iter().map(|schema| part(schema)).collect();
    parts.join(" UNION ALL ")
}

pub(super) async fn report(
    client: &Client,
    schemas: &[&str],
    query: &ReportQuery,
) -> Result<Report, Failure> {
    let columns: Vec<_> = (0..query.by.len()).map(|at| format!("d{at}")).collect();
    let grouping = if columns.is_empty() {
        String::new()
    } else {
        format!("GROUP BY {}", columns.join(", "))
    };
    let sql = format!(
        "SELECT {dimensions} coalesce(sum(requests), 0)::bigint AS requests, \
           coalesce(sum(attempts), 0)::bigint AS attempts, \
           coalesce(sum(baselines), 0)::bigint AS baselines, \
           {cost}, {estimated}, {baseline}, {savings}, {tokens} \
         FROM ({facts}{archived}) AS facts {grouping}",
        dimensions = columns
            .iter()
            .flat_map(|column| [column.as_str(), ", "])
            .collect::<String>(),
        cost = sum("cost"),
        estimated = sum("estimated"),
        baseline = sum("baseline"),
        savings = sum("savings"),
        tokens = token_sums(),
        facts = over(schemas, |schema| facts(schema, &query.by)),
        // Its sums have no end, which makes adding them up slower: only where there are any.
        archived = if has_archive(client, query.range).await? {
            archived_facts(&query.by)
        } else {
            String::new()
        },
    );
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&query.range.from_ms, &query.range.to_ms];
    for dimension in &query.by {
        if let Dimension::Tag(tag) = dimension {
            parameters.push(tag);
        }
    }
    let rows = client.query(&sql, &parameters).await?;
    let mut rows = rows
        .iter()
        .map(|row| row_of(row, query.by.len()))
        .collect::<Result<Vec<_>, _>>()?;
    // Without dimensions SQL answers one row even for an empty period.
    rows.retain(|row| row.sums.requests > 0 || row.sums.attempts > 0);
    Ok(Report::from_rows(rows, query))
}

fn row_of(row: &Row, dimensions: usize) -> Result<ReportRow, Failure> {
    let values = (0..dimensions)
        .map(|at| row.try_get(at))
        .collect::<Result<_, _>>()?;
    let sums = Sums {
        requests: count(row, "requests")?,
        attempts: count(row, "attempts")?,
        cost: amount(row, "cost")?,
        estimated_cost: amount(row, "estimated")?,
        baseline_requests: count(row, "baselines")?,
        baseline_cost: amount(row, "baseline")?,
        savings: amount(row, "savings")?,
        tokens: tokens(row)?,
    };
    Ok(ReportRow { values, sums })
}

/// The columns of a price, in the order of [`Price`].
pub(super) const PRICE_COLUMNS: [&str; 8] = [
    "input_price_pico",
    "cached_input_price_pico",
    "cache_write_price_pico",
    "cache_write_1h_price_pico",
    "output_price_pico",
    "reasoning_price_pico",
    "per_request_price_pico",
    "per_image_price_pico",
];

fn price(row: &Row) -> Result<Price, Failure> {
    let of = |column| row.try_get::<_, i64>(column);
    let per_token = |column| of(column).map(TokenPrice::from_pico);
    let flat = |column| of(column).map(|pico| PicoUsd::from_pico(pico.into()));
    let [
        input,
        cached_input,
        cache_write,
        cache_write_1h,
        output,
        reasoning,
        per_request,
        per_image,
    ] = PRICE_COLUMNS;
    Ok(Price {
        input: per_token(input)?,
        cached_input: per_token(cached_input)?,
        cache_write: per_token(cache_write)?,
        cache_write_1h: per_token(cache_write_1h)?,
        output: per_token(output)?,
        reasoning: per_token(reasoning)?,
        per_request: flat(per_request)?,
        per_image: flat(per_image)?,
    })
}

pub(super) async fn focus(
    client: &Client,
    schemas: &[&str],
    range: TimeRange,
) -> Result<Vec<FocusGroup>, Failure> {
    let prices = PRICE_COLUMNS.join(", ");
    let attempts = |schema: &str| {
        format!(
            "SELECT {day} AS day, r.team, r.app, a.provider, a.model, a.price_version, {prices}, \
               coalesce(a.service_tier, '') AS service_tier, 1 AS attempts, a.images, \
               a.cost_pico AS cost, a.usage = 'estimated' AS is_estimate, {tokens} \
             FROM {schema}.attempts a JOIN {schema}.requests r USING (request_id) \
             WHERE a.started_at_ms >= $1 AND a.started_at_ms < $2",
            day = instant("YYYY-MM-DD", "a"),
            tokens = TOKEN_COLUMNS.join(", "),
        )
    };
    let archived = format!(
        " UNION ALL \
         SELECT {day}, r.team, r.app, r.provider, r.model, r.price_version, {prices}, \
           coalesce(r.service_tier, ''), r.attempts, r.images, r.cost_pico, \
           r.usage = 'estimated', {tokens} \
         FROM tollgate.archive r WHERE r.of_attempts AND {ARCHIVED}",
        day = archived_day("YYYY-MM-DD"),
        tokens = TOKEN_COLUMNS.join(", "),
    );
    let archived = if has_archive(client, range).await? {
        archived.as_str()
    } else {
        ""
    };
    let keys = format!(
        "day, team, app, provider, model, is_estimate, service_tier, price_version, {prices}"
    );
    // The order of bytes, whatever the database's locale.
    let order = "day, team COLLATE \"C\", app COLLATE \"C\", provider COLLATE \"C\", \
                 model COLLATE \"C\", is_estimate, service_tier, price_version COLLATE \"C\"";
    let sql = format!(
        "SELECT {keys}, sum(attempts)::bigint AS attempts, sum(images)::bigint AS images, {cost}, {tokens} \
         FROM ({facts}{archived}) AS facts GROUP BY {keys} ORDER BY {order}, {prices}",
        cost = sum("cost"),
        tokens = token_sums(),
        facts = over(schemas, attempts),
    );
    let rows = client.query(&sql, &[&range.from_ms, &range.to_ms]).await?;
    rows.iter()
        .map(|row| {
            Ok(FocusGroup {
                day: row.try_get("day")?,
                team: row.try_get("team")?,
                app: row.try_get("app")?,
                provider: row.try_get("provider")?,
                model: row.try_get("model")?,
                price: price(row)?,
                price_version: row.try_get("price_version")?,
                service_tier: row.try_get("service_tier")?,
                attempts: count(row, "attempts")?,
                images: count(row, "images")?,
                tokens: tokens(row)?,
                cost: amount(row, "cost")?,
                is_estimate: row.try_get("is_estimate")?,
            })
        })
        .collect()
}

/// The first and the last instant at which anything happened.
pub(super) async fn span(client: &Client, schemas: &[&str]) -> Result<Option<(i64, i64)>, Failure> {
    let instants = |schema: &str| {
        let of = |table| {
            format!(
                "SELECT min(started_at_ms) AS first, max(started_at_ms) AS last FROM {schema}.{table}"
            )
        };
        format!("{} UNION ALL {}", of("requests"), of("attempts"))
    };
    let sql = format!(
        "SELECT min(first), max(last) FROM ({} UNION ALL \
           SELECT min(day) * 86400000, max(day) * 86400000 FROM tollgate.archive) AS instants",
        over(schemas, instants)
    );
    let row = client.query_one(&sql, &[]).await?;
    let (first, last) = (
        row.try_get::<_, Option<i64>>(0)?,
        row.try_get::<_, Option<i64>>(1)?,
    );
    Ok(first.zip(last))
}

/// Rewards by task, level and model. What the cache answered says nothing about a model's price.
pub(super) async fn scores(
    client: &Client,
    schemas: &[&str],
    range: TimeRange,
) -> Result<Vec<CellScore>, Failure> {
    let requests = |schema: &str| {
        format!(
            "SELECT r.request_id, r.task, r.level, r.model FROM {schema}.requests r \
             WHERE r.started_at_ms >= $1 AND r.started_at_ms < $2 AND r.model IS NOT NULL \
               AND EXISTS (SELECT 1 FROM {schema}.attempts a WHERE a.request_id = r.request_id)"
        )
    };
    // Feedback goes to the database at once, so the journal's copy has none.
    let sql = format!(
        "SELECT task, level, model, count(*) AS scored, sum(f.reward) AS reward_sum, \
           sum(f.reward * f.reward) AS reward_square_sum \
         FROM tollgate.feedback f JOIN ({requests}) AS asked USING (request_id) \
         GROUP BY task, level, model \
         ORDER BY task COLLATE \"C\", level COLLATE \"C\", model COLLATE \"C\"",
        requests = over(schemas, requests),
    );
    let rows = client.query(&sql, &[&range.from_ms, &range.to_ms]).await?;
    rows.iter()
        .map(|row| {
            Ok(CellScore {
                task: row.try_get("task")?,
                level: row.try_get("level")?,
                model: row.try_get("model")?,
                scored: count(row, "scored")?,
                reward_sum: row.try_get("reward_sum")?,
                reward_square_sum: row.try_get("reward_square_sum")?,
            })
        })
        .collect()
}

/// Paid, whole answers to requests that have an earlier one of the same fingerprint.
pub(super) async fn repeats(
    client: &Client,
    schemas: &[&str],
    range: TimeRange,
) -> Result<Vec<Repeats>, Failure> {
    let paid = |schema: &str| {
        format!(
            "SELECT fingerprint, started_at_ms, request_id, team, app, task, cost_pico AS cost \
             FROM {schema}.requests WHERE started_at_ms >= $1 AND started_at_ms < $2 \
               AND fingerprint IS NOT NULL AND outcome = 'ok' AND cost_pico > 0"
        )
    };
    let within = |most_ms: i64, name: &str| {
        format!(
            "count(*) FILTER (WHERE gap <= {most_ms}) AS {name}_requests, \
             coalesce(sum(cost) FILTER (WHERE gap <= {most_ms}), 0)::text AS {name}_cost"
        )
    };
    let sql = format!(
        "SELECT team, app, task, {hour}, {day}, {ever} \
         FROM (SELECT team, app, task, cost, started_at_ms - lag(started_at_ms) OVER \
                 (PARTITION BY fingerprint ORDER BY started_at_ms, request_id COLLATE \"C\") AS gap \
               FROM ({paid}) AS paid) AS gaps \
         WHERE gap IS NOT NULL GROUP BY team, app, task \
         ORDER BY team COLLATE \"C\", app COLLATE \"C\", task COLLATE \"C\"",
        hour = within(Repeated::HOUR_MS, "hour"),
        day = within(Repeated::DAY_MS, "day"),
        ever = within(i64::MAX, "ever"),
        paid = over(schemas, paid),
    );
    let rows = client.query(&sql, &[&range.from_ms, &range.to_ms]).await?;
    let of = |row: &Row, requests, cost| -> Result<Repeated, Failure> {
        Ok(Repeated {
            requests: count(row, requests)?,
            cost: amount(row, cost)?,
        })
    };
    rows.iter()
        .map(|row| {
            Ok(Repeats {
                team: row.try_get("team")?,
                app: row.try_get("app")?,
                task: row.try_get("task")?,
                within_hour: of(row, "hour_requests", "hour_cost")?,
                within_day: of(row, "day_requests", "day_cost")?,
                ever: of(row, "ever_requests", "ever_cost")?,
            })
        })
        .collect()
}
