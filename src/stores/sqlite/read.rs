//! Rows into records, and the sums that budgets and the dashboard ask for.

use rusqlite::types::FromSqlError;
use rusqlite::{Connection, OptionalExtension, Row, named_params};
use serde::de::DeserializeOwned;
use serde::de::value::StrDeserializer;

use super::write::{PART, QUARTER_MS};
use crate::stores::usage::{Feedback, SpendBy, SpendFilter, SpendRow, TimeRange};
use crate::types::{
    AppId, AttemptRecord, ConfigVersion, DeploymentId, KeyId, LevelName, ModelId, PicoUsd, Price,
    ProviderId, RequestId, RequestRecord, TaskName, TeamId, TokenPrice, Tokens,
};

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    FromSqlError::other(error).into()
}

/// One of the closed words of the vocabulary, by the name that serde gives it.
fn word<T: DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    T::deserialize(StrDeserializer::<serde::de::value::Error>::new(text)).map_err(unreadable)
}

fn json<T: DeserializeOwned>(text: Option<String>) -> rusqlite::Result<Option<T>> {
    text.map(|text| serde_json::from_str(&text).map_err(unreadable))
        .transpose()
}

fn column_word<T: DeserializeOwned>(row: &Row<'_>, name: &str) -> rusqlite::Result<T> {
    word(row.get_ref(name)?.as_str()?)
}

fn column_id<T>(row: &Row<'_>, name: &str, id: fn(String) -> T) -> rusqlite::Result<Option<T>> {
    Ok(row.get::<_, Option<String>>(name)?.map(id))
}

fn required_id<T>(row: &Row<'_>, name: &str, id: fn(String) -> T) -> rusqlite::Result<T> {
    row.get::<_, String>(name).map(id)
}

fn column_count(row: &Row<'_>, name: &str) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(name)?).unwrap_or(0))
}

fn column_count_opt(row: &Row<'_>, name: &str) -> rusqlite::Result<Option<u64>> {
    let count = row.get::<_, Option<i64>>(name)?;
    Ok(count.map(|count| u64::try_from(count).unwrap_or(0)))
}

fn column_money(row: &Row<'_>, name: &str) -> rusqlite::Result<PicoUsd> {
    Ok(PicoUsd::from_pico(row.get::<_, i64>(name)?.into()))
}

/// A sum that was taken in two parts.
pub(super) fn joined(hi: Option<i64>, lo: Option<i64>) -> PicoUsd {
    let (hi, lo) = (hi.unwrap_or(0), lo.unwrap_or(0));
    PicoUsd::from_pico(i128::from(hi) * i128::from(PART) + i128::from(lo))
}

fn record_of(row: &Row<'_>, attempts: Vec<AttemptRecord>) -> rusqlite::Result<RequestRecord> {
    let reason: Option<String> = row.get("reason")?;
    let baseline: Option<i64> = row.get("baseline_cost_pico")?;
    Ok(RequestRecord {
        request_id: RequestId::from_text(row.get_ref("request_id")?.as_str()?),
        started_at_ms: row.get("started_at_ms")?,
        config_version: required_id(row, "config_version", ConfigVersion::new)?,
        key: column_id(row, "key", KeyId::new)?,
        team: required_id(row, "team", TeamId::new)?,
        app: required_id(row, "app", AppId::new)?,
        end_user: row.get("end_user")?,
        tags: json(row.get("tags")?)?.unwrap_or_default(),
        endpoint: column_word(row, "endpoint")?,
        asked_model: row.get("asked_model")?,
        stream: row.get("stream")?,
        task: required_id(row, "task", TaskName::new)?,
        level: required_id(row, "level", LevelName::new)?,
        row: None,
        model: column_id(row, "model", ModelId::new)?,
        provider: column_id(row, "provider", ProviderId::new)?,
        reason: reason.as_deref().map(word).transpose()?,
        propensity: row.get("propensity")?,
        cache: column_word(row, "cache")?,
        fingerprint: row.get("fingerprint")?,
        trace_id: None,
        conversation: None,
        outcome: column_word(row, "outcome")?,
        status: row.get("status")?,
        error_code: row.get("error_code")?,
        cost: column_money(row, "cost_pico")?,
        estimated_cost: column_money(row, "estimated_cost_pico")?,
        baseline_cost: baseline.map(|pico| PicoUsd::from_pico(pico.into())),
        latency_us: column_count(row, "latency_us")?,
        overhead_us: column_count(row, "overhead_us")?,
        ttft_us: column_count_opt(row, "ttft_us")?,
        // Another version's findings are not worth the record.
        features: json(row.get("features")?).unwrap_or_default(),
        decision: json(row.get("decision")?)?,
        attempts,
    })
}

