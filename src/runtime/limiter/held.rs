//! What a request and its attempts hold of their limits: places until the end, tokens until they are
//! settled. Both go back when they are dropped.

use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::Cells;

/// A place in the concurrency of every scope of one request. Held until the end of the stream;
/// dropping it frees the places.
#[derive(Debug)]
#[must_use = "dropping the permit ends the request's place"]
pub struct Permit {
    pub(super) cells: Cells,
}

impl Drop for Permit {
    fn drop(&mut self) {
        for cell in &self.cells {
            cell.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Tokens that are set aside for one attempt. Dropped unsettled, all of them go back.
#[derive(Debug)]
#[must_use = "dropping the reservation gives all tokens back"]
pub struct TokenReservation {
    pub(super) cells: Cells,
    pub(super) tokens: u64,
}

impl TokenReservation {
    /// Ends the reservation with what was really used: the rest goes back; what was used above it
    /// is taken too, and later requests wait for it.
    pub fn settle(self, actual: u64) {
        self.settle_at(actual, Instant::now());
    }

    /// [`TokenReservation::settle`] at an instant that the caller knows.
    pub fn settle_at(mut self, actual: u64, now: Instant) {
        let reserved = std::mem::take(&mut self.tokens);
        for cell in self.cells.drain(..) {
            cell.rates.lock().settle_tokens(reserved, actual, now);
        }
    }

    /// How many tokens are set aside.
    pub const fn tokens(&self) -> u64 {
        self.tokens
    }
}

impl Drop for TokenReservation {
    fn drop(&mut self) {
        for cell in &self.cells {
            cell.rates.lock().give_tokens_back(self.tokens);
        }
    }
}
