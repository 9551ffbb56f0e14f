//! `budgets`

use schemars::JsonSchema;
use serde::Deserialize;

use super::Decimal;

/// How much may be spent, by whom, in which period.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetConfig {
    /// Its name in metrics and messages.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Which requests it pays for: every field that is given must agree. Empty: all.
    #[serde(default, rename = "match")]
    pub matches: MatchConfig,
    /// How much a period may cost, USD.
    pub limit_usd: Decimal,
    /// How long a period is.
    pub period: PeriodConfig,
    /// Where its periods begin at midnight, as an IANA name such as `Europe/Madrid`.
    #[serde(default = "utc")]
    pub timezone: String,
    /// How the spending is spread over the period.
    #[serde(default)]
    pub pacing: PacingConfig,
    /// What happens when it is spent.
    #[serde(default)]
    pub on_exhausted: ExhaustedConfig,
    /// Shares of the limit at which to alert, 0..=1.
    #[serde(default = "usual_alerts")]
    #[schemars(inner(range(min = 0, max = 1)))]
    pub alert_at: Vec<f64>,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// The steps at which people still have time to act.
fn usual_alerts() -> Vec<f64> {
    vec![0.8, 0.95, 1.0]
}

/// Which requests a budget pays for. Values come from this file, never from what clients claim.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MatchConfig {
    /// A name under `teams`, or `default`.
    pub team: Option<String>,
    /// An `app` of a key, or `default`.
    pub app: Option<String>,
    /// An `id` under `keys`.
    pub key: Option<String>,
    /// A name under `models`.
    pub model: Option<String>,
    /// A name under `providers`.
    pub provider: Option<String>,
}

/// How the spending is spread over the period.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PacingConfig {
    /// When less than this is left per remaining day, USD, only the cheapest adequate model is used.
    pub reserve_usd_per_day: Option<Decimal>,
}

/// The length of a budget's period.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PeriodConfig {
    /// From midnight to midnight.
    Day,
    /// From Monday, midnight.
    Week,
    /// From the first of the month, midnight.
    Month,
    /// Never begins anew.
    Total,
}

/// What happens when a budget is spent.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExhaustedConfig {
    /// 429 `budget_exceeded`.
    #[default]
    Block,
    /// Cheaper models while they still fit, then 429; a model asked for by name gets 429 at once.
    Downgrade,
    /// Only models of tier `local` and others that are free.
    LocalOnly,
}
