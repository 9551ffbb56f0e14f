//! (snapshot, runtime view, caller, features, generator) → plan: which models will be tried, in which
//! order, and why the others will not.
//!
//! Comes after the cache and before the attempts. A pure function: it reads the world only through
//! [`RuntimeView`], reserves nothing and remembers nothing, so that the same inputs and the same seed
//! give the same plan, in the proxy, in `explain` and in `simulate` alike.

pub mod explain;
mod feasible;
mod fresh;
pub mod plan;
mod rank;
pub mod resolve;
mod sampling;
mod staying;

#[cfg(test)]
mod staying_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_support;

use std::time::Duration;

use crate::config::Snapshot;
use crate::runtime::{ArmKey, ArmStats, LinearStats, OnExhausted};
use crate::types::{Call, Caller, Features, LevelName, ModelId, PicoUsd, TaskName};

pub use feasible::{Costs, costs, likely_cost, may_use};
pub use fresh::Fresh;
pub use plan::{plan, refusal};
pub use resolve::{Asked, not_found, resolve, resolve_relayed};

/// The runtime as the policy sees it, at one moment. Indices are into the snapshot's models.
pub trait RuntimeView {
    /// True when no deployment of the model would take a request (half-open ones would take a probe).
    fn breaker_open(&self, model: usize) -> bool;

    /// True when the model or its provider is at a rate or concurrency limit.
    fn rate_limited(&self, model: usize) -> bool;

    /// How long an answer of this many tokens takes there; `None` when not known of late.
    fn latency(&self, model: usize, output_tokens: u64) -> Option<Duration>;

    /// What is known of the model's reward in a cell; `quality` is its declared prior there.
    fn arm(&self, key: &ArmKey, quality: f64) -> ArmStats;

    /// What is known of how the model's reward depends on the request.
    fn linear(&self, model: &ModelId) -> LinearStats;

    /// What the budgets that pay for this caller say.
    fn purse(&self) -> Purse;

    /// Whether every budget that would pay for this model has at least this much left.
    fn affords(&self, model: usize, worst_case: PicoUsd) -> bool;

    /// What is known of the request's conversation.
    fn session(&self) -> Option<Staying>;
}

/// A conversation that has a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staying {
    /// The model that answered last.
    pub model: ModelId,
    /// What its provider has in its prompt cache still, tokens.
    pub warm_tokens: u64,
    /// It was written to be kept for an hour.
    pub for_an_hour: bool,
    /// The model made the conversation's last turns; else it only shares a prompt cache with them.
    pub is_maker: bool,
    /// The client asked for it: `x-tollgate-session`.
    pub asked_for: bool,
}

/// The state of the budgets that pay for a caller; where several match, the strictest of each.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Purse {
    /// The price of money: what is added to the objective's weight of cost. 0 while spending keeps pace.
    pub shadow_price: f64,
    /// Under `reserve_usd_per_day`: only the cheapest adequate model.
    pub under_floor: bool,
    /// A budget is spent, and this is what it says about it.
    pub exhausted: Option<OnExhausted>,
}

/// All that a plan follows from, but for the generator.
#[derive(Clone, Copy)]
pub struct PlanInput<'a> {
    /// The configuration.
    pub snapshot: &'a Snapshot,
    /// The runtime.
    pub view: &'a dyn RuntimeView,
    /// Who asks.
    pub caller: &'a Caller,
    /// What is asked.
    pub call: &'a Call,
    /// What the classifier found.
    pub features: &'a Features,
    /// The model that is asked for, resolved.
    pub asked: &'a Asked,
    /// The row of the matrix (`default` when the task has none or is uncertain).
    pub row: &'a TaskName,
    /// The level.
    pub level: &'a LevelName,
    /// When, milliseconds since the Unix epoch: prices hold from days.
    pub at_ms: i64,
}

impl std::fmt::Debug for PlanInput<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlanInput")
            .field("asked", self.asked)
            .field("row", self.row)
            .field("level", self.level)
            .finish_non_exhaustive()
    }
}
