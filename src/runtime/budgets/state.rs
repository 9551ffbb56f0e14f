//! What the lock guards: the cells, who matches which, and what is in flight.

mod takeover;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};
use smallvec::SmallVec;

use crate::types::{BudgetId, LeaseCall, LeaseReply, PicoUsd};

use super::cell::Cell;
use super::index::{AccountKey, CellIndices, Index, PayerRef};
use super::leased::Sharing;
use super::tally::Tally;
use super::user_tally::UserTally;
use super::users::Family;
use super::{
    Affordance, Amounts, BudgetAlert, BudgetParams, BudgetView, EndUserMatch, Exhausted,
    LedgerSpending,
};

/// Alerts that wait to be taken; beyond it the oldest is dropped, so that nobody's absence grows
/// memory. Far above what one look at the queue can find, since each fires once per period.
const MAX_ALERTS: usize = 4_096;

/// What one combination of team, app, key, model and provider has to do with budgets.
#[derive(Debug, Default)]
struct Account {
    /// The cells that match it, whoever the end user is.
    cells: CellIndices,
    /// The budgets that match it for some end user.
    by_end_user: CellIndices,
    /// What it has settled in this process.
    tally: Tally,
}

/// One reservation.
#[derive(Debug)]
struct InFlight {
    account: usize,
    amounts: Amounts,
    end_user: Option<Arc<str>>,
    /// When it was reserved.
    at_ms: i64,
    /// Budget and cell, where the end user decides which cell it is.
    user_cells: SmallVec<[(usize, usize); 1]>,
}

/// What the ledger says of a budget's period.
pub(super) struct Past {
    pub(super) from_ms: i64,
    pub(super) spending: LedgerSpending,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// The file's budgets in its order, then those of end users (and gaps, in `free_cells`).
    cells: Vec<Cell>,
    /// For each of the file's budgets, those of its end users, where it has any.
    families: Vec<Option<Family>>,
    free_cells: Vec<usize>,
    by_name: FxHashMap<BudgetId, usize>,
    index: Index,
    /// Grows with the combinations that the configuration allows, never with clients' input.
    accounts: IndexMap<AccountKey, Account, FxBuildHasher>,
    in_flight: Vec<Option<InFlight>>,
    free_slots: Vec<usize>,
    pub(super) alerts: VecDeque<BudgetAlert>,
    /// What was settled by end user.
    pub(super) user_tally: UserTally,
    /// How budgets are shared with other replicas; `None`: with none.
    sharing: Option<Sharing>,
    /// False until the first apply, which restores rather than adds.
    applied: bool,
}

impl State {
    /// True when a cell already counts the same money.
    pub(super) fn knows(&self, params: &BudgetParams) -> bool {
        let found = self.by_name.get(&params.id);
        found.is_some_and(|&index| self.cells[index].counts_for(params))
    }

    /// The account of a payer; opened when it is first seen.
    pub(super) fn account(&mut self, payer: &PayerRef<'_>) -> usize {
        if let Some(index) = self.accounts.get_index_of(payer) {
            return index;
        }
        let key = payer.to_key();
        let (cells, by_end_user) = self.index.cells_of(&key);
        let account = Account {
            cells,
            by_end_user,
            tally: Tally::default(),
        };
        self.accounts.insert_full(key, account).0
    }

    /// Reserves in every cell of the account, or in none; returns the slot.
    ///
    /// # Errors
    /// The budget that stands in the way the longest.
    pub(super) fn reserve(
        &mut self,
        account: usize,
        amounts: Amounts,
        end_user: Option<&Arc<str>>,
        now_ms: i64,
    ) -> Result<usize, Exhausted> {
        let user_cells = self.user_cells(account, end_user, now_ms);
        let held = InFlight {
            account,
            amounts,
            end_user: end_user.cloned(),
            at_ms: now_ms,
            user_cells,
        };
        if amounts.worst_case.is_positive()
            && let Err(exhausted) = self.check(&held, now_ms)
        {
            self.retire_idle(&held);
            return Err(exhausted);
        }
        Ok(self.hold(held))
    }

    /// From now on budgets are shared; to be called before the first of them.
    pub(super) const fn share(&mut self, sharing: Sharing) {
        self.sharing = Some(sharing);
    }

    /// Every cell in use, end users' too.
    fn cells_in_use(&mut self) -> impl Iterator<Item = &mut Cell> {
        let free: FxHashSet<usize> = self.free_cells.iter().copied().collect();
        let cells = self.cells.iter_mut().enumerate();
        cells.filter_map(move |(at, cell)| (!free.contains(&at)).then_some(cell))
    }

    /// The calls about leases that are due, or all of them.
    pub(super) fn lease_calls(&mut self, all: bool, now_ms: i64) -> Vec<LeaseCall> {
        let mut calls = Vec::new();
        for cell in self.cells_in_use() {
            cell.lease_calls(all, now_ms, &mut calls);
        }
        calls
    }

