//! Cells of end users: a budget that matches `end_user: "*"` is one limit for each of them.
//!
//! Clients name end users, so their number is bounded: a budget keeps at most [`MAX_END_USERS`] of
//! them at once, those who have spent in this period or have something in flight. Whoever comes
//! beyond that, names nobody, or has an absurdly long name shares one cell with all such others, which
//! has the same limit: where it cannot be told apart who spends, the limit gets tighter, never wider.

use std::collections::HashMap;
use std::sync::Arc;

use super::cell::Cell;

/// End users with a cell of their own, for each budget: about 3 MB.
pub(super) const MAX_END_USERS: usize = 10_000;
/// Longer names are hardly names; they would only fill memory.
const MAX_NAME_BYTES: usize = 256;

/// True for what may have a cell of its own.
pub(super) fn is_name(user: &str) -> bool {
    user.len() <= MAX_NAME_BYTES
}

/// The end users of one budget. The hasher is keyed, since clients choose the names.
#[derive(Debug, Default)]
pub(super) struct Family {
    by_user: HashMap<Arc<str>, usize>,
    /// Everybody in here has spent in the period that ends then.
    full_until_ms: i64,
}

impl Family {
    /// The cell of an end user, if there is one.
    pub(super) fn find(&self, user: &str) -> Option<usize> {
        self.by_user.get(user).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.by_user.len()
    }

    /// Everybody with a cell.
    pub(super) fn cells(&self) -> impl Iterator<Item = (&Arc<str>, usize)> {
        self.by_user.iter().map(|(user, &cell)| (user, cell))
    }

    /// True when this end user may get a cell of his own.
    pub(super) fn has_room(&self, user: &str) -> bool {
        is_name(user) && self.by_user.len() < MAX_END_USERS
    }

    pub(super) fn insert(&mut self, user: Arc<str>, cell: usize) {
        self.by_user.insert(user, cell);
    }

    pub(super) fn remove(&mut self, user: &str) -> Option<usize> {
        self.by_user.remove(user)
    }

    /// Takes out everybody whose cell is idle and returns the cells, once in a period at most: it
    /// looks at all of them.
    pub(super) fn sweep(&mut self, cells: &mut [Cell], now_ms: i64) -> Vec<usize> {
        let mut idle = Vec::new();
        if self.by_user.len() < MAX_END_USERS || now_ms < self.full_until_ms {
            return idle;
        }
        self.by_user.retain(|_, index| {
            let cell = &mut cells[*index];
            cell.roll(now_ms);
            self.full_until_ms = cell.period_end_ms();
            if cell.is_idle() {
                idle.push(*index);
            }
            !cell.is_idle()
        });
        idle
    }
}
