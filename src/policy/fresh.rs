//! A runtime in which nothing has happened yet: for `explain` away from a running proxy, and as the
//! starting point of simulations.

use std::time::Duration;

use super::{Purse, RuntimeView, Staying};
use crate::runtime::{ArmKey, ArmStats, LearnParams, LinearStats};
use crate::types::{ModelId, PicoUsd};

/// Every breaker closed, every limit and budget untouched, every arm at its prior, no latency known.
#[derive(Clone, Copy, Debug)]
pub struct Fresh {
    /// How arms weigh their prior.
    pub learn: LearnParams,
}

impl RuntimeView for Fresh {
    fn breaker_open(&self, _model: usize) -> bool {
        false
    }

    fn rate_limited(&self, _model: usize) -> bool {
        false
    }

    fn latency(&self, _model: usize, _output_tokens: u64) -> Option<Duration> {
        None
    }

    fn arm(&self, _key: &ArmKey, quality: f64) -> ArmStats {
        ArmStats::prior(quality, &self.learn)
    }

    fn linear(&self, _model: &ModelId) -> LinearStats {
        LinearStats::prior(&self.learn)
    }

    fn purse(&self) -> Purse {
        Purse::default()
    }

    fn affords(&self, _model: usize, _worst_case: PicoUsd) -> bool {
        true
    }

    fn session(&self) -> Option<Staying> {
        None
    }
}
