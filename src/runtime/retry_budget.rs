//! The retry budget: retries are paid for by a share of the requests that went well, so that they
//! cannot multiply an outage.

use std::time::Duration;

/// When and how an attempt is repeated on the same model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryParams {
    /// Most attempts on one candidate, the first included.
    pub max_attempts: u32,
    /// Retries as a share of requests.
    pub budget_ratio: f64,
    /// Retries per second that are always allowed.
    pub min_per_second: f64,
    /// First delay; full jitter, doubling.
    pub base_delay: Duration,
    /// Longest delay.
    pub max_delay: Duration,
    /// A `retry-after` above this means: next candidate instead.
    pub max_retry_after: Duration,
}
