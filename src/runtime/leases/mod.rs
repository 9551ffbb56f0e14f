//! A replica's side of the pots that replicas share: how much of each it may use without asking, how
//! much it should ask for, and what it remembers of the others.
//!
//! [`Lease`] is plain state without I/O: whoever owns the counter (a budget, a limit) asks it for the
//! ceiling, a background task carries its calls to the store and the answers back. A ceiling is raised
//! only by an answer, and lowered before the store hears of it, so that the store's sum is never below
//! what replicas may use.

mod bell;
mod demand;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::types::{Elsewhere, LeaseCall, LeaseReply, MAX_UNITS, OnDeath, Witness};

pub use self::bell::Bell;
pub use self::demand::Demand;

/// How often a lease that is in use is spoken about although nothing has changed: well within the time
/// that a store which has forgotten waits for everyone.
const HEARTBEAT_MS: i64 = 500;
/// The same for one of which something lies idle: another replica's requests may wait for it, and they
/// wait for a few of these at most.
const HOLDING_HEARTBEAT_MS: i64 = 100;
/// The same for one that has not been used for a while.
const IDLE_HEARTBEAT_MS: i64 = 5_000;
/// When a lease counts as not used.
const IDLE_AFTER_MS: i64 = 60_000;

/// How the counter that a lease is for stands. Units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counter {
    /// Used up for good by this replica.
    pub spent: u64,
    /// With what is reserved for requests in flight.
    pub committed: u64,
    /// What all replicas may use together.
    pub limit: u64,
    /// How new the limit is.
    pub limit_version: i64,
    /// What the pot begins with when the store does not know it.
    pub base: Option<u64>,
    /// True when other replicas may have used it before the store knew it.
    pub has_past: bool,
    /// When the pot may be forgotten, milliseconds since the epoch; 0: never.
    pub expires_ms: i64,
}

/// What a replica asks for. Units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wish {
    /// The ceiling that it would like.
    pub ceiling: u64,
    /// The lowest ceiling with which a waiting request can go on; 0: none waits.
    pub need: u64,
    /// Its part when a limit is shared by demand.
    pub weight: u64,
}

/// One lease.
#[derive(Debug, Clone)]
pub struct Lease {
    pot: Arc<str>,
    on_death: OnDeath,
    seq: u64,
    acked: u64,
    ceiling: u64,
    /// The last answer.
    heard: Option<LeaseReply>,
    /// The others, as the store knew them before it forgot.
    trusted: Option<Witness>,
    /// The counter when it was last spoken about, and when that was.
    told: (Counter, i64),
    /// When the counter last changed.
    active_ms: i64,
    fenced: bool,
}

impl Lease {
    /// A lease of nothing yet. Its calls are numbered from the present instant, so that the store does not
    /// take them for late ones of a lease on the same pot that this process let go earlier.
    #[must_use]
    pub fn new(pot: Arc<str>, on_death: OnDeath, now_ms: i64) -> Self {
        Self {
            pot,
            on_death,
            seq: first_number(now_ms),
            acked: 0,
            ceiling: 0,
            heard: None,
            trusted: None,
            told: (Counter::default(), i64::MIN / 2),
            active_ms: i64::MIN / 2,
            fenced: false,
        }
    }

    /// The lease of the pot that follows this one.
    #[must_use]
    pub fn next(&self, pot: Arc<str>) -> Self {
        Self {
            seq: self.seq,
            ..Self::new(pot, self.on_death, 0)
        }
    }

    /// Which pot.
    #[must_use]
    pub const fn pot(&self) -> &Arc<str> {
        &self.pot
    }

    /// Up to where this replica may use the pot without asking.
    #[must_use]
    pub const fn ceiling(&self) -> u64 {
        self.ceiling
    }

