//! Records into rows: a batch is one statement, so one round trip, one transaction and one sync on
//! the server, all or nothing.
//!
//! What is there already stays as it is, and only what was really inserted is added to the sums of
//! `spend`. So a batch may come again after any failure. The sums are updated in the order of their
//! key: replicas that add to the same ones wait for each other, never in a circle.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Statement};

use super::columns::{ATTEMPTS, Column, REQUESTS, Values, storable};
use super::read;
use super::server::Failure;
use crate::stores::usage::{Feedback, FeedbackOutcome};
use crate::types::{KeyId, RequestRecord};

/// The grain of the sums in `spend`.
pub(super) const QUARTER_MS: i64 = 15 * 60 * 1000;

/// A statement under construction: its parameters' types.
#[derive(Default)]
struct Parameters {
    types: Vec<Type>,
}

impl Parameters {
    /// The next parameter as an array of this type: `$7::text[]`.
    fn array(&mut self, (name, of): (&str, Type)) -> String {
        self.types.push(of);
        format!("${}::{name}", self.types.len())
    }

    fn arrays<R>(&mut self, columns: &[Column<R>]) -> Vec<String> {
        let arrays = columns.iter().map(|it| self.array(it.array_type()));
        arrays.collect()
    }
}

fn names<R>(columns: &[Column<R>]) -> String {
    let names: Vec<_> = columns.iter().map(|column| column.name).collect();
    names.join(", ")
}

/// Rows out of arrays, into this schema's table.
fn insert(schema: &str, table: &str, names: &str, arrays: &[String]) -> String {
    let arrays = arrays.join(", ");
    format!(
        "INSERT INTO {schema}.{table} ({names}) \
         SELECT {names} FROM unnest({arrays}) AS rows ({names}) ON CONFLICT DO NOTHING"
    )
}

/// The statement that stores a batch, with the types of its parameters.
static APPEND: LazyLock<(String, Vec<Type>)> = LazyLock::new(|| append_into("tollgate"));

/// The statement for the tables of one schema.
fn append_into(schema: &str) -> (String, Vec<Type>) {
    const TEXTS: (&str, Type) = ("text[]", Type::TEXT_ARRAY);
    let mut parameters = Parameters::default();
    let request_arrays = parameters.arrays(REQUESTS);
    let record_arrays = [parameters.array(TEXTS), parameters.array(TEXTS)];
    let payer_arrays: Vec<_> = (0..4).map(|_| parameters.array(TEXTS)).collect();
    let mut attempt_arrays = payer_arrays[..1].to_vec();
    attempt_arrays.extend(parameters.arrays(ATTEMPTS));
    let attempt_names = format!("request_id, {}", names(ATTEMPTS));
    let sql = format!(
        "WITH new_requests AS ({requests} \
             RETURNING started_at_ms, team, app, key, model, provider), \
         new_records AS ({records}), \
         new_attempts AS ({attempts} \
             RETURNING request_id, started_at_ms, model, provider, cost_pico), \
         payers AS (SELECT DISTINCT * FROM unnest({payers}) AS payer (request_id, team, app, key)), \
         added AS ( \
             SELECT started_at_ms, team, app, key, model, provider, \
                 1 AS requests, 0 AS attempts, 0::bigint AS cost_pico FROM new_requests \
             UNION ALL \
             SELECT a.started_at_ms, p.team, p.app, p.key, a.model, a.provider, 0, 1, a.cost_pico \
                 FROM new_attempts a JOIN payers p USING (request_id)) \
         INSERT INTO {schema}.spend AS s \
             (quarter_ms, team, app, key, model, provider, requests, attempts, cost_pico) \
         SELECT (started_at_ms - mod(mod(started_at_ms, {QUARTER_MS}) + {QUARTER_MS}, {QUARTER_MS})), \
             team, app, coalesce(key, ''), coalesce(model, ''), coalesce(provider, ''), \
             sum(requests), sum(attempts), sum(cost_pico) \
         FROM added GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6 \
         ON CONFLICT (quarter_ms, team, app, key, model, provider) DO UPDATE SET \
             requests = s.requests + excluded.requests, \
             attempts = s.attempts + excluded.attempts, \
             cost_pico = s.cost_pico + excluded.cost_pico",
        requests = insert(schema, "requests", &names(REQUESTS), &request_arrays),
        records = insert(schema, "records", "request_id, record", &record_arrays),
        attempts = insert(schema, "attempts", &attempt_names, &attempt_arrays),
        payers = payer_arrays.join(", "),
    );
    (sql, parameters.types)
}

