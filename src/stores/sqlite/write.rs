//! Records into rows. A batch is one transaction: all or nothing, one sync.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, OptionalExtension, TransactionBehavior, params};

use super::kinds::Kinds;
use super::read;
use crate::stores::usage::{Feedback, FeedbackOutcome};
use crate::types::{AttemptRecord, KeyId, ModelId, PicoUsd, ProviderId, RequestRecord};
use crate::wire::json_write;

/// Into how many pico-USD a cost is split: `hi * PART + lo`, neither of which can overflow a sum.
pub(super) const PART: i64 = 1_000_000;
/// The grain of the sums in `spend`.
pub(super) const QUARTER_MS: i64 = 15 * 60 * 1000;

/// An amount as a row holds it. Beyond 9.2 million USD for one request it stays at that.
pub(super) fn pico(amount: PicoUsd) -> i64 {
    let pico = amount.pico();
    i64::try_from(pico).unwrap_or(if pico < 0 { i64::MIN } else { i64::MAX })
}

/// A count as a row holds it; beyond 2⁶³ it stays at that.
pub(super) fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn json<T: serde::Serialize + ?Sized>(value: &T) -> rusqlite::Result<String> {
    let mut text = Vec::new();
    let written = json_write::append(&mut text, value).map_err(Box::from);
    written
        .and_then(|()| String::from_utf8(text).map_err(Box::from))
        .map_err(rusqlite::Error::ToSqlConversionFailure)
}

/// What stores records in one schema. What is there already stays as it is.
#[derive(Debug)]
pub(super) struct Inserts {
    kinds: Kinds,
    request: String,
    known: String,
    decision: String,
    attempt: String,
}

/// The statements of a batch, looked up once.
pub(super) struct Statements<'c> {
    connection: &'c Connection,
    request: CachedStatement<'c>,
    decision: CachedStatement<'c>,
    attempt: CachedStatement<'c>,
}

/// Where a request lies, and whether it came just now.
struct Placed {
    seq: i64,
    kind: i64,
    is_new: bool,
}

impl Inserts {
    pub fn into_schema(schema: &str) -> Self {
        let insert = |table: &str, columns: &str| {
            let marks = vec!["?"; columns.split(',').count()].join(", ");
            format!(
                "INSERT INTO {schema}.{table} ({columns}) VALUES ({marks}) ON CONFLICT DO NOTHING"
            )
        };
        Self {
            kinds: Kinds::of_schema(schema),
            request: insert(
                "request_rows",
                "request_id, started_at_ms, request_kind, cost_pico, estimated_cost_pico, \
                 baseline_cost_pico, end_user, latency_us, overhead_us, ttft_us, stream, status, \
                 propensity, config_version, error_code, asked_model, tags, fingerprint",
            ),
            known: format!("SELECT seq FROM {schema}.request_rows WHERE request_id = ?"),
            decision: insert("decision_rows", "seq, features, decision"),
            attempt: insert(
                "attempt_rows",
                "seq, attempt, started_at_ms, request_kind, attempt_kind, cost_pico, input_tokens, \
                 cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, \
                 cache_write_1h_tokens, images, asked_cost_pico, latency_us, ttft_us",
            ),
        }
    }

    /// What a batch is stored with.
    pub fn prepare<'c>(&self, connection: &'c Connection) -> rusqlite::Result<Statements<'c>> {
        Ok(Statements {
            connection,
            request: connection.prepare_cached(&self.request)?,
            decision: connection.prepare_cached(&self.decision)?,
            attempt: connection.prepare_cached(&self.attempt)?,
        })
    }

    /// Stores a record with its attempts; tells what of it was new.
    pub fn record<'a>(
        &mut self,
        statements: &mut Statements<'_>,
        record: &'a RequestRecord,
        new: &mut impl FnMut(&'a RequestRecord, Option<&'a AttemptRecord>),
    ) -> rusqlite::Result<()> {
        let placed = self.request(statements, record)?;
        if placed.is_new {
            decision(statements, record, placed.seq)?;
            new(record, None);
        }
        for attempt in &record.attempts {
            if self.attempt(statements, &placed, attempt)? {
                new(record, Some(attempt));
            }
        }
        Ok(())
    }

    fn request(
        &mut self,
        statements: &mut Statements<'_>,
        record: &RequestRecord,
    ) -> rusqlite::Result<Placed> {
        let connection = statements.connection;
        let kind = self.kinds.of_request(connection, record)?;
        let inserted = statements.request.execute(params![
            record.request_id.as_str(),
            record.started_at_ms,
            kind,
            pico(record.cost),
            pico(record.estimated_cost),
            record.baseline_cost.map(pico),
            record.end_user,
            count(record.latency_us),
            count(record.overhead_us),
            record.ttft_us.map(count),
            record.stream,
            record.status,
            record.propensity,
            record.config_version.as_str(),
            record.error_code,
            record.asked_model,
            json(&record.tags)?,
            record.fingerprint,
        ])?;
        let is_new = inserted == 1;
        let seq = if is_new {
            connection.last_insert_rowid()
        } else {
            connection
                .prepare_cached(&self.known)?
                .query_row([record.request_id.as_str()], |row| row.get(0))?
        };
        Ok(Placed { seq, kind, is_new })
    }

    /// True when the attempt is new.
    fn attempt(
        &mut self,
        statements: &mut Statements<'_>,
        request: &Placed,
        attempt: &AttemptRecord,
    ) -> rusqlite::Result<bool> {
        let kind = self.kinds.of_attempt(statements.connection, attempt)?;
        let tokens = &attempt.tokens;
        let inserted = statements.attempt.execute(params![
            request.seq,
            attempt.attempt,
            attempt.started_at_ms,
            request.kind,
            kind,
            pico(attempt.cost),
            count(tokens.input),
            count(tokens.cached_input),
            count(tokens.all_cache_write()),
            count(tokens.output),
            count(tokens.reasoning),
            count(tokens.cache_write_1h),
            attempt.images,
            attempt.asked_cost.map(pico),
            count(attempt.latency_us),
            attempt.ttft_us.map(count),
        ])?;
        Ok(inserted == 1)
    }
}

fn decision(
    statements: &mut Statements<'_>,
    record: &RequestRecord,
    seq: i64,
) -> rusqlite::Result<()> {
    if record.features.is_none() && record.decision.is_none() {
        return Ok(());
    }
    let features = record.features.as_ref().map(json).transpose()?;
    let decision = record.decision.as_ref().map(|decision| decision.get());
    statements
        .decision
        .execute(params![seq, features, decision])?;
    Ok(())
}

/// Stores a batch with its sums.
pub(super) fn append(
    connection: &mut Connection,
    inserts: &mut Inserts,
    batch: &[Arc<RequestRecord>],
) -> rusqlite::Result<()> {
    let stored = append_all(connection, inserts, batch);
    if stored.is_err() {
        inserts.kinds.forget();
    }
    stored
}

fn append_all(
    connection: &mut Connection,
    inserts: &mut Inserts,
    batch: &[Arc<RequestRecord>],
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut sums = BatchSums::default();
    let mut statements = inserts.prepare(&transaction)?;
    for record in batch {
        inserts.record(
            &mut statements,
            record,
            &mut |record, attempt| match attempt {
                None => sums.add_request(record),
                Some(attempt) => sums.add_attempt(record, attempt),
            },
        )?;
    }
    drop(statements);
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
        .prepare_cached("SELECT 1 FROM main.request_rows WHERE request_id = ?")?
        .query_row([record.request_id.as_str()], |_| Ok(()))
        .optional()?;
    Ok(found.is_some())
}
