//! What a record is in columns: each with its name, its type and where its value comes from, once.
//! The tables (`v1.sql` and what follows it) have the same names.

use std::borrow::Cow;

use tokio_postgres::types::{ToSql, Type};

use crate::types::{
    AttemptRecord, KeyId, ModelId, PicoUsd, ProviderId, Reason, RequestRecord, ServiceTier,
};

/// A column of rows that are made from `R`.
pub(super) struct Column<R> {
    pub name: &'static str,
    value: Value<R>,
}

/// Where a column's values come from, by type.
enum Value<R> {
    Text(fn(&R) -> Option<Cow<'_, str>>),
    Whole(fn(&R) -> Option<i64>),
    Real(fn(&R) -> Option<f64>),
    Flag(fn(&R) -> bool),
}

/// The values of one column for a batch of rows, as the driver takes them.
pub(super) type Values<'r> = Box<dyn ToSql + Sync + Send + 'r>;

impl<R> Column<R> {
    /// The type of an array of its values.
    pub const fn array_type(&self) -> (&'static str, Type) {
        match self.value {
            Value::Text(_) => ("text[]", Type::TEXT_ARRAY),
            Value::Whole(_) => ("bigint[]", Type::INT8_ARRAY),
            Value::Real(_) => ("double precision[]", Type::FLOAT8_ARRAY),
            Value::Flag(_) => ("boolean[]", Type::BOOL_ARRAY),
        }
    }

    /// Its values for these rows.
    pub fn values<'r>(&self, rows: &[&'r R]) -> Values<'r> {
        match self.value {
            Value::Text(of) => {
                let text = rows.iter().map(|row| of(row).map(storable));
                Box::new(text.collect::<Vec<_>>())
            }
            Value::Whole(of) => Box::new(rows.iter().map(|row| of(row)).collect::<Vec<_>>()),
            Value::Real(of) => Box::new(rows.iter().map(|row| of(row)).collect::<Vec<_>>()),
            Value::Flag(of) => Box::new(rows.iter().map(|row| of(row)).collect::<Vec<_>>()),
        }
    }
}

/// Text that Postgres takes: it has no NUL, which a client may have sent.
pub(super) fn storable(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}").into()
    } else {
        text
    }
}

const fn text<R>(name: &'static str, of: fn(&R) -> Option<Cow<'_, str>>) -> Column<R> {
    let value = Value::Text(of);
    Column { name, value }
}

const fn whole<R>(name: &'static str, of: fn(&R) -> Option<i64>) -> Column<R> {
    let value = Value::Whole(of);
    Column { name, value }
}

const fn real<R>(name: &'static str, of: fn(&R) -> Option<f64>) -> Column<R> {
    let value = Value::Real(of);
    Column { name, value }
}

const fn flag<R>(name: &'static str, of: fn(&R) -> bool) -> Column<R> {
    let value = Value::Flag(of);
    Column { name, value }
}

#[allow(clippy::unnecessary_wraps, reason = "the form that columns take")]
fn some(text: &str) -> Option<Cow<'_, str>> {
    Some(text.into())
}

/// Tags as JSON whose texts Postgres can take out of it, which it refuses for a NUL.
fn tags(record: &RequestRecord) -> Option<Cow<'_, str>> {
    let json = serde_json::to_string(&record.tags).ok()?;
    Some(json.replace("\\u0000", "\\ufffd").into())
}

/// An amount as a row holds it. Beyond 9.2 million USD for one request it stays at that.
fn pico(amount: PicoUsd) -> i64 {
    let pico = amount.pico();
    i64::try_from(pico).unwrap_or(if pico < 0 { i64::MIN } else { i64::MAX })
}

