//! A small configuration and a runtime that stands still, for the tests of this room.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rustc_hash::FxHashMap;

use super::resolve::resolve;
use super::{PlanInput, Purse, RuntimeView, Staying, plan};
use crate::config::{self, Snapshot};
use crate::error::ProxyError;
use crate::runtime::{ArmKey, ArmStats, LearnParams, LinearStats};
use crate::types::{
    AllowList, Call, Caller, Directives, Endpoint, Features, ModelId, Needs, PicoUsd, Plan, Span,
    StreamRequest, Tally, Tier,
};

const FILE: &str = r#"
version: 1
state: { store: memory }
auth: { mode: open }
providers:
  one: { dialect: openai_chat, base_url: "http://127.0.0.1:1/v1" }
  off: { dialect: openai_chat, base_url: "http://127.0.0.1:2/v1", api_key: "${NOT_SET}" }
models:
  big:    { provider: one, tier: premium,  quality: 0.9, context_tokens: 100000, max_output_tokens: 8000, region: us, price: { input: 10, cached_input: 1, output: 30 }, supports: [tools, vision, json_schema, reasoning, parallel_tools] }
  middle: { provider: one, tier: standard, quality: 0.7, context_tokens: 100000, max_output_tokens: 8000, region: eu, price: { input: 1, cached_input: 0.1, output: 3 }, supports: [tools], equivalents: [twin] }
  twin:   { provider: one, tier: standard, quality: 0.7, context_tokens: 8000, max_output_tokens: 4000, region: eu, price: { input: 1.5, cached_input: 0.15, output: 3 } }
  dark:   { provider: off, tier: premium,  quality: 0.99, context_tokens: 100000, price: { input: 1, output: 1 } }
  home:   { provider: one, tier: local, quality: 0.5, context_tokens: 32000, max_output_tokens: 4000, region: eu, price: 0 }
  vectors: { provider: one, tier: standard, price: { input: 0.02 }, supports: [embeddings] }
matrix:
  code_generation: { simple: [middle, big], complex: [big, middle], critical: [dark, big] }
  default: { simple: [middle, twin], complex: [big, middle, twin], critical: [big] }
classifier: { thresholds: { complex: 0.4, critical: 0.8 }, min_confidence: 0.5 }
select: { policy: first, epsilon: 0.2, objective: { quality: 1.0, cost: 0.3, latency: 0.1 } }
aliases: { "gpt-4*": auto, "mid*": middle }
virtual_models:
  cheap: { select: { policy: cheapest } }
  fast: { select: { policy: fastest } }
  greedy: { select: { policy: epsilon_greedy } }
  sampled: { select: { policy: thompson } }
  adaptive: { select: { policy: contextual } }
  split: { select: { policy: weighted } }
"#;

/// The configuration that the tests plan on.
pub fn snapshot() -> Snapshot {
    config::load(FILE, "test.yaml", &|_| None, 0).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// A runtime at one moment; by default all is well and nothing is known.
#[derive(Default)]
pub struct Still {
    pub open: Vec<usize>,
    pub limited: Vec<usize>,
    pub latencies: FxHashMap<usize, Duration>,
    pub arms: FxHashMap<ModelId, ArmStats>,
    pub purse: Purse,
    pub left: Option<PicoUsd>,
    pub session: Option<Staying>,
}

pub const LEARN: LearnParams = LearnParams {
    half_life: Duration::from_hours(1),
    prior_weight: 4.0,
};

impl RuntimeView for Still {
    fn breaker_open(&self, model: usize) -> bool {
        self.open.contains(&model)
    }

    fn rate_limited(&self, model: usize) -> bool {
        self.limited.contains(&model)
    }

    fn latency(&self, model: usize, _output_tokens: u64) -> Option<Duration> {
        self.latencies.get(&model).copied()
    }

    fn arm(&self, key: &ArmKey, quality: f64) -> ArmStats {
        let known = self.arms.get(&key.model).copied();
        known.unwrap_or_else(|| ArmStats::prior(quality, &LEARN))
    }

    fn linear(&self, _model: &ModelId) -> LinearStats {
        LinearStats::prior(&LEARN)
    }

    fn purse(&self) -> Purse {
        self.purse
    }

    fn affords(&self, _model: usize, worst_case: PicoUsd) -> bool {
        self.left.is_none_or(|left| worst_case <= left)
    }

    fn session(&self) -> Option<Staying> {
        self.session.clone()
    }
}

/// Who asks what, with defaults that plan `default/complex` for a premium caller.
pub struct Case {
    pub snapshot: Snapshot,
    pub view: Still,
    pub caller: Caller,
    pub call: Call,
    pub features: Features,
    pub row: &'static str,
    pub level: &'static str,
    pub seed: u64,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            snapshot: snapshot(),
            view: Still::default(),
            caller: caller(),
            call: call("auto"),
            features: features(),
            row: "default",
            level: "complex",
            seed: 1,
        }
    }
}

