//! The guard of reserved money: settles exactly once, by Drop at the latest.

use std::sync::Arc;

use crate::types::PicoUsd;

use super::{Amounts, Budgets};

/// Money that is set aside for one attempt, in every budget that matches it. Settle it with what the
/// attempt really cost; dropped unsettled, it is void and costs nothing.
#[derive(Debug)]
#[must_use = "dropping the reservation voids it"]
pub struct Reservation {
    budgets: Arc<Budgets>,
    slot: usize,
    amounts: Amounts,
    open: bool,
}

impl Reservation {
    pub(super) const fn new(budgets: Arc<Budgets>, slot: usize, amounts: Amounts) -> Self {
        Self {
            budgets,
            slot,
            amounts,
            open: true,
        }
    }

    /// Ends the reservation with what the attempt cost, which may be more than was reserved. It
    /// counts in every budget that matches at this moment, also in those that a reload has added
    /// since.
    pub fn settle(mut self, actual: PicoUsd) {
        self.end(Some(actual.at_least_zero()));
    }

    /// How much is set aside in strict budgets.
    pub const fn amount(&self) -> PicoUsd {
        self.amounts.worst_case
    }

    fn end(&mut self, actual: Option<PicoUsd>) {
        if std::mem::take(&mut self.open) {
            self.budgets.release(self.slot, actual);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.end(None);
    }
}
