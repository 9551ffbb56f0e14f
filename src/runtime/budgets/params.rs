//! What `budgets` in the file says, compiled.

use jiff::tz::TimeZone;

use crate::types::{AppId, BudgetId, KeyId, ModelId, PicoUsd, ProviderId, TeamId};

/// An entry of `budgets`.
#[derive(Debug, Clone)]
pub struct BudgetParams {
    /// Its name.
    pub id: BudgetId,
    /// Which requests it pays for.
    pub matches: BudgetMatch,
    /// How much a period may cost.
    pub limit: PicoUsd,
    /// How long a period is.
    pub period: Period,
    /// Where its periods begin at midnight.
    pub timezone: TimeZone,
    /// Under this much per remaining day, only the cheapest adequate model is used.
    pub reserve_per_day: Option<PicoUsd>,
    /// What happens when it is spent.
    pub on_exhausted: OnExhausted,
    /// Shares of the limit at which to alert, ascending.
    pub alert_at: Vec<f64>,
}

/// Which requests a budget pays for: all fields that are given must agree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct BudgetMatch {
    /// The team.
    pub team: Option<TeamId>,
    /// The application.
    pub app: Option<AppId>,
    /// The virtual key.
    pub key: Option<KeyId>,
    /// The model.
    pub model: Option<ModelId>,
    /// The provider.
    pub provider: Option<ProviderId>,
}

/// The length of a budget's period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From Monday, midnight.
    Week,
    /// From the first of the month.
    Month,
    /// Never begins anew.
    Total,
}

impl Period {
    /// How people say it after an amount: `per day`, `in total`.
    #[must_use]
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::Day => "per day",
            Self::Week => "per week",
            Self::Month => "per month",
            Self::Total => "in total",
        }
    }
}

/// What happens when a budget is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnExhausted {
    /// 429 `budget_exceeded`.
    Block,
    /// Cheaper models while they still fit, then 429; a pinned model gets 429.
    Downgrade,
    /// Only models of tier `local` (and others that cost nothing).
    LocalOnly,
}
