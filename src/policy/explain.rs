//! The plan in words: the answer of `POST /v1/route` and of `tollgate explain`, the decision that the
//! record of a request keeps, and the record as `GET /v1/requests/{id}` shows it.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::types::{
    AttemptRecord, ConfigVersion, Exclusion, Features, LevelName, ModelId, PicoUsd, Plan, Price,
    Reason, RequestRecord, TaskName, TokenPrice, Verdict, Weighing,
};

/// What there is to explain.
#[derive(Clone, Debug)]
pub struct Explained<'a> {
    /// The task that it is routed as.
    pub task: TaskName,
    /// What the classifier found.
    pub features: &'a Features,
    /// The plan.
    pub plan: &'a Plan,
    /// The configuration.
    pub config_version: &'a ConfigVersion,
}

/// A model that was considered.
#[derive(Clone, Debug, Serialize)]
pub struct CandidateLine<'a> {
    /// The model.
    pub model: &'a str,
    /// The policy's score; none for models that were left out.
    pub score: Option<f64>,
    /// What the request is expected to cost there, USD.
    #[serde(serialize_with = "as_usd")]
    pub estimated_cost_usd: PicoUsd,
    /// What kept it out; none for candidates.
    pub excluded_by: Option<&'static str>,
    /// The exclusion in more words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Explains a decision: the object of `POST /v1/route`.
#[must_use]
pub fn explain(explained: &Explained<'_>) -> Value {
    let Explained {
        task,
        features,
        plan,
        config_version,
    } = explained;
    let tasks: Map<String, Value> = features
        .tasks
        .iter()
        .map(|score| (score.task.to_string(), share(score.probability)))
        .collect();
    json!({
        "task": task,
        "confidence": share(features.confidence),
        "tasks": tasks,
        "row": plan.row,
        "level": plan.level,
        "complexity": share(features.complexity),
        "weak_fails": share(features.weak_fails),
        "language": features.language,
        "needs": features.needs.names(),
        "signals": features.signals,
        "input_tokens": features.input_tokens,
        "output_tokens_estimate": features.output_tokens_estimate,
        "model": plan.candidates.first().map(|first| &first.model),
        "reason": plan.reason,
        "propensity": plan.propensity,
        "session": plan.weighing.as_ref().map(SessionLine::of),
        "candidates": candidate_lines(plan),
        "config_version": config_version,
    })
}

/// Candidates in the order of trying, then what was left out.
#[must_use]
pub fn candidate_lines(plan: &Plan) -> Vec<CandidateLine<'_>> {
    let tried = plan.candidates.iter().map(|candidate| CandidateLine {
        model: candidate.model.as_str(),
        score: Some(candidate.score),
        estimated_cost_usd: candidate.estimated_cost,
        excluded_by: None,
        detail: None,
    });
    let left_out = plan.excluded.iter().map(|excluded| CandidateLine {
        model: excluded.model.as_str(),
        score: None,
        estimated_cost_usd: excluded.estimated_cost,
        excluded_by: Some(excluded.by.as_str()),
        detail: detail(&excluded.by),
    });
    tried.chain(left_out).collect()
}

/// An exclusion in more words, where there are any.
pub(super) fn detail(by: &Exclusion) -> Option<String> {
    match by {
        Exclusion::Capability { missing } => Some(format!("lacks {}", missing.join(", "))),
        Exclusion::Context { needed, limit } => Some(format!("needs {needed} tokens of {limit}")),
        _ => None,
    }
}

/// What the record of a request keeps of its plan. `row` is read back by `learn`, whose arms are kept
/// by cell.
#[derive(Clone, Debug, Serialize)]
pub struct Decision<'a> {
    row: &'a TaskName,
    level: &'a LevelName,
    reason: Reason,
    propensity: f64,
    own: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<SessionLine<'a>>,
    candidates: Vec<CandidateLine<'a>>,
    /// The client's trace, so that both sides' records can be put together.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
}

/// Staying with the conversation's model, weighed against the policy's choice.
#[derive(Clone, Debug, Serialize)]
pub struct SessionLine<'a> {
    /// The model that answered last.
    pub model: &'a str,
    /// The policy's choice.
    pub other: Option<&'a str>,
    /// What came of it.
    pub verdict: Verdict,
    /// Expected input of the request, tokens.
    pub context_tokens: u64,
    /// What of it is in the prompt cache of the model's provider, tokens.
    pub warm_tokens: u64,
    /// Requests that the turn is expected to take.
    pub steps: u32,
    /// What they cost here, USD.
    #[serde(serialize_with = "as_usd")]
    pub stay_cost_usd: PicoUsd,
    /// What they cost there, USD.
    #[serde(serialize_with = "as_usd")]
    pub go_cost_usd: PicoUsd,
    /// What the other model is better by, cost apart.
    pub gain: f64,
    /// What the switch costs, in the same units.
    pub loss: f64,
}

