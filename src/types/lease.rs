//! What replicas and the store that they share say to each other about leases.
//!
//! A *pot* is something that all replicas use together and that has a limit: a budget in one period,
//! a rate, a number of places. A replica leases a part of it: up to the ceiling that it was granted it
//! may use the pot without asking. The one rule of every store: the ceilings of a pot's replicas, with
//! what the pot began with, never exceed its limit.
//!
//! Amounts are whole *units* (what a unit is, the user of the pot decides), at most [`MAX_UNITS`], and
//! always absolute, never differences: a call that arrives twice, or late, or not at all, counts once.

use std::sync::Arc;

use smallvec::SmallVec;

/// The largest amount: stores may compute in doubles (Redis' Lua does), which are exact up to here.
pub const MAX_UNITS: u64 = 1 << 53;

/// Who leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Its name; no two that run at once have the same.
    pub name: Arc<str>,
    /// Which life of that name: grows with every start (milliseconds since the epoch). The later one
    /// takes over what the earlier one held.
    pub incarnation: u64,
}

/// What becomes of a lease whose holder has fallen silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDeath {
    /// All of it counts as used, for nobody knows how much was: money.
    Charge,
    /// It is free again: rates and places, which die with their user.
    Free,
}

/// One replica's word about one pot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseCall {
    /// Which pot.
    pub pot: Arc<str>,
    /// What happens to this lease when the replica dies.
    pub on_death: OnDeath,
    /// What all replicas may use together.
    pub limit: u64,
    /// How new the caller's limit is; the newest holds.
    pub limit_version: i64,
    /// Grows with every call of this incarnation about this pot. What comes late is ignored.
    pub seq: u64,
    /// The last `seq` that was answered. A store that does not know it has forgotten something.
    pub acked: u64,
    /// What this replica has used up for good, since the pot began.
    pub spent: u64,
    /// The ceiling that it holds. Below an earlier one it has given the difference up already.
    pub held: u64,
    /// The ceiling that it would like; below `held` it gives the difference back.
    pub want: u64,
    /// The lowest ceiling that helps a request that waits, 0 when none does. Less than that is not
    /// granted, and the others hear that somebody waits.
    pub need: u64,
    /// How much the replica would use, for sharing by demand.
    pub weight: u64,
    /// What a new pot begins with, where the caller has it from a ledger that all replicas write to.
    pub base: Option<u64>,
    /// True when other replicas may have used it before the store knew of it: nothing is granted until
    /// they have had time to say so.
    pub has_past: bool,
    /// True when the replica leaves in good order.
    pub leaving: bool,
    /// When the pot may be forgotten, milliseconds since the epoch; 0: never.
    pub expires_ms: i64,
    /// What the caller last heard of the others, told to a store that has forgotten.
    pub witness: Option<Witness>,
}

/// What a replica remembers of a pot that the store has forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Witness {
    /// What the pot began with.
    pub base: u64,
    /// The other replicas.
    pub others: Vec<Elsewhere>,
}

/// Another replica's part of a pot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// Whose.
    pub replica: Arc<str>,
    /// What it has reported as used up.
    pub spent: u64,
    /// Its ceiling.
    pub granted: u64,
    /// How much it would use.
    pub weight: u64,
    /// False when it has been silent for longer than a lease lives.
    pub live: bool,
}

/// What the store answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseReply {
    /// The call that is answered.
    pub seq: u64,
    /// The ceiling that holds now. Never below what the caller kept.
    pub granted: u64,
    /// The limit that holds.
    pub limit: u64,
    /// What the pot began with.
    pub base: u64,
    /// The other replicas, by name.
    pub others: SmallVec<[Elsewhere; 4]>,
    /// True while nothing is granted because the store is young or has forgotten.
    pub recovering: bool,
    /// True when another replica waits for what this one may not need.
    pub hungry: bool,
    /// True when the store did not know what it had once answered: the caller should bear witness.
    pub forgot: bool,
    /// True when this call made the pot.
    pub created: bool,
    /// True when a later call had come first, or a later incarnation runs: nothing was done.
    pub stale: bool,
}

/// One replica's draw from a rate that replicas share: a bucket that fills at the rate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrawCall {
    /// Which bucket.
    pub pot: Arc<str>,
    /// What flows in, units a minute.
    pub rate: u64,
    /// What it holds at most.
    pub burst: u64,
    /// What this replica has at hand.
    pub held: u64,
    /// What it would like to draw.
    pub want: u64,
    /// What a waiting request needs at least; 0: none waits.
    pub need: u64,
    /// How much it is asked for, for sharing by demand.
    pub weight: u64,
    /// What it puts back.
    pub back: u64,
}

/// What the bucket gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrawReply {
    /// What the replica now has in addition.
    pub granted: u64,
    /// What all replicas together are asked for.
    pub weights: u64,
    /// How many replicas draw from it.
    pub live: u64,
}

impl LeaseReply {
    /// What other replicas have used up, with what the pot began with.
    #[must_use]
    pub fn spent_elsewhere(&self) -> u64 {
        let spent = self.others.iter().map(|other| other.spent);
        self.base.saturating_add(spent.sum())
    }
}
