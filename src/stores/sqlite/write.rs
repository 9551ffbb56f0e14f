//! Records into rows. A batch is one transaction: all or nothing, one sync.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::read;
use crate::stores::usage::{Feedback, FeedbackOutcome};
use crate::types::{
    AttemptRecord, KeyId, ModelId, PicoUsd, ProviderId, Reason, RequestRecord, ServiceTier,
};

/// Into how many pico-USD a cost is split: `hi * PART + lo`, neither of which can overflow a sum.
pub(super) const PART: i64 = 1_000_000;
/// The grain of the sums in `spend`.
pub(super) const QUARTER_MS: i64 = 15 * 60 * 1000;

/// An amount as a row holds it. Beyond 9.2 million USD for one request it stays at that.
fn pico(amount: PicoUsd) -> i64 {
    let pico = amount.pico();
    i64::try_from(pico).unwrap_or(if pico < 0 { i64::MIN } else { i64::MAX })
}

/// A count as a row holds it; beyond 2⁶³ it stays at that.
fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn json<T: serde::Serialize + ?Sized>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// The insert statements for one schema. What is there already stays as it is.
#[derive(Debug)]
pub(super) struct Inserts {
    request: String,
    decision: String,
    attempt: String,
}

impl Inserts {
    pub fn into_schema(schema: &str) -> Self {
        let insert = |table: &str, columns: usize| {
            let marks = vec!["?"; columns].join(", ");
            format!("INSERT INTO {schema}.{table} VALUES ({marks}) ON CONFLICT DO NOTHING")
        };
        Self {
            request: insert("requests", 28),
            decision: insert("decisions", 3),
            attempt: insert("attempts", 34),
        }
    }

    /// True when the request is new.
    pub fn request(
        &self,
        connection: &Connection,
        record: &RequestRecord,
    ) -> rusqlite::Result<bool> {
        let mut statement = connection.prepare_cached(&self.request)?;
        let inserted = statement.execute(params![
            record.request_id.as_str(),
            record.started_at_ms,
            record.config_version.as_str(),
            record.key.as_ref().map(KeyId::as_str),
            record.team.as_str(),
            record.app.as_str(),
            record.end_user,
            json(&record.tags)?,
            record.endpoint.as_str(),
            record.asked_model,
            record.stream,
            record.task.as_str(),
            record.level.as_str(),
            record.model.as_ref().map(ModelId::as_str),
            record.provider.as_ref().map(ProviderId::as_str),
            record.reason.map(Reason::as_str),
            record.propensity,
            record.cache.as_str(),
            record.outcome.as_str(),
            record.status,
            record.error_code,
            pico(record.cost),
            pico(record.estimated_cost),
            record.baseline_cost.map(pico),
            count(record.latency_us),
            count(record.overhead_us),
            record.ttft_us.map(count),
            record.fingerprint,
        ])?;
        Ok(inserted == 1)
    }

    fn decision(&self, connection: &Connection, record: &RequestRecord) -> rusqlite::Result<()> {
        if record.features.is_none() && record.decision.is_none() {
            return Ok(());
        }
        let features = record.features.as_ref().map(json).transpose()?;
        let decision = record.decision.as_ref().map(|decision| decision.get());
        let mut statement = connection.prepare_cached(&self.decision)?;
        statement.execute(params![record.request_id.as_str(), features, decision])?;
        Ok(())
    }

    /// True when the attempt is new.
    pub fn attempt(
        &self,
        connection: &Connection,
        record: &RequestRecord,
        attempt: &AttemptRecord,
    ) -> rusqlite::Result<bool> {
        let (tokens, price) = (&attempt.tokens, &attempt.price);
        let mut statement = connection.prepare_cached(&self.attempt)?;
        let inserted = statement.execute(params![
            record.request_id.as_str(),
            attempt.attempt,
            attempt.started_at_ms,
            attempt.model.as_str(),
            attempt.provider.as_str(),
            attempt.deployment.as_str(),
            attempt.response_model,
            attempt.outcome.as_str(),
            attempt.status,
            count(tokens.input),
            count(tokens.cached_input),
            count(tokens.all_cache_write()),
            count(tokens.output),
            count(tokens.reasoning),
            attempt.usage.as_str(),
            pico(attempt.cost),
            price.input.pico(),
            price.cached_input.pico(),
            price.cache_write.pico(),
            price.output.pico(),
            price.reasoning.pico(),
            count(attempt.latency_us),
            attempt.ttft_us.map(count),
            count(tokens.cache_write_1h),
            price.cache_write_1h.pico(),
            attempt.images,
            pico(price.per_image),
            pico(price.per_request),
            attempt.price_version,
            attempt.price_step_tokens.map(count),
            attempt.service_tier.map(ServiceTier::as_str),
            attempt.substituted,
            attempt.priced_model,
            attempt.asked_cost.map(pico),
        ])?;
        Ok(inserted == 1)
    }
}