/// A count as a row holds it; beyond 2⁶³ it stays at that.
fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The columns of `requests`.
pub(super) const REQUESTS: &[Column<RequestRecord>] = &[
    text("request_id", |r| some(r.request_id.as_str())),
    whole("started_at_ms", |r| Some(r.started_at_ms)),
    text("config_version", |r| some(r.config_version.as_str())),
    text("key", |r| r.key.as_ref().map(KeyId::as_str).map(Cow::from)),
    text("team", |r| some(r.team.as_str())),
    text("app", |r| some(r.app.as_str())),
    text("end_user", |r| r.end_user.as_deref().map(Cow::from)),
    text("tags", tags),
    text("endpoint", |r| some(r.endpoint.as_str())),
    text("asked_model", |r| some(&r.asked_model)),
    flag("stream", |r| r.stream),
    text("task", |r| some(r.task.as_str())),
    text("level", |r| some(r.level.as_str())),
    text("model", |r| {
        r.model.as_ref().map(ModelId::as_str).map(Cow::from)
    }),
    text("provider", |r| {
        r.provider.as_ref().map(ProviderId::as_str).map(Cow::from)
    }),
    text("reason", |r| r.reason.map(Reason::as_str).map(Cow::from)),
    real("propensity", |r| r.propensity),
    text("cache", |r| some(r.cache.as_str())),
    whole("fingerprint", |r| r.fingerprint),
    text("outcome", |r| some(r.outcome.as_str())),
    whole("status", |r| Some(r.status.into())),
    text("error_code", |r| r.error_code.as_deref().map(Cow::from)),
    whole("cost_pico", |r| Some(pico(r.cost))),
    whole("estimated_cost_pico", |r| Some(pico(r.estimated_cost))),
    whole("baseline_cost_pico", |r| r.baseline_cost.map(pico)),
    whole("latency_us", |r| Some(count(r.latency_us))),
    whole("overhead_us", |r| Some(count(r.overhead_us))),
    whole("ttft_us", |r| r.ttft_us.map(count)),
];

/// The columns of `attempts` beside `request_id`.
pub(super) const ATTEMPTS: &[Column<AttemptRecord>] = &[
    whole("attempt", |a| Some(a.attempt.into())),
    whole("started_at_ms", |a| Some(a.started_at_ms)),
    text("model", |a| some(a.model.as_str())),
    text("provider", |a| some(a.provider.as_str())),
    text("deployment", |a| some(a.deployment.as_str())),
    text("response_model", |a| {
        a.response_model.as_deref().map(Cow::from)
    }),
    text("outcome", |a| some(a.outcome.as_str())),
    whole("status", |a| a.status.map(i64::from)),
    whole("input_tokens", |a| Some(count(a.tokens.input))),
    whole("cached_input_tokens", |a| {
        Some(count(a.tokens.cached_input))
    }),
    whole("cache_write_tokens", |a| {
        Some(count(a.tokens.all_cache_write()))
    }),
    whole("cache_write_1h_tokens", |a| {
        Some(count(a.tokens.cache_write_1h))
    }),
    whole("output_tokens", |a| Some(count(a.tokens.output))),
    whole("reasoning_tokens", |a| Some(count(a.tokens.reasoning))),
    text("usage", |a| some(a.usage.as_str())),
    whole("cost_pico", |a| Some(pico(a.cost))),
    whole("input_price_pico", |a| Some(a.price.input.pico())),
    whole("cached_input_price_pico", |a| {
        Some(a.price.cached_input.pico())
    }),
    whole("cache_write_price_pico", |a| {
        Some(a.price.cache_write.pico())
    }),
    whole("cache_write_1h_price_pico", |a| {
        Some(a.price.cache_write_1h.pico())
    }),
    whole("output_price_pico", |a| Some(a.price.output.pico())),
    whole("reasoning_price_pico", |a| Some(a.price.reasoning.pico())),
    whole("per_request_price_pico", |a| {
        Some(pico(a.price.per_request))
    }),
    whole("per_image_price_pico", |a| Some(pico(a.price.per_image))),
    whole("images", |a| Some(a.images.into())),
    text("price_version", |a| some(&a.price_version)),
    whole("price_step_tokens", |a| a.price_step_tokens.map(count)),
    text("service_tier", |a| {
        a.service_tier.map(ServiceTier::as_str).map(Cow::from)
    }),
    flag("substituted", |a| a.substituted),
    text("priced_model", |a| a.priced_model.as_deref().map(Cow::from)),
    whole("asked_cost_pico", |a| a.asked_cost.map(pico)),
    whole("latency_us", |a| Some(count(a.latency_us))),
    whole("ttft_us", |a| a.ttft_us.map(count)),
];
