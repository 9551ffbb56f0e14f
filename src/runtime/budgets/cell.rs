//! One budget, or one end user of a budget: what its period has spent and what is held for attempts
//! in flight.

mod lease;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::types::PicoUsd;

use super::leased::{Leased, Own};
use super::pace::{Course, MAX_PRICE, Pace};
use super::period::{Bounds, bounds};
use super::{
    Affordance, Amounts, BudgetAlert, BudgetParams, BudgetView, EndUserMatch, Exhausted,
    LearnedReserves, OnExhausted, Period,
};

/// When to come back while money in flight is in the way: answers take seconds.
const IN_FLIGHT_WAIT: Duration = Duration::from_secs(2);
const DAY_MS: i128 = 24 * 60 * 60 * 1_000;
/// Thresholds are compared as integers, in parts of the limit.
const PARTS: i128 = 1_000_000;

#[derive(Debug, Clone)]
pub(super) struct Cell {
    params: Arc<BudgetParams>,
    /// Since when its limit is what it is, for replicas to tell whose is newer.
    limit_version: i64,
    bounds: Bounds,
    /// What this process has spent: all there is, unless replicas share the budget.
    pub(super) spent: PicoUsd,
    /// The sum of what the matching reservations in flight set aside here.
    reserved: PicoUsd,
    /// The sum of their worst cases; the same in a strict budget.
    at_stake: PicoUsd,
    /// How many reservations are in flight, those of nothing included.
    holders: u32,
    /// How many of `alert_at` have been alerted about in this period.
    alerted: usize,
    pace: Pace,
    /// What was reserved below the worst case, and how that ended.
    learned: LearnedReserves,
    /// Where several replicas share it.
    leased: Option<Box<Leased>>,
}

impl Cell {
    /// A cell for these parameters that keeps what `known`, which counts the same money, has spent.
    /// Nothing is reserved in it yet.
    pub(super) fn new(params: BudgetParams, known: Option<&Self>, now_ms: i64) -> Self {
        Self::of(Arc::new(params), known, now_ms)
    }

    fn of(params: Arc<BudgetParams>, known: Option<&Self>, now_ms: i64) -> Self {
        let mut cell = Self {
            bounds: known.map_or_else(
                || bounds(params.period, &params.timezone, now_ms),
                |known| known.bounds,
            ),
            spent: known.map_or(PicoUsd::ZERO, |known| known.spent),
            reserved: PicoUsd::ZERO,
            at_stake: PicoUsd::ZERO,
            holders: 0,
            alerted: 0,
            pace: Pace::default(),
            learned: known.map_or_else(LearnedReserves::default, |known| known.learned),
            limit_version: now_ms,
            leased: known.and_then(|known| known.leased.clone()),
            params,
        };
        if let Some(leased) = &mut cell.leased {
            leased.forget_in_flight();
        }
        // What was alerted about stays so while the same thresholds hold of the same limit, and so
        // does the price; under another limit the pace is another.
        if let Some(known) = known
            && known.params.limit == cell.params.limit
        {
            cell.pace = known.pace;
            cell.limit_version = known.limit_version;
            if known.params.alert_at == cell.params.alert_at {
                cell.alerted = known.alerted;
            }
        } else {
            cell.pace = Pace::restored(&cell.course(), now_ms);
        }
        cell.roll(now_ms);
        cell
    }

    /// A new cell for an end user of this budget.
    pub(super) fn for_end_user(&self, user: &str, now_ms: i64) -> Self {
        let mut cell = Self::of(Arc::clone(&self.params), None, now_ms);
        cell.limit_version = self.limit_version;
        if let Some(leased) = &self.leased {
            cell.share_with_replicas(leased.sharing, Some(user), now_ms);
        }
        cell
    }

    /// The cell of an end user as it goes on under this budget's parameters.
    pub(super) fn shared_with(&self, known: &Self, now_ms: i64) -> Self {
        Self::of(Arc::clone(&self.params), Some(known), now_ms)
    }