/// Stores a batch with its sums.
pub(super) fn append(
    connection: &mut Connection,
    inserts: &Inserts,
    batch: &[Arc<RequestRecord>],
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut sums = BatchSums::default();
    for record in batch {
        if inserts.request(&transaction, record)? {
            inserts.decision(&transaction, record)?;
            sums.add_request(record);
        }
        for attempt in &record.attempts {
            if inserts.attempt(&transaction, record, attempt)? {
                sums.add_attempt(record, attempt);
            }
        }
    }
    sums.store(&transaction)?;
    transaction.commit()
}

/// What a batch adds to `spend`, summed before it is written: a batch has few distinct keys.
#[derive(Default)]
struct BatchSums<'a>(BTreeMap<SpendKey<'a>, SpendSum>);

/// Quarter, team, app, key, model, provider; empty text where there is none.
type SpendKey<'a> = (i64, &'a str, &'a str, &'a str, &'a str, &'a str);

#[derive(Default)]
struct SpendSum {
    requests: i64,
    attempts: i64,
    cost: PicoUsd,
}

impl<'a> BatchSums<'a> {
    fn entry(
        &mut self,
        record: &'a RequestRecord,
        at_ms: i64,
        model: &'a str,
        provider: &'a str,
    ) -> &mut SpendSum {
        let quarter_ms = at_ms.div_euclid(QUARTER_MS) * QUARTER_MS;
        let key = record.key.as_ref().map_or("", KeyId::as_str);
        let payer = (record.team.as_str(), record.app.as_str());
        self.0
            .entry((quarter_ms, payer.0, payer.1, key, model, provider))
            .or_default()
    }

    fn add_request(&mut self, record: &'a RequestRecord) {
        let model = record.model.as_ref().map_or("", ModelId::as_str);
        let provider = record.provider.as_ref().map_or("", ProviderId::as_str);
        self.entry(record, record.started_at_ms, model, provider)
            .requests += 1;
    }

    fn add_attempt(&mut self, record: &'a RequestRecord, attempt: &'a AttemptRecord) {
        let (model, provider) = (attempt.model.as_str(), attempt.provider.as_str());
        let sum = self.entry(record, attempt.started_at_ms, model, provider);
        sum.attempts += 1;
        // As the row holds it, so that both ways of summing agree.
        sum.cost += PicoUsd::from_pico(pico(attempt.cost).into());
    }

    fn store(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(
            "INSERT INTO main.spend VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET \
             requests = requests + excluded.requests, attempts = attempts + excluded.attempts, \
             cost_hi = cost_hi + excluded.cost_hi, cost_lo = cost_lo + excluded.cost_lo",
        )?;
        for ((quarter_ms, team, app, key, model, provider), sum) in &self.0 {
            let part = i128::from(PART);
            let (hi, lo) = (sum.cost.pico() / part, sum.cost.pico() % part);
            statement.execute(params![
                quarter_ms,
                team,
                app,
                key,
                model,
                provider,
                sum.requests,
                sum.attempts,
                i64::try_from(hi).unwrap_or(i64::MAX),
                i64::try_from(lo).unwrap_or(0),
            ])?;
        }
        Ok(())
    }
}

/// Stores an opinion in place of an earlier one.
pub(super) fn put_feedback(
    connection: &mut Connection,
    feedback: &Feedback,
) -> rusqlite::Result<FeedbackOutcome> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let earlier = read::feedback(&transaction, &feedback.request_id)?;
    if earlier
        .as_ref()
        .is_some_and(|earlier| earlier.says_the_same(feedback))
    {
        return Ok(FeedbackOutcome::Same);
    }
    transaction
        .prepare_cached(
            "INSERT INTO main.feedback VALUES (?, ?, ?, ?, ?) ON CONFLICT (request_id) DO UPDATE SET \
             reward = excluded.reward, kind = excluded.kind, comment = excluded.comment, \
             at_ms = excluded.at_ms",
        )?
        .execute(params![
            feedback.request_id.as_str(),
            feedback.reward,
            feedback.kind,
            feedback.comment,
            feedback.at_ms,
        ])?;
    transaction.commit()?;
    Ok(earlier.map_or(FeedbackOutcome::New, FeedbackOutcome::Replaced))
}

/// True when the store has the request.
pub(super) fn has_request(
    connection: &Connection,
    record: &RequestRecord,
) -> rusqlite::Result<bool> {
    let found = connection
        .prepare_cached("SELECT 1 FROM main.requests WHERE request_id = ?")?
        .query_row([record.request_id.as_str()], |_| Ok(()))
        .optional()?;
    Ok(found.is_some())
}
