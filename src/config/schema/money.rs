//! `budgets`

use indexmap::IndexMap;
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
    pub limit_usd: Option<Decimal>,
    /// How long a period is.
    pub period: Option<PeriodConfig>,
    /// Several limits on the same requests, instead of `limit_usd` and `period`: each is a budget of
    /// its own, called `NAME/PERIOD`, and a request must fit into all of them.
    #[serde(default)]
    pub windows: Vec<WindowConfig>,
    /// Where its periods begin at midnight, as an IANA name such as `Europe/Madrid`.
    #[serde(default = "utc")]
    pub timezone: String,
    /// Accepts a bounded risk, so that large requests do not hold far more than they will cost. Not
    /// set: strict, the budget reserves the worst case and can never be overrun.
    pub overrun: Option<OverrunConfig>,
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

/// One of several limits of a budget.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowConfig {
    /// How much a period may cost, USD.
    pub limit_usd: Decimal,
    /// How long a period is.
    pub period: PeriodConfig,
}

/// A bounded risk: an attempt reserves what its input and output have cost and how long its answers
/// were for this key, task, level and model, not the whole of `max_tokens`. Until two thousand
/// answers are known (for a probability of 0.001), the worst case counts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OverrunConfig {
    /// How far the budget may be overrun at the very most, USD: worst cases in flight beyond it wait.
    pub at_most_usd: Decimal,
    /// With which probability an attempt may cost more than was reserved for it.
    #[serde(default = "usual_probability")]
    #[schemars(range(min = 0.0001, max = 0.1))]
    pub probability: f64,
}

/// One attempt in a thousand: rare enough to be an exception, and learned within a day by most cells.
const fn usual_probability() -> f64 {
    0.001
}

/// Which requests a budget pays for. Values come from this file, never from what clients claim; but
/// for `end_user`, which only ever makes a limit narrower.
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
    /// An end user as clients name him in `user`, or `"*"`: the limit holds for each end user alone.
    /// Needs `team`, `app`, `key` or `tags` beside it.
    pub end_user: Option<String>,
    /// Tags under `tags` of keys and teams; a request's own tags count for nothing here.
    pub tags: IndexMap<String, String>,
}

/// How the spending is spread over the period.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PacingConfig {
    /// Raises the price of money while spending runs ahead of its pace, so that routing shades to
    /// cheaper models, premium callers last, and the period ends at its limit. `false`: a mere wall.
    pub enabled: bool,
    /// When less than this is left per remaining day, USD, only the cheapest adequate model is used.
    pub reserve_usd_per_day: Option<Decimal>,
}

impl Default for PacingConfig {
    fn default() -> Self {
        Self {
            // A limit that is hit before its time refuses work; most people would rather have it done.
            enabled: true,
            reserve_usd_per_day: None,
        }
    }
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
