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
//! **Reload and restart.** A budget that is new (or now means other money: another match, period or
//! time zone) has to learn what its period has already cost, while settlements go on. The past is
//! cut at one instant, the start of this process: what was spent before it is in the ledger and no
//! longer changes; what was settled since is in this process's own tally, by payer and quarter of an
//! hour (every time zone's midnight falls on one). A settlement is on exactly one side of the cut,
//! so it is counted exactly once, however late its row reaches the ledger. The ledger is asked
//! without the lock; the tally is added under it. This holds for one process per ledger.

mod cell;
mod index;
mod params;
mod period;
mod tally;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use parking_lot::Mutex;
use rustc_hash::{FxBuildHasher, FxHashMap};

use crate::clock::Clock;
use crate::types::{AppId, BudgetId, Caller, KeyId, ModelId, PicoUsd, ProviderId, TeamId};

use self::cell::Cell;
use self::index::{CellIndices, Index, PayerRef};
use self::tally::Tally;

pub use self::params::{BudgetMatch, BudgetParams, OnExhausted, Period};

/// Alerts that wait to be taken; beyond it the oldest is dropped, so that nobody's absence grows
/// memory. Far above what one look at the queue can find, since each fires once per period.
const MAX_ALERTS: usize = 4_096;

/// Who pays for an attempt. `team`, `app` and `key` come from the key, never from the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payer {
    /// The team.
    pub team: TeamId,
    /// The application.
    pub app: AppId,
    /// The virtual key; `None` in `auth: open`.
    pub key: Option<KeyId>,
    /// The model that is tried.
    pub model: ModelId,
    /// The provider that is tried.
    pub provider: ProviderId,
}

/// A budget that cannot pay. Nothing was reserved in any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exhausted {
    /// Which budget.
    pub budget: BudgetId,
    /// What it may spend in a period.
    pub limit: PicoUsd,
    /// How long a period is.
    pub period: Period,
    /// What it has spent.
    pub spent: PicoUsd,
    /// What is reserved for attempts in flight.
    pub reserved: PicoUsd,
    /// What was asked for.
    pub asked: PicoUsd,
    /// What the file says should happen.
    pub on_exhausted: OnExhausted,
    /// When to come back: soon where money in flight is in the way, else when the period turns;
    /// `None`: waiting does not help.
    pub retry_after: Option<Duration>,
    /// True when it would fit but for the money that is reserved for attempts in flight.
    pub in_flight_blocks: bool,
}

impl std::fmt::Display for Exhausted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            budget,
            limit,
            spent,
            reserved,
            asked,
            ..
        } = self;
        let period = self.period.phrase();
        write!(
            f,
            "budget `{budget}` ({limit} USD {period}) cannot pay for this request: "
        )?;
        write!(
            f,
            "{spent} USD spent, {reserved} USD held for requests in flight, "
        )?;
        write!(f, "and it may cost up to {asked} USD")
    }
}

impl std::error::Error for Exhausted {}

/// What a caller can afford, for the policy.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Affordance {
    /// The least that is left in any matching budget, reservations counted; `None`: no budget.
    pub remaining: Option<PicoUsd>,
    /// The strictest consequence among the budgets whose limit is spent.
    pub exhausted: Option<OnExhausted>,
    /// The price of money, 0 while no matching budget runs ahead of its pace; the highest of them.
    pub shadow_price: f64,
    /// True when less is left per remaining day than a budget's `reserve_usd_per_day`.
    pub floor: bool,
}

/// How a budget stands, for metrics and the dashboard.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetView {
    /// Which budget.
    pub budget: BudgetId,
    /// Which requests it pays for.
    pub matches: BudgetMatch,
    /// What it may spend in a period.
    pub limit: PicoUsd,
    /// What it has spent.
    pub spent: PicoUsd,
    /// What is reserved for attempts in flight.
    pub reserved: PicoUsd,
    /// How long a period is.
    pub period: Period,
    /// When the period began, milliseconds since the Unix epoch; 0 for a total.
    pub period_start_ms: i64,
    /// When it ends; `None` for a total.
    pub period_end_ms: Option<i64>,
    /// The price of money.
    pub shadow_price: f64,
    /// The share of the limit that is spent; above 1 when overrun.
    pub share: f64,
    /// True when it is under its floor.
    pub floor: bool,
    /// What happens when it is spent.
    pub on_exhausted: OnExhausted,
}

/// A threshold of `alert_at` was reached; once per budget, threshold and period.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetAlert {
    /// Which budget.
    pub budget: BudgetId,
    /// The share of the limit.
    pub threshold: f64,
    /// What it has spent.
    pub spent: PicoUsd,
    /// What it may spend.
    pub limit: PicoUsd,
    /// Which period, by its start in milliseconds since the Unix epoch.
    pub period_start_ms: i64,
}

