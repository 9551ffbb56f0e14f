//! `routes.yaml` as types: every key with its meaning and unit. These comments are the JSON Schema's
//! descriptions and the reference in `docs/configuration.md`, so they speak to whoever edits the file.
//!
//! Only the shape is here. What the values mean together is judged in `config::compile`.

mod alerts;
mod currency;
mod limits;
mod models;
mod money;
mod pass_through;
mod providers;
mod resilience;
mod routing;
mod scalar;
mod server;
mod signing;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

pub use alerts::{AlertsConfig, WebhookConfig};
pub use currency::{CurrencyConfig, RateConfig};
pub use limits::{KeyConfig, LimitsConfig, TeamConfig};
pub use models::{
    Classes, DeploymentConfig, LongContextClasses, ModelConfig, PriceClasses, PriceConfig,
    QualityConfig, ServiceTiersConfig, Support, TierClasses,
};
pub use money::{
    BudgetConfig, ExhaustedConfig, MatchConfig, OverrunConfig, PacingConfig, PeriodConfig,
    WindowConfig,
};
pub use pass_through::PassThroughConfig;
pub use providers::{
    BillingConfig, DialectConfig, OnDisconnectConfig, OnErrorConfig, PlatformConfig,
    ProviderConfig, QuirkConfig, SimulatedConfig,
};
pub use resilience::{
    AnswerRuleConfig, BreakerConfig, ErrorRuleConfig, ErrorRulesConfig, FallbackConfig,
    ResilienceConfig, RetryConfig, TimeoutsConfig,
};
pub use routing::{
    CacheConfig, ClassifierConfig, ExactCacheConfig, IdempotencyConfig, LevelConfig,
    ObjectiveConfig, PolicyConfig, RowConfig, SelectConfig, SemanticCacheConfig, TaskConfig,
    TemplateConfig, ThresholdsConfig, VirtualModelConfig, WhenConfig,
};
pub use scalar::{Decimal, SecretText};
pub use server::{
    AuthConfig, AuthMode, BudgetsOnStoreDown, LimitsOnStoreDown, OnStoreDownConfig, ServerConfig,
    StateConfig, TlsConfig,
};
pub use signing::{EntraConfig, GoogleServiceAccountConfig, ProviderAuthConfig, SigV4Config};

/// What tollgate does with each request: which providers and models there are, what they cost, which
/// of them answers which task, and within what limits.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "tollgate routes.yaml")]
pub struct FileConfig {
    /// Version of the file's format. This release reads version 1.
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// Listeners, caps, TLS and drain. Read at start; a change needs a restart.
    #[serde(default)]
    pub server: ServerConfig,
    /// Where the ledger and with it the budgets are kept. Read at start.
    #[serde(default)]
    pub state: StateConfig,
    /// Who may call.
    #[serde(default)]
    pub auth: AuthConfig,
    /// API accounts by name: dialect, address, credentials.
    #[serde(default)]
    pub providers: IndexMap<String, ProviderConfig>,
    /// Models by name, as clients and this file call them.
    #[serde(default)]
    pub models: IndexMap<String, ModelConfig>,
    /// The model that everything would have been sent to without tollgate; savings are measured
    /// against it. A name under `models`.
    pub baseline: Option<String>,
    /// Task × level → candidates, most preferred first. The row `default` is for every task without a
    /// row of its own and for what the classifier is not sure of.
    pub matrix: IndexMap<String, RowConfig>,
    /// How a complexity becomes a level, and how sure the classifier must be.
    #[serde(default)]
    pub classifier: ClassifierConfig,
    /// Tasks beside the built-in ones, by name: each can have a row in `matrix`. Recognised by likeness
    /// to its examples, without training; `tollgate check` says how well.
    #[serde(default)]
    pub tasks: IndexMap<String, TaskConfig>,
    /// How a candidate is picked inside a cell.
    #[serde(default)]
    pub select: SelectConfig,
    /// Names that clients use → a virtual model or a model. `*` stands for any run of characters; the
    /// first match wins, in the order of the file.
    #[serde(default)]
    pub aliases: IndexMap<String, String>,
    /// Names that are routed rather than served. `auto` is always there.
    #[serde(default)]
    pub virtual_models: IndexMap<String, VirtualModelConfig>,
    /// How much may be spent, by whom, in which period. A request must fit into every budget that
    /// matches it.
    #[serde(default)]
    pub budgets: Vec<BudgetConfig>,
    /// A currency in which reports and the dashboard can also show amounts.
    pub currency: Option<CurrencyConfig>,
    /// Teams by name. The team `default` is always there and may use everything.
    #[serde(default)]
    pub teams: IndexMap<String, TeamConfig>,
    /// Virtual keys that clients present; made by `tollgate keys new`. Only hashes are kept here.
    #[serde(default)]
    pub keys: Vec<KeyConfig>,
    /// Limits over all requests together.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// Answers that need no model.
    #[serde(default)]
    pub cache: CacheConfig,
    /// Breakers, retries, time-outs and what follows when a plan is spent.
    #[serde(default)]
    pub resilience: ResilienceConfig,
    /// Images, audio, moderations, files and batches.
    #[serde(default)]
    pub pass_through: PassThroughConfig,
    /// Who is told when a budget reaches a threshold, a breaker opens, a reload fails and the like.
    #[serde(default)]
    pub alerts: AlertsConfig,
}
