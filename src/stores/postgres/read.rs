//! Rows into records, and the sums that budgets and the dashboard ask for.

use tokio_postgres::{Client, Row};

use super::server::Failure;
use super::write::QUARTER_MS;
use crate::stores::usage::{Feedback, SpendBy, SpendFilter, SpendRow, TimeRange};
use crate::types::{AppId, KeyId, ModelId, PicoUsd, ProviderId, RequestId, RequestRecord, TeamId};

/// A sum that was asked for as text: `numeric` has more digits than any number of the driver's.
pub(super) fn amount(row: &Row, column: &str) -> Result<PicoUsd, Failure> {
    let text: Option<&str> = row.try_get(column)?;
    let parsed = text.unwrap_or("0").parse().map(PicoUsd::from_pico);
    parsed.map_err(|_| Failure::Unreadable(format!("`{column}` is no sum")))
}

/// A count; never negative in rows of ours.
pub(super) fn count(row: &Row, column: &str) -> Result<u64, Failure> {
    let count: Option<i64> = row.try_get(column)?;
    Ok(u64::try_from(count.unwrap_or(0)).unwrap_or(0))
}

fn record_of(row: &Row) -> Result<RequestRecord, Failure> {
    let text: &str = row.try_get("record")?;
    let mut record: RequestRecord = serde_json::from_str(text)
        .map_err(|error| Failure::Unreadable(format!("a record of another version: {error}")))?;
    // To the last bit, which JSON may miss.
    record.propensity = row.try_get("propensity")?;
    Ok(record)
}

pub(super) async fn request(
    client: &Client,
    id: &RequestId,
) -> Result<Option<RequestRecord>, Failure> {
    let sql = "SELECT record, propensity FROM tollgate.requests JOIN tollgate.records \
               USING (request_id) WHERE request_id = $1";
    let row = client.query_opt(sql, &[&id.as_str()]).await?;
    row.as_ref().map(record_of).transpose()
}

pub(super) async fn recent(client: &Client, count: usize) -> Result<Vec<RequestRecord>, Failure> {
    let sql = "SELECT record, propensity FROM tollgate.requests JOIN tollgate.records \
               USING (request_id) ORDER BY started_at_ms DESC, request_id DESC LIMIT $1";
    let limit = i64::try_from(count).unwrap_or(i64::MAX);
    let rows = client.query(sql, &[&limit]).await?;
    rows.iter().map(record_of).collect()
}

/// The opinion about `$1`.
pub(super) const FEEDBACK: &str =
    "SELECT request_id, reward, kind, comment, at_ms FROM tollgate.feedback WHERE request_id = $1";

pub(super) fn feedback_of(row: &Row) -> Result<Feedback, Failure> {
    Ok(Feedback {
        request_id: RequestId::from_text(row.try_get("request_id")?),
        reward: row.try_get("reward")?,
        kind: row.try_get("kind")?,
        comment: row.try_get("comment")?,
        at_ms: row.try_get("at_ms")?,
    })
}

pub(super) async fn feedback(client: &Client, id: &RequestId) -> Result<Option<Feedback>, Failure> {
    let row = client.query_opt(FEEDBACK, &[&id.as_str()]).await?;
    row.as_ref().map(feedback_of).transpose()
}

/// Everything spent from `$1` to `$2`: the whole quarters from `$3` to `$4` from their sums, what
/// sticks out at either end from the rows themselves.
const SPENDING: &str = "\
    SELECT team, app, key, model, provider, requests, attempts, cost_pico FROM tollgate.spend \
      WHERE quarter_ms >= $3 AND quarter_ms < $4 \
    UNION ALL \
    SELECT team, app, coalesce(key, ''), coalesce(model, ''), coalesce(provider, ''), 1, 0, 0 \
      FROM tollgate.requests \
      WHERE (started_at_ms >= $1 AND started_at_ms < $3) \
         OR (started_at_ms >= $4 AND started_at_ms < $2) \
    UNION ALL \
    SELECT r.team, r.app, coalesce(r.key, ''), a.model, a.provider, 0, 1, a.cost_pico \
      FROM tollgate.attempts a JOIN tollgate.requests r USING (request_id) \
      WHERE (a.started_at_ms >= $1 AND a.started_at_ms < $3) \
         OR (a.started_at_ms >= $4 AND a.started_at_ms < $2)";

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

