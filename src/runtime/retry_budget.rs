//! The retry budget: retries are paid for by a share of the requests, so that they cannot multiply
//! an outage; and how long to wait before one.
//!
//! Twenty percent of requests and ten retries per second for free, with credits that expire after
//! ten seconds, are Finagle's and tower's figures; the parameters come with each call.

mod retry_after;

#[cfg(test)]
mod tests;

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

pub use self::retry_after::{parse_http_date, parse_retry_after};

/// How long a deposit (and a withdrawal) counts, in slots of a second.
const SLOTS: usize = 10;
const SLOT_SECONDS: f64 = 10.0;

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

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    deposits: u32,
    withdrawals: u32,
}

#[derive(Debug)]
struct Inner {
    origin: Option<Instant>,
    /// The second that is being filled, counted from `origin`.
    second: u64,
    slots: [Slot; SLOTS],
}

/// Counts requests and retries of the last ten seconds. One for all that share an upstream's fate.
#[derive(Debug)]
pub struct RetryBudget {
    inner: Mutex<Inner>,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new()
    }
}

impl RetryBudget {
    /// A budget that has seen no request yet; the floor is there from the start.
    #[must_use]
    pub fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                origin: None,
                second: 0,
                slots: [Slot::default(); SLOTS],
            }),
        }
    }

    /// Notes a first attempt, which earns `budget_ratio` of a retry.
    pub fn deposit(&self, now: Instant, _params: &RetryParams) {
        let mut inner = self.inner.lock();
        let slot = inner.advance(now);
        slot.deposits = slot.deposits.saturating_add(1);
    }

    /// Pays for one retry; false when retries have used up their share.
    #[must_use]
    pub fn try_withdraw(&self, now: Instant, params: &RetryParams) -> bool {
        let mut inner = self.inner.lock();
        inner.advance(now);
        let (mut deposits, mut withdrawals) = (0u64, 0u64);
        for slot in &inner.slots {
            deposits += u64::from(slot.deposits);
            withdrawals += u64::from(slot.withdrawals);
        }
        #[allow(
            clippy::cast_precision_loss,
            reason = "counts of ten seconds are far below 2^52"
        )]
        let (deposits, wanted) = (deposits as f64, (withdrawals + 1) as f64);
        let floor = params.min_per_second * SLOT_SECONDS;
        // A billionth of slack, so that ten times a ratio of a tenth is a whole retry.
        let allowed = deposits * params.budget_ratio + floor + 1e-9;
        if wanted > allowed {
            return false;
        }
        let slot = inner.advance(now);
        slot.withdrawals = slot.withdrawals.saturating_add(1);
        true
    }
}

impl Inner {
    /// Empties the slots that have expired and returns the present one.
    fn advance(&mut self, now: Instant) -> &mut Slot {
        let origin = *self.origin.get_or_insert(now);
        let second = now
            .saturating_duration_since(origin)
            .as_secs()
            .max(self.second);
        let passed = (second - self.second).min(SLOTS as u64);
        for ago in 0..passed {
            self.slots[index(second - ago)] = Slot::default();
        }
        self.second = second;
        &mut self.slots[index(second)]
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "a remainder of ten fits any type"
)]
const fn index(second: u64) -> usize {
    (second % SLOTS as u64) as usize
}

/// How long to wait before the `retry_number`th retry (1 for the first): anywhere between nothing
/// and a bound that doubles ("full jitter", AWS Builders' Library), with `rng_unit` in 0..1.
#[must_use]
pub fn backoff(retry_number: u32, params: &RetryParams, rng_unit: f64) -> Duration {
    let doublings = retry_number.saturating_sub(1).min(30);
    let bound = params
        .base_delay
        .saturating_mul(1 << doublings)
        .min(params.max_delay);
    bound.mul_f64(rng_unit.clamp(0.0, 1.0))
}
