//! The report's sums, as SQL over the stored rows and, beside them, over the records that are still
//! in the journal (the `temp` schema, filled by `LedgerFile`).

use rusqlite::{Connection, Row};

use super::read::joined;
use crate::stores::report::{Dimension, FocusGroup, Report, ReportQuery, ReportRow, Sums};
use crate::stores::usage::TimeRange;
use crate::types::{PicoUsd, Price, TokenPrice, Tokens};

/// The columns of tokens. `cache_write_tokens` counts every write into the prompt cache, the next
/// those of them that are kept for an hour.
const TOKEN_COLUMNS: [&str; 6] = [
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
];

/// What a dimension is called in a row of requests `r` and of attempts `a`.
fn expression(at: usize, dimension: &Dimension, of_attempt: bool) -> String {
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
        Dimension::ResponseModel => {
            "coalesce((SELECT l.response_model FROM {schema}.attempts l WHERE l.request_id = \
             r.request_id ORDER BY l.attempt DESC LIMIT 1), r.model)"
        }
        Dimension::Tag(_) => {
            return format!(
                "coalesce(nullif((SELECT json_extract(t.value, '$[1]') FROM json_each(r.tags) t \
                 WHERE json_extract(t.value, '$[0]') = :tag{at} ORDER BY t.key LIMIT 1), ''), '-')"
            );
        }
        Dimension::Hour => return instant("%Y-%m-%dT%H:00Z", time),
        Dimension::Day => return instant("%Y-%m-%d", time),
        Dimension::Month => return instant("%Y-%m", time),
    };
    format!("coalesce(nullif({column}, ''), '-')")
}

fn instant(format: &str, of: &str) -> String {
    format!("strftime('{format}', {of}.started_at_ms / 1000, 'unixepoch')")
}

/// One line for each request and each attempt of a schema, with the same columns.
fn facts(schema: &str, by: &[Dimension]) -> String {
    let dimensions = |of_attempt| -> String {
        let columns = by.iter().enumerate().map(|(at, dimension)| {
            let expression = expression(at, dimension, of_attempt);
            format!("{} AS d{at}, ", expression.replace("{schema}", schema))
        });
        columns.collect()
    };
    let no_tokens = TOKEN_COLUMNS
        .map(|column| format!("0 AS {column}"))
        .join(", ");
    let tokens = TOKEN_COLUMNS.map(|column| format!("a.{column}")).join(", ");
    format!(
        "SELECT {of_request} 1 AS requests, 0 AS attempts, 0 AS cost, 0 AS estimated, \
           r.baseline_cost_pico IS NOT NULL AS baselines, \
           coalesce(r.baseline_cost_pico, 0) AS baseline, \
           coalesce(r.baseline_cost_pico - r.cost_pico, 0) AS savings, {no_tokens} \
         FROM {schema}.requests r WHERE r.started_at_ms >= :from AND r.started_at_ms < :to \
         UNION ALL \
         SELECT {of_attempt} 0, 1, a.cost_pico, iif(a.usage = 'estimated', a.cost_pico, 0), \
           0, 0, 0, {tokens} \
         FROM {schema}.attempts a JOIN {schema}.requests r USING (request_id) \
         WHERE a.started_at_ms >= :from AND a.started_at_ms < :to",
        of_request = dimensions(false),
        of_attempt = dimensions(true),
    )
}

/// `sum` of a column in two parts that cannot overflow.
pub(super) fn two_parts(column: &str) -> String {
    format!("sum({column} / 1000000) AS {column}_hi, sum({column} % 1000000) AS {column}_lo")
}

pub(super) fn money(row: &Row<'_>, column: &str) -> rusqlite::Result<PicoUsd> {
    let hi = row.get(format!("{column}_hi").as_str())?;
    let lo = row.get(format!("{column}_lo").as_str())?;
    Ok(joined(hi, lo))
}

pub(super) fn count(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    let count: Option<i64> = row.get(column)?;
    Ok(u64::try_from(count.unwrap_or(0)).unwrap_or(0))
}

