//! Tells budgets what the ledger already has of their present periods.

use std::ops::Range;
use std::sync::Arc;

use crate::config::Snapshot;
use crate::runtime::Tagged;
use crate::runtime::budgets::{BudgetParams, Budgets, EndUserMatch, LedgerSpending};
use crate::stores::{Ledger, LedgerError, SpendFilter, TimeRange};
use crate::types::PicoUsd;

/// Takes over the budgets of a configuration.
///
/// # Errors
/// When the ledger cannot be read; no budget has changed then.
pub(super) fn hydrate(
    budgets: &Budgets,
    ledger: &Ledger,
    snapshot: &Snapshot,
) -> Result<(), LedgerError> {
    budgets.apply(&snapshot.budgets, &|params, range| {
        spending(ledger, params, range)
    })
}

/// What a budget's period has cost so far.
fn spending(
    ledger: &Ledger,
    params: &BudgetParams,
    range: Range<i64>,
) -> Result<LedgerSpending, LedgerError> {
    let range = TimeRange::from(range);
    let matches = &params.matches;
    let filter = SpendFilter {
        team: matches.team.clone(),
        app: matches.app.clone(),
        key: matches.key.clone(),
        model: matches.model.clone(),
        provider: matches.provider.clone(),
    };
    let parts = match &matches.tagged {
        None => vec![(filter, true)],
        Some(tagged) => members(&filter, tagged),
    };
    let mut spending = LedgerSpending::default();
    for (filter, counts) in parts {
        match &matches.end_user {
            None => add(&mut spending.total, ledger.spent(&filter, range)?, counts),
            Some(wanted) => {
                for (user, spent) in ledger.spent_by_end_user(&filter, range)? {
                    credit(&mut spending, wanted, user, spent, counts);
                }
            }
        }
    }
    Ok(spending)
}

/// Who has the tags, as filters of the ledger: what each of them covers is added, or (keys of a team
/// that differ from it) taken off again.
fn members(filter: &SpendFilter, tagged: &Tagged) -> Vec<(SpendFilter, bool)> {
    let teams = tagged.teams.iter().map(|team| (Some(team), None, true));
    let keys = tagged.keys.iter().map(|key| (None, Some(key), true));
    let except = tagged.except.iter().flat_map(|key| {
        tagged
            .teams
            .iter()
            .map(move |team| (Some(team), Some(key), false))
    });
    let mut members = Vec::new();
    for (team, key, counts) in teams.chain(keys).chain(except) {
        let mut own = filter.clone();
        let agrees = narrow(&mut own.team, team) && narrow(&mut own.key, key);
        if agrees {
            members.push((own, counts));
        }
    }
    members
}

/// Narrows a field of a filter; false when it already asks for something else.
fn narrow<T: Clone + PartialEq>(field: &mut Option<T>, to: Option<&T>) -> bool {
    let Some(to) = to else { return true };
    let agrees = field.as_ref().is_none_or(|field| field == to);
    *field = Some(to.clone());
    agrees
}

fn add(sum: &mut PicoUsd, amount: PicoUsd, counts: bool) {
    *sum += if counts { amount } else { -amount };
}

/// Adds what an end user has spent to where the budget counts it.
fn credit(
    spending: &mut LedgerSpending,
    wanted: &EndUserMatch,
    user: Option<String>,
    spent: PicoUsd,
    counts: bool,
) {
    match (wanted, user) {
        (EndUserMatch::One(name), user) => {
            if user.as_deref() == Some(&**name) {
                add(&mut spending.total, spent, counts);
            }
        }
        (EndUserMatch::Each, None) => add(&mut spending.total, spent, counts),
        (EndUserMatch::Each, Some(user)) => {
            let known = spending
                .by_end_user
                .iter_mut()
                .find(|(name, _)| **name == *user);
            match known {
                Some((_, sum)) => add(sum, spent, counts),
                None if counts => spending.by_end_user.push((Arc::from(user), spent)),
                None => {}
            }
        }
    }
}
