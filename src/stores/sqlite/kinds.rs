//! What many requests, or many attempts, have in common, stored once and known by a number.
//!
//! The writer remembers the numbers. What it remembers is only as good as the transaction in which
//! it was stored: when one fails, the writer forgets everything and asks the file again.

use rusqlite::{Connection, OptionalExtension, Params, params};
use rustc_hash::FxHashMap;

use super::write::{count, pico};
use crate::types::{AttemptRecord, KeyId, ModelId, ProviderId, Reason, RequestRecord, ServiceTier};

/// Kinds that are remembered of each sort; some ten MiB. Real traffic has thousands.
const REMEMBERED: usize = 1 << 15;

const REQUEST_COLUMNS: [&str; 12] = [
    "team",
    "app",
    "key",
    "endpoint",
    "task",
    "level",
    "model",
    "response_model",
    "provider",
    "reason",
    "cache",
    "outcome",
];

const ATTEMPT_COLUMNS: [&str; 20] = [
    "model",
    "provider",
    "deployment",
    "response_model",
    "outcome",
    "status",
    "usage",
    "input_price_pico",
    "cached_input_price_pico",
    "cache_write_price_pico",
    "output_price_pico",
    "reasoning_price_pico",
    "cache_write_1h_price_pico",
    "per_image_price_pico",
    "per_request_price_pico",
    "price_version",
    "price_step_tokens",
    "service_tier",
    "substituted",
    "priced_model",
];

/// The numbers of one table of kinds.
#[derive(Debug)]
struct Table {
    find: String,
    insert: String,
    known: FxHashMap<Box<[u8]>, i64>,
}

impl Table {
    fn new(schema: &str, table: &str, id: &str, columns: &[&str]) -> Self {
        let marks = vec!["?"; columns.len()].join(", ");
        let agree: Vec<_> = columns
            .iter()
            .map(|column| format!("{column} = ?"))
            .collect();
        let (listed, agree) = (columns.join(", "), agree.join(" AND "));
        Self {
            find: format!("SELECT {id} FROM {schema}.{table} WHERE {agree}"),
            insert: format!("INSERT INTO {schema}.{table} ({listed}) VALUES ({marks})"),
            known: FxHashMap::default(),
        }
    }

    /// The number of a kind that is not remembered; it is stored when it is new.
    fn learn(
        &mut self,
        connection: &Connection,
        fingerprint: &[u8],
        values: impl Params + Copy,
    ) -> rusqlite::Result<i64> {
        let found = connection
            .prepare_cached(&self.find)?
            .query_row(values, |row| row.get(0))
            .optional()?;
        let id = match found {
            Some(id) => id,
            None => connection.prepare_cached(&self.insert)?.insert(values)?,
        };
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(fingerprint.into(), id);
        Ok(id)
    }
}

/// Fields one after the other, each with its length, so that no two kinds look alike.
#[derive(Debug, Default)]
struct Fingerprint(Vec<u8>);

impl Fingerprint {
    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }
}

/// The kinds of one schema.
#[derive(Debug)]
pub(super) struct Kinds {
    requests: Table,
    attempts: Table,
    scratch: Fingerprint,
}

impl Kinds {
    /// The kinds of this schema, none of them remembered yet.
    pub fn of_schema(schema: &str) -> Self {
        Self {
            requests: Table::new(schema, "request_kinds", "request_kind", &REQUEST_COLUMNS),
            attempts: Table::new(schema, "attempt_kinds", "attempt_kind", &ATTEMPT_COLUMNS),
            scratch: Fingerprint::default(),
        }
    }

    /// Forgets every number: the transaction that may have stored some of them failed.
    pub fn forget(&mut self) {
        self.requests.known.clear();
        self.attempts.known.clear();
    }

    /// The number of a request's kind.
    pub fn of_request(
        &mut self,
        connection: &Connection,
        record: &RequestRecord,
    ) -> rusqlite::Result<i64> {
        // A request is called as its last attempt was answered.
        let last = record.attempts.last();
        let response_model = last.and_then(|attempt| attempt.response_model.as_deref());
        let texts = [
            record.team.as_str(),
            record.app.as_str(),
            record.key.as_ref().map_or("", KeyId::as_str),
            record.endpoint.as_str(),
            record.task.as_str(),
            record.level.as_str(),
            record.model.as_ref().map_or("", ModelId::as_str),
            response_model.unwrap_or_default(),
            record.provider.as_ref().map_or("", ProviderId::as_str),
            record.reason.map_or("", Reason::as_str),
            record.cache.as_str(),
            record.outcome.as_str(),
        ];
        self.scratch.0.clear();
        for text in texts {
            self.scratch.text(text);
        }
        if let Some(id) = self.requests.known.get(self.scratch.0.as_slice()) {
            return Ok(*id);
        }
        self.requests.learn(connection, &self.scratch.0, texts)
    }

    /// The number of an attempt's kind.
    pub fn of_attempt(
        &mut self,
        connection: &Connection,
        attempt: &AttemptRecord,
    ) -> rusqlite::Result<i64> {
        let price = &attempt.price;
        let texts = [
            attempt.model.as_str(),
            attempt.provider.as_str(),
            attempt.deployment.as_str(),
            attempt.response_model.as_deref().unwrap_or_default(),
            attempt.outcome.as_str(),
            attempt.usage.as_str(),
            &attempt.price_version,
            attempt.service_tier.map_or("", ServiceTier::as_str),
            attempt.priced_model.as_deref().unwrap_or_default(),
        ];
        let numbers = [
            attempt.status.unwrap_or(0).into(),
            price.input.pico(),
            price.cached_input.pico(),
            price.cache_write.pico(),
            price.output.pico(),
            price.reasoning.pico(),
            price.cache_write_1h.pico(),
            pico(price.per_image),
            pico(price.per_request),
            attempt.price_step_tokens.map_or(0, count),
            attempt.substituted.into(),
        ];
        self.scratch.0.clear();
        for text in texts {
            self.scratch.text(text);
        }
        for number in numbers {
            self.scratch.number(number.cast_unsigned());
        }
        if let Some(id) = self.attempts.known.get(self.scratch.0.as_slice()) {
            return Ok(*id);
        }
        let [
            model,
            provider,
            deployment,
            response_model,
            outcome,
            usage,
            version,
            tier,
            priced,
        ] = texts;
        let [
            status,
            input,
            cached,
            write,
            output,
            reasoning,
            write_1h,
            image,
            request,
            step,
            substituted,
        ] = numbers;
        self.attempts.learn(
            connection,
            &self.scratch.0,
            params![
                model,
                provider,
                deployment,
                response_model,
                outcome,
                status,
                usage,
                input,
                cached,
                write,
                output,
                reasoning,
                write_1h,
                image,
                request,
                version,
                step,
                tier,
                substituted,
                priced,
            ],
        )
    }
}