    /// The last calls about leases.
    pub(super) fn leave_leases(&mut self, now_ms: i64) -> Vec<LeaseCall> {
        let mut calls = Vec::new();
        for cell in self.cells_in_use() {
            cell.leave_lease(now_ms, &mut calls);
        }
        calls
    }

    /// Takes answers about leases, each with its pot.
    pub(super) fn lease_answered(&mut self, answers: &[(Arc<str>, LeaseReply)], now_ms: i64) {
        // Answers come in the order of the cells, unless a reload has changed that: so the search
        // goes on where the last one ended.
        let mut from = 0;
        for (pot, reply) in answers {
            let count = self.cells.len();
            let found = (0..count)
                .map(|step| (from + step) % count)
                .find(|&at| self.cells[at].lease_answered(pot, reply, now_ms));
            from = found.unwrap_or(from);
        }
        if self.applied && !answers.is_empty() {
            self.alert_anew(false);
        }
    }

    /// The shared store cannot be reached.
    pub(super) fn store_away(&mut self) {
        for cell in &mut self.cells {
            cell.store_away();
        }
    }

    /// Whether every cell can pay.
    fn check(&mut self, held: &InFlight, now_ms: i64) -> Result<(), Exhausted> {
        let mut worst: Option<Exhausted> = None;
        let own = held.user_cells.iter().map(|(_, cell)| cell);
        for &index in self.accounts[held.account].cells.iter().chain(own) {
            let cell = &mut self.cells[index];
            cell.roll(now_ms);
            if let Some(exhausted) = cell.refusal(held.amounts, now_ms) {
                let wait = |e: &Exhausted| e.retry_after.unwrap_or(Duration::MAX);
                let longer = worst
                    .as_ref()
                    .is_none_or(|held| wait(&exhausted) > wait(held));
                worst = if longer { Some(exhausted) } else { worst };
            }
        }
        worst.map_or(Ok(()), Err)?;
        self.check_leases(held, now_ms)
    }

    /// Whether this replica holds enough of every budget. What is not at hand is asked for.
    fn check_leases(&mut self, held: &InFlight, now_ms: i64) -> Result<(), Exhausted> {
        if self.sharing.is_none() {
            return Ok(());
        }
        let mut worst: Option<Exhausted> = None;
        let own = held.user_cells.iter().map(|(_, cell)| cell);
        for &index in self.accounts[held.account].cells.iter().chain(own) {
            let short = self.cells[index].shortage(held.amounts, now_ms);
            let waits = worst.as_ref().is_none_or(|worst| worst.lease_short);
            // One that cannot come stands in the way of all.
            worst = if waits { short.or(worst) } else { worst };
        }
        worst.map_or(Ok(()), Err)
    }

    fn hold(&mut self, held: InFlight) -> usize {
        let own = held.user_cells.iter().map(|(_, cell)| cell);
        for &index in self.accounts[held.account].cells.iter().chain(own) {
            self.cells[index].hold(held.amounts, held.at_ms);
        }
        if let Some(slot) = self.free_slots.pop() {
            self.in_flight[slot] = Some(held);
            return slot;
        }
        self.in_flight.push(Some(held));
        self.in_flight.len() - 1
    }

    /// Ends a reservation; `actual` is what it cost, `None` when nothing happened.
    pub(super) fn release(&mut self, slot: usize, actual: Option<PicoUsd>, now_ms: i64) {
        let Some(held) = self.in_flight.get_mut(slot).and_then(Option::take) else {
            return;
        };
        self.free_slots.push(slot);
        let account = &mut self.accounts[held.account];
        if let Some(actual) = actual {
            account.tally.add(now_ms, actual);
            let user = held.end_user.as_ref();
            self.user_tally.add(now_ms, held.account, user, actual);
        }
        let plain = account.cells.iter().map(|&cell| (cell, cell));
        for (budget, index) in plain.chain(held.user_cells.iter().copied()) {
            let cell = &mut self.cells[index];
            cell.roll(now_ms);
            cell.free(held.amounts, held.at_ms);
            let Some(actual) = actual else { continue };
            cell.spend(actual, held.at_ms, now_ms);
            let (reached, spent) = (cell.thresholds_reached(), cell.all_spent());
            let named = &mut self.cells[budget];
            named.roll(now_ms);
            named.compare_with_reserve(held.amounts, actual);
            named.alert(reached, spent, &mut self.alerts);
        }
        while self.alerts.len() > MAX_ALERTS {
            self.alerts.pop_front();
        }
        self.retire_idle(&held);
    }

