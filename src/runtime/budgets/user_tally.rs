//! What this process has settled by end user, by quarter of an hour: the part of the past that a budget
//! for end users, added by a reload, must not look for in the ledger, where what is being settled at that
//! very moment may be or not.
//!
//! Bounded: beyond [`MAX_ENTRIES`] the oldest quarter goes, and for the time before that the ledger is
//! asked after all. An attempt that began before and ended after that moment then counts twice, which makes
//! the limit tighter, never wider.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::tally::QUARTER_MS;
use super::users::is_name;
use crate::types::PicoUsd;

/// Sums that are kept at once, one for each account, end user and quarter: some 12 MB.
pub(super) const MAX_ENTRIES: usize = 100_000;

/// An account's index, and who was named.
type Who = (usize, Option<Arc<str>>);

/// Settled amounts by end user. The hasher is keyed, since clients choose the names.
#[derive(Debug, Default)]
pub(super) struct UserTally {
    quarters: VecDeque<(i64, HashMap<Who, PicoUsd>)>,
    entries: usize,
    /// The end of the last quarter that was let go, milliseconds since the Unix epoch.
    let_go_until_ms: i64,
    /// While a configuration is taken over, nothing is let go: the ledger was asked for what came before.
    pub(super) is_pinned: bool,
}

impl UserTally {
    /// Adds what was settled at an instant.
    pub(super) fn add(
        &mut self,
        at_ms: i64,
        account: usize,
        user: Option<&Arc<str>>,
        sum: PicoUsd,
    ) {
        if !sum.is_positive() {
            return;
        }
        let quarter = at_ms.div_euclid(QUARTER_MS);
        // A wall clock that was set back counts on where it had been.
        if self.quarters.back().is_none_or(|(last, _)| *last < quarter) {
            self.quarters.push_back((quarter, HashMap::new()));
        }
        if let Some((_, sums)) = self.quarters.back_mut() {
            let before = sums.len();
            // What has no cell of its own in any budget is nobody's here either.
            let user = user.filter(|user| is_name(user)).cloned();
            *sums.entry((account, user)).or_default() += sum;
            self.entries += sums.len() - before;
        }
        while self.entries > MAX_ENTRIES && !self.is_pinned {
            let Some((oldest, sums)) = self.quarters.pop_front() else {
                break;
            };
            self.entries -= sums.len();
            self.let_go_until_ms = (oldest + 1) * QUARTER_MS;
        }
    }

    /// From when on it has everything, in a process that began at `started_at_ms`.
    pub(super) fn complete_since_ms(&self, started_at_ms: i64) -> i64 {
        self.let_go_until_ms.max(started_at_ms)
    }

    /// Every sum since the start of a period; the same end user may come again.
    pub(super) fn since(
        &self,
        from_ms: i64,
    ) -> impl Iterator<Item = (usize, Option<&Arc<str>>, PicoUsd)> {
        let from = from_ms.div_euclid(QUARTER_MS);
        let quarters = self.quarters.iter().filter(move |it| it.0 >= from);
        quarters.flat_map(|(_, sums)| {
            let sums = sums.iter();
            sums.map(|((account, user), sum)| (*account, user.as_ref(), *sum))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_says_from_when_on_it_is_complete() {
        let mut tally = UserTally::default();
        let add = |tally: &mut UserTally, quarter: i64, user: usize| {
            let user: Arc<str> = user.to_string().into();
            tally.add(
                quarter * QUARTER_MS + 1,
                0,
                Some(&user),
                PicoUsd::from_pico(1),
            );
        };
        add(&mut tally, 10, 0);
        add(&mut tally, 10, 0);
        assert_eq!(tally.complete_since_ms(5), 5);
        assert_eq!(tally.since(10 * QUARTER_MS).count(), 1);
        assert_eq!(tally.since(11 * QUARTER_MS).count(), 0);
        for user in 0..MAX_ENTRIES - 1 {
            add(&mut tally, 11, user);
        }
        tally.is_pinned = true;
        add(&mut tally, 12, 0);
        assert_eq!(tally.complete_since_ms(5), 5, "not while it is read");
        tally.is_pinned = false;
        add(&mut tally, 12, 1);
        assert_eq!(tally.complete_since_ms(5), 12 * QUARTER_MS);
        assert_eq!(tally.since(0).count(), 2);
    }
}
