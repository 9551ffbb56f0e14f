//! A budget's lease: what this replica may still commit out of a limit that several replicas share.
//!
//! The cell counts what this replica spends; the lease says up to where it may. A reservation is the
//! same step in memory as without replicas. Amounts cross the border as whole micro-dollars: rounded up
//! where they are used, down where they are limits, so that rounding never lets anything through (and
//! takes at most a millionth of a dollar for each replica).
//!
//! **Periods.** Each period is a pot of its own. What was reserved in one that has ended is settled in
//! it: it lives on here until nothing in it is in flight. So no reservation is ever carried into a pot
//! that did not grant it.

use std::sync::Arc;

use crate::runtime::leases::{Counter, Demand, Lease, Wish};
use crate::types::{LeaseCall, LeaseReply, MAX_UNITS, OnDeath, PicoUsd};

/// Pico-dollars in a unit.
const UNIT: i128 = 1_000_000;
/// What is kept at hand without demand, as a part of the limit: the first request after a pause need
/// not wait, and a dead replica strands a thousandth.
const AT_REST: u64 = 1_024;
/// How long a request that waits is remembered: longer than requests wait.
const REMEMBERED_MS: i64 = 700;
/// How long a pot outlives its period: whoever was away must find it to report what it spent.
const KEEP_MS: i64 = 7 * 24 * 60 * 60 * 1_000;
/// An ended period is given up when what was in flight in it has not ended by then.
const PAST_MS: i64 = 24 * 60 * 60 * 1_000;

/// How this process shares budgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sharing {
    /// True when all replicas write to one ledger: what it knows is then everybody's.
    pub one_ledger: bool,
    /// True when requests beyond the lease are let through while the store is away.
    pub open_when_away: bool,
}

/// How a budget that replicas share stands here, for metrics and the dashboard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeaseView {
    /// What this replica may spend in this period without asking again, with what it has spent.
    pub ceiling: PicoUsd,
    /// What live others hold beyond what they have reported as spent.
    pub held_elsewhere: PicoUsd,
    /// What silent replicas held beyond what they had reported: counted as spent, at most that much.
    pub stranded: PicoUsd,
    /// True while the shared store cannot be reached.
    pub store_away: bool,
}

/// Units, rounded up.
pub(super) fn units_up(amount: PicoUsd) -> u64 {
    let units = (amount.at_least_zero().pico() + (UNIT - 1)) / UNIT;
    u64::try_from(units).unwrap_or(MAX_UNITS).min(MAX_UNITS)
}

/// Units, rounded down.
fn units_down(amount: PicoUsd) -> u64 {
    let units = amount.at_least_zero().pico() / UNIT;
    u64::try_from(units).unwrap_or(MAX_UNITS).min(MAX_UNITS)
}

/// What so many units are.
pub(super) const fn amount_of(units: u64) -> PicoUsd {
    PicoUsd::from_pico(units as i128 * UNIT)
}

/// What one period of this replica has spent and holds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Own {
    pub(super) spent: PicoUsd,
    pub(super) reserved: PicoUsd,
    pub(super) limit: PicoUsd,
    pub(super) limit_version: i64,
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
}

/// A period that has ended with something in flight.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    lease: Lease,
    own: Own,
    base: Option<u64>,
    holders: u32,
}

#[derive(Debug, Clone)]
pub(super) struct Leased {
    /// What the names of its pots begin with.
    name: Arc<str>,
    lease: Lease,
    demand: Demand,
    waiting: Waiting,
    pub(super) sharing: Sharing,
    /// What the ledger had of the period, where it is everybody's.
    base: Option<u64>,
    has_past: bool,
    ended: Vec<Ended>,
    away: bool,
}

/// Requests that wait for the lease to grow. Units.
#[derive(Debug, Clone, Copy, Default)]
struct Waiting {
    smallest: u64,
    together: u64,
    until_ms: i64,
}

impl Leased {
    pub(super) fn new(name: Arc<str>, sharing: Sharing, start_ms: i64, now_ms: i64) -> Self {
        let lease = Lease::new(pot(&name, start_ms), OnDeath::Charge, now_ms);
        Self {
            name,
            lease,
            demand: Demand::default(),
            waiting: Waiting::default(),
            sharing,
            base: None,
            has_past: false,
            ended: Vec::new(),
            away: false,
        }
    }

