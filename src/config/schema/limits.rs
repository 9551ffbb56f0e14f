//! `limits`, `teams` and `keys`

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::types::Tier;

/// Limits of one scope; what is not set is unlimited.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Requests per minute.
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub requests_per_minute: Option<u32>,
    /// Requests that may come at once; a tenth of `requests_per_minute`, at least 1, when not set.
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub burst: Option<u32>,
    /// Tokens per minute, input and output together; reserved by estimate, settled by usage.
    #[schemars(range(min = 1))]
    pub tokens_per_minute: Option<u64>,
    /// Tokens that may be reserved at once; all of `tokens_per_minute` when not set.
    #[schemars(range(min = 1))]
    pub burst_tokens: Option<u64>,
    /// Requests in flight; a stream counts until its end.
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub concurrent: Option<u32>,
}

/// A team: who pays, and what its members may use.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TeamConfig {
    /// The best tier that it may use.
    pub tier: Tier,
    /// The models that it may use: names under `models`, `*` for any run of characters.
    pub allow: Vec<String>,
    /// Where its requests may be served; empty: anywhere.
    pub regions: Vec<String>,
    /// Limits of the team, over all its keys.
    pub limits: LimitsConfig,
    /// Tags that budgets can match, such as `cost_center: "4711"`; its keys inherit them.
    pub tags: IndexMap<String, String>,
}

impl Default for TeamConfig {
    fn default() -> Self {
        Self {
            tier: Tier::Premium,
            allow: vec!["*".to_owned()],
            regions: Vec::new(),
            limits: LimitsConfig::default(),
            tags: IndexMap::new(),
        }
    }
}

/// A virtual key. `tollgate keys new` prints a fresh one with its entry.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// Its name in records, metrics and budgets; never the key.
    #[schemars(length(min = 1))]
    pub id: String,
    /// SHA-256 of the whole key, 64 hexadecimal digits.
    pub sha256: String,
    /// Who pays: a name under `teams`; `default` when not set.
    pub team: Option<String>,
    /// Which application uses it, for attribution; `default` when not set.
    pub app: Option<String>,
    /// The best tier that it may use, at most its team's.
    pub tier: Option<Tier>,
    /// The models that it may use, out of its team's: names, `*` for any run of characters.
    pub allow: Option<Vec<String>>,
    /// Limits of the key.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// Tags that budgets can match, beside and before its team's.
    #[serde(default)]
    pub tags: IndexMap<String, String>,
}