    /// Sets what the period has spent before this cell began to count.
    pub(super) fn restore(&mut self, spent: PicoUsd, now_ms: i64) {
        self.spent = spent;
        if let Some(leased) = &mut self.leased {
            let everybodys = leased
                .sharing
                .one_ledger
                .then(|| std::mem::take(&mut self.spent));
            leased.has_past(everybodys);
        }
        self.pace = Pace::restored(&self.course(), now_ms);
    }

    /// Adds what this process has settled in this period before it had the cell.
    pub(super) fn add_settled(&mut self, settled: PicoUsd, now_ms: i64) {
        self.spent += settled;
        self.pace = Pace::restored(&self.course(), now_ms);
    }

    /// True when it counts the money that `params` mean: same name, match, period and time zone.
    pub(super) fn counts_for(&self, params: &BudgetParams) -> bool {
        self.params.id == params.id
            && self.params.matches == params.matches
            && self.params.period == params.period
            && self.params.timezone == params.timezone
    }

    pub(super) fn end_user(&self) -> Option<&EndUserMatch> {
        self.params.matches.end_user.as_ref()
    }

    pub(super) const fn period_start_ms(&self) -> i64 {
        self.bounds.start_ms
    }

    pub(super) const fn period_end_ms(&self) -> i64 {
        self.bounds.end_ms
    }

    /// True when nothing would be lost with it.
    pub(super) fn is_idle(&self) -> bool {
        let leased = self.leased.as_ref();
        self.holders == 0
            && self.has_spent_nothing()
            && leased.is_none_or(|leased| leased.is_idle())
    }

    pub(super) const fn has_spent_nothing(&self) -> bool {
        !self.spent.is_positive()
    }

    /// Begins a new period once the present one has ended. A clock that was set back stays in the
    /// period it was in.
    pub(super) fn roll(&mut self, now_ms: i64) {
        if now_ms < self.bounds.end_ms {
            return;
        }
        let next = bounds(self.params.period, &self.params.timezone, now_ms);
        let own = self.own();
        if let Some(leased) = &mut self.leased {
            leased.turn(own, self.holders, next.start_ms);
            (self.reserved, self.at_stake) = (PicoUsd::ZERO, PicoUsd::ZERO);
            self.holders = 0;
        }
        self.bounds = next;
        self.spent = PicoUsd::ZERO;
        self.alerted = 0;
        self.pace = Pace::restored(&self.course(), now_ms);
    }

    /// What an attempt sets aside here.
    fn share_of(&self, amounts: Amounts) -> PicoUsd {
        match self.params.overrun {
            None => amounts.worst_case,
            Some(_) => amounts.likely,
        }
    }

    /// Counts how a reservation ended that was below the worst case.
    pub(super) fn compare_with_reserve(&mut self, amounts: Amounts, actual: PicoUsd) {
        let reserved = self.share_of(amounts);
        if reserved >= amounts.worst_case {
            return;
        }
        self.learned.attempts += 1;
        let beyond = actual - reserved;
        if beyond.is_positive() {
            self.learned.overruns += 1;
            self.learned.overrun += beyond;
        }
    }

    /// What may be at stake: the limit, and the overrun that is accepted.
    fn stake(&self) -> PicoUsd {
        let overrun = self.params.overrun.map(|overrun| overrun.at_most);
        self.params.limit + overrun.unwrap_or(PicoUsd::ZERO)
    }

    /// Whether these amounts fit with this much set aside and at stake.
    fn fits(&self, amounts: Amounts, reserved: PicoUsd, at_stake: PicoUsd) -> bool {
        let spent = self.all_spent();
        spent + reserved + self.share_of(amounts) <= self.params.limit
            && spent + at_stake + amounts.worst_case <= self.stake()
    }

    /// What all replicas have spent, as far as this one knows.
    pub(super) fn all_spent(&self) -> PicoUsd {
        let leased = self.leased.as_ref();
        self.spent + leased.map_or(PicoUsd::ZERO, |leased| leased.elsewhere())
    }

