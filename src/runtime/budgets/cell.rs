//! One budget: what its period has spent and what is held for attempts in flight.

use std::collections::VecDeque;
use std::time::Duration;

use crate::types::PicoUsd;

use super::period::{Bounds, bounds};
use super::{Affordance, BudgetAlert, BudgetParams, BudgetView, Exhausted, OnExhausted, Period};

/// When to come back while money in flight is in the way: answers take seconds.
const IN_FLIGHT_WAIT: Duration = Duration::from_secs(2);
/// The price of money never rises above this: ten times the weight of its cost is as good as never.
const MAX_SHADOW_PRICE: f64 = 10.0;
const DAY_MS: i128 = 24 * 60 * 60 * 1_000;
/// Thresholds are compared as integers, in parts of the limit.
const PARTS: i128 = 1_000_000;

#[derive(Debug)]
pub(super) struct Cell {
    params: BudgetParams,
    bounds: Bounds,
    pub(super) spent: PicoUsd,
    /// The sum of the matching reservations in flight.
    pub(super) reserved: PicoUsd,
    /// How many of `alert_at` have been alerted about in this period.
    alerted: usize,
}

impl Cell {
    /// A cell for these parameters that keeps what `known`, which counts the same money, has spent.
    /// Nothing is reserved in it yet.
    pub(super) fn new(params: BudgetParams, known: Option<&Self>, now_ms: i64) -> Self {
        let mut cell = Self {
            bounds: known.map_or_else(
                || bounds(params.period, &params.timezone, now_ms),
                |known| known.bounds,
            ),
            spent: known.map_or(PicoUsd::ZERO, |known| known.spent),
            alerted: 0,
            reserved: PicoUsd::ZERO,
            params,
        };
        // What was alerted about stays so while the same thresholds hold of the same limit.
        if let Some(known) = known
            && known.params.limit == cell.params.limit
            && known.params.alert_at == cell.params.alert_at
        {
            cell.alerted = known.alerted;
        }
        cell.roll(now_ms);
        cell
    }

    /// True when it counts the money that `params` mean: same name, match, period and time zone.
    pub(super) fn counts_for(&self, params: &BudgetParams) -> bool {
        self.params.id == params.id
            && self.params.matches == params.matches
            && self.params.period == params.period
            && self.params.timezone == params.timezone
    }

    pub(super) const fn period_start_ms(&self) -> i64 {
        self.bounds.start_ms
    }

    /// Begins a new period once the present one has ended. A clock that was set back stays in the
    /// period it was in.
    pub(super) fn roll(&mut self, now_ms: i64) {
        if now_ms < self.bounds.end_ms {
            return;
        }
        self.bounds = bounds(self.params.period, &self.params.timezone, now_ms);
        self.spent = PicoUsd::ZERO;
        self.alerted = 0;
    }

    /// Why it cannot pay this amount too, if it cannot.
    pub(super) fn refusal(&self, amount: PicoUsd, now_ms: i64) -> Option<Exhausted> {
        if self.spent + self.reserved + amount <= self.params.limit {
            return None;
        }
        let in_flight_blocks = self.spent + amount <= self.params.limit;
        let helps = amount <= self.params.limit;
        Some(Exhausted {
            budget: self.params.id.clone(),
            limit: self.params.limit,
            period: self.params.period,
            spent: self.spent,
            reserved: self.reserved,
            asked: amount,
            on_exhausted: self.params.on_exhausted,
            retry_after: if in_flight_blocks {
                Some(IN_FLIGHT_WAIT)
            } else {
                self.until_end(now_ms).filter(|_| helps)
            },
            in_flight_blocks,
        })
    }

    /// Counts a settlement and queues the alerts that it causes.
    pub(super) fn spend(&mut self, amount: PicoUsd, alerts: &mut VecDeque<BudgetAlert>) {
        self.spent += amount;
        self.alert(alerts);
    }

    /// After its limit or thresholds may have changed: alerts about those that are newly reached, or
    /// (`quiet`) takes them as alerted about.
    pub(super) fn rearm(&mut self, quiet: bool, alerts: &mut VecDeque<BudgetAlert>) {
        if quiet {
            while self.next_threshold().is_some() {
                self.alerted += 1;
            }
        } else {
            self.alert(alerts);
        }
    }

    fn alert(&mut self, alerts: &mut VecDeque<BudgetAlert>) {
        while let Some(threshold) = self.next_threshold() {
            self.alerted += 1;
            alerts.push_back(BudgetAlert {
                budget: self.params.id.clone(),
                threshold,
                spent: self.spent,
                limit: self.params.limit,
                period_start_ms: self.bounds.start_ms,
            });
        }
    }

