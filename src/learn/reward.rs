//! Rewards of bandit arms: what the end of an attempt says, and what the sender says later.
//!
//! An answer that came says little (most do), a failure says more, an opinion says most; the weights
//! below are in observations. An opinion is counted at the time of its request, however late it comes.

use std::time::Duration;

use crate::config::Snapshot;
use crate::config::snapshot::Model;
use crate::runtime::arms::context_of;
use crate::runtime::{ArmKey, Arms, Observation};
use crate::stores::FeedbackOutcome;
use crate::types::{AttemptRecord, ModelId, Outcome, RequestRecord, TaskName};

use super::feedback::ReceivedFeedback;

/// What a whole answer in time is worth.
const ANSWERED_WEIGHT: f64 = 0.1;
/// What an answer over its latency target is worth.
const LATE_WEIGHT: f64 = 0.2;
/// What a failure of the provider is worth.
const FAILED_WEIGHT: f64 = 0.5;
/// What an opinion is worth.
const OPINION_WEIGHT: f64 = 1.0;
/// A truncated answer is half an answer; often the client's own cap cut it.
const TRUNCATED_REWARD: f64 = 0.5;

/// The reward that the end of an attempt says by itself, and how much it counts; `None` where it says
/// nothing about the model (the client left, the request was wrong, a limit refused it).
#[must_use]
pub fn implicit(
    outcome: Outcome,
    latency: Duration,
    target: Option<Duration>,
) -> Option<(f64, f64)> {
    match outcome {
        Outcome::Ok => match target {
            Some(target) if latency > target && !target.is_zero() => {
                let share = target.as_secs_f64() / latency.as_secs_f64();
                Some((share, LATE_WEIGHT))
            }
            _ => Some((1.0, ANSWERED_WEIGHT)),
        },
        Outcome::Truncated => Some((TRUNCATED_REWARD, ANSWERED_WEIGHT)),
        Outcome::UpstreamError
        | Outcome::StreamBroken
        | Outcome::Timeout
        | Outcome::Connect
        | Outcome::ContentPolicy => Some((0.0, FAILED_WEIGHT)),
        Outcome::Cancelled
        | Outcome::Invalid
        | Outcome::Denied
        | Outcome::RateLimited
        | Outcome::Budget
        | Outcome::ContextLength
        | Outcome::UpstreamAuth
        | Outcome::Unavailable
        | Outcome::Internal => None,
    }
}

/// Learns from how the attempts of a closed request ended.
pub fn observe_outcome(arms: &Arms, snapshot: &Snapshot, record: &RequestRecord, now_ms: i64) {
    if record.attempts.is_empty() {
        return;
    }
    let row = row_of(record);
    for attempt in &record.attempts {
        let target = snapshot
            .model(attempt.model.as_str())
            .and_then(|model| model.latency_target);
        if let Some((reward, weight)) = implicit(attempt.outcome, latency(attempt), target) {
            let seen = Observation {
                reward,
                weight,
                at_ms: attempt.started_at_ms.min(now_ms),
            };
            observe(arms, snapshot, record, (&row, &attempt.model), seen);
        }
    }
}

/// To the first event of a stream, else to the end.
fn latency(attempt: &AttemptRecord) -> Duration {
    Duration::from_micros(attempt.ttft_us.unwrap_or(attempt.latency_us))
}

/// Learns from an opinion about a request. The ledger has stored it already and says what became of
/// it: a repetition changes nothing, a change of mind takes the place of what was said before.
pub fn apply_feedback(
    arms: &Arms,
    snapshot: &Snapshot,
    record: &RequestRecord,
    feedback: &ReceivedFeedback,
    outcome: &FeedbackOutcome,
    now_ms: i64,
) {
    let Some(model) = answered_by(record) else {
        return;
    };
    let row = row_of(record);
    let about = |reward: f64, weight: f64| Observation {
        reward,
        weight,
        at_ms: record.started_at_ms.min(now_ms),
    };
    match outcome {
        FeedbackOutcome::Same => return,
        FeedbackOutcome::New => {}
        FeedbackOutcome::Replaced(earlier) => {
            let undo = about(earlier.reward, -OPINION_WEIGHT);
            observe(arms, snapshot, record, (&row, model), undo);
        }
    }
    let said = about(feedback.reward, OPINION_WEIGHT);
    observe(arms, snapshot, record, (&row, model), said);
}

/// The model whose answer the client saw; an answer from the cache or a template is nobody's merit.
fn answered_by(record: &RequestRecord) -> Option<&ModelId> {
    let last = record.attempts.last()?;
    record.model.as_ref().or(Some(&last.model))
}

fn observe(
    arms: &Arms,
    snapshot: &Snapshot,
    record: &RequestRecord,
    (row, model): (&TaskName, &ModelId),
    seen: Observation,
) {
    let key = ArmKey {
        task: row.clone(),
        level: record.level.clone(),
        model: model.clone(),
    };
    let prior = |model: &Model| {
        let task = record.features.as_ref().map(|features| &features.task);
        task.map_or(model.quality.base, |task| model.quality.of(task))
    };
    let context = record.features.as_deref().map(context_of);
    let declared = snapshot.model(model.as_str()).map(prior);
    let context = context.as_ref().zip(declared);
    arms.observe(&key, seen, context, &snapshot.select.learn);
}

/// The row of the matrix that the plan was made from, as its decision says; arms are kept by cell.
fn row_of(record: &RequestRecord) -> TaskName {
    #[derive(serde::Deserialize)]
    struct Decision<'a> {
        #[serde(borrow)]
        row: &'a str,
    }
    if let Some(row) = &record.row {
        return row.clone();
    }
    let decision = record.decision.as_deref();
    decision
        .and_then(|decision| serde_json::from_str::<Decision<'_>>(decision.get()).ok())
        .map_or_else(|| record.task.clone(), |decision| decision.row.into())
}