    /// True once the store has answered.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.heard.is_some()
    }

    /// The others, as last heard.
    #[must_use]
    pub fn others(&self) -> &[Elsewhere] {
        self.heard.as_ref().map_or(&[], |heard| &heard.others)
    }

    /// What others have used up, as last heard, with what the pot began with.
    #[must_use]
    pub fn spent_elsewhere(&self) -> u64 {
        self.heard.as_ref().map_or(0, LeaseReply::spent_elsewhere)
    }

    /// What silent replicas hold beyond what they had reported: perhaps spent, perhaps not.
    #[must_use]
    pub fn stranded(&self) -> u64 {
        let silent = self.others().iter().filter(|other| !other.live);
        silent
            .map(|other| other.granted.saturating_sub(other.spent))
            .sum()
    }

    /// What live others hold beyond what they had reported.
    #[must_use]
    pub fn held_elsewhere(&self) -> u64 {
        let live = self.others().iter().filter(|other| other.live);
        live.map(|other| other.granted.saturating_sub(other.spent))
            .sum()
    }

    /// True while others wait for what is not needed here.
    #[must_use]
    pub fn others_wait(&self) -> bool {
        self.heard.as_ref().is_some_and(|heard| heard.hungry)
    }

    /// True while the store is young or has forgotten, and grants nothing.
    #[must_use]
    pub fn is_recovering(&self) -> bool {
        self.heard.as_ref().is_some_and(|heard| heard.recovering)
    }

    /// True when another process runs under this replica's name.
    #[must_use]
    pub const fn is_fenced(&self) -> bool {
        self.fenced
    }

    /// True when the pot's limit would allow this much more, if all that is held and not used came
    /// back: waiting may help.
    #[must_use]
    pub fn may_come(&self, counter: &Counter, more: u64) -> bool {
        let Some(heard) = &self.heard else {
            return true;
        };
        let gone = heard
            .spent_elsewhere()
            .saturating_add(self.stranded())
            .saturating_add(counter.committed);
        gone.saturating_add(more) <= counter.limit
    }

    /// Whether it is time to call.
    #[must_use]
    pub fn is_due(&self, counter: &Counter, wish: &Wish, now_ms: i64) -> bool {
        let (told, at_ms) = &self.told;
        let asks = self.seq != self.acked
            || wish.need > self.ceiling
            || wish.ceiling != self.ceiling
            || told != counter
            || self.is_recovering()
            || self.others_wait();
        let idle = now_ms - self.active_ms > IDLE_AFTER_MS;
        let heartbeat = if idle {
            IDLE_HEARTBEAT_MS
        } else if self.ceiling > counter.committed {
            HOLDING_HEARTBEAT_MS
        } else {
            HEARTBEAT_MS
        };
        asks || now_ms - at_ms >= heartbeat
    }

    /// The next call. What the wish gives up is given up from here on, whatever becomes of the call.
    pub fn call(&mut self, counter: &Counter, wish: &Wish, now_ms: i64) -> LeaseCall {
        self.seq += 1;
        let wanted = wish.ceiling.max(counter.committed).min(MAX_UNITS);
        self.ceiling = self.ceiling.min(wanted);
        if self.told.0 != *counter {
            self.active_ms = now_ms;
        }
        self.told = (*counter, now_ms);
        let witness = self
            .heard
            .as_ref()
            .filter(|heard| heard.recovering || heard.forgot)
            .and_then(|_| self.trusted.clone());
        LeaseCall {
            pot: Arc::clone(&self.pot),
            on_death: self.on_death,
            limit: counter.limit.min(MAX_UNITS),
            limit_version: counter.limit_version,
            seq: self.seq,
            acked: self.acked,
            spent: counter.spent,
            // What is committed is held, also where it was never granted (an attempt that cost more
            // than its proven worst case, or a pot that began with money in flight).
            held: self.ceiling.max(counter.committed),
            want: wanted,
            need: wish.need,
            weight: wish.weight,
            base: counter.base,
            has_past: counter.has_past,
            leaving: false,
            expires_ms: counter.expires_ms,
            witness,
        }
    }

    /// Asks for what waits, or for `ceiling`, after giving up what lies idle: parts that are too small
    /// for one request come together again in the pot, where the next one finds them whole.
    pub const fn give_up_idle(&mut self, committed: u64) {
        if self.ceiling > committed {
            self.ceiling = committed;
        }
    }

    /// The last call: everything that is not used goes back.
    pub fn leave(&mut self, counter: &Counter, now_ms: i64) -> LeaseCall {
        let wish = Wish {
            ceiling: counter.committed,
            ..Wish::default()
        };
        let mut call = self.call(counter, &wish, now_ms);
        call.leaving = true;
        call
    }

    /// Takes an answer. One that comes late changes nothing.
    pub fn answered(&mut self, reply: LeaseReply) {
        if reply.stale {
            // A later call of ours cannot have come first unless this answer is old.
            self.fenced |= reply.seq == self.seq;
            return;
        }
        if reply.seq <= self.acked || reply.seq != self.seq {
            return;
        }
        self.acked = reply.seq;
        self.ceiling = reply.granted;
        if !reply.recovering && !reply.forgot {
            self.trusted = Some(Witness {
                base: reply.base,
                others: reply.others.to_vec(),
            });
        }
        self.heard = Some(reply);
    }
}

/// Where the numbers of calls begin: room for a thousand calls in each millisecond, below the 2^53 up to
/// which Redis' numbers are whole until the year 2255.
fn first_number(now_ms: i64) -> u64 {
    u64::try_from(now_ms).unwrap_or(0).saturating_mul(1_000)
}