    /// Adds up what the cells of an account say about what it can afford.
    pub(super) fn affordance(
        &mut self,
        account: usize,
        end_user: Option<&str>,
        now_ms: i64,
    ) -> Affordance {
        let mut affordance = Affordance::default();
        self.each_cell(account, end_user, now_ms, |cell, is_new| {
            if is_new {
                cell.bear_on_new(&mut affordance);
            } else {
                cell.bear_on(&mut affordance, now_ms);
            }
        });
        affordance
    }

    /// True when every cell of an account could pay these amounts.
    pub(super) fn affords(
        &mut self,
        account: usize,
        amounts: Amounts,
        end_user: Option<&str>,
        now_ms: i64,
    ) -> bool {
        let mut affords = true;
        self.each_cell(account, end_user, now_ms, |cell, is_new| {
            affords &= if is_new {
                cell.could_ever(amounts)
            } else {
                cell.refusal(amounts, now_ms).is_none()
            };
        });
        affords
    }

    /// Looks at every cell of an account. An end user who has no cell yet gets none by being looked
    /// at: then it is the budget's own, and the last argument is true.
    fn each_cell(
        &mut self,
        account: usize,
        end_user: Option<&str>,
        now_ms: i64,
        mut look: impl FnMut(&Cell, bool),
    ) {
        let Self {
            cells,
            accounts,
            families,
            ..
        } = self;
        let account = &accounts[account];
        for &index in &account.cells {
            cells[index].roll(now_ms);
            look(&cells[index], false);
        }
        for &budget in &account.by_end_user {
            let seat = match (cells[budget].end_user(), end_user, &families[budget]) {
                (Some(EndUserMatch::One(name)), user, _) if user != Some(&**name) => continue,
                (Some(EndUserMatch::Each), Some(user), Some(family)) => match family.find(user) {
                    Some(own) => (own, false),
                    None => (budget, family.has_room(user)),
                },
                _ => (budget, false),
            };
            cells[seat.0].roll(now_ms);
            look(&cells[seat.0], seat.1);
        }
    }

    /// The cells that an end user's attempt counts in, made where there are none.
    fn user_cells(
        &mut self,
        account: usize,
        end_user: Option<&Arc<str>>,
        now_ms: i64,
    ) -> SmallVec<[(usize, usize); 1]> {
        let budgets = self.accounts[account].by_end_user.clone();
        let mut found = SmallVec::new();
        for budget in budgets {
            let cell = match (self.cells[budget].end_user(), end_user) {
                (Some(EndUserMatch::One(name)), user) => {
                    let matches = user.is_some_and(|user| **user == **name);
                    matches.then_some(budget)
                }
                (_, Some(user)) => Some(self.cell_of_user(budget, user, now_ms)),
                (_, None) => Some(budget),
            };
            found.extend(cell.map(|cell| (budget, cell)));
        }
        found
    }

    /// An end user's own cell, or the one that is shared by all who have none.
    fn cell_of_user(&mut self, budget: usize, user: &Arc<str>, now_ms: i64) -> usize {
        let Some(family) = &mut self.families[budget] else {
            return budget;
        };
        if let Some(own) = family.find(user) {
            return own;
        }
        let idle = family.sweep(&mut self.cells, now_ms);
        self.free_cells.extend(idle);
        if !family.has_room(user) {
            return budget;
        }
        let cell = self.cells[budget].for_end_user(user, now_ms);
        let at = put(&mut self.cells, &mut self.free_cells, cell);
        family.insert(Arc::clone(user), at);
        at
    }

    /// End users who have neither spent nor anything in flight leave no trace.
    fn retire_idle(&mut self, held: &InFlight) {
        let Some(user) = &held.end_user else { return };
        for &(budget, cell) in &held.user_cells {
            if budget != cell
                && self.cells[cell].is_idle()
                && let Some(family) = &mut self.families[budget]
            {
                self.free_cells.extend(family.remove(user));
            }
        }
    }

    /// How every budget stands, in the file's order.
    pub(super) fn view(&mut self, now_ms: i64) -> Vec<BudgetView> {
        for cell in &mut self.cells {
            cell.roll(now_ms);
        }
        let of_family = |at: usize| self.families[at].iter().flat_map(Family::cells);
        (0..self.families.len())
            .map(|at| {
                let own = of_family(at).map(|(_, cell)| cell);
                let most = own
                    .chain([at])
                    .max_by_key(|&cell| self.cells[cell].most_first());
                let mut view = self.cells[most.unwrap_or(at)].view(now_ms);
                view.end_users = self.families[at].as_ref().map(Family::len);
                view.learned = self.cells[at].learned();
                view
            })
            .collect()
    }
}

/// Puts a cell into a gap or at the end.
fn put(cells: &mut Vec<Cell>, free: &mut Vec<usize>, cell: Cell) -> usize {
    if let Some(at) = free.pop() {
        cells[at] = cell;
        return at;
    }
    cells.push(cell);
    cells.len() - 1
}
