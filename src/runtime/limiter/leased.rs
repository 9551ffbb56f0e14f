//! What this replica may use of limits that several replicas share: permits and tokens that it has
//! drawn from a common bucket, and places that it holds a lease on.
//!
//! Like everything here it is looked at under the scope's lock and asks nobody; a background task draws
//! and leases, in slices by demand.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use crate::runtime::leases::{Counter, Demand, Lease, Wish};
use crate::types::{DrawCall, DrawReply, LeaseCall, LeaseReply, OnDeath};

use super::standing::{RateStanding, Standing};
use super::{LimitKind, LimitParams, Scope};

/// Parts of a permit or token, so that small shares add up.
pub(super) const PARTS: u64 = 1_000_000;
/// For how long a slice lasts: a few calls, since what is drawn here is missing elsewhere.
const HORIZON_SECONDS: f64 = 0.3;
/// After this long without a request nothing is kept at hand.
const IDLE_MS: i64 = 30_000;
/// How long the answer that there is no more is believed.
const DRY_MS: i64 = 300;

/// What happens to limits while the shared store is away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LimitsWhenAway {
    /// Each replica goes on with the part of each rate that it last had.
    #[default]
    Share,
    /// Each replica takes each limit for its own.
    Open,
    /// Nothing that is limited passes.
    Closed,
}

/// A limit that cannot be met from what is at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Short {
    /// When it may be met.
    pub(super) wait: Duration,
    /// True when more was asked for and may come within moments.
    pub(super) may_come: bool,
}

/// Permits or tokens at hand, in parts.
#[derive(Debug)]
pub(super) struct Purse {
    pot: Arc<str>,
    rate: u64,
    burst: u64,
    balance: i64,
    demand: Demand,
    /// The smallest amount that waits; 0: none.
    waits: u64,
    dry_ms: i64,
    /// This replica's part of the demand, as last heard.
    share: f64,
    active_ms: i64,
    away_since_ms: Option<i64>,
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "shares of rates need not be exact, and amounts are far below 2^53 parts"
)]
impl Purse {
    fn new(pot: Arc<str>) -> Self {
        Self {
            pot,
            rate: 0,
            burst: 0,
            balance: 0,
            demand: Demand::default(),
            waits: 0,
            dry_ms: i64::MIN / 2,
            share: 1.0,
            active_ms: i64::MIN / 2,
            away_since_ms: None,
        }
    }

    /// Why so many cannot be had now, if they cannot.
    pub(super) fn short(
        &mut self,
        count: u64,
        when_away: LimitsWhenAway,
        now_ms: i64,
    ) -> Option<Short> {
        let parts = count.saturating_mul(PARTS);
        self.active_ms = now_ms;
        self.refill_alone(when_away, now_ms);
        if self.has(parts) {
            return None;
        }
        let dry = self.dry_ms + DRY_MS > now_ms;
        let missing = (parts as i64 - self.balance).max(0) as f64;
        let per_ms = (self.rate as f64 / 60_000.0 * self.share).max(1e-3);
        if !dry && self.away_since_ms.is_none() {
            self.waits = if self.waits == 0 {
                parts
            } else {
                self.waits.min(parts)
            };
        }
        Some(Short {
            wait: Duration::from_millis((missing / per_ms).clamp(1.0, 60_000.0) as u64),
            may_come: !dry && self.away_since_ms.is_none(),
        })
    }

    /// Counts a request towards the demand, whether it passes or not.
    pub(super) fn ask(&mut self, count: u64) {
        self.demand.ask(count.saturating_mul(PARTS));
    }

    const fn has(&self, parts: u64) -> bool {
        self.balance >= 0 && self.balance as u64 >= parts
    }

    pub(super) fn take(&mut self, count: u64) {
        self.balance -= count.saturating_mul(PARTS) as i64;
    }

    pub(super) fn give_back(&mut self, count: u64) {
        self.balance += count.saturating_mul(PARTS) as i64;
    }

    /// Whole permits at hand, and how long until the burst would be whole again.
    pub(super) fn standing(&self) -> (u64, Duration) {
        let at_hand = self.balance.max(0) as u64;
        let per_ms = (self.rate as f64 / 60_000.0).max(1e-3);
        let missing = self.burst.saturating_sub(at_hand) as f64;
        (
            at_hand / PARTS,
            Duration::from_millis((missing / per_ms) as u64),
        )
    }

    /// Without the store the purse fills by itself, by this replica's last share.
    fn refill_alone(&mut self, when_away: LimitsWhenAway, now_ms: i64) {
        let Some(since) = self.away_since_ms else {
            return;
        };
        let share = match when_away {
            LimitsWhenAway::Share => self.share,
            LimitsWhenAway::Open => 1.0,
            LimitsWhenAway::Closed => {
                self.balance = self.balance.min(0);
                return;
            }
        };
        let passed = (now_ms - since).max(0) as f64;
        let filled = self.balance as f64 + passed * self.rate as f64 / 60_000.0 * share;
        let most = (self.burst as f64 * share).max(PARTS as f64);
        self.balance = (filled.min(most) as i64).max(self.balance);
        self.away_since_ms = Some(now_ms);
    }

