//! A new configuration takes over what the present budgets know: cells that count the same money go on, new
//! ones learn what their period has cost from the ledger and from this process's own tallies.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::super::cell::Cell;
use super::super::index::Index;
use super::super::users::Family;
use super::super::{BudgetParams, EndUserMatch};
use super::{Past, State};
use crate::types::PicoUsd;

impl State {
    /// Puts the budgets of a new configuration in the place of the present ones.
    pub(in crate::runtime::budgets) fn replace(
        &mut self,
        params: &[BudgetParams],
        pasts: Vec<Past>,
        now_ms: i64,
    ) {
        self.index = Index::new(params);
        for (key, account) in &mut self.accounts {
            (account.cells, account.by_end_user) = self.index.cells_of(key);
        }
        let mut next = Next::default();
        for (budget, past) in params.iter().zip(pasts) {
            self.carry_over(budget, past, now_ms, &mut next);
        }
        let Next { own, of_users } = next;
        let first = own.len();
        self.cells = own;
        self.families = params
            .iter()
            .map(|budget| {
                let each = budget.matches.end_user == Some(EndUserMatch::Each);
                each.then(Family::default)
            })
            .collect();
        for (at, (budget, user, cell)) in of_users.into_iter().enumerate() {
            self.cells.push(cell);
            if let Some(family) = &mut self.families[budget] {
                family.insert(user, first + at);
            }
        }
        self.free_cells.clear();
        let names = params.iter().map(|budget| budget.id.clone());
        self.by_name = names.zip(0..).collect();
        self.hold_again(now_ms);
        self.alert_anew(!self.applied);
        self.applied = true;
    }

    /// The cells of one budget: those that count the same money already, or new ones with what the
    /// ledger and this process know.
    fn carry_over(&self, budget: &BudgetParams, past: Past, now_ms: i64, next: &mut Next) {
        let at = next.own.len();
        let known = self.by_name.get(&budget.id).copied();
        let known = known.filter(|&index| self.cells[index].counts_for(budget));
        if let Some(index) = known {
            let cell = Cell::new(budget.clone(), Some(&self.cells[index]), now_ms);
            for (user, own) in self.families[index].iter().flat_map(Family::cells) {
                let own = cell.shared_with(&self.cells[own], now_ms);
                if !own.has_spent_nothing() {
                    next.of_users.push((at, Arc::clone(user), own));
                }
            }
            next.own.push(cell);
            return;
        }
        let mut cell = Cell::new(budget.clone(), None, now_ms);
        if let Some(sharing) = self.sharing {
            cell.share_with_replicas(sharing, None, now_ms);
        }
        if cell.period_start_ms() == past.from_ms {
            cell.restore(past.spending.total, now_ms);
            for (user, spent) in past.spending.by_end_user {
                let mut own = cell.for_end_user(&user, now_ms);
                own.restore(spent, now_ms);
                next.of_users.push((at, user, own));
            }
        }
        if budget.matches.end_user.is_none() {
            let settled = self.settled_since(at, cell.period_start_ms());
            cell.add_settled(settled, now_ms);
        } else {
            self.add_users(at, &mut cell, now_ms, next);
        }
        next.own.push(cell);
    }

    /// Adds what this process has settled for end users to a new budget (the `at`-th of the next ones).
    fn add_users(&self, at: usize, cell: &mut Cell, now_ms: i64, next: &mut Next) {
        let known = next.of_users.iter().enumerate();
        let mut places: FxHashMap<Arc<str>, usize> = known
            .filter(|(_, (budget, ..))| *budget == at)
            .map(|(place, (_, user, _))| (Arc::clone(user), place))
            .collect();
        for (account, user, settled) in self.user_tally.since(cell.period_start_ms()) {
            if !self.accounts[account].by_end_user.contains(&at) {
                continue;
            }
            match (cell.end_user(), user) {
                (Some(EndUserMatch::One(name)), user) => {
                    if user.is_some_and(|user| **user == **name) {
                        cell.add_settled(settled, now_ms);
                    }
                }
                (_, None) => cell.add_settled(settled, now_ms),
                (_, Some(user)) => {
                    let place = *places.entry(Arc::clone(user)).or_insert_with(|| {
                        let own = cell.for_end_user(user, now_ms);
                        next.of_users.push((at, Arc::clone(user), own));
                        next.of_users.len() - 1
                    });
                    next.of_users[place].2.add_settled(settled, now_ms);
                }
            }
        }
    }

    /// After limits and thresholds may have changed: alerts about those that are reached now, or
    /// (`quiet`) takes them as alerted about.
    pub(super) fn alert_anew(&mut self, quiet: bool) {
        for budget in 0..self.families.len() {
            let of_users = self.families[budget].iter().flat_map(Family::cells);
            let most = of_users
                .map(|(_, cell)| cell)
                .chain([budget])
                .max_by_key(|&cell| self.cells[cell].all_spent())
                .unwrap_or(budget);
            let (reached, spent) = (
                self.cells[most].thresholds_reached(),
                self.cells[most].all_spent(),
            );
            if quiet {
                self.cells[budget].take_as_alerted(reached);
            } else {
                self.cells[budget].alert(reached, spent, &mut self.alerts);
            }
        }
    }

    /// Everything in flight reserves in the cells that match it now.
    fn hold_again(&mut self, now_ms: i64) {
        for slot in 0..self.in_flight.len() {
            let Some(held) = &self.in_flight[slot] else {
                continue;
            };
            let (account, amounts, at_ms) = (held.account, held.amounts, held.at_ms);
            let end_user = held.end_user.clone();
            let user_cells = self.user_cells(account, end_user.as_ref(), now_ms);
            let own = user_cells.iter().map(|(_, cell)| cell);
            for &index in self.accounts[account].cells.iter().chain(own) {
                self.cells[index].hold(amounts, at_ms);
            }
            if let Some(held) = &mut self.in_flight[slot] {
                held.user_cells = user_cells;
            }
        }
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

/// Cells of the next configuration.
#[derive(Default)]
struct Next {
    own: Vec<Cell>,
    /// Budget, end user, cell.
    of_users: Vec<(usize, Arc<str>, Cell)>,
}