/// Asks the ledger what the attempts that a budget matches and that began in a range (milliseconds
/// since the Unix epoch) have cost. May block.
pub type SpentInLedger<'a, E> = dyn Fn(&BudgetParams, Range<i64>) -> Result<PicoUsd, E> + 'a;

/// What one combination of team, app, key, model and provider has to do with budgets.
#[derive(Debug, Default)]
struct Account {
    /// The cells that match it.
    cells: CellIndices,
    /// What it has settled in this process.
    tally: Tally,
}

#[derive(Debug, Clone, Copy)]
struct InFlight {
    account: usize,
    amount: PicoUsd,
}

#[derive(Debug, Default)]
struct State {
    cells: Vec<Cell>,
    by_name: FxHashMap<BudgetId, usize>,
    index: Index,
    /// Grows with the combinations that the configuration allows, never with clients' input.
    accounts: IndexMap<BudgetMatch, Account, FxBuildHasher>,
    in_flight: Vec<Option<InFlight>>,
    free_slots: Vec<usize>,
    alerts: VecDeque<BudgetAlert>,
    /// False until the first apply, which restores rather than adds.
    applied: bool,
}

/// All budgets of the process.
#[derive(Debug)]
pub struct Budgets {
    clock: Clock,
    /// The cut between the ledger's part of the past and ours.
    started_at_ms: i64,
    state: Mutex<State>,
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
            applying: Mutex::default(),
        }
    }

    /// Takes over the budgets of a configuration, on start and on reload: those that are known keep
    /// what they have spent, new ones learn it from the ledger, others are dropped (what is in
    /// flight there still settles, harmlessly).
    ///
    /// Blocks as long as the ledger does, so call it off the workers. A limit that is now below a threshold's share alerts, except on the first call, which
    /// restores what an earlier process has already alerted about.
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
        let mut pasts = Vec::with_capacity(params.len());
        for budget in params {
            let known = self.state.lock().same_money(budget).is_some();
            let from_ms = period::bounds(budget.period, &budget.timezone, now_ms).start_ms;
            let asked = !known && from_ms < self.started_at_ms;
            pasts.push(Past {
                from_ms,
                spent: if asked {
                    spent_in_ledger(budget, from_ms..self.started_at_ms)?
                } else {
                    PicoUsd::ZERO
                },
            });
        }
        self.state
            .lock()
            .replace(params, &pasts, self.clock.unix_ms());
        Ok(())
    }

    /// Reserves an amount in every budget that matches, or in none. Nothing to pay always fits:
    /// exhausted budgets do not stand in the way of free models.
    ///
    /// # Errors
    /// The budget that stands in the way the longest.
    pub fn reserve(
        self: &Arc<Self>,
        payer: &Payer,
        amount: PicoUsd,
    ) -> Result<Reservation, Exhausted> {
        let (amount, now_ms) = (amount.at_least_zero(), self.clock.unix_ms());
        let mut state = self.state.lock();
        let account = state.account(&PayerRef::of(payer));
        if amount.is_positive() {
            state.check(account, amount, now_ms)?;
        }
        let slot = state.hold(InFlight { account, amount });
        drop(state);
        Ok(Reservation {
            budgets: Arc::clone(self),
            slot,
            amount,
            open: true,
        })
    }

    /// What a caller can afford, by the budgets that name no model or provider.
    pub fn affordance(&self, caller: &Caller) -> Affordance {
        self.affordance_of(&PayerRef::without_model(caller))
    }

    /// What a payer can afford, by every budget that matches it, model and provider included.
    pub fn affordance_for(&self, payer: &Payer) -> Affordance {
        self.affordance_of(&PayerRef::of(payer))
    }

    fn affordance_of(&self, payer: &PayerRef<'_>) -> Affordance {
        let now_ms = self.clock.unix_ms();
        let mut state = self.state.lock();
        let account = state.account(payer);
        let mut affordance = Affordance::default();
        let State {
            cells, accounts, ..
        } = &mut *state;
        for &index in &accounts[account].cells {
            let cell = &mut cells[index];
            cell.roll(now_ms);
            cell.bear_on(&mut affordance, now_ms);
        }
        affordance
    }

    /// How every budget stands, in the file's order.
    pub fn view(&self) -> Vec<BudgetView> {
        let now_ms = self.clock.unix_ms();
        let mut state = self.state.lock();
        let viewed = state.cells.iter_mut().map(|cell| {
            cell.roll(now_ms);
            cell.view(now_ms)
        });
        viewed.collect()
    }

    /// The alerts since they were last taken, oldest first.
    pub fn take_alerts(&self) -> Vec<BudgetAlert> {
        std::mem::take(&mut self.state.lock().alerts).into()
    }
}

/// What the ledger says of a budget's period.
struct Past {
    from_ms: i64,
    spent: PicoUsd,
}

impl State {
    /// The cell that already counts the same money, if there is one.
    fn same_money(&self, params: &BudgetParams) -> Option<&Cell> {
        let cell = &self.cells[*self.by_name.get(&params.id)?];
        cell.counts_for(params).then_some(cell)
    }

