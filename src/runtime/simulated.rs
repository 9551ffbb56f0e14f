//! Knobs of the built-in simulated providers.

use std::time::Duration;

/// How a simulated provider behaves; the same seed gives the same answers.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulatedParams {
    /// Seed of its answers, latencies and errors.
    pub seed: u64,
    /// Median time to the first token.
    pub latency: Duration,
    /// Spread of the latency: standard deviation of its logarithm.
    pub latency_sigma: f64,
    /// Time between two streamed chunks.
    pub chunk_gap: Duration,
    /// Share of calls that fail with 503, 0..=1.
    pub error_rate: f64,
    /// Median count of output tokens.
    pub output_tokens: u32,
}