    /// The next threshold, when it has been reached.
    fn next_threshold(&self) -> Option<f64> {
        let threshold = *self.params.alert_at.get(self.alerted)?;
        let spent = self.spent.pico().saturating_mul(PARTS);
        let reached = self.params.limit.pico().saturating_mul(parts(threshold));
        (spent >= reached).then_some(threshold)
    }

    /// Adds what this budget says to what a payer can afford.
    pub(super) fn bear_on(&self, affordance: &mut Affordance, now_ms: i64) {
        let left = (self.left() - self.reserved).at_least_zero();
        affordance.remaining = Some(affordance.remaining.map_or(left, |least| least.min(left)));
        if !self.left().is_positive() {
            let strictest = affordance.exhausted.into_iter();
            affordance.exhausted = strictest
                .chain([self.params.on_exhausted])
                .max_by_key(|consequence| strictness(*consequence));
        }
        affordance.shadow_price = affordance.shadow_price.max(self.shadow_price(now_ms));
        affordance.floor |= self.under_floor(now_ms);
    }

    /// What is not yet spent; below zero when overrun. Money in flight is not looked at: worst cases
    /// come and go, and what follows from this should not flicker with them.
    fn left(&self) -> PicoUsd {
        self.params.limit - self.spent
    }

    /// The price of money λ ≥ 0: with `s` of the limit spent and `e` of the period elapsed,
    /// `(s − e) / (1 − s)`. It is how much faster money must last from here on than the plan said:
    /// `(1 − e) / (1 − s) − 1`. So it is 0 on pace or behind it, rises smoothly ahead of it, has no
    /// bound towards exhaustion (cut at a maximum), and falls again as time catches up.
    fn shadow_price(&self, now_ms: i64) -> f64 {
        let Some(elapsed) = self.elapsed_share(now_ms) else {
            return 0.0;
        };
        let spent = self.share();
        if spent >= 1.0 {
            return MAX_SHADOW_PRICE;
        }
        ((spent - elapsed) / (1.0 - spent)).clamp(0.0, MAX_SHADOW_PRICE)
    }

    /// Share of the period that has passed; a total has none, and so no pace.
    #[allow(clippy::cast_precision_loss, reason = "milliseconds of a month fit")]
    fn elapsed_share(&self, now_ms: i64) -> Option<f64> {
        if self.params.period == Period::Total || self.bounds.end_ms == i64::MAX {
            return None;
        }
        let length = (self.bounds.end_ms - self.bounds.start_ms) as f64;
        let passed = (now_ms - self.bounds.start_ms) as f64;
        Some((passed / length).clamp(0.0, 1.0))
    }

    fn share(&self) -> f64 {
        if self.params.limit.is_positive() {
            self.spent.as_usd_f64() / self.params.limit.as_usd_f64()
        } else {
            1.0
        }
    }

    /// True when less is left per remaining day than must be kept; a total is under its floor when
    /// less than one day's reserve is left.
    fn under_floor(&self, now_ms: i64) -> bool {
        let Some(per_day) = self.params.reserve_per_day else {
            return false;
        };
        let ms_left = match self.params.period {
            Period::Total => DAY_MS,
            _ => i128::from(self.bounds.end_ms.saturating_sub(now_ms)),
        };
        let left = self.left().pico().saturating_mul(DAY_MS);
        left < per_day.pico().saturating_mul(ms_left)
    }

    fn until_end(&self, now_ms: i64) -> Option<Duration> {
        if self.bounds.end_ms == i64::MAX {
            return None;
        }
        let ms = self.bounds.end_ms.saturating_sub(now_ms);
        Some(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
    }

    pub(super) fn view(&self, now_ms: i64) -> BudgetView {
        BudgetView {
            budget: self.params.id.clone(),
            matches: self.params.matches.clone(),
            limit: self.params.limit,
            spent: self.spent,
            reserved: self.reserved,
            period: self.params.period,
            period_start_ms: self.bounds.start_ms,
            period_end_ms: Some(self.bounds.end_ms).filter(|end| *end != i64::MAX),
            shadow_price: self.shadow_price(now_ms),
            share: self.share(),
            floor: self.under_floor(now_ms),
            on_exhausted: self.params.on_exhausted,
        }
    }
}

/// A threshold as parts of the limit.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a share times a million is small"
)]
fn parts(threshold: f64) -> i128 {
    (threshold * PARTS as f64).round() as i128
}

const fn strictness(consequence: OnExhausted) -> u8 {
    match consequence {
        OnExhausted::Downgrade => 0,
        OnExhausted::LocalOnly => 1,
        OnExhausted::Block => 2,
    }
}
