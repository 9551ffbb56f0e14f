//! What one attempt sets aside before it is sent: its place at the provider and the model, tokens
//! in rate limits, money in budgets. Ends exactly once: settled with what was used, or void.

use super::budgets::Reservation;
use super::limiter::{Permit, TokenReservation};
use crate::types::PicoUsd;

/// Everything that is set aside for one attempt. Dropped unsettled, all of it goes back; that is
/// right only when nothing was sent upstream.
#[derive(Debug)]
#[must_use = "dropping the reservation voids it"]
pub struct AttemptReservation {
    permit: Permit,
    tokens: TokenReservation,
    money: Reservation,
}

impl AttemptReservation {
    /// Joins what was set aside.
    pub const fn new(permit: Permit, tokens: TokenReservation, money: Reservation) -> Self {
        Self {
            permit,
            tokens,
            money,
        }
    }

    /// Ends the attempt: `tokens` is everything that was used, input and output of every class;
    /// `cost` what it costs. Either may be more than was set aside.
    pub fn settle(self, tokens: u64, cost: PicoUsd) {
        self.money.settle(cost);
        self.tokens.settle(tokens);
        drop(self.permit);
    }

    /// How much money is set aside.
    pub const fn money(&self) -> PicoUsd {
        self.money.amount()
    }

    /// How many tokens are set aside.
    pub const fn tokens(&self) -> u64 {
        self.tokens.tokens()
    }
}
