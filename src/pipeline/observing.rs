//! Who hears of a closed exchange: metrics, latency averages, bandit arms, and the log.

use std::time::Duration;

use crate::accounting::Observer;
use crate::config::Snapshot;
use crate::error::{ErrorKind, ProxyError};
use crate::gateway::Gateway;
use crate::learn;
use crate::runtime::Transition;
use crate::runtime::latency::LatencySample;
use crate::types::{AttemptRecord, Outcome, RequestRecord};

use super::telling;

impl Observer for Gateway {
    fn breaker_changed(&self, attempt: &AttemptRecord, change: Transition) {
        telling::breaker_changed(self, attempt, change);
    }

    fn closed(&self, record: &RequestRecord) {
        self.metrics.request_closed(record);
        let now_ms = self.clock.unix_ms();
        for attempt in &record.attempts {
            observe_latency(self, attempt, now_ms);
        }
        let active = self.active.load();
        compare_with_target(self, &active.snapshot, record, now_ms);
        learn::observe_outcome(&self.arms, &active.snapshot, record, now_ms);
        super::stakes::learn(self, record, now_ms);
        super::planning::keep_session(self, record);
        log(record);
    }
}

/// Tells of a batch that was paid for. It took hours at its provider, which says nothing about latency.
pub(super) fn batch_closed(gw: &Gateway, record: &RequestRecord) {
    gw.metrics.batch_closed(record);
    log(record);
}

fn observe_latency(gw: &Gateway, attempt: &AttemptRecord, now_ms: i64) {
    if attempt.outcome.answered() {
        let sample = LatencySample {
            ttft: attempt.ttft_us.map(Duration::from_micros),
            total: Duration::from_micros(attempt.latency_us),
            output_tokens: attempt.tokens.all_output(),
        };
        gw.latencies.observe(&attempt.model, sample, now_ms);
    } else if attempt.outcome != Outcome::Cancelled {
        gw.latencies.observe_failure(&attempt.model, now_ms);
    }
}

/// Notes answers (and time-outs, which took at least so long) of models that have a latency target.
fn compare_with_target(gw: &Gateway, snapshot: &Snapshot, record: &RequestRecord, now_ms: i64) {
    for attempt in &record.attempts {
        let counts = attempt.outcome.answered() || attempt.outcome == Outcome::Timeout;
        let model = snapshot.model(attempt.model.as_str());
        if counts && model.is_some_and(|model| model.latency_target.is_some()) {
            // Of a stream the first output counts, as in `latency_target_ms`.
            let latency_us = attempt.ttft_us.unwrap_or(attempt.latency_us);
            let latency = Duration::from_micros(latency_us);
            gw.latency_targets.observe(&attempt.model, latency, now_ms);
        }
    }
}

/// One structured line per request. At `info`, because it is what on-call greps for; filter the
/// target `tollgate::request` to silence it. Never holds text of a prompt.
fn log(record: &RequestRecord) {
    tracing::info!(
        target: "tollgate::request",
        request_id = record.request_id.as_str(),
        trace_id = record.trace_id.as_deref(),
        team = record.team.as_str(),
        app = record.app.as_str(),
        asked = record.asked_model.as_str(),
        model = record.model.as_ref().map_or("-", |model| model.as_str()),
        task = record.task.as_str(),
        level = record.level.as_str(),
        reason = record.reason.map_or("-", crate::types::Reason::as_str),
        cache = record.cache.as_str(),
        outcome = record.outcome.as_str(),
        error = record.error_code.as_deref().unwrap_or("-"),
        status = record.status,
        attempts = record.attempts.len(),
        cost_usd = %record.cost,
        latency_us = record.latency_us,
        overhead_us = record.overhead_us,
    );
}

/// Counts a refusal by one of our limits. The scope is the first word of the error's `param`.
pub(super) fn limited(gw: &Gateway, error: &ProxyError) {
    if let Some(refusal) = &error.limit
        && error.kind == ErrorKind::RateLimitExceeded
    {
        gw.metrics.rate_limited(refusal.scope, refusal.kind);
    }
}