fn attempt_of(row: &Row<'_>) -> rusqlite::Result<AttemptRecord> {
    let price = |name| row.get(name).map(TokenPrice::from_pico);
    let cache_write_1h = column_count(row, "cache_write_1h_tokens")?;
    let service_tier: Option<String> = row.get("service_tier")?;
    let asked_cost: Option<i64> = row.get("asked_cost_pico")?;
    Ok(AttemptRecord {
        attempt: row.get("attempt")?,
        started_at_ms: row.get("started_at_ms")?,
        model: required_id(row, "model", ModelId::new)?,
        provider: required_id(row, "provider", ProviderId::new)?,
        deployment: required_id(row, "deployment", DeploymentId::new)?,
        response_model: row.get("response_model")?,
        outcome: column_word(row, "outcome")?,
        status: row.get("status")?,
        tokens: Tokens {
            input: column_count(row, "input_tokens")?,
            cached_input: column_count(row, "cached_input_tokens")?,
            cache_write: column_count(row, "cache_write_tokens")?.saturating_sub(cache_write_1h),
            cache_write_1h,
            output: column_count(row, "output_tokens")?,
            reasoning: column_count(row, "reasoning_tokens")?,
        },
        usage: column_word(row, "usage")?,
        cost: column_money(row, "cost_pico")?,
        price: Price {
            input: price("input_price_pico")?,
            cached_input: price("cached_input_price_pico")?,
            cache_write: price("cache_write_price_pico")?,
            output: price("output_price_pico")?,
            reasoning: price("reasoning_price_pico")?,
            cache_write_1h: price("cache_write_1h_price_pico")?,
            per_image: column_money(row, "per_image_price_pico")?,
            per_request: column_money(row, "per_request_price_pico")?,
        },
        images: row.get("images")?,
        price_version: row.get("price_version")?,
        price_step_tokens: column_count_opt(row, "price_step_tokens")?,
        service_tier: service_tier.as_deref().map(word).transpose()?,
        substituted: row.get("substituted")?,
        priced_model: row.get("priced_model")?,
        asked_cost: asked_cost.map(|pico| PicoUsd::from_pico(pico.into())),
        latency_us: column_count(row, "latency_us")?,
        ttft_us: column_count_opt(row, "ttft_us")?,
    })
}

fn attempts(connection: &Connection, seq: i64) -> rusqlite::Result<Vec<AttemptRecord>> {
    connection
        .prepare_cached("SELECT * FROM main.attempts WHERE seq = ? ORDER BY attempt")?
        .query_map([seq], attempt_of)?
        .collect()
}

fn whole_record(connection: &Connection, row: &Row<'_>) -> rusqlite::Result<RequestRecord> {
    let attempts = attempts(connection, row.get("seq")?)?;
    record_of(row, attempts)
}

/// The columns that a record is made of.
const RECORDS: &str = "SELECT r.*, d.features, d.decision FROM main.requests r \
                       LEFT JOIN main.decision_rows d USING (seq)";

pub(super) fn request(
    connection: &Connection,
    id: &RequestId,
) -> rusqlite::Result<Option<RequestRecord>> {
    connection
        .prepare_cached(&format!("{RECORDS} WHERE r.request_id = ?"))?
        .query_row([id.as_str()], |row| whole_record(connection, row))
        .optional()
}

pub(super) fn recent(
    connection: &Connection,
    count: usize,
) -> rusqlite::Result<Vec<RequestRecord>> {
    let newest = "ORDER BY r.started_at_ms DESC, r.request_id DESC LIMIT ?";
    let limit = i64::try_from(count).unwrap_or(i64::MAX);
    connection
        .prepare_cached(&format!("{RECORDS} {newest}"))?
        .query_map([limit], |row| whole_record(connection, row))?
        .collect()
}

pub(super) fn feedback(
    connection: &Connection,
    id: &RequestId,
) -> rusqlite::Result<Option<Feedback>> {
    connection
        .prepare_cached("SELECT * FROM main.feedback WHERE request_id = ?")?
        .query_row([id.as_str()], |row| {
            Ok(Feedback {
                request_id: id.clone(),
                reward: row.get("reward")?,
                kind: row.get("kind")?,
                comment: row.get("comment")?,
                at_ms: row.get("at_ms")?,
            })
        })
        .optional()
}

/// Everything spent in a range: whole quarters from their sums, what sticks out at either end from
/// the rows themselves.
const SPENDING: &str = "\
    SELECT team, app, key, model, provider, requests, attempts, cost_hi, cost_lo FROM main.spend \
      WHERE quarter_ms >= :inner_from AND quarter_ms < :inner_to \
    UNION ALL \
    SELECT team, app, coalesce(key, ''), coalesce(model, ''), coalesce(provider, ''), 1, 0, 0, 0 \
      FROM main.requests \
      WHERE (started_at_ms >= :from AND started_at_ms < :inner_from) \
         OR (started_at_ms >= :inner_to AND started_at_ms < :to) \
    UNION ALL \
    SELECT r.team, r.app, coalesce(r.key, ''), a.model, a.provider, 0, 1, \
           a.cost_pico / 1000000, a.cost_pico % 1000000 \
      FROM main.attempts a JOIN main.requests r USING (seq) \
      WHERE (a.started_at_ms >= :from AND a.started_at_ms < :inner_from) \
         OR (a.started_at_ms >= :inner_to AND a.started_at_ms < :to)";

