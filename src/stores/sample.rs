//! Records to test with.

use std::sync::Arc;

use super::{Dimension, Report, ReportQuery, ReportReads, TimeRange};
use crate::types::{
    AttemptRecord, CacheOutcome, Endpoint, Features, Needs, Outcome, PicoUsd, Price, Reason,
    RequestId, RequestRecord, ServiceTier, Signal, TaskScore, TokenPrice, Tokens, UsageSource,
};

/// 2026-11-10T12:00:00Z
pub(crate) const NOON_MS: i64 = 1_794_312_000_000;

/// A price of 1, 2, 3, 4 and 5 USD per million tokens, by class.
pub(crate) fn price() -> Price {
    Price {
        input: TokenPrice::from_pico(1_000_000),
        cached_input: TokenPrice::from_pico(2_000_000),
        cache_write: TokenPrice::from_pico(3_000_000),
        cache_write_1h: TokenPrice::from_pico(6_000_000),
        output: TokenPrice::from_pico(4_000_000),
        reasoning: TokenPrice::from_pico(5_000_000),
        ..Price::default()
    }
}

/// An attempt that cost what its tokens cost.
pub(crate) fn attempt(number: u32, model: &str, tokens: Tokens) -> AttemptRecord {
    AttemptRecord {
        attempt: number,
        started_at_ms: NOON_MS + i64::from(number),
        model: model.into(),
        provider: format!("{model}-provider").as_str().into(),
        deployment: format!("{model}#1").as_str().into(),
        response_model: Some(format!("{model}-2026")),
        outcome: Outcome::Ok,
        status: Some(200),
        tokens,
        usage: UsageSource::Reported,
        cost: price().cost(&tokens),
        price: price(),
        images: 2,
        price_version: "2026-11-01/0a1b2c3d".to_owned(),
        price_step_tokens: Some(200_000),
        service_tier: Some(ServiceTier::Priority),
        substituted: true,
        priced_model: Some("large".to_owned()),
        asked_cost: Some(PicoUsd::from_pico(7)),
        latency_us: 1200,
        ttft_us: Some(300),
    }
}

/// A whole request with one attempt, every field filled.
pub(crate) fn record(id: &str) -> RequestRecord {
    let tokens = Tokens {
        input: 100,
        cached_input: 20,
        cache_write: 3,
        cache_write_1h: 0,
        output: 40,
        reasoning: 5,
    };
    let attempt = attempt(1, "small", tokens);
    RequestRecord {
        request_id: RequestId::from_text(id),
        started_at_ms: NOON_MS,
        config_version: "v1".into(),
        key: Some("search-prod".into()),
        team: "search".into(),
        app: "checkout".into(),
        end_user: Some("user-7".to_owned()),
        tags: vec![("feature".to_owned(), "a \"quoted\"\nvalue".to_owned())],
        endpoint: Endpoint::ChatCompletions,
        asked_model: "auto".to_owned(),
        stream: true,
        task: "translation".into(),
        level: "simple".into(),
        row: None,
        model: Some("small".into()),
        provider: Some("small-provider".into()),
        reason: Some(Reason::Matrix),
        propensity: Some(0.1 + 0.2),
        cache: CacheOutcome::Miss,
        fingerprint: Some(-7),
        trace_id: None,
        conversation: None,
        outcome: Outcome::Ok,
        status: 200,
        error_code: None,
        cost: attempt.cost,
        estimated_cost: PicoUsd::ZERO,
        baseline_cost: Some(attempt.cost.saturating_mul(3)),
        latency_us: 1500,
        overhead_us: 90,
        ttft_us: Some(400),
        features: Some(features().into()),
        decision: serde_json::value::RawValue::from_string("{\"candidates\":\n []}".to_owned())
            .ok(),
        attempts: vec![attempt],
    }
}