    /// The account of a payer; opened when it is first seen.
    fn account(&mut self, payer: &PayerRef<'_>) -> usize {
        if let Some(index) = self.accounts.get_index_of(payer) {
            return index;
        }
        let key = payer.to_match();
        let account = Account {
            cells: self.index.cells_of(&key),
            tally: Tally::default(),
        };
        self.accounts.insert_full(key, account).0
    }

    /// Whether every cell of the account can pay.
    fn check(&mut self, account: usize, amount: PicoUsd, now_ms: i64) -> Result<(), Exhausted> {
        let mut worst: Option<Exhausted> = None;
        for &index in &self.accounts[account].cells {
            let cell = &mut self.cells[index];
            cell.roll(now_ms);
            if let Some(exhausted) = cell.refusal(amount, now_ms) {
                let wait = |e: &Exhausted| e.retry_after.unwrap_or(Duration::MAX);
                let longer = worst
                    .as_ref()
                    .is_none_or(|held| wait(&exhausted) > wait(held));
                worst = if longer { Some(exhausted) } else { worst };
            }
        }
        worst.map_or(Ok(()), Err)
    }

    fn hold(&mut self, held: InFlight) -> usize {
        for &index in &self.accounts[held.account].cells {
            self.cells[index].reserved += held.amount;
        }
        if let Some(slot) = self.free_slots.pop() {
            self.in_flight[slot] = Some(held);
            return slot;
        }
        self.in_flight.push(Some(held));
        self.in_flight.len() - 1
    }

    /// Ends a reservation; `actual` is what it cost, `None` when nothing happened.
    fn release(&mut self, slot: usize, actual: Option<PicoUsd>, now_ms: i64) {
        let Some(held) = self.in_flight.get_mut(slot).and_then(Option::take) else {
            return;
        };
        self.free_slots.push(slot);
        let account = &mut self.accounts[held.account];
        if let Some(actual) = actual {
            account.tally.add(now_ms, actual);
        }
        for &index in &account.cells {
            let cell = &mut self.cells[index];
            cell.reserved -= held.amount;
            if let Some(actual) = actual {
                cell.roll(now_ms);
                cell.spend(actual, &mut self.alerts);
            }
        }
        while self.alerts.len() > MAX_ALERTS {
            self.alerts.pop_front();
        }
    }

    /// Puts the budgets of a new configuration in the place of the present ones.
    fn replace(&mut self, params: &[BudgetParams], pasts: &[Past], now_ms: i64) {
        self.index = Index::new(params);
        for (key, account) in &mut self.accounts {
            account.cells = self.index.cells_of(key);
        }
        let mut cells = Vec::with_capacity(params.len());
        for (index, (budget, past)) in params.iter().zip(pasts).enumerate() {
            let known = self.same_money(budget);
            let mut cell = Cell::new(budget.clone(), known, now_ms);
            if known.is_none() {
                let turned = cell.period_start_ms() != past.from_ms;
                let before = if turned { PicoUsd::ZERO } else { past.spent };
                cell.spent = before + self.settled_since(index, cell.period_start_ms());
            }
            cells.push(cell);
        }
        self.cells = cells;
        let names = params.iter().map(|budget| budget.id.clone());
        self.by_name = names.zip(0..).collect();
        for held in self.in_flight.iter().flatten() {
            for &index in &self.accounts[held.account].cells {
                self.cells[index].reserved += held.amount;
            }
        }
        for cell in &mut self.cells {
            let quiet = !self.applied;
            cell.rearm(quiet, &mut self.alerts);
        }
        self.applied = true;
    }

    /// What this process has settled for a cell's accounts since an instant.
    fn settled_since(&self, cell: usize, from_ms: i64) -> PicoUsd {
        let accounts = self.accounts.values();
        accounts
            .filter(|account| account.cells.contains(&cell))
            .map(|account| account.tally.since(from_ms))
            .sum()
    }
}

/// Money that is set aside for one attempt, in every budget that matches it. Settle it with what the
/// attempt really cost; dropped unsettled, it is void and costs nothing.
#[derive(Debug)]
#[must_use = "dropping the reservation voids it"]
pub struct Reservation {
    budgets: Arc<Budgets>,
    slot: usize,
    amount: PicoUsd,
    open: bool,
}

impl Reservation {
    /// Ends the reservation with what the attempt cost, which may be more than was reserved. It
    /// counts in every budget that matches at this moment, also in those that a reload has added
    /// since.
    pub fn settle(mut self, actual: PicoUsd) {
        self.end(Some(actual.at_least_zero()));
    }

    /// How much is set aside.
    pub const fn amount(&self) -> PicoUsd {
        self.amount
    }

    fn end(&mut self, actual: Option<PicoUsd>) {
        if std::mem::take(&mut self.open) {
            let now_ms = self.budgets.clock.unix_ms();
            self.budgets.state.lock().release(self.slot, actual, now_ms);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.end(None);
    }
}