/// The whole quarters of a range; empty at its end when it spans none.
fn inner(range: TimeRange) -> TimeRange {
    let floor = |at_ms: i64| at_ms.div_euclid(QUARTER_MS).saturating_mul(QUARTER_MS);
    let from_ms = floor(range.from_ms.saturating_add(QUARTER_MS - 1));
    let to_ms = floor(range.to_ms);
    if from_ms < to_ms {
        TimeRange { from_ms, to_ms }
    } else {
        TimeRange {
            from_ms: range.to_ms,
            to_ms: range.to_ms,
        }
    }
}

pub(super) fn spent(
    connection: &Connection,
    filter: &SpendFilter,
    range: TimeRange,
) -> rusqlite::Result<PicoUsd> {
    let inner = inner(range);
    let sql = format!(
        "SELECT sum(cost_hi), sum(cost_lo) FROM ({SPENDING}) \
         WHERE (:team IS NULL OR team = :team) AND (:app IS NULL OR app = :app) \
           AND (:key IS NULL OR key = :key) AND (:model IS NULL OR model = :model) \
           AND (:provider IS NULL OR provider = :provider)"
    );
    connection.prepare_cached(&sql)?.query_row(
        named_params! {
            ":from": range.from_ms, ":to": range.to_ms,
            ":inner_from": inner.from_ms, ":inner_to": inner.to_ms,
            ":team": filter.team.as_ref().map(TeamId::as_str),
            ":app": filter.app.as_ref().map(AppId::as_str),
            ":key": filter.key.as_ref().map(KeyId::as_str),
            ":model": filter.model.as_ref().map(ModelId::as_str),
            ":provider": filter.provider.as_ref().map(ProviderId::as_str),
        },
        |row| Ok(joined(row.get(0)?, row.get(1)?)),
    )
}

pub(super) fn spent_by_end_user(
    connection: &Connection,
    filter: &SpendFilter,
    range: TimeRange,
) -> rusqlite::Result<Vec<(Option<String>, PicoUsd)>> {
    let sql = "\
        SELECT r.end_user, sum(a.cost_pico / 1000000), sum(a.cost_pico % 1000000) \
        FROM main.attempts a JOIN main.requests r USING (seq) \
        WHERE a.started_at_ms >= :from AND a.started_at_ms < :to \
          AND (:team IS NULL OR r.team = :team) AND (:app IS NULL OR r.app = :app) \
          AND (:key IS NULL OR r.key = :key) AND (:model IS NULL OR a.model = :model) \
          AND (:provider IS NULL OR a.provider = :provider) \
        GROUP BY r.end_user";
    connection
        .prepare_cached(sql)?
        .query_map(
            named_params! {
                ":from": range.from_ms, ":to": range.to_ms,
                ":team": filter.team.as_ref().map(TeamId::as_str),
                ":app": filter.app.as_ref().map(AppId::as_str),
                ":key": filter.key.as_ref().map(KeyId::as_str),
                ":model": filter.model.as_ref().map(ModelId::as_str),
                ":provider": filter.provider.as_ref().map(ProviderId::as_str),
            },
            |row| Ok((row.get(0)?, joined(row.get(1)?, row.get(2)?))),
        )?
        .collect()
}

pub(super) fn spend_by(
    connection: &Connection,
    by: SpendBy,
    range: TimeRange,
) -> rusqlite::Result<Vec<SpendRow>> {
    let column = match by {
        SpendBy::Team => "team",
        SpendBy::App => "app",
        SpendBy::Key => "key",
        SpendBy::Model => "model",
        SpendBy::Provider => "provider",
    };
    let inner = inner(range);
    let sql = format!(
        "SELECT coalesce(nullif({column}, ''), '-') AS name, sum(requests), sum(attempts), \
         sum(cost_hi), sum(cost_lo) FROM ({SPENDING}) GROUP BY name"
    );
    let parameters = named_params! {
        ":from": range.from_ms, ":to": range.to_ms,
        ":inner_from": inner.from_ms, ":inner_to": inner.to_ms,
    };
    let count = |count: i64| u64::try_from(count).unwrap_or(0);
    let mut rows = connection
        .prepare_cached(&sql)?
        .query_map(parameters, |row| {
            Ok(SpendRow {
                name: row.get(0)?,
                requests: count(row.get(1)?),
                attempts: count(row.get(2)?),
                cost: joined(row.get(3)?, row.get(4)?),
            })
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    rows.sort_by(|a, b| b.cost.cmp(&a.cost).then_with(|| a.name.cmp(&b.name)));
    Ok(rows)
}