    /// The next draw, when there is something to say.
    fn call(&mut self, now_ms: i64) -> Option<DrawCall> {
        self.demand.look(now_ms);
        let idle = now_ms - self.active_ms > IDLE_MS;
        let (slice, least) = if idle {
            (0, 0)
        } else {
            (
                (self.demand.per_second() * HORIZON_SECONDS) as i64,
                PARTS as i64,
            )
        };
        let goal = slice.max(least).max(self.waits as i64);
        let back = match self.away_since_ms {
            None => (self.balance - goal.max(slice * 2)).max(0),
            // Nobody would take it.
            Some(_) => 0,
        };
        self.balance -= back;
        let want = (goal - self.balance).max(0);
        if idle && back == 0 && self.waits == 0 && self.balance <= 0 {
            return None;
        }
        Some(DrawCall {
            pot: Arc::clone(&self.pot),
            rate: self.rate,
            burst: self.burst,
            held: self.balance.max(0) as u64,
            want: want as u64,
            need: (self.waits as i64 - self.balance)
                .max(0)
                .min(self.waits as i64) as u64,
            weight: self.demand.per_second() as u64 + self.waits,
            back: back as u64,
        })
    }

    fn drawn(&mut self, call: &DrawCall, reply: &DrawReply, now_ms: i64) {
        self.balance += reply.granted as i64;
        self.share = if reply.weights > 0 {
            call.weight as f64 / reply.weights as f64
        } else {
            1.0
        };
        if reply.granted < call.need {
            self.dry_ms = now_ms;
        }
        self.waits = 0;
        self.away_since_ms = None;
    }

    fn away(&mut self, now_ms: i64) {
        self.away_since_ms.get_or_insert(now_ms);
        self.waits = 0;
    }
}

/// Places for requests in flight.
#[derive(Debug)]
pub(super) struct Places {
    lease: Lease,
    limit: u32,
    demand: Demand,
    waits: bool,
    dry_ms: i64,
    away: bool,
}

impl Places {
    fn new(pot: Arc<str>) -> Self {
        Self {
            lease: Lease::new(pot, OnDeath::Free, 0),
            limit: 0,
            demand: Demand::default(),
            waits: false,
            dry_ms: i64::MIN / 2,
            away: false,
        }
    }

    /// Whether one more request than these would be too many for this replica; and then whether more
    /// places may come within moments.
    pub(super) fn short(
        &mut self,
        in_flight: u32,
        when_away: LimitsWhenAway,
        now_ms: i64,
    ) -> Option<bool> {
        self.demand.ask(1);
        let most = match (self.away, when_away) {
            (true, LimitsWhenAway::Open) => u64::from(self.limit),
            (true, LimitsWhenAway::Closed) => 0,
            _ => self.lease.ceiling().min(self.limit.into()),
        };
        if u64::from(in_flight) < most {
            return None;
        }
        let may_come = !self.away && in_flight < self.limit && self.dry_ms + DRY_MS <= now_ms;
        self.waits |= may_come;
        Some(may_come)
    }

    fn counter(&self, in_flight: u32) -> Counter {
        Counter {
            committed: in_flight.into(),
            limit: self.limit.into(),
            ..Counter::default()
        }
    }

    fn call(&mut self, in_flight: u32, now_ms: i64) -> Option<LeaseCall> {
        /// Places that one look finds asked for, at most this share of a second's.
        const PER_SECOND: f64 = 0.3;
        self.demand.look(now_ms);
        let counter = self.counter(in_flight);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive rate, and places are few"
        )]
        let spare = (self.demand.per_second() * PER_SECOND).ceil() as u64;
        let need = if self.waits { counter.committed + 1 } else { 0 };
        let ceiling = if self.lease.others_wait() && !self.waits {
            counter.committed
        } else {
            (counter.committed + spare).max(need).min(counter.limit)
        };
        let wish = Wish {
            ceiling: ceiling.max(counter.committed),
            need,
            weight: 0,
        };
        let nothing = wish.ceiling == 0 && self.lease.ceiling() == 0;
        if nothing || !self.lease.is_due(&counter, &wish, now_ms) {
            return None;
        }
        Some(self.lease.call(&counter, &wish, now_ms))
    }

    fn answered(&mut self, call: &LeaseCall, reply: &LeaseReply, now_ms: i64) {
        self.lease.answered(reply.clone());
        if reply.granted < call.need {
            self.dry_ms = now_ms;
        }
        self.waits = false;
        self.away = false;
    }
}

/// One scope's part of shared limits; what is not limited has none.
#[derive(Debug, Default)]
pub(super) struct LeasedScope {
    pub(super) requests: Option<Purse>,
    pub(super) tokens: Option<Purse>,
    pub(super) places: Option<Places>,
}