    /// By this the one of a budget's end users is found who is nearest to the limit.
    pub(super) fn most_first(&self) -> (PicoUsd, PicoUsd) {
        (self.all_spent(), self.reserved)
    }

    fn own(&self) -> Own {
        Own {
            spent: self.spent,
            reserved: self.reserved,
            limit: self.params.limit,
            limit_version: self.limit_version,
            start_ms: self.bounds.start_ms,
            end_ms: self.bounds.end_ms,
        }
    }

    /// Why these amounts, which the limit allows, need more than this replica holds of it, if they
    /// do. More is asked for then.
    pub(super) fn shortage(&mut self, amounts: Amounts, now_ms: i64) -> Option<Exhausted> {
        let (own, share) = (self.own(), self.share_of(amounts));
        let (spent, at_stake) = (self.spent, self.at_stake);
        let (limit, stake) = (self.params.limit, self.stake());
        let leased = self.leased.as_mut()?;
        leased.ask(share);
        // The accepted overrun is shared in the lease's proportion, so that it stays one.
        let beyond = proportion(stake - limit, leased.ceiling(), limit);
        let short = leased.is_short(spent + own.reserved, share)
            || (stake > limit && leased.is_short(spent, at_stake + amounts.worst_case - beyond));
        if !short {
            return None;
        }
        let may_come = leased.may_come(&own, share);
        if may_come {
            leased.wait(share, now_ms);
        }
        let mut exhausted = self.exhausted(amounts, true, now_ms);
        exhausted.lease_short = may_come;
        Some(exhausted)
    }

    /// Why it cannot pay this amount too, if it cannot.
    pub(super) fn refusal(&self, amounts: Amounts, now_ms: i64) -> Option<Exhausted> {
        if self.fits(amounts, self.reserved, self.at_stake) {
            return None;
        }
        let in_flight_blocks = self.fits(amounts, PicoUsd::ZERO, PicoUsd::ZERO);
        Some(self.exhausted(amounts, in_flight_blocks, now_ms))
    }

    fn exhausted(&self, amounts: Amounts, in_flight_blocks: bool, now_ms: i64) -> Exhausted {
        let helps = self.could_ever(amounts);
        Exhausted {
            budget: self.params.id.clone(),
            limit: self.params.limit,
            period: self.params.period,
            spent: self.all_spent(),
            reserved: self.reserved,
            asked: amounts.worst_case,
            on_exhausted: self.params.on_exhausted,
            retry_after: if in_flight_blocks {
                Some(IN_FLIGHT_WAIT)
            } else {
                self.until_end(now_ms).filter(|_| helps)
            },
            in_flight_blocks,
            lease_short: false,
        }
    }

    /// True when a whole period could pay these amounts.
    pub(super) fn could_ever(&self, amounts: Amounts) -> bool {
        self.share_of(amounts) <= self.params.limit && amounts.worst_case <= self.stake()
    }

    /// Sets aside, for a reservation of this moment.
    pub(super) fn hold(&mut self, amounts: Amounts, at_ms: i64) {
        let share = self.share_of(amounts);
        if self.is_before(at_ms)
            && let Some(leased) = &mut self.leased
            && leased.hold_ended(at_ms, share)
        {
            return;
        }
        self.reserved += self.share_of(amounts);
        self.at_stake += amounts.worst_case;
        self.holders = self.holders.saturating_add(1);
    }

    /// Gives back what [`Self::hold`] has set aside.
    pub(super) fn free(&mut self, amounts: Amounts, at_ms: i64) {
        let share = self.share_of(amounts);
        if self.is_before(at_ms)
            && let Some(leased) = &mut self.leased
        {
            leased.free_ended(at_ms, share);
            return;
        }
        self.reserved -= self.share_of(amounts);
        self.at_stake -= amounts.worst_case;
        self.holders = self.holders.saturating_sub(1);
    }

    const fn is_before(&self, at_ms: i64) -> bool {
        at_ms < self.bounds.start_ms
    }

