//! Tokens per minute of one scope: a bucket that drains continuously, in exact integers.
//!
//! What is reserved or used is *debt*; the rate works it off. The unit is a token times the
//! nanoseconds in a minute, in which a rate of `r` tokens per minute works off `r` units per
//! nanosecond, without rounding.

use std::time::Duration;

use tokio::time::Instant;

use super::standing::Standing;

/// Units in a token.
const UNITS: u128 = 60_000_000_000;

/// A rate with its burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TokenRate {
    pub(super) per_minute: u64,
    pub(super) burst: u64,
}

/// What stands in the way of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    For(Duration),
    Forever,
}

impl Wait {
    pub(super) const fn time(self) -> Option<Duration> {
        match self {
            Self::For(time) => Some(time),
            Self::Forever => None,
        }
    }
}

/// The debt of one scope.
#[derive(Debug, Default)]
pub(super) struct TokenBucket {
    debt: u128,
    /// Up to when the debt has been worked off, and at which rate it is since.
    drained: Option<(Instant, u64)>,
}

impl TokenBucket {
    /// What stands in the way of reserving so many tokens; `None`: nothing does. Takes nothing.
    pub(super) fn wait_for(&mut self, tokens: u64, rate: TokenRate, now: Instant) -> Option<Wait> {
        if rate.per_minute == 0 || tokens > rate.per_minute.max(rate.burst) {
            return Some(Wait::Forever);
        }
        self.drain(now, Some(rate.per_minute));
        // Above the burst: it passes when nothing else is owed.
        let most = units(rate.burst.max(tokens));
        let excess = self.debt.saturating_add(units(tokens)).checked_sub(most)?;
        (excess > 0).then(|| Wait::For(worked_off_in(excess, rate.per_minute)))
    }

    /// Takes tokens that [`TokenBucket::wait_for`] has just let pass (under the same lock).
    pub(super) fn take(&mut self, tokens: u64) {
        self.debt = self.debt.saturating_add(units(tokens));
    }

    /// Replaces a reservation by what was used.
    pub(super) fn settle(&mut self, reserved: u64, actual: u64, now: Instant) {
        self.drain(now, None);
        match actual.checked_sub(reserved) {
            Some(more) => self.take(more),
            None => self.give_back(reserved - actual),
        }
    }

    /// Gives reserved tokens back. A bucket is never more than full.
    pub(super) fn give_back(&mut self, tokens: u64) {
        self.debt = self.debt.saturating_sub(units(tokens));
    }

    pub(super) fn standing(&mut self, rate: TokenRate, now: Instant) -> Standing {
        self.drain(now, Some(rate.per_minute));
        let free = units(rate.burst).saturating_sub(self.debt) / UNITS;
        Standing {
            limit: rate.burst,
            remaining: u64::try_from(free).unwrap_or(u64::MAX),
            reset: worked_off_in(self.debt, rate.per_minute),
        }
    }

    /// Works the debt off up to `now` at the rate that held until now, then switches to `rate`.
    fn drain(&mut self, now: Instant, rate: Option<u64>) {
        let (mut at, mut per_minute) = self.drained.unwrap_or((now, rate.unwrap_or(0)));
        if now > at {
            let passed = now.duration_since(at).as_nanos();
            let worked_off = passed.saturating_mul(u128::from(per_minute));
            self.debt = self.debt.saturating_sub(worked_off);
            at = now;
        }
        per_minute = rate.unwrap_or(per_minute);
        self.drained = Some((at, per_minute));
    }
}

const fn units(tokens: u64) -> u128 {
    tokens as u128 * UNITS
}

fn worked_off_in(debt: u128, per_minute: u64) -> Duration {
    let nanos = debt.div_ceil(u128::from(per_minute.max(1)));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
