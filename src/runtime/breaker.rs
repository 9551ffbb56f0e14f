//! The circuit breaker of one deployment: closed = traffic flows, open = tripped, half-open =
//! probing with exactly one request.

use std::time::Duration;

/// When a breaker trips and how it recovers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerParams {
    /// Length of the sliding window, kept as ten buckets with exact counts.
    pub window: Duration,
    /// Share of failures in the window that trips it (429 counts here).
    pub failure_rate: f64,
    /// Calls in the window before the rate means anything.
    pub min_requests: u32,
    /// Failures in a row that trip it (429 does not count here).
    pub consecutive_failures: u32,
    /// A call slower than this is slow.
    pub slow_call: Duration,
    /// Share of slow calls in the window that trips it.
    pub slow_rate: f64,
    /// First time open; doubles with each failed probe.
    pub open: Duration,
    /// Longest time open.
    pub open_max: Duration,
    /// Share of the open time that is added at random, 0..=1.
    pub jitter: f64,
}