/// A record that costs nothing and names as little as possible.
pub(crate) fn bare_record(id: &str) -> RequestRecord {
    RequestRecord {
        key: None,
        end_user: None,
        tags: Vec::new(),
        model: None,
        provider: None,
        reason: None,
        propensity: None,
        cache: CacheOutcome::Bypass,
        fingerprint: None,
        trace_id: None,
        conversation: None,
        outcome: Outcome::Denied,
        status: 401,
        error_code: Some("invalid_api_key".to_owned()),
        cost: PicoUsd::ZERO,
        baseline_cost: None,
        ttft_us: None,
        features: None,
        decision: None,
        attempts: Vec::new(),
        ..record(id)
    }
}

fn features() -> Features {
    Features {
        task: "translation".into(),
        confidence: 0.1,
        tasks: [TaskScore {
            task: "translation".into(),
            probability: 0.7,
        }]
        .into_iter()
        .collect(),
        complexity: 0.3,
        weak_fails: 0.05,
        language: "es".to_owned(),
        needs: Needs {
            tools: true,
            ..Needs::default()
        },
        input_tokens: 100,
        input_tokens_bound: 150,
        output_tokens_estimate: 60,
        signals: [Signal {
            name: "phrase:translate".to_owned(),
            weight: 1.25,
        }]
        .into_iter()
        .collect(),
    }
}

/// A record as JSON, to compare: records hold raw JSON text and so have no equality.
pub(crate) fn as_json(record: &RequestRecord) -> serde_json::Value {
    serde_json::to_value(record).expect("a record is JSON")
}

/// A UTC day.
pub(crate) const DAY_MS: i64 = 86_400_000;

/// Four days of requests, some over midnight, of many kinds.
pub(crate) fn four_days() -> Vec<Arc<RequestRecord>> {
    let nth = |number: i64| {
        let id = format!("req_{number:03}");
        if number % 11 == 0 {
            return bare_record(&id);
        }
        let mut record = record(&id);
        let offset = number * 3_000_001;
        record.started_at_ms += offset;
        record.team = ["search", "mail"][usize::from(number % 2 == 0)].into();
        let tokens = Tokens {
            input: number.unsigned_abs(),
            output: 9,
            ..Tokens::default()
        };
        record.attempts = vec![attempt(1, "small", tokens), attempt(2, "large", tokens)];
        for attempt in &mut record.attempts {
            attempt.started_at_ms += offset + 40_000_000;
        }
        if number % 5 == 0 {
            record.attempts[1].usage = UsageSource::Estimated;
            record.cache = CacheOutcome::HitStale;
        }
        record.cost = record.attempts.iter().map(|attempt| attempt.cost).sum();
        record.baseline_cost =
            (number % 3 != 0).then(|| PicoUsd::from_pico(i128::from(number) << 40));
        record
    };
    (0..120).map(nth).map(Arc::new).collect()
}

/// Reports of [`four_days`] by everything that stays when rows become sums.
pub(crate) fn reports_of_four_days(ledger: &dyn ReportReads) -> Vec<Report> {
    let midnight = NOON_MS.div_euclid(DAY_MS) * DAY_MS;
    let days = [0, 1, 2, 4].map(|days| midnight + days * DAY_MS);
    let always = TimeRange::since(0);
    let ranges = [always, (days[0]..days[2]).into(), (days[1]..days[3]).into()];
    // All that the archive keeps.
    let kept = Dimension::NAMED
        .into_iter()
        .filter(|by| !matches!(by, Dimension::User | Dimension::Hour));
    let mut questions: Vec<Vec<Dimension>> = kept.map(|by| vec![by]).collect();
    questions.push(vec![
        Dimension::Day,
        Dimension::Team,
        Dimension::ResponseModel,
    ]);
    ranges
        .iter()
        .flat_map(|range| questions.iter().map(move |by| (range, by)))
        .map(|(range, by)| ReportQuery {
            range: *range,
            by: by.clone(),
            at_most: None,
        })
        .map(|query| ledger.report(&query).expect("a report"))
        .collect()
}