impl<'a> SessionLine<'a> {
    /// A weighing for people.
    #[must_use]
    pub fn of(weighing: &'a Weighing) -> Self {
        let rounded = |value: f64| (value * 10_000.0).round() / 10_000.0;
        Self {
            model: weighing.model.as_str(),
            other: weighing.other.as_ref().map(ModelId::as_str),
            verdict: weighing.verdict,
            context_tokens: weighing.context_tokens,
            warm_tokens: weighing.warm_tokens,
            steps: weighing.steps,
            stay_cost_usd: weighing.stay_cost,
            go_cost_usd: weighing.go_cost,
            gain: rounded(weighing.gain),
            loss: rounded(weighing.loss),
        }
    }
}

/// The decision of a plan, for the record of a request in this trace.
#[must_use]
pub fn decision<'a>(plan: &'a Plan, trace_id: Option<&'a str>) -> Decision<'a> {
    Decision {
        row: &plan.row,
        level: &plan.level,
        reason: plan.reason,
        propensity: plan.propensity,
        own: plan.own,
        session: plan.weighing.as_ref().map(SessionLine::of),
        candidates: candidate_lines(plan),
        trace_id,
    }
}

/// A record as its sender sees it; money in USD.
#[must_use]
pub fn record(record: &RequestRecord) -> Value {
    let attempts: Vec<Value> = record.attempts.iter().map(attempt).collect();
    json!({
        "request_id": record.request_id,
        "started_at_ms": record.started_at_ms,
        "config_version": record.config_version,
        "key": record.key,
        "team": record.team,
        "app": record.app,
        "end_user": record.end_user,
        "tags": record.tags.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "endpoint": record.endpoint,
        "asked_model": record.asked_model,
        "stream": record.stream,
        "task": record.task,
        "level": record.level,
        "model": record.model,
        "provider": record.provider,
        "reason": record.reason,
        "propensity": record.propensity,
        "cache": record.cache.as_str(),
        "outcome": record.outcome,
        "status": record.status,
        "error_code": record.error_code,
        "cost_usd": usd(record.cost),
        "estimated_cost_usd": usd(record.estimated_cost),
        "baseline_cost_usd": record.baseline_cost.map(usd),
        "tokens": record.tokens(),
        "latency_us": record.latency_us,
        "overhead_us": record.overhead_us,
        "ttft_us": record.ttft_us,
        "features": record.features,
        "decision": record.decision,
        "attempts": attempts,
    })
}

fn attempt(attempt: &AttemptRecord) -> Value {
    json!({
        "attempt": attempt.attempt,
        "started_at_ms": attempt.started_at_ms,
        "model": attempt.model,
        "provider": attempt.provider,
        "deployment": attempt.deployment,
        "response_model": attempt.response_model,
        "outcome": attempt.outcome,
        "status": attempt.status,
        "tokens": attempt.tokens,
        "usage": attempt.usage,
        "images": attempt.images,
        "cost_usd": usd(attempt.cost),
        "price": price(&attempt.price),
        "price_version": attempt.price_version,
        "price_step_tokens": attempt.price_step_tokens,
        "service_tier": attempt.service_tier,
        "substituted": attempt.substituted,
        "priced_model": attempt.priced_model,
        "asked_cost_usd": attempt.asked_cost.map(usd),
        "latency_us": attempt.latency_us,
        "ttft_us": attempt.ttft_us,
    })
}

/// A price as `routes.yaml` spells it: USD per million tokens, and USD.
fn price(price: &Price) -> Value {
    let class = |class: TokenPrice| usd(class.times(1_000_000));
    json!({
        "input": class(price.input),
        "cached_input": class(price.cached_input),
        "cache_write": class(price.cache_write),
        "cache_write_1h": class(price.cache_write_1h),
        "output": class(price.output),
        "reasoning": class(price.reasoning),
        "per_request_usd": usd(price.per_request),
        "per_image_usd": usd(price.per_image),
    })
}

/// Three digits: what is behind them is noise.
fn share(share: f32) -> Value {
    let rounded = (f64::from(share) * 1000.0).round() / 1000.0;
    Value::from(rounded)
}

/// An amount as a JSON number; amounts of a request have far fewer digits than a double holds.
fn usd(amount: PicoUsd) -> Value {
    Value::from(amount.as_usd_f64())
}

/// As an exact plain decimal number of USD.
fn as_usd<S: Serializer>(amount: &PicoUsd, serializer: S) -> Result<S::Ok, S::Error> {
    match RawValue::from_string(amount.to_string()) {
        Ok(number) => number.serialize(serializer),
        Err(_) => serializer.serialize_none(),
    }
}
