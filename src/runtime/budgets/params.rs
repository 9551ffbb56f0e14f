//! What `budgets` in the file says, compiled.

use jiff::tz::TimeZone;

use crate::types::{AppId, BudgetId, KeyId, ModelId, PicoUsd, ProviderId, TeamId};

/// An entry of `budgets`; one with several `windows` is as many entries.
#[derive(Debug, Clone)]
pub struct BudgetParams {
    /// Its name.
    pub id: BudgetId,
    /// Which requests it pays for.
    pub matches: BudgetMatch,
    /// How much a period may cost.
    pub limit: PicoUsd,
    /// The risk that it takes to reserve less than the worst case; `None`: strict.
    pub overrun: Option<Overrun>,
    /// How long a period is.
    pub period: Period,
    /// Where its periods begin at midnight.
    pub timezone: TimeZone,
    /// Whether spending ahead of its pace raises the price of money.
    pub paced: bool,
    /// Under this much per remaining day, only the cheapest adequate model is used.
    pub reserve_per_day: Option<PicoUsd>,
    /// What happens when it is spent.
    pub on_exhausted: OnExhausted,
    /// Shares of the limit at which to alert, ascending.
    pub alert_at: Vec<f64>,
}

/// Which requests a budget pays for: all fields that are given must agree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
    /// The end user, whom the client names.
    pub end_user: Option<EndUserMatch>,
    /// Tags that the file gives to keys and teams.
    pub tagged: Option<Tagged>,
}

/// How a budget looks at end users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndUserMatch {
    /// `"*"`: one limit for each of them.
    Each,
    /// This one only.
    One(Box<str>),
}

/// Tags, and who has all of them: worked out from the file, so that no client can claim one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tagged {
    /// Name and value, by name.
    pub tags: Vec<(Box<str>, Box<str>)>,
    /// Teams that have them, with all their keys but `except`; sorted.
    pub teams: Vec<TeamId>,
    /// Keys of those teams that have another value; sorted.
    pub except: Vec<KeyId>,
    /// Keys of other teams that have them; sorted.
    pub keys: Vec<KeyId>,
}

impl Tagged {
    /// True when the payer has all of the tags.
    #[must_use]
    pub fn covers(&self, team: Option<&TeamId>, key: Option<&KeyId>) -> bool {
        let among = |keys: &[KeyId]| key.is_some_and(|key| keys.binary_search(key).is_ok());
        let by_team = team.is_some_and(|team| self.teams.binary_search(team).is_ok());
        among(&self.keys) || (by_team && !among(&self.except))
    }
}

/// The risk that a budget takes: see [`crate::runtime::lengths`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overrun {
    /// How far it may be overrun at the very most.
    pub at_most: PicoUsd,
    /// With which probability an attempt may cost more than was reserved for it.
    pub probability: f64,
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

    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Total => "total",
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