impl LeasedScope {
    /// Brings it in line with the parameters in force.
    pub(super) fn follow(&mut self, scope: &Scope, params: &LimitParams) {
        match params.requests_per_minute {
            None => self.requests = None,
            Some(rate) => {
                let burst = params.burst_requests.unwrap_or(rate / 10).max(1);
                let purse = self
                    .requests
                    .get_or_insert_with(|| Purse::new(pot("requests", scope)));
                purse.rate = u64::from(rate).saturating_mul(PARTS);
                purse.burst = u64::from(burst).saturating_mul(PARTS);
            }
        }
        match params.tokens_per_minute {
            None => self.tokens = None,
            Some(rate) => {
                let burst = params.burst_tokens.unwrap_or(rate).max(1);
                let purse = self
                    .tokens
                    .get_or_insert_with(|| Purse::new(pot("tokens", scope)));
                // Rates beyond this are no limits, and sums of parts must stay exact.
                let most = u64::MAX / PARTS / 8_192;
                purse.rate = rate.min(most) * PARTS;
                purse.burst = burst.min(most) * PARTS;
            }
        }
        match params.concurrent {
            None => self.places = None,
            Some(limit) => {
                let places = self
                    .places
                    .get_or_insert_with(|| Places::new(pot("places", scope)));
                places.limit = limit;
            }
        }
    }

    /// How these limits stand here, beside others.
    pub(super) fn stand(&self, params: &LimitParams, tightest: &mut RateStanding) {
        let standing = |purse: &Purse, limit| {
            let (remaining, reset) = purse.standing();
            Standing {
                limit,
                remaining,
                reset,
            }
        };
        if let (Some(purse), Some(limit)) = (&self.requests, params.requests_per_minute) {
            RateStanding::tighten(&mut tightest.requests, standing(purse, limit.into()));
        }
        if let (Some(purse), Some(limit)) = (&self.tokens, params.tokens_per_minute) {
            RateStanding::tighten(&mut tightest.tokens, standing(purse, limit));
        }
    }

    pub(super) fn draws(&mut self, now_ms: i64, mut add: impl FnMut(LimitKind, DrawCall)) {
        if let Some(call) = self.requests.as_mut().and_then(|it| it.call(now_ms)) {
            add(LimitKind::Requests, call);
        }
        if let Some(call) = self.tokens.as_mut().and_then(|it| it.call(now_ms)) {
            add(LimitKind::Tokens, call);
        }
    }

    pub(super) fn drawn(
        &mut self,
        kind: LimitKind,
        call: &DrawCall,
        reply: &DrawReply,
        now_ms: i64,
    ) {
        let purse = match kind {
            LimitKind::Tokens => &mut self.tokens,
            _ => &mut self.requests,
        };
        if let Some(purse) = purse {
            purse.drawn(call, reply, now_ms);
        }
    }

    pub(super) fn lease_call(&mut self, in_flight: u32, now_ms: i64) -> Option<LeaseCall> {
        self.places.as_mut()?.call(in_flight, now_ms)
    }

    pub(super) fn answered(&mut self, call: &LeaseCall, reply: &LeaseReply, now_ms: i64) {
        if let Some(places) = &mut self.places {
            places.answered(call, reply, now_ms);
        }
    }

    /// The last calls: everything goes back.
    pub(super) fn leave(&mut self, now_ms: i64) -> (Vec<DrawCall>, Option<LeaseCall>) {
        let purses = self.requests.iter_mut().chain(&mut self.tokens);
        let draws = purses.filter(|purse| purse.balance > 0).map(|purse| {
            let back = u64::try_from(std::mem::take(&mut purse.balance)).unwrap_or(0);
            DrawCall {
                pot: Arc::clone(&purse.pot),
                rate: purse.rate,
                burst: purse.burst,
                back,
                ..DrawCall::default()
            }
        });
        let draws = draws.collect();
        let places = self.places.as_mut().map(|places| {
            let counter = places.counter(0);
            places.lease.leave(&counter, now_ms)
        });
        (draws, places)
    }

    pub(super) fn away(&mut self, now_ms: i64) {
        for purse in self.requests.iter_mut().chain(&mut self.tokens) {
            purse.away(now_ms);
        }
        if let Some(places) = &mut self.places {
            (places.away, places.waits) = (true, false);
        }
    }
}

fn pot(kind: &str, scope: &Scope) -> Arc<str> {
    let kind_of_scope = scope.kind();
    Arc::from(match scope {
        Scope::Global => format!("{kind}:{kind_of_scope}"),
        Scope::Key(id) => format!("{kind}:{kind_of_scope}:{id}"),
        Scope::Team(id) => format!("{kind}:{kind_of_scope}:{id}"),
        Scope::Provider(id) => format!("{kind}:{kind_of_scope}:{id}"),
        Scope::Model(id) => format!("{kind}:{kind_of_scope}:{id}"),
    })
}
