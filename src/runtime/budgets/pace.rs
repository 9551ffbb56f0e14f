//! The price of money, and where the period will end: how one budget's spending keeps pace with time.
//!
//! The price λ is the dual variable of "this period costs at most the limit". With `L` what may be
//! spent, `S` what is spent, `T` the time left and `ρ = (L − S) / T` the rate that just exhausts it,
//! the *integral* follows the subgradient of the dual in continuous time,
//!
//! ```text
//! dI/dt = (spending rate / ρ − 1) / τ,   I ≥ 0
//! ```
//!
//! so it rises while spending is faster than what is left can bear, falls while it is slower, and
//! stands still exactly at the price at which the period ends at its limit. This is dual mirror
//! descent for online allocation under a budget (Balseiro, Lu & Mirrokni, "The Best of Many Worlds",
//! Operations Research 71, 2023), with the target rate re-solved from what remains.
//!
//! Spending comes in lumps and with the hours of the day, which the integral alone would take for a
//! surge. So it is bounded by the *lead*, how far spending really is ahead of its pace: with shares
//! `s` of the limit and `e` of the time, `P = (s − e) / (1 − s)`, how much faster money must last from
//! here on than the plan said. `λ = min(I, G·P)`: behind the pace money has no price, whatever the
//! moment looks like; ahead of it the price is what the present demand needs, and no more. As the money
//! runs out `P` has no bound, so λ can always rise far enough.
//!
//! All of this is floating point: it steers, it never pays.

use super::period::Bounds;

/// The price of money never rises above this: ten times the weight of its cost is as good as never.
pub(super) const MAX_PRICE: f64 = 10.0;
/// A time constant of the integral is this part of the period (two days of a month, an hour and a
/// half of a day): long enough not to follow single requests, short enough to stop a surge.
const CONSTANTS_PER_PERIOD: f64 = 16.0;
/// `G`: spending 12 % ahead of its pace can be answered with a price of one half, at which standard
/// callers have left the dearest candidates of most cells.
const LEAD_GAIN: f64 = 4.0;
/// Share of the limit that pacing leaves alone, so that the worst cases of the last hours still fit:
/// without it, a period that is paced perfectly would refuse its last requests.
const HEADROOM: f64 = 0.01;
/// The rate that a forecast goes on with is an average over this part of the period.
const RATE_MEMORY: f64 = 1.0 / 8.0;
/// Before this part of the period has passed there is too little to extrapolate.
const FORECAST_FROM: f64 = 0.01;

/// How spending keeps pace. Amounts are in USD.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    integral: f64,
    /// Spending of late, weighted by `exp(−age / memory)`.
    recent_usd: f64,
    at_ms: i64,
}

/// Where a budget stands: what the pace is measured by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Course {
    pub(super) bounds: Bounds,
    pub(super) limit_usd: f64,
    pub(super) spent_usd: f64,
}

impl Course {
    /// Length and passed part of the period in milliseconds; a total has none, and so no pace.
    #[allow(clippy::cast_precision_loss, reason = "milliseconds of a month fit")]
    fn time(&self, now_ms: i64) -> Option<(f64, f64)> {
        if self.bounds.end_ms == i64::MAX {
            return None;
        }
        let length = (self.bounds.end_ms - self.bounds.start_ms) as f64;
        let passed = (now_ms - self.bounds.start_ms) as f64;
        Some((length, passed.clamp(0.0, length)))
    }

    /// What pacing may still spend.
    fn left_usd(&self) -> f64 {
        self.limit_usd * (1.0 - HEADROOM) - self.spent_usd
    }

    /// `P`: how far spending is ahead of its pace; without bound towards exhaustion.
    fn lead(&self, now_ms: i64) -> f64 {
        let Some((length, passed)) = self.time(now_ms) else {
            return 0.0;
        };
        let left = self.left_usd();
        if left <= 0.0 {
            return f64::MAX;
        }
        let planned = self.limit_usd * (1.0 - HEADROOM) * passed / length;
        ((self.spent_usd - planned) / left).max(0.0)
    }
}

impl Pace {
    /// The pace of a period that is under way: as if its spending had been even so far, and with the
    /// price that its lead allows.
    pub(super) fn restored(course: &Course, now_ms: i64) -> Self {
        let recent_usd = course.time(now_ms).map_or(0.0, |(length, passed)| {
            let memory = length * RATE_MEMORY;
            let rate = course.spent_usd / passed.max(1.0);
            rate * memory * (1.0 - (-passed / memory).exp())
        });
        Self {
            integral: (LEAD_GAIN * course.lead(now_ms)).min(MAX_PRICE),
            recent_usd,
            at_ms: now_ms,
        }
    }

    /// Time has passed without spending.
    #[allow(clippy::cast_precision_loss, reason = "milliseconds of a month fit")]
    fn pass(&mut self, course: &Course, now_ms: i64) {
        let Some((length, passed)) = course.time(now_ms) else {
            return;
        };
        let since = (now_ms - self.at_ms).max(0) as f64;
        self.at_ms = self.at_ms.max(now_ms);
        self.recent_usd *= (-since / (length * RATE_MEMORY)).exp();
        if course.left_usd() > 0.0 {
            let constant = time_constant(length, length - passed);
            self.integral = (self.integral - since / constant).max(0.0);
        }
    }

    /// Counts a settlement; `course` is as before it.
    pub(super) fn spend(&mut self, course: &Course, usd: f64, now_ms: i64) {
        let Some((length, passed)) = course.time(now_ms) else {
            return;
        };
        self.pass(course, now_ms);
        self.recent_usd += usd;
        let left_ms = (length - passed).max(1.0);
        // What may be spent in one time constant.
        let share = course.left_usd() * time_constant(length, left_ms) / left_ms;
        let step = if share > 0.0 { usd / share } else { MAX_PRICE };
        self.integral = (self.integral + step).min(MAX_PRICE);
    }

    /// The price of money λ, 0 to [`MAX_PRICE`].
    pub(super) fn price(&self, course: &Course, now_ms: i64) -> f64 {
        let mut now = *self;
        now.pass(course, now_ms);
        now.integral
            .min(LEAD_GAIN * course.lead(now_ms))
            .clamp(0.0, MAX_PRICE)
    }

    /// What the period will have spent at its end if it goes on as of late; `None` for a total and in
    /// the first hundredth of a period.
    pub(super) fn forecast_usd(&self, course: &Course, now_ms: i64) -> Option<f64> {
        let (length, passed) = course.time(now_ms)?;
        if passed < length * FORECAST_FROM {
            return None;
        }
        let mut now = *self;
        now.pass(course, now_ms);
        let memory = length * RATE_MEMORY;
        // The average has only seen what has passed of the period.
        let seen = memory * (1.0 - (-passed / memory).exp());
        Some(course.spent_usd + now.recent_usd / seen * (length - passed))
    }
}

/// `τ`: never longer than the time left, so that the last hours are steered too.
fn time_constant(length: f64, left: f64) -> f64 {
    (length / CONSTANTS_PER_PERIOD).min(left).max(1.0)
}
