//! The rules of one pot, as plain code: what `memory` does and `redis/lease.lua` says again in Lua.
//!
//! Invariant of a pot of money: `base + Σ granted ≤ limit`, but where a limit was lowered, or what a
//! replica says that it holds came to light too late.

use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::{LEASE_TTL_MS, RECOVERY_MS};
use crate::types::{Elsewhere, LeaseCall, LeaseReply, OnDeath, Replica};

/// One replica's part.
#[derive(Clone, Debug, Default)]
struct Row {
    /// 0: others have borne witness of it; it has not spoken itself.
    incarnation: u64,
    seq: u64,
    spent: u64,
    granted: u64,
    weight: u64,
    need: u64,
    /// Until when it counts as alive.
    deadline_ms: i64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Pot {
    limit: u64,
    limit_version: i64,
    base: u64,
    /// True when `base` is a number that a replica had from the store, not from its ledger.
    base_is_witnessed: bool,
    recovers_until_ms: i64,
    rows: BTreeMap<Arc<str>, Row>,
    pub(super) expires_ms: i64,
}

/// Since when the store remembers; all pots share it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Born(pub(super) Option<i64>);

impl Born {
    fn recovers(self, now_ms: i64) -> bool {
        self.0.is_none_or(|at_ms| now_ms < at_ms + RECOVERY_MS)
    }
}

impl Pot {
    /// The pot of a first call.
    pub(super) fn of(call: &LeaseCall, now_ms: i64) -> Self {
        let recovers_until_ms = if call.has_past {
            now_ms + RECOVERY_MS
        } else {
            0
        };
        Self {
            limit: call.limit,
            limit_version: call.limit_version,
            base: call.base.unwrap_or(0),
            recovers_until_ms,
            ..Self::default()
        }
    }

    /// Does what the call says.
    pub(super) fn lease(
        &mut self,
        born: &mut Born,
        replica: &Replica,
        call: &LeaseCall,
        now_ms: i64,
    ) -> LeaseReply {
        let charge = call.on_death == OnDeath::Charge;
        if born.0.is_none() {
            born.0 = Some(now_ms);
        }
        if !charge {
            self.rows.retain(|_, row| row.deadline_ms >= now_ms);
        }
        let known = self.rows.get(&replica.name).cloned();
        if let Some(row) = &known
            && (row.incarnation, row.seq) >= (replica.incarnation, call.seq)
        {
            let mut reply = self.reply(replica, call, row.granted, now_ms);
            reply.stale = (row.incarnation, row.seq) != (replica.incarnation, call.seq);
            return reply;
        }
        let known_seq = known
            .as_ref()
            .filter(|it| it.incarnation == replica.incarnation);
        let forgot = call.acked > 0 && known_seq.is_none_or(|row| row.seq < call.acked);
        if forgot && charge && !born.recovers(now_ms) {
            born.0 = Some(now_ms);
        }
        if let Some(row) = &known
            && charge
            && row.incarnation < replica.incarnation
            && row.spent > call.spent
        {
            // The earlier life had reported more than its ledger still knows.
            self.base += row.spent - call.spent;
        }
        self.learn(replica, call);
        let recovering = charge && (born.recovers(now_ms) || now_ms < self.recovers_until_ms);
        let granted = self.grant(replica, call, recovering, now_ms);
        let row = Row {
            incarnation: replica.incarnation,
            seq: call.seq,
            spent: call.spent,
            granted,
            weight: call.weight,
            need: if granted < call.need { call.need } else { 0 },
            deadline_ms: if call.leaving {
                0
            } else {
                now_ms + LEASE_TTL_MS
            },
        };
        if call.leaving && !charge {
            self.rows.remove(&replica.name);
        } else {
            self.rows.insert(Arc::clone(&replica.name), row);
        }
        self.expires_ms = call.expires_ms;
        let mut reply = self.reply(replica, call, granted, now_ms);
        reply.recovering = recovering;
        reply.forgot = forgot;
        reply
    }

    /// Takes over what the caller knows: the limit, what the pot began with, the others.
    fn learn(&mut self, replica: &Replica, call: &LeaseCall) {
        if call.limit_version >= self.limit_version {
            self.limit = call.limit;
            self.limit_version = call.limit_version;
        }
        let Some(witness) = &call.witness else { return };
        self.base = if self.base_is_witnessed {
            self.base.max(witness.base)
        } else {
            witness.base
        };
        self.base_is_witnessed = true;
        for other in witness
            .others
            .iter()
            .filter(|it| it.replica != replica.name)
        {
            let row = self.rows.entry(Arc::clone(&other.replica)).or_default();
            if row.incarnation == 0 {
                row.spent = row.spent.max(other.spent);
                row.granted = row.granted.max(other.granted);
            }
        }
    }

    /// The ceiling that the caller gets.
    fn grant(&self, replica: &Replica, call: &LeaseCall, recovering: bool, now_ms: i64) -> u64 {
        let kept = call.spent.max(call.held.min(call.want));
        let others = || self.rows.iter().filter(|(name, _)| **name != replica.name);
        let granted: u64 = others().map(|(_, row)| row.granted).sum();
        let free = self.limit.saturating_sub(self.base + granted + kept);
        let asked = call.want.saturating_sub(kept).min(free);
        if recovering || asked == 0 {
            return kept;
        }
        let least = call.need.saturating_sub(kept);
        let alone = others().all(|(_, row)| row.deadline_ms < now_ms);
        let grant = if call.on_death == OnDeath::Free || alone {
            asked
        } else {
            // The next one finds something too, down to the smallest part that is of use.
            asked.min((free / 2).max(least))
        };
        if grant < least { kept } else { kept + grant }
    }

    fn reply(&self, replica: &Replica, call: &LeaseCall, granted: u64, now_ms: i64) -> LeaseReply {
        let others = self.rows.iter().filter(|(name, _)| **name != replica.name);
        let others: SmallVec<[Elsewhere; 4]> = others
            .clone()
            .map(|(name, row)| Elsewhere {
                replica: Arc::clone(name),
                spent: row.spent,
                granted: row.granted,
                weight: row.weight,
                live: row.deadline_ms >= now_ms,
            })
            .collect();
        let hungry = self.rows.iter().any(|(name, row)| {
            *name != replica.name && row.deadline_ms >= now_ms && row.need > row.granted
        });
        LeaseReply {
            seq: call.seq,
            granted,
            limit: self.limit,
            base: self.base,
            others,
            hungry,
            ..LeaseReply::default()
        }
    }
}
