//! Bandit arms: what is known of each model's reward in each cell.

use std::time::Duration;

/// How arms learn and forget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LearnParams {
    /// Time after which an observation counts half.
    pub half_life: Duration,
    /// How many observations the prior from `quality` is worth.
    pub prior_weight: f64,
}
