//! A cell that several replicas share: what it tells the store about its lease, and what it is told.

use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::super::BudgetParams;
use super::super::leased::{Leased, Sharing};
use super::Cell;
use crate::types::{LeaseCall, LeaseReply};

impl Cell {
    /// From now on, several replicas share it.
    pub(in crate::runtime::budgets) fn share_with_replicas(
        &mut self,
        sharing: Sharing,
        user: Option<&str>,
        now_ms: i64,
    ) {
        let name = pot_name(&self.params, user);
        let leased = Leased::new(name, sharing, self.bounds.start_ms, now_ms);
        self.leased = Some(Box::new(leased));
    }

    /// Adds the calls about its lease that are due, or all of them.
    pub(in crate::runtime::budgets) fn lease_calls(
        &mut self,
        all: bool,
        now_ms: i64,
        calls: &mut Vec<LeaseCall>,
    ) {
        self.roll(now_ms);
        let own = self.own();
        if let Some(leased) = &mut self.leased {
            leased.calls(&own, all, now_ms, calls);
        }
    }

    /// Adds the last calls about its lease.
    pub(in crate::runtime::budgets) fn leave_lease(
        &mut self,
        now_ms: i64,
        calls: &mut Vec<LeaseCall>,
    ) {
        let own = self.own();
        if let Some(leased) = &mut self.leased {
            leased.leave(&own, now_ms, calls);
        }
    }

    /// Takes an answer about its lease; false when it is about another one.
    pub(in crate::runtime::budgets) fn lease_answered(
        &mut self,
        pot: &str,
        reply: &LeaseReply,
        now_ms: i64,
    ) -> bool {
        let before = self.all_spent();
        let Some(leased) = &mut self.leased else {
            return false;
        };
        let mine = leased.answered(pot, reply);
        let more = (self.all_spent() - before).at_least_zero();
        if more.is_positive() {
            self.pace.spend(&self.course(), more.as_usd_f64(), now_ms);
        }
        mine
    }

    /// The store cannot be reached.
    pub(in crate::runtime::budgets) fn store_away(&mut self) {
        if let Some(leased) = &mut self.leased {
            leased.set_away();
        }
    }
}

/// What names a budget's money among all that replicas share: the same on every replica with the
/// same file, another one when it means other money. End users are named by a digest.
fn pot_name(params: &BudgetParams, user: Option<&str>) -> Arc<str> {
    let meaning = format!("{:?}{:?}", params.matches, params.timezone.iana_name());
    let digest = |text: &str| {
        let digest = Sha256::digest(text);
        digest[..8].iter().fold(String::new(), |mut hex, byte| {
            let _infallible = write!(hex, "{byte:02x}");
            hex
        })
    };
    let (id, period) = (&params.id, params.period.as_str());
    let user = user.map_or_else(String::new, |user| format!(":user:{}", digest(user)));
    Arc::from(format!("budget:{id}:{period}:{}{user}", digest(&meaning)))
}