    /// Others may have spent in this period before the store knew of it; so may the ledger say.
    pub(super) fn has_past(&mut self, base: Option<PicoUsd>) {
        self.has_past = true;
        self.base = base.map(units_up);
    }

    /// What others have spent, with what the ledger had.
    pub(super) fn elsewhere(&self) -> PicoUsd {
        amount_of(if self.lease.is_known() {
            self.lease.spent_elsewhere()
        } else {
            self.base.unwrap_or(0)
        })
    }

    pub(super) fn view(&self) -> LeaseView {
        LeaseView {
            ceiling: self.ceiling(),
            held_elsewhere: amount_of(self.lease.held_elsewhere()),
            stranded: amount_of(self.lease.stranded()),
            store_away: self.away,
        }
    }

    pub(super) fn ceiling(&self) -> PicoUsd {
        amount_of(self.lease.ceiling())
    }

    /// True when so much, together with what is committed, needs more than this replica holds.
    pub(super) fn is_short(&self, committed: PicoUsd, more: PicoUsd) -> bool {
        !(self.away && self.sharing.open_when_away)
            && units_up(committed + more) > self.lease.ceiling()
    }

    /// True when more may be granted, or come back from others.
    pub(super) fn may_come(&self, own: &Own, more: PicoUsd) -> bool {
        !self.away && self.lease.may_come(&self.counter(own), units_up(more))
    }

    /// True when it could be dropped without a trace: nobody waits for what it asks the store for.
    pub(super) fn is_idle(&self) -> bool {
        self.lease.ceiling() == 0 && self.ended.is_empty() && self.waiting.smallest == 0
    }

    /// Counts a request for so much.
    pub(super) fn ask(&mut self, amount: PicoUsd) {
        self.demand.ask(units_up(amount));
    }

    /// A request waits until so much more is granted.
    pub(super) fn wait(&mut self, amount: PicoUsd, now_ms: i64) {
        let units = units_up(amount);
        let waiting = &mut self.waiting;
        if waiting.until_ms < now_ms {
            *waiting = Waiting::default();
        }
        waiting.smallest = match waiting.smallest {
            0 => units,
            smallest => smallest.min(units),
        };
        waiting.together = waiting.together.saturating_add(units).min(MAX_UNITS);
        waiting.until_ms = now_ms + REMEMBERED_MS;
    }

    /// The period has ended; what is in flight in it stays with it.
    pub(super) fn turn(&mut self, own: Own, holders: u32, next_start_ms: i64) {
        let next = self.lease.next(pot(&self.name, next_start_ms));
        let lease = std::mem::replace(&mut self.lease, next);
        let base = self.base.take();
        self.has_past = false;
        self.waiting = Waiting::default();
        self.ended.push(Ended {
            lease,
            own,
            base,
            holders,
        });
    }

    /// The ended period that an instant lies in.
    fn ended_at(&mut self, at_ms: i64) -> Option<&mut Ended> {
        self.ended
            .iter_mut()
            .find(|ended| ended.own.start_ms <= at_ms && at_ms < ended.own.end_ms)
    }

    /// Something that was reserved in an ended period is over. False: that period is forgotten.
    pub(super) fn free_ended(&mut self, at_ms: i64, reserved: PicoUsd) -> bool {
        let Some(ended) = self.ended_at(at_ms) else {
            return false;
        };
        ended.own.reserved -= reserved;
        ended.holders = ended.holders.saturating_sub(1);
        true
    }

    /// Spends in an ended period. False: it is forgotten.
    pub(super) fn spend_ended(&mut self, at_ms: i64, amount: PicoUsd) -> bool {
        let ended = self.ended_at(at_ms);
        ended.is_some_and(|ended| {
            ended.own.spent += amount;
            true
        })
    }

    /// Nothing is in flight any more, as far as cells know: it is counted again after a reload.
    pub(super) fn forget_in_flight(&mut self) {
        for ended in &mut self.ended {
            ended.own.reserved = PicoUsd::ZERO;
            ended.holders = 0;
        }
    }

    /// Holds again in an ended period. False: it is forgotten.
    pub(super) fn hold_ended(&mut self, at_ms: i64, reserved: PicoUsd) -> bool {
        let ended = self.ended_at(at_ms);
        ended.is_some_and(|ended| {
            ended.own.reserved += reserved;
            ended.holders = ended.holders.saturating_add(1);
            true
        })
    }

