//! `matrix`, `classifier`, `select`, `virtual_models` and `cache`

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::SecretText;

/// A row of the matrix: candidates by level, most preferred first.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct RowConfig {
    /// The levels of this row instead of simple, complex and critical; the first whose `when` holds
    /// wins, in the order of the file. End with one without conditions.
    pub levels: Option<IndexMap<String, LevelConfig>>,
    /// Candidates of one level: names under `models`, most preferred first.
    #[serde(flatten)]
    pub cells: IndexMap<String, Vec<String>>,
}

/// A level that a row defines.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LevelConfig {
    /// When it holds; empty: always.
    pub when: WhenConfig,
}

/// Conditions; all that are given must hold.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhenConfig {
    /// Any of these words or phrases occurs in the last user turn, in any case.
    pub keywords: Vec<String>,
    /// Complexity at least this, 0..=1.
    #[schemars(range(min = 0, max = 1))]
    pub min_complexity: Option<f32>,
    /// Complexity below this, 0..=1.
    #[schemars(range(min = 0, max = 1))]
    pub max_complexity: Option<f32>,
    /// Input at least this long, tokens.
    pub min_input_tokens: Option<u64>,
    /// Input at most this long, tokens.
    pub max_input_tokens: Option<u64>,
    /// Expected (or asked-for) output at least this long, tokens.
    pub min_output_tokens: Option<u64>,
    /// Expected (or asked-for) output at most this long, tokens.
    pub max_output_tokens: Option<u64>,
    /// The prompt is in any of these languages, ISO 639-1, as `es`.
    pub languages: Vec<String>,
}

/// How a complexity becomes a level, and how sure the classifier must be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClassifierConfig {
    /// Complexity from which a request is `complex` or `critical`.
    pub thresholds: ThresholdsConfig,
    /// Below this confidence in the task the `default` row is used, 0..=1.
    #[schemars(range(min = 0, max = 1))]
    pub min_confidence: f32,
    /// A file of weights from `tollgate train` instead of the built-in ones. Read again with every
    /// reload; one that is missing, cut or of another version is refused and the last good one kept.
    pub model: Option<String>,
}

/// A task of one's own, recognised by its likeness to examples.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskConfig {
    /// Prompts as people write them, each in other words; at least five, better ten or more.
    pub examples: Vec<String>,
}

impl Default for ClassifierConfig {
    fn default() -> Self {
        Self {
            model: None,
            thresholds: ThresholdsConfig::default(),
            // More likely right than wrong.
            min_confidence: 0.5,
        }
    }
}

/// Complexity → level; below `complex` a request is `simple`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ThresholdsConfig {
    /// Complexity from which a request is `complex`, 0..=1.
    #[schemars(range(min = 0, max = 1))]
    pub complex: f32,
    /// Complexity from which a request is `critical`, 0..=1; not below `complex`.
    #[schemars(range(min = 0, max = 1))]
    pub critical: f32,
}

impl Default for ThresholdsConfig {
    fn default() -> Self {
        Self {
            // Most everyday traffic stays simple.
            complex: 0.4,
            // Only what is clearly hard pays for the best model.
            critical: 0.8,
        }
    }
}

/// How a candidate is picked inside a cell. What a virtual model leaves out is taken from the file's
/// own `select`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SelectConfig {
    /// The policy. Default: first.
    pub policy: Option<PolicyConfig>,
    /// Share of requests that explore under `epsilon_greedy`, 0..=1. Default: 0.1.
    #[schemars(range(min = 0, max = 1))]
    pub epsilon: Option<f64>,
    /// What counts how much when candidates are scored.
    pub objective: Option<ObjectiveConfig>,
    /// Shares by model for `weighted`, relative to each other; a model that is not listed has 1.
    #[schemars(inner(range(min = 0)))]
    pub weights: Option<IndexMap<String, f64>>,
    /// Hours after which an observation counts half, for the policies that learn. Default: 168, a week.
    #[schemars(range(min = 0.01))]
    pub half_life_hours: Option<f64>,
    /// How many observations the prior `quality` is worth. Default: 10.
    #[schemars(range(min = 0))]
    pub prior_weight: Option<f64>,
}

