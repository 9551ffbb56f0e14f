//! What goes into budgets and what they say: payers and amounts, refusals, views, alerts.

use std::sync::Arc;
use std::time::Duration;

use crate::types::{AppId, BudgetId, KeyId, ModelId, PicoUsd, ProviderId, TeamId};

use super::{BudgetMatch, LeaseView, OnExhausted, Period};

/// Who pays for an attempt. `team`, `app` and `key` come from the key, never from the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payer {
    /// The team.
    pub team: TeamId,
    /// The application.
    pub app: AppId,
    /// The virtual key; `None` in `auth: open`.
    pub key: Option<KeyId>,
    /// The model that is tried.
    pub model: ModelId,
    /// The provider that is tried.
    pub provider: ProviderId,
    /// The end user, as the client names him; only budgets for end users look at it.
    pub end_user: Option<Arc<str>>,
}

/// What an attempt may cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts {
    /// What it cannot exceed: reserved in strict budgets.
    pub worst_case: PicoUsd,
    /// What it exceeds only with the probability that budgets with an `overrun` accept: reserved there.
    pub likely: PicoUsd,
}

impl Amounts {
    /// Not below zero, and the likely amount not above the worst case.
    pub(super) fn sane(self) -> Self {
        let worst_case = self.worst_case.at_least_zero();
        Self {
            worst_case,
            likely: self.likely.at_least_zero().min(worst_case),
        }
    }
}

impl From<PicoUsd> for Amounts {
    /// Nothing is known but the worst case.
    fn from(worst_case: PicoUsd) -> Self {
        Self {
            worst_case,
            likely: worst_case,
        }
    }
}

/// A budget that cannot pay. Nothing was reserved in any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exhausted {
    /// Which budget.
    pub budget: BudgetId,
    /// What it may spend in a period.
    pub limit: PicoUsd,
    /// How long a period is.
    pub period: Period,
    /// What it has spent.
    pub spent: PicoUsd,
    /// What is reserved for attempts in flight.
    pub reserved: PicoUsd,
    /// What was asked for.
    pub asked: PicoUsd,
    /// What the file says should happen.
    pub on_exhausted: OnExhausted,
    /// When to come back: soon where money in flight is in the way, else when the period turns;
    /// `None`: waiting does not help.
    pub retry_after: Option<Duration>,
    /// True when it would fit but for the money that is reserved for attempts in flight.
    pub in_flight_blocks: bool,
    /// True when the budget has it, but this replica does not hold enough: more was asked for and may
    /// come within moments.
    pub lease_short: bool,
}

impl std::fmt::Display for Exhausted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            budget,
            limit,
            spent,
            reserved,
            asked,
            ..
        } = self;
        let period = self.period.phrase();
        write!(
            f,
            "budget `{budget}` ({limit} USD {period}) cannot pay for this request: "
        )?;
        write!(
            f,
            "{spent} USD spent, {reserved} USD held for requests in flight, "
        )?;
        write!(f, "and it may cost up to {asked} USD")
    }
}

impl std::error::Error for Exhausted {}

/// What a caller can afford, for the policy.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Affordance {
    /// The least that is left in any matching budget, reservations counted; `None`: no budget.
    pub remaining: Option<PicoUsd>,
    /// The strictest consequence among the budgets whose limit is spent.
    pub exhausted: Option<OnExhausted>,
    /// The price of money, 0 while no matching budget runs ahead of its pace; the highest of them.
    pub shadow_price: f64,
    /// True when less is left per remaining day than a budget's `reserve_usd_per_day`.
    pub floor: bool,
}

/// What came of reserving less than the worst case, in this process since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LearnedReserves {
    /// Settled attempts for which less than the worst case was reserved.
    pub attempts: u64,
    /// Those of them that cost more than was reserved.
    pub overruns: u64,
    /// By how much, all together.
    pub overrun: PicoUsd,
}

/// How a budget stands, for metrics and the dashboard. Of one with a limit for each end user: how
/// the one stands who has spent most.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetView {
    /// Which budget.
    pub budget: BudgetId,
    /// Which requests it pays for.
    pub matches: BudgetMatch,
    /// What it may spend in a period.
    pub limit: PicoUsd,
    /// What it has spent.
    pub spent: PicoUsd,
    /// What is reserved for attempts in flight, in this process.
    pub reserved: PicoUsd,
    /// Its lease, where replicas share it; `spent` is then what all have, as last heard.
    pub lease: Option<LeaseView>,
    /// How long a period is.
    pub period: Period,
    /// When the period began, milliseconds since the Unix epoch; 0 for a total.
    pub period_start_ms: i64,
    /// When it ends; `None` for a total.
    pub period_end_ms: Option<i64>,
    /// The price of money.
    pub shadow_price: f64,
    /// What the period will have spent at its end at the present rate, USD; `None` for a total and
    /// at the very beginning of a period. An extrapolation, not a sum.
    pub forecast_usd: Option<f64>,
    /// The share of the limit that is spent; above 1 when overrun.
    pub share: f64,
    /// True when it is under its floor.
    pub floor: bool,
    /// What happens when it is spent.
    pub on_exhausted: OnExhausted,
    /// How many end users have a limit of their own at the moment; `None`: not by end user.
    pub end_users: Option<usize>,
    /// What came of reserving less than the worst case; `None`: the budget is strict.
    pub learned: Option<LearnedReserves>,
}

/// A threshold of `alert_at` was reached; once per budget, threshold and period (for budgets by end
/// user when the first of them reaches it).
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetAlert {
    /// Which budget.
    pub budget: BudgetId,
    /// The share of the limit.
    pub threshold: f64,
    /// What it has spent.
    pub spent: PicoUsd,
    /// What it may spend.
    pub limit: PicoUsd,
    /// Which period, by its start in milliseconds since the Unix epoch.
    pub period_start_ms: i64,
}