impl Case {
    /// Resolves and plans.
    pub fn try_plan(&self) -> Result<Plan, ProxyError> {
        let asked = resolve(&self.snapshot, &self.caller, &self.call)?;
        let input = PlanInput {
            snapshot: &self.snapshot,
            view: &self.view,
            caller: &self.caller,
            call: &self.call,
            features: &self.features,
            asked: &asked,
            row: &self.row.into(),
            level: &self.level.into(),
            at_ms: 0,
        };
        Ok(plan(&input, &mut StdRng::seed_from_u64(self.seed)))
    }

    /// Plans what must resolve.
    pub fn plan(&self) -> Plan {
        self.try_plan().expect("resolves")
    }

    /// Index of a model.
    pub fn index(&self, model: &str) -> usize {
        self.snapshot.model_index[model]
    }
}

/// A conversation with a model, so much of it warm.
pub fn staying(model: &str, warm_tokens: u64) -> Staying {
    Staying {
        model: model.into(),
        warm_tokens,
        for_an_hour: false,
        is_maker: true,
        asked_for: false,
    }
}

/// Names of a plan's candidates in order, joined by spaces.
pub fn names(plan: &Plan) -> String {
    let names: Vec<&str> = plan
        .candidates
        .iter()
        .map(|candidate| candidate.model.as_str())
        .collect();
    names.join(" ")
}

/// `model:why` of what was left out, joined by spaces.
pub fn left_out(plan: &Plan) -> String {
    let left: Vec<String> = plan
        .excluded
        .iter()
        .map(|left| format!("{}:{}", left.model, left.by.as_str()))
        .collect();
    left.join(" ")
}

fn caller() -> Caller {
    Caller {
        key: None,
        key_sha256: None,
        team: "default".into(),
        app: "default".into(),
        tier: Tier::Premium,
        allow: AllowList::all(),
        regions: Vec::new().into(),
    }
}

/// A chat request for a model.
pub fn call(model: &str) -> Call {
    Call {
        endpoint: Endpoint::ChatCompletions,
        body: bytes::Bytes::new(),
        model: model.to_owned(),
        model_value: Span { start: 0, end: 0 },
        fields: Vec::new(),
        stream: StreamRequest::default(),
        turns: Vec::new(),
        tally: Tally::default(),
        needs: Needs::default(),
        max_output_tokens: None,
        choices: 1,
        tools: 0,
        end_user: None,
        metadata: Vec::new(),
        directives: Directives::default(),
        maker: None,
    }
}

fn features() -> Features {
    Features {
        task: "open_qa".into(),
        confidence: 0.9,
        tasks: smallvec::SmallVec::new(),
        complexity: 0.5,
        weak_fails: 0.4,
        language: "en".to_owned(),
        needs: Needs::default(),
        input_tokens: 1_000,
        input_tokens_bound: 4_000,
        output_tokens_estimate: 500,
        signals: smallvec::SmallVec::new(),
    }
}
