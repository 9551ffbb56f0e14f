//! Budgets: integer cells that reserve the worst case before an attempt and settle what it really
//! cost afterwards, in every budget that matches, all or nothing.
//!
//! One lock guards all cells, so that a reservation is one atomic step over all of its budgets; it
//! is held for a look-up and a few additions. At every moment, for every cell,
//! `spent + reserved ≤ limit`, unless a settlement was dearer than its own reserve (it is counted in
//! full all the same) or a reload lowered the limit. `reserved` is exactly the sum of the
//! reservations in flight that match.
//!
//! **Periods.** A settlement counts in the period in which it happens, also when its reservation was
//! taken in the one before; what is in flight when a period turns stays reserved in the new one.
//!
//! **End users.** A budget may be one limit for each end user. Clients name them, so their number is
//! bounded; `users` says what happens at the bound.
//!
//! **Overruns.** A budget may accept a bounded risk: it reserves what an attempt exceeds with a stated
//! probability only, and never more than a stated sum is at stake beyond its limit
//! ([`Overrun`], [`crate::runtime::lengths`]). Without it a budget is strict.
//!
//! **Reload and restart.** A budget that is new (or now means other money: another match, period or
//! time zone) has to learn what its period has already cost, while settlements go on. The past is
//! cut at one instant, the start of this process: what was spent before it is in the ledger and no
//! longer changes; what was settled since is in this process's own tally, by payer and quarter of an
//! hour (every time zone's midnight falls on one). A settlement is on exactly one side of the cut,
//! so it is counted exactly once, however late its row reaches the ledger. The ledger is asked
//! without the lock; the tally is added under it. This holds for one process per ledger.
//! The tally does not know end users; a budget for end users that a reload adds takes all of its past
//! from the ledger, and misses what is settled in the moment of the reload itself.

mod cell;
mod index;
mod leased;
mod pace;
mod params;
mod period;
mod reservation;
mod state;
mod tally;
mod user_tally;
mod users;
mod views;

#[cfg(test)]
mod shared_tests;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::runtime::leases::Bell;
use crate::types::{Caller, LeaseCall, LeaseReply, PicoUsd};

use self::index::PayerRef;
use self::state::{Past, State};

pub use self::leased::{LeaseView, Sharing};
pub use self::params::{
    BudgetMatch, BudgetParams, EndUserMatch, OnExhausted, Overrun, Period, Tagged,
};
pub use self::reservation::Reservation;
pub use self::views::{
    Affordance, Amounts, BudgetAlert, BudgetView, Exhausted, LearnedReserves, Payer,
};

/// What the ledger knows of a budget's period.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LedgerSpending {
    /// What the budget itself has paid: of one with a limit for each end user, for those who named
    /// nobody.
    pub total: PicoUsd,
    /// What end users have spent, where each has a limit of his own.
    pub by_end_user: Vec<(Arc<str>, PicoUsd)>,
}

impl From<PicoUsd> for LedgerSpending {
    fn from(total: PicoUsd) -> Self {
        Self {
            total,
            by_end_user: Vec::new(),
        }
    }
}

/// Asks the ledger what the attempts that a budget matches and that began in a range (milliseconds
/// since the Unix epoch) have cost. May block.
pub type SpentInLedger<'a, E> = dyn Fn(&BudgetParams, Range<i64>) -> Result<LedgerSpending, E> + 'a;

/// All budgets of the process.
#[derive(Debug)]
pub struct Budgets {
    clock: Clock,
    /// The cut between the ledger's part of the past and ours.
    started_at_ms: i64,
    state: Mutex<State>,
    /// Where those who wait for a lease are heard.
    bell: Bell,
    /// One reload at a time; held while the ledger is asked, which `state` never is.
    applying: Mutex<()>,
}