/// How a candidate is picked.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PolicyConfig {
    /// In the order of the cell.
    First,
    /// By expected cost.
    Cheapest,
    /// By recent latency.
    Fastest,
    /// At random by `weights`.
    Weighted,
    /// The best so far, with a share `epsilon` of exploration.
    EpsilonGreedy,
    /// Thompson sampling: by the probability of being the best.
    Thompson,
    /// Thompson sampling over the classifier's features.
    Contextual,
}

/// Weights of quality, cost and latency.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ObjectiveConfig {
    /// Weight of quality.
    #[schemars(range(min = 0))]
    pub quality: f64,
    /// Weight of cost, against the dearest candidate of the cell.
    #[schemars(range(min = 0))]
    pub cost: f64,
    /// Weight of latency, against the slowest candidate of the cell.
    #[schemars(range(min = 0))]
    pub latency: f64,
}

impl Default for ObjectiveConfig {
    fn default() -> Self {
        // Quality first; a third of it may be traded for money, a tenth for time.
        Self {
            quality: 1.0,
            cost: 0.3,
            latency: 0.1,
        }
    }
}

/// A name that is routed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VirtualModelConfig {
    /// Its own way to pick.
    pub select: SelectConfig,
    /// Its own candidates instead of the matrix: names under `models`.
    pub models: Option<Vec<String>>,
}

/// Answers that need no model.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// The same request again, by the same team.
    pub exact: ExactCacheConfig,
    /// The same request again by its `idempotency-key`.
    pub idempotency: IdempotencyConfig,
    /// A request that means the same. Not in this release.
    pub semantic: SemanticCacheConfig,
    /// Canned answers.
    pub templates: Vec<TemplateConfig>,
    /// A secret under which the ledger names requests, so that `report --insights` counts repeats
    /// across starts and replicas: `${VARIABLE}` or `file:/path`. Without it repeats are known for as
    /// long as the process runs. Read at start.
    pub fingerprint_key: Option<SecretText>,
}

/// The exact cache.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExactCacheConfig {
    /// How long an answer holds, seconds; 0 turns the cache and single flight off.
    #[schemars(range(min = 0, max = 31_536_000))]
    pub ttl_seconds: u64,
    /// Most memory for answers, bytes.
    pub max_bytes: u64,
}

impl Default for ExactCacheConfig {
    fn default() -> Self {
        Self {
            // Long enough for retries and dashboards, short enough that nobody sees yesterday's answer.
            ttl_seconds: 3600,
            // Some 60,000 answers of 4 KiB.
            max_bytes: 256 << 20,
        }
    }
}

/// The same request again by its `idempotency-key`: whole answers only.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IdempotencyConfig {
    /// How long an answer is kept for repetitions, seconds; 0: the header has no effect.
    #[schemars(range(min = 0, max = 604_800))]
    pub ttl_seconds: u64,
    /// Most memory for such answers, bytes. Read at start.
    pub max_bytes: u64,
}

impl Default for IdempotencyConfig {
    fn default() -> Self {
        Self {
            // SDKs retry within minutes, job queues within the hour.
            ttl_seconds: 3600,
            // Some 15,000 answers of 4 KiB.
            max_bytes: 64 << 20,
        }
    }
}

/// The semantic cache.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SemanticCacheConfig {
    /// Must be false: this release has no semantic cache.
    pub enabled: bool,
    /// How alike two requests must be, 0..=1.
    #[schemars(range(min = 0, max = 1))]
    pub threshold: f64,
}

impl Default for SemanticCacheConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            // Below this, questions with opposite answers begin to look alike.
            threshold: 0.95,
        }
    }
}

/// A canned answer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TemplateConfig {
    /// What the last user turn must say as a whole, in any case; `{name}` captures a run of words.
    #[schemars(length(min = 1))]
    pub pattern: String,
    /// The answer; `{name}` is replaced by what was captured.
    #[schemars(length(min = 1))]
    pub answer: String,
}
