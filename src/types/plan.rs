//! The plan: which models will be tried, in which order, and why the others will not.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::conversation::Weighing;
use super::ids::{LevelName, ModelId, TaskName};
use super::money::PicoUsd;

/// Why a model was chosen: one closed token, shown in `x-tollgate-reason`, metrics and records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The cell's own preference.
    Matrix,
    /// A policy tried a less-known model.
    Explore,
    /// Money is short: a cheaper model than the cell prefers.
    Budget,
    /// The caller's tier excluded what the cell prefers.
    Tier,
    /// The client named the model.
    Pinned,
    /// An earlier candidate failed.
    Fallback,
    /// Answered from the cache.
    Cache,
    /// Answered from a template.
    Template,
    /// The session stays on its model.
    Session,
    /// An experiment assigned it.
    Experiment,
}

impl Reason {
    /// The token.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Matrix => "matrix",
            Self::Explore => "explore",
            Self::Budget => "budget",
            Self::Tier => "tier",
            Self::Pinned => "pinned",
            Self::Fallback => "fallback",
            Self::Cache => "cache",
            Self::Template => "template",
            Self::Session => "session",
            Self::Experiment => "experiment",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What kept a model out of the plan: one closed token, with detail for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Exclusion {
    /// The key or team may not use it.
    NotAllowed,
    /// It is above the caller's tier.
    Tier,
    /// It lacks a capability.
    Capability {
        /// What it lacks.
        missing: Vec<String>,
    },
    /// The prompt and its answer do not fit.
    Context {
        /// Tokens that the request may need.
        needed: u64,
        /// Tokens that the model takes.
        limit: u64,
    },
    /// It is not served in a region that the caller's requests may go to.
    Region,
    /// Its breaker is open.
    BreakerOpen,
    /// It is at a rate or concurrency limit.
    RateLimited,
    /// Its worst case is more than a budget or `x-tollgate-max-cost-usd` has left.
    Unaffordable,
    /// A budget under its floor or exhausted allows only cheaper or local models.
    BudgetShade,
    /// Its provider is switched off (no key in the environment).
    ProviderOff,
    /// It does not serve this endpoint.
    Endpoint,
    /// What it costs at the service tier that was asked for is not known.
    Unpriced,
}

impl Exclusion {
    /// The token shown as `excluded_by`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::NotAllowed => "not_allowed",
            Self::Tier => "tier",
            Self::Capability { .. } => "capability",
            Self::Context { .. } => "context",
            Self::Region => "region",
            Self::BreakerOpen => "breaker_open",
            Self::RateLimited => "rate_limited",
            Self::Unaffordable => "unaffordable",
            Self::BudgetShade => "budget",
            Self::ProviderOff => "provider_off",
            Self::Endpoint => "endpoint",
            Self::Unpriced => "unpriced",
        }
    }
}

/// A model that may be tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Index into the snapshot's models.
    pub index: usize,
    /// The model.
    pub model: ModelId,
    /// The policy's score; higher is better.
    pub score: f64,
    /// What the request is expected to cost there.
    pub estimated_cost: PicoUsd,
    /// The most that one attempt can cost there; this much is reserved.
    pub worst_case: PicoUsd,
}

/// A model that was considered and left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Excluded {
    /// The model.
    pub model: ModelId,
    /// Its expected cost, for comparison.
    pub estimated_cost: PicoUsd,
    /// Why it was left out.
    pub by: Exclusion,
}

/// The ordered candidates of one request. The order is the fallback chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The row of the matrix that was used (`default` when the task's row was not).
    pub row: TaskName,
    /// The level that was used.
    pub level: LevelName,
    /// Models to try, best first. Empty: nothing is feasible.
    pub candidates: Vec<Candidate>,
    /// Models of the cell that were left out.
    pub excluded: Vec<Excluded>,
    /// Why the first candidate is first.
    pub reason: Reason,
    /// The probability with which the policy chose the first candidate, 0..=1.
    pub propensity: f64,
    /// How many of `candidates` are the cell's own; what follows is the ladder's.
    pub own: usize,
    /// The conversation's model weighed against the policy's choice, where one is known.
    pub weighing: Option<Weighing>,
    /// Models that could serve the request, where none of the candidates can: for the client's error.
    pub would_serve: Vec<ModelId>,
}