impl Budgets {
    /// No budgets yet. To be made before anything is served: this moment is the cut between what
    /// the ledger knows and what this process counts.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            started_at_ms: clock.unix_ms(),
            clock,
            state: Mutex::default(),
            bell: Bell::default(),
            applying: Mutex::default(),
        }
    }

    /// Shares all budgets with other replicas: from now on this one spends only what it holds a lease
    /// on. To be called before the first [`Self::apply`].
    #[must_use]
    pub fn shared(mut self, sharing: Sharing, bell: Bell) -> Self {
        self.state.get_mut().share(sharing);
        self.bell = bell;
        self
    }

    /// What to tell the shared store: what is due, or (`all`) everything.
    pub fn lease_calls(&self, all: bool) -> Vec<LeaseCall> {
        let now_ms = self.clock.unix_ms();
        self.state.lock().lease_calls(all, now_ms)
    }

    /// Takes the store's answers to [`Self::lease_calls`] (or some of them), each with its pot.
    pub fn lease_answered(&self, answers: &[(Arc<str>, LeaseReply)]) {
        let now_ms = self.clock.unix_ms();
        self.state.lock().lease_answered(answers, now_ms);
        self.bell.announce();
    }

    /// The shared store did not answer.
    pub fn store_away(&self) {
        self.state.lock().store_away();
        self.bell.announce();
    }

    /// What to tell the store last: what is not used goes back.
    pub fn leave_leases(&self) -> Vec<LeaseCall> {
        let now_ms = self.clock.unix_ms();
        self.state.lock().leave_leases(now_ms)
    }

    /// Where those who wait for a lease are heard.
    pub const fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Takes over the budgets of a configuration, on start and on reload: those that are known keep
    /// what they have spent, new ones learn it from the ledger, others are dropped (what is in
    /// flight there still settles, harmlessly).
    ///
    /// Blocks as long as the ledger does, so call it off the workers. A limit that is now below a
    /// threshold's share alerts, except on the first call, which restores what an earlier process has
    /// already alerted about.
    ///
    /// # Errors
    /// The ledger's own. Nothing has changed then.
    pub fn apply<E>(
        &self,
        params: &[BudgetParams],
        spent_in_ledger: &SpentInLedger<'_, E>,
    ) -> Result<(), E> {
        let _applying = self.applying.lock();
        let now_ms = self.clock.unix_ms();
        let users_since_ms = {
            let tally = &mut self.state.lock().user_tally;
            tally.is_pinned = true;
            tally.complete_since_ms(self.started_at_ms)
        };
        let pasts = self.pasts(params, users_since_ms, now_ms, spent_in_ledger);
        let mut state = self.state.lock();
        state.user_tally.is_pinned = false;
        state.replace(params, pasts?, self.clock.unix_ms());
        Ok(())
    }

    /// What the ledger knows of budgets that are new: of the time before this process knows it better.
    fn pasts<E>(
        &self,
        params: &[BudgetParams],
        users_since_ms: i64,
        now_ms: i64,
        spent_in_ledger: &SpentInLedger<'_, E>,
    ) -> Result<Vec<Past>, E> {
        let mut pasts = Vec::with_capacity(params.len());
        for budget in params {
            let known = self.state.lock().knows(budget);
            let from_ms = period::bounds(budget.period, &budget.timezone, now_ms).start_ms;
            let to_ms = match budget.matches.end_user {
                None => self.started_at_ms,
                Some(_) => users_since_ms,
            };
            let spending = if !known && from_ms < to_ms {
                spent_in_ledger(budget, from_ms..to_ms)?
            } else {
                LedgerSpending::default()
            };
            pasts.push(Past { from_ms, spending });
        }
        Ok(pasts)
    }

    /// Reserves amounts in every budget that matches, or in none: the worst case in strict budgets,
    /// the likely amount in those that accept an overrun. Nothing to pay always fits: exhausted
    /// budgets do not stand in the way of free models.
    ///
    /// # Errors
    /// The budget that stands in the way the longest.
    pub fn reserve(
        self: &Arc<Self>,
        payer: &Payer,
        amounts: impl Into<Amounts>,
    ) -> Result<Reservation, Exhausted> {
        let (amounts, now_ms) = (amounts.into().sane(), self.clock.unix_ms());
        let mut state = self.state.lock();
        let account = state.account(&PayerRef::of(payer));
        let slot = state.reserve(account, amounts, payer.end_user.as_ref(), now_ms)?;
        drop(state);
        Ok(Reservation::new(Arc::clone(self), slot, amounts))
    }

    fn release(&self, slot: usize, actual: Option<PicoUsd>) {
        let now_ms = self.clock.unix_ms();
        self.state.lock().release(slot, actual, now_ms);
    }

    /// What a caller can afford for an end user, by the budgets that name no model or provider.
    pub fn affordance(&self, caller: &Caller, end_user: Option<&str>) -> Affordance {
        self.affordance_of(&PayerRef::without_model(caller), end_user)
    }

    /// What a payer can afford, by every budget that matches it, model and provider included.
    pub fn affordance_for(&self, payer: &Payer) -> Affordance {
        self.affordance_of(&PayerRef::of(payer), payer.end_user.as_deref())
    }

    fn affordance_of(&self, payer: &PayerRef<'_>, end_user: Option<&str>) -> Affordance {
        let now_ms = self.clock.unix_ms();
        let mut state = self.state.lock();
        let account = state.account(payer);
        state.affordance(account, end_user, now_ms)
    }

    /// True when [`Self::reserve`] would succeed now. Takes nothing.
    pub fn affords(&self, payer: &Payer, amounts: impl Into<Amounts>) -> bool {
        let (amounts, now_ms) = (amounts.into().sane(), self.clock.unix_ms());
        if !amounts.worst_case.is_positive() {
            return true;
        }
        let mut state = self.state.lock();
        let account = state.account(&PayerRef::of(payer));
        state.affords(account, amounts, payer.end_user.as_deref(), now_ms)
    }

    /// How every budget stands, in the file's order.
    pub fn view(&self) -> Vec<BudgetView> {
        let now_ms = self.clock.unix_ms();
        self.state.lock().view(now_ms)
    }

    /// The alerts since they were last taken, oldest first.
    pub fn take_alerts(&self) -> Vec<BudgetAlert> {
        std::mem::take(&mut self.state.lock().alerts).into()
    }

    /// Puts alerts among those that will be taken next.
    pub fn alert_again(&self, alerts: Vec<BudgetAlert>) {
        self.state.lock().alerts.extend(alerts);
    }
}