/// Makes a connection ready for [`append`].
pub(super) async fn prepare(client: &Client) -> Result<Statement, Failure> {
    let (sql, types) = &*APPEND;
    Ok(client.prepare_typed(sql, types).await?)
}

/// Stores a batch with its sums.
pub(super) async fn append(
    client: &Client,
    statement: &Statement,
    batch: &[Arc<RequestRecord>],
) -> Result<(), Failure> {
    let mut seen = HashSet::new();
    let mut records: Vec<&RequestRecord> = batch.iter().map(Arc::as_ref).collect();
    records.retain(|record| seen.insert(record.request_id.as_str()));
    let values = values_of(&records)?;
    let parameters: Vec<&(dyn ToSql + Sync)> = values
        .iter()
        .map(|values| -> &(dyn ToSql + Sync) { values.as_ref() })
        .collect();
    client.execute(statement, &parameters).await?;
    Ok(())
}

/// Puts records into another schema of the same form.
pub(super) async fn append_to(
    schema: &str,
    client: &Client,
    records: &[Arc<RequestRecord>],
) -> Result<(), Failure> {
    let (sql, types) = append_into(schema);
    let statement = client.prepare_typed(&sql, &types).await?;
    append(client, &statement, records).await
}

/// The parameters of [`APPEND`] in their order.
fn values_of<'r>(records: &[&'r RequestRecord]) -> Result<Vec<Values<'r>>, Failure> {
    let ids: Vec<_> = records.iter().map(|it| it.request_id.as_str()).collect();
    let whole: Vec<_> = records
        .iter()
        .map(serde_json::to_string)
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::Unreadable(error.to_string()))?;
    let tried: Vec<_> = records
        .iter()
        .flat_map(|record| record.attempts.iter().map(|attempt| (*record, attempt)))
        .collect();
    let of_attempt = |of: fn(&'r RequestRecord) -> Option<&'r str>| -> Values<'r> {
        let texts = tried
            .iter()
            .map(|(record, _)| of(record).map(|it| storable(it.into())));
        Box::new(texts.collect::<Vec<_>>())
    };
    let attempts: Vec<_> = tried.iter().map(|(_, attempt)| *attempt).collect();
    let mut values: Vec<_> = REQUESTS.iter().map(|it| it.values(records)).collect();
    values.push(Box::new(ids));
    values.push(Box::new(whole));
    values.push(of_attempt(|record| Some(record.request_id.as_str())));
    values.push(of_attempt(|record| Some(record.team.as_str())));
    values.push(of_attempt(|record| Some(record.app.as_str())));
    values.push(of_attempt(|record| record.key.as_ref().map(KeyId::as_str)));
    values.extend(ATTEMPTS.iter().map(|it| it.values(&attempts)));
    Ok(values)
}

/// Stores an opinion in place of an earlier one. Under a lock of its request's own, so that of two
/// replicas with the same news only one takes it for new.
pub(super) async fn put_feedback(
    client: &mut Client,
    feedback: &Feedback,
) -> Result<FeedbackOutcome, Failure> {
    let transaction = client.transaction().await?;
    let id = feedback.request_id.as_str();
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
    transaction.execute(lock, &[&id]).await?;
    let row = transaction.query_opt(read::FEEDBACK, &[&id]).await?;
    let earlier = row.as_ref().map(read::feedback_of).transpose()?;
    if earlier
        .as_ref()
        .is_some_and(|earlier| earlier.says_the_same(feedback))
    {
        return Ok(FeedbackOutcome::Same);
    }
    let comment = feedback
        .comment
        .as_deref()
        .map(|text| storable(text.into()));
    transaction
        .execute(
            "INSERT INTO tollgate.feedback (request_id, reward, kind, comment, at_ms) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (request_id) DO UPDATE SET \
             reward = excluded.reward, kind = excluded.kind, comment = excluded.comment, \
             at_ms = excluded.at_ms",
            &[
                &id,
                &feedback.reward,
                &feedback.kind,
                &comment,
                &feedback.at_ms,
            ],
        )
        .await?;
    transaction.commit().await?;
    Ok(earlier.map_or(FeedbackOutcome::New, FeedbackOutcome::Replaced))
}
