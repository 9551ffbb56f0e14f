//! The plan in words: the answer of `POST /v1/route` and of `tollgate explain`, and the decision that
//! the record of a request keeps.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::types::{ConfigVersion, Features, PicoUsd, Plan, Reason, Signal, TaskName, TaskScore};

/// A decision, explained. Serialises to the object of `POST /v1/route`.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The task that it is routed as.
    pub task: TaskName,
    /// The probability that the classifier's task is right.
    pub confidence: f32,
    /// Tasks with their probabilities, most probable first.
    #[serde(serialize_with = "as_map")]
    pub tasks: Vec<TaskScore>,
    /// The row of the matrix that was used.
    pub row: String,
    /// The level.
    pub level: String,
    /// How hard, 0..=1.
    pub complexity: f32,
    /// The probability that a weaker model fails.
    pub weak_fails: f32,
    /// ISO 639-1.
    pub language: String,
    /// What a model must be able to do.
    pub needs: Vec<&'static str>,
    /// What weighed most.
    pub signals: Vec<Signal>,
    /// Expected input tokens.
    pub input_tokens: u64,
    /// Expected output tokens of one choice.
    pub output_tokens_estimate: u64,
    /// The model that would be tried first; none when nothing is feasible.
    pub model: Option<String>,
    /// Why that one.
    pub reason: Reason,
    /// The probability with which the policy chose it.
    pub propensity: f64,
    /// Every candidate in the order of trying, then what was left out.
    pub candidates: Vec<CandidateLine>,
    /// The configuration.
    pub config_version: ConfigVersion,
}

/// A model that was considered.
#[derive(Clone, Debug, Serialize)]
pub struct CandidateLine {
    /// The model.
    pub model: String,
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

/// Explains a decision; `task` is the one that the request was routed as.
#[must_use]
pub fn explain(
    task: &TaskName,
    features: &Features,
    plan: &Plan,
    config_version: &ConfigVersion,
) -> Explanation {
    Explanation {
        task: task.clone(),
        confidence: round(features.confidence),
        tasks: features.tasks.to_vec(),
        row: plan.row.to_string(),
        level: plan.level.to_string(),
        complexity: round(features.complexity),
        weak_fails: round(features.weak_fails),
        language: features.language.clone(),
        needs: features.needs.names().to_vec(),
        signals: features.signals.to_vec(),
        input_tokens: features.input_tokens,
        output_tokens_estimate: features.output_tokens_estimate,
        model: plan.candidates.first().map(|first| first.model.to_string()),
        reason: plan.reason,
        propensity: plan.propensity,
        candidates: candidate_lines(plan),
        config_version: config_version.clone(),
    }
}

/// Candidates in the order of trying, then what was left out.
#[must_use]
pub fn candidate_lines(plan: &Plan) -> Vec<CandidateLine> {
    let tried = plan.candidates.iter().map(|candidate| CandidateLine {
        model: candidate.model.to_string(),
        score: Some(candidate.score),
        estimated_cost_usd: candidate.estimated_cost,
        excluded_by: None,
        detail: None,
    });
    let left_out = plan.excluded.iter().map(|excluded| CandidateLine {
        model: excluded.model.to_string(),
        score: None,
        estimated_cost_usd: excluded.estimated_cost,
        excluded_by: Some(excluded.by.as_str()),
        detail: detail(&excluded.by),
    });
    tried.chain(left_out).collect()
}

fn detail(by: &crate::types::Exclusion) -> Option<String> {
    use crate::types::Exclusion;
    match by {
        Exclusion::Capability { missing } => Some(format!("lacks {}", missing.join(", "))),
        Exclusion::Context { needed, limit } => Some(format!("needs {needed} tokens of {limit}")),
        _ => None,
    }
}

/// What the record of a request keeps of its plan, as JSON text.
#[must_use]
pub fn decision(plan: &Plan) -> Option<Box<RawValue>> {
    #[derive(Serialize)]
    struct Decision<'a> {
        row: &'a TaskName,
        level: &'a str,
        reason: Reason,
        propensity: f64,
        own: usize,
        candidates: Vec<CandidateLine>,
    }
    serde_json::value::to_raw_value(&Decision {
        row: &plan.row,
        level: plan.level.as_str(),
        reason: plan.reason,
        propensity: plan.propensity,
        own: plan.own,
        candidates: candidate_lines(plan),
    })
    .ok()
}

/// Three digits: what is behind them is noise.
fn round(share: f32) -> f32 {
    (share * 1000.0).round() / 1000.0
}

fn as_map<S: Serializer>(tasks: &[TaskScore], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(
        tasks
            .iter()
            .map(|score| (&score.task, round(score.probability))),
    )
}

/// As an exact plain decimal number of USD.
fn as_usd<S: Serializer>(amount: &PicoUsd, serializer: S) -> Result<S::Ok, S::Error> {
    match RawValue::from_string(amount.to_string()) {
        Ok(number) => number.serialize(serializer),
        Err(_) => serializer.serialize_none(),
    }
}