fn tokens(row: &Row<'_>) -> rusqlite::Result<Tokens> {
    let of = |column| -> rusqlite::Result<u64> {
        let sum = money(row, column)?.pico();
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

fn token_sums() -> String {
    TOKEN_COLUMNS.map(two_parts).join(", ")
}

/// `part` for each schema, one below the other.
pub(super) fn over(schemas: &[&str], part: impl Fn(&str) -> String) -> String {
    let parts: Vec<_> = schemas.iter().map(|schema| part(schema)).collect();
    parts.join(" UNION ALL ")
}

fn group_by(columns: &[String]) -> String {
    if columns.is_empty() {
        String::new()
    } else {
        format!("GROUP BY {}", columns.join(", "))
    }
}

pub(super) fn report(
    connection: &Connection,
    schemas: &[&str],
    query: &ReportQuery,
) -> rusqlite::Result<Report> {
    let columns: Vec<_> = (0..query.by.len()).map(|at| format!("d{at}")).collect();
    let sql = format!(
        "SELECT {dimensions} sum(requests) AS requests, sum(attempts) AS attempts, {cost}, \
           {estimated}, sum(baselines) AS baselines, {baseline}, {savings}, {tokens} FROM ({facts}) {grouping}",
        dimensions = columns
            .iter()
            .flat_map(|column| [column.as_str(), ", "])
            .collect::<String>(),
        cost = two_parts("cost"),
        estimated = two_parts("estimated"),
        baseline = two_parts("baseline"),
        savings = two_parts("savings"),
        tokens = token_sums(),
        facts = over(schemas, |schema| facts(schema, &query.by)),
        grouping = group_by(&columns),
    );
    let mut statement = connection.prepare(&sql)?;
    let tags: Vec<_> = query
        .by
        .iter()
        .enumerate()
        .filter_map(tag_parameter)
        .collect();
    let mut parameters = parameters(&query.range).to_vec();
    parameters.extend(tags.iter().map(|(name, tag)| (name.as_str(), *tag)));
    let rows = statement.query_map(&*parameters, |row| {
        let values = (0..query.by.len())
            .map(|at| row.get(at))
            .collect::<Result<_, _>>()?;
        let sums = Sums {
            requests: count(row, "requests")?,
            attempts: count(row, "attempts")?,
            cost: money(row, "cost")?,
            estimated_cost: money(row, "estimated")?,
            baseline_requests: count(row, "baselines")?,
            baseline_cost: money(row, "baseline")?,
            savings: money(row, "savings")?,
            tokens: tokens(row)?,
        };
        Ok(ReportRow { values, sums })
    })?;
    let mut rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    // Without dimensions SQL answers one row even for an empty period.
    rows.retain(|row| row.sums.requests > 0 || row.sums.attempts > 0);
    Ok(Report::from_rows(rows, &query.by))
}

/// A tag's name, which a person typed, goes to SQL as a parameter.
fn tag_parameter((at, by): (usize, &Dimension)) -> Option<(String, &dyn rusqlite::ToSql)> {
    match by {
        Dimension::Tag(tag) => Some((format!(":tag{at}"), tag)),
        _ => None,
    }
}

pub(super) fn parameters(range: &TimeRange) -> [(&str, &dyn rusqlite::ToSql); 2] {
    [(":from", &range.from_ms), (":to", &range.to_ms)]
}

/// The columns of a price, in the order of [`Price`].
const PRICE_COLUMNS: [&str; 8] = [
    "input_price_pico",
    "cached_input_price_pico",
    "cache_write_price_pico",
    "cache_write_1h_price_pico",
    "output_price_pico",
    "reasoning_price_pico",
    "per_request_price_pico",
    "per_image_price_pico",
];

fn price(row: &Row<'_>) -> rusqlite::Result<Price> {
    let of = |column| row.get::<_, i64>(column);
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

pub(super) fn focus(
    connection: &Connection,
    schemas: &[&str],
    range: TimeRange,
) -> rusqlite::Result<Vec<FocusGroup>> {
    let prices = PRICE_COLUMNS.join(", ");
    let attempts = |schema: &str| {
        format!(
            "SELECT {day} AS day, r.team, r.app, a.provider, a.model, a.price_version, {prices}, \
               coalesce(a.service_tier, '') AS service_tier, a.images, a.cost_pico AS cost, \
               a.usage = 'estimated' AS is_estimate, {tokens} \
             FROM {schema}.attempts a JOIN {schema}.requests r USING (request_id) \
             WHERE a.started_at_ms >= :from AND a.started_at_ms < :to",
            day = instant("%Y-%m-%d", "a"),
            tokens = TOKEN_COLUMNS.join(", "),
        )
    };
    let keys = format!(
        "day, team, app, provider, model, is_estimate, service_tier, price_version, {prices}"
    );
    let sql = format!(
        "SELECT {keys}, count(*) AS attempts, sum(images) AS images, {cost}, {tokens} \
         FROM ({facts}) GROUP BY {keys} ORDER BY {keys}",
        cost = two_parts("cost"),
        tokens = token_sums(),
        facts = over(schemas, attempts),
    );
    let mut statement = connection.prepare(&sql)?;
    let groups = statement.query_map(&parameters(&range), |row| {
        Ok(FocusGroup {
            day: row.get("day")?,
            team: row.get("team")?,
            app: row.get("app")?,
            provider: row.get("provider")?,
            model: row.get("model")?,
            price: price(row)?,
            price_version: row.get("price_version")?,
            service_tier: row.get("service_tier")?,
            attempts: count(row, "attempts")?,
            images: count(row, "images")?,
            tokens: tokens(row)?,
            cost: money(row, "cost")?,
            is_estimate: row.get("is_estimate")?,
        })
    })?;
    groups.collect()
}

/// The first and the last instant at which anything happened.
pub(super) fn span(
    connection: &Connection,
    schemas: &[&str],
) -> rusqlite::Result<Option<(i64, i64)>> {
    let instants = |schema: &str| {
        let of = |table| {
            format!(
                "SELECT min(started_at_ms) AS first, max(started_at_ms) AS last FROM {schema}.{table}"
            )
        };
        format!("{} UNION ALL {}", of("requests"), of("attempts"))
    };
    let sql = format!(
        "SELECT min(first), max(last) FROM ({})",
        over(schemas, instants)
    );
    connection.query_row(&sql, (), |row| {
        let (first, last) = (row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?);
        Ok(first.zip(last))
    })
}