pub(super) async fn spent(
    client: &Client,
    filter: &SpendFilter,
    range: TimeRange,
) -> Result<PicoUsd, Failure> {
    let inner = inner(range);
    let sql = format!(
        "SELECT sum(cost_pico)::text AS cost FROM ({SPENDING}) AS spending \
         WHERE ($5::text IS NULL OR team = $5) AND ($6::text IS NULL OR app = $6) \
           AND ($7::text IS NULL OR key = $7) AND ($8::text IS NULL OR model = $8) \
           AND ($9::text IS NULL OR provider = $9)"
    );
    let row = client
        .query_one(
            &sql,
            &[
                &range.from_ms,
                &range.to_ms,
                &inner.from_ms,
                &inner.to_ms,
                &filter.team.as_ref().map(TeamId::as_str),
                &filter.app.as_ref().map(AppId::as_str),
                &filter.key.as_ref().map(KeyId::as_str),
                &filter.model.as_ref().map(ModelId::as_str),
                &filter.provider.as_ref().map(ProviderId::as_str),
            ],
        )
        .await?;
    amount(&row, "cost")
}

pub(super) async fn spent_by_end_user(
    client: &Client,
    filter: &SpendFilter,
    range: TimeRange,
) -> Result<Vec<(Option<String>, PicoUsd)>, Failure> {
    let sql = "SELECT r.end_user, sum(a.cost_pico)::text AS cost \
         FROM tollgate.attempts a JOIN tollgate.requests r USING (request_id) \
         WHERE a.started_at_ms >= $1 AND a.started_at_ms < $2 \
           AND ($3::text IS NULL OR r.team = $3) AND ($4::text IS NULL OR r.app = $4) \
           AND ($5::text IS NULL OR r.key = $5) AND ($6::text IS NULL OR a.model = $6) \
           AND ($7::text IS NULL OR a.provider = $7) GROUP BY r.end_user";
    let rows = client
        .query(
            sql,
            &[
                &range.from_ms,
                &range.to_ms,
                &filter.team.as_ref().map(TeamId::as_str),
                &filter.app.as_ref().map(AppId::as_str),
                &filter.key.as_ref().map(KeyId::as_str),
                &filter.model.as_ref().map(ModelId::as_str),
                &filter.provider.as_ref().map(ProviderId::as_str),
            ],
        )
        .await?;
    rows.iter()
        .map(|row| Ok((row.try_get("end_user")?, amount(row, "cost")?)))
        .collect()
}

pub(super) async fn spend_by(
    client: &Client,
    by: SpendBy,
    range: TimeRange,
) -> Result<Vec<SpendRow>, Failure> {
    let column = match by {
        SpendBy::Team => "team",
        SpendBy::App => "app",
        SpendBy::Key => "key",
        SpendBy::Model => "model",
        SpendBy::Provider => "provider",
    };
    let inner = inner(range);
    let sql = format!(
        "SELECT coalesce(nullif({column}, ''), '-') AS name, sum(requests)::bigint AS requests, \
         sum(attempts)::bigint AS attempts, sum(cost_pico)::text AS cost \
         FROM ({SPENDING}) AS spending GROUP BY 1"
    );
    let bounds = [range.from_ms, range.to_ms, inner.from_ms, inner.to_ms];
    let [from, to, inner_from, inner_to] = &bounds;
    let rows = client
        .query(&sql, &[from, to, inner_from, inner_to])
        .await?;
    let mut rows = rows
        .iter()
        .map(|row| {
            Ok(SpendRow {
                name: row.try_get("name")?,
                requests: count(row, "requests")?,
                attempts: count(row, "attempts")?,
                cost: amount(row, "cost")?,
            })
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    rows.sort_by(|a, b| b.cost.cmp(&a.cost).then_with(|| a.name.cmp(&b.name)));
    Ok(rows)
}