    fn counter(&self, own: &Own) -> Counter {
        counter(own, self.base, self.has_past)
    }

    /// Adds the calls that are due, or (`all`) every one.
    pub(super) fn calls(&mut self, own: &Own, all: bool, now_ms: i64, calls: &mut Vec<LeaseCall>) {
        self.ended
            .retain(|ended| !ended.is_done() && now_ms < ended.own.end_ms.saturating_add(PAST_MS));
        for ended in &mut self.ended {
            let counter = counter(&ended.own, ended.base, false);
            let wish = Wish {
                ceiling: counter.committed,
                ..Wish::default()
            };
            if all || ended.lease.is_due(&counter, &wish, now_ms) {
                calls.push(ended.lease.call(&counter, &wish, now_ms));
            }
        }
        if self.waiting.until_ms < now_ms {
            self.waiting = Waiting::default();
        }
        self.demand.look(now_ms);
        let counter = self.counter(own);
        let wish = self.wish(&counter, now_ms);
        if all || self.lease.is_due(&counter, &wish, now_ms) {
            if wish.need > 0 {
                self.lease.give_up_idle(counter.committed);
            }
            calls.push(self.lease.call(&counter, &wish, now_ms));
        }
    }

    /// What to ask for.
    fn wish(&self, counter: &Counter, now_ms: i64) -> Wish {
        let committed = counter.committed;
        let slice = self.demand.slice().max(counter.limit / AT_REST);
        let headroom = self.lease.ceiling().saturating_sub(committed);
        let waits = self.waiting.until_ms >= now_ms && self.waiting.smallest > headroom;
        let (ceiling, need) = if waits {
            let more = self.waiting.together.saturating_add(slice);
            (
                committed.saturating_add(more),
                committed + self.waiting.smallest,
            )
        } else if self.lease.others_wait() {
            (committed, 0)
        } else if headroom < slice / 2 || headroom / 4 > slice {
            (committed.saturating_add(slice), 0)
        } else {
            (self.lease.ceiling(), 0)
        };
        Wish {
            ceiling: ceiling.min(counter.limit.max(committed)),
            need,
            weight: 0,
        }
    }

    /// Adds the last calls: what is not used goes back.
    pub(super) fn leave(&mut self, own: &Own, now_ms: i64, calls: &mut Vec<LeaseCall>) {
        for ended in &mut self.ended {
            let counter = counter(&ended.own, ended.base, false);
            calls.push(ended.lease.leave(&counter, now_ms));
        }
        let counter = self.counter(own);
        calls.push(self.lease.leave(&counter, now_ms));
    }

    /// Takes an answer, if it is for one of its pots. True when it was.
    pub(super) fn answered(&mut self, pot: &str, reply: &LeaseReply) -> bool {
        let ended = self.ended.iter_mut().map(|ended| &mut ended.lease);
        let mut leases = std::iter::once(&mut self.lease).chain(ended);
        let Some(lease) = leases.find(|lease| **lease.pot() == *pot) else {
            return false;
        };
        lease.answered(reply.clone());
        self.away = false;
        // Who still waits will say so again.
        self.waiting = Waiting::default();
        true
    }

    pub(super) const fn set_away(&mut self) {
        self.away = true;
    }
}

impl Ended {
    /// True when nothing is in flight and the store knows it.
    fn is_done(&self) -> bool {
        let counter = counter(&self.own, self.base, false);
        self.holders == 0
            && !self.lease.is_due(
                &counter,
                &Wish {
                    ceiling: counter.committed,
                    ..Wish::default()
                },
                i64::MIN / 4,
            )
    }
}

fn counter(own: &Own, base: Option<u64>, has_past: bool) -> Counter {
    Counter {
        spent: units_up(own.spent),
        committed: units_up(own.spent + own.reserved),
        limit: units_down(own.limit),
        limit_version: own.limit_version,
        base,
        has_past,
        expires_ms: match own.end_ms {
            i64::MAX => 0,
            end_ms => end_ms.saturating_add(KEEP_MS),
        },
    }
}

fn pot(name: &str, start_ms: i64) -> Arc<str> {
    Arc::from(format!("{name}:{start_ms}"))
}
