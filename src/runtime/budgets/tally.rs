//! What one account has settled in this process, by quarter of an hour: the part of the past that a
//! budget added by a reload must not look for in the ledger.
//!
//! 32 bytes for each quarter in which the account spent anything, for a month: 100 KB for one that
//! is busy around the clock.

use std::collections::VecDeque;

use crate::types::PicoUsd;

/// Today's time zones are offset by whole quarters of an hour, so every period begins with one.
pub(super) const QUARTER_MS: i64 = 15 * 60 * 1_000;
/// A month and a bit: after it, only a total still asks.
const KEPT_QUARTERS: i64 = 33 * 24 * 4;

/// Settled amounts in the order of time.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// What was settled before the first of `quarters`.
    earlier: PicoUsd,
    quarters: VecDeque<(i64, PicoUsd)>,
}

impl Tally {
    /// Adds what was settled at an instant.
    pub(super) fn add(&mut self, at_ms: i64, amount: PicoUsd) {
        if !amount.is_positive() {
            return;
        }
        let quarter = at_ms.div_euclid(QUARTER_MS);
        match self.quarters.back_mut() {
            // A wall clock that was set back counts on where it had been.
            Some((last, sum)) if *last >= quarter => *sum += amount,
            _ => self.quarters.push_back((quarter, amount)),
        }
        while let Some(&(oldest, sum)) = self.quarters.front()
            && oldest < quarter - KEPT_QUARTERS
        {
            self.earlier += sum;
            self.quarters.pop_front();
        }
    }

    /// What was settled since the start of a period; 0 stands for ever.
    pub(super) fn since(&self, from_ms: i64) -> PicoUsd {
        let from = from_ms.div_euclid(QUARTER_MS);
        let kept = self.quarters.iter().rev();
        let recent: PicoUsd = kept
            .take_while(|(quarter, _)| *quarter >= from)
            .map(|(_, sum)| *sum)
            .sum();
        if from_ms == 0 {
            recent + self.earlier
        } else {
            recent
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 24 * 3600 * 1_000;

    #[test]
    fn sums_reach_back_a_month_and_a_total_for_ever() {
        let mut tally = Tally::default();
        for day in 1..=100 {
            tally.add(day * DAY_MS, PicoUsd::from_pico(1));
            tally.add(day * DAY_MS + QUARTER_MS, PicoUsd::from_pico(1));
        }
        let since = |from_ms| tally.since(from_ms).pico();
        assert_eq!(since(100 * DAY_MS), 2);
        assert_eq!(since(100 * DAY_MS + QUARTER_MS), 1);
        assert_eq!(since(70 * DAY_MS), 62);
        assert_eq!(since(0), 200);
        assert!(tally.quarters.len() <= 70);
    }
}