    /// Counts a settlement of what was reserved at an instant: in this period, or where replicas share
    /// the budget in the one that it was reserved in.
    pub(super) fn spend(&mut self, amount: PicoUsd, at_ms: i64, now_ms: i64) {
        if self.is_before(at_ms)
            && let Some(leased) = &mut self.leased
            && leased.spend_ended(at_ms, amount)
        {
            return;
        }
        self.pace.spend(&self.course(), amount.as_usd_f64(), now_ms);
        self.spent += amount;
    }

    /// Takes this many thresholds as alerted about.
    pub(super) fn take_as_alerted(&mut self, reached: usize) {
        self.alerted = self.alerted.max(reached);
    }

    /// How many thresholds are reached.
    pub(super) fn thresholds_reached(&self) -> usize {
        let spent = self.all_spent().pico().saturating_mul(PARTS);
        let reached =
            |threshold: &&f64| spent >= self.params.limit.pico().saturating_mul(parts(**threshold));
        self.params.alert_at.iter().take_while(reached).count()
    }

    /// Queues alerts about the first `reached` thresholds, but for those that were alerted about.
    pub(super) fn alert(
        &mut self,
        reached: usize,
        spent: PicoUsd,
        alerts: &mut VecDeque<BudgetAlert>,
    ) {
        let params = &self.params;
        let fresh = params.alert_at.iter().take(reached).skip(self.alerted);
        alerts.extend(fresh.map(|&threshold| BudgetAlert {
            budget: params.id.clone(),
            threshold,
            spent,
            limit: params.limit,
            period_start_ms: self.bounds.start_ms,
        }));
        self.take_as_alerted(reached);
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

    /// The same for an end user who has no cell yet.
    pub(super) fn bear_on_new(&self, affordance: &mut Affordance) {
        let left = self.params.limit;
        affordance.remaining = Some(affordance.remaining.map_or(left, |least| least.min(left)));
    }

    /// What is not yet spent; below zero when overrun. Money in flight is not looked at: worst cases
    /// come and go, and what follows from this should not flicker with them.
    fn left(&self) -> PicoUsd {
        self.params.limit - self.all_spent()
    }

    fn course(&self) -> Course {
        Course {
            bounds: self.bounds,
            limit_usd: self.params.limit.as_usd_f64(),
            spent_usd: self.all_spent().as_usd_f64(),
        }
    }

    /// The price of money; under the floor, which is a pace of its own, the highest.
    fn shadow_price(&self, now_ms: i64) -> f64 {
        if self.under_floor(now_ms) {
            return MAX_PRICE;
        }
        if !self.params.paced {
            return 0.0;
        }
        self.pace.price(&self.course(), now_ms)
    }

    fn share(&self) -> f64 {
        if self.params.limit.is_positive() {
            self.all_spent().as_usd_f64() / self.params.limit.as_usd_f64()
        } else {
            1.0
        }
    }

    /// True when less is left per remaining day than must be kept.
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
            spent: self.all_spent(),
            reserved: self.reserved,
            lease: self.leased.as_ref().map(|leased| leased.view()),
            period: self.params.period,
            period_start_ms: self.bounds.start_ms,
            period_end_ms: Some(self.bounds.end_ms).filter(|end| *end != i64::MAX),
            shadow_price: self.shadow_price(now_ms),
            forecast_usd: self.pace.forecast_usd(&self.course(), now_ms),
            share: self.share(),
            floor: self.under_floor(now_ms),
            on_exhausted: self.params.on_exhausted,
            end_users: None,
            learned: self.learned(),
        }
    }

    /// What came of reserving below the worst case, where the budget accepts an overrun.
    pub(super) fn learned(&self) -> Option<LearnedReserves> {
        self.params.overrun.map(|_| self.learned)
    }
}

/// `part · of / whole`, rounded down.
fn proportion(part: PicoUsd, of: PicoUsd, whole: PicoUsd) -> PicoUsd {
    let exact = part.pico().saturating_mul(of.pico());
    PicoUsd::from_pico(exact.checked_div(whole.pico()).unwrap_or(0))
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
