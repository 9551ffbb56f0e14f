//! Rate limits (requests by GCRA, tokens in cells that reserve and settle) and concurrency permits.
//!
//! Every scope has one cell behind one short lock. An admission locks the cells of all its scopes in
//! the order of their names, looks at all of them, and takes from all or from none: a refusal by
//! any scope costs the others nothing. Parameters come with each call; state survives a reload.
//!
//! The rate is `limit` per minute as a continuous refill with a burst on top: in any stretch of `t`
//! minutes at most `limit·t + burst` pass. For tokens the same holds of what was settled.

mod held;
mod leased;
mod requests;
mod scope;
mod sharing;
mod standing;
mod tokens;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard, RwLock};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use tokio::time::Instant;

use self::leased::{LeasedScope, Short};
use self::requests::{RequestCell, RequestQuota};

pub use self::held::{Permit, TokenReservation};
pub use self::leased::LimitsWhenAway;
pub use self::scope::{LimitKind, LimitParams, Limited, Scope};
use self::sharing::Sharing;
pub use self::sharing::{Draws, PlaceLeases};
pub use self::standing::{RateStanding, Standing, format_reset};
use self::tokens::TokenBucket;

/// When to come back to a concurrency limit: nobody knows when a permit comes free, and a second
/// is short for people and long for the machine.
const PERMIT_WAIT: Duration = Duration::from_secs(1);
/// Scopes of one request that fit without an allocation: global, key, team, provider, model.
const SCOPES: usize = 5;

/// The state of one scope.
#[derive(Debug, Default)]
struct Cell {
    rates: Mutex<Rates>,
    /// Grows only under `rates`, shrinks without it.
    in_flight: AtomicU32,
}

#[derive(Debug, Default)]
struct Rates {
    requests: Option<RequestCell>,
    tokens: TokenBucket,
    /// Until when the upstream does not want to be asked.
    penalty_until: Option<Instant>,
    /// In the place of `requests` and `tokens`, where replicas share the limits.
    leased: Option<Box<LeasedScope>>,
}

/// The cells of all scopes.
#[derive(Debug)]
pub struct Limiters {
    /// GCRA counts nanoseconds from here.
    origin: Instant,
    cells: RwLock<FxHashMap<Scope, Arc<Cell>>>,
    sharing: Option<Sharing>,
}

impl Default for Limiters {
    fn default() -> Self {
        Self::new()
    }
}

type Limits<'a> = SmallVec<[&'a (Scope, LimitParams); SCOPES]>;
type Cells = SmallVec<[Arc<Cell>; SCOPES]>;
type Locked<'a> = SmallVec<[MutexGuard<'a, Rates>; SCOPES]>;

impl Limiters {
    /// No scope has been asked for yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
            cells: RwLock::default(),
            sharing: None,
        }
    }

    /// Admits one request in all these scopes, or in none. The permit holds its place in every
    /// scope's concurrency until it is dropped.
    ///
    /// # Errors
    /// The limit that takes longest to let it pass. Nothing was taken.
    pub fn admit(
        self: &Arc<Self>,
        scopes: &[(Scope, LimitParams)],
        now: Instant,
    ) -> Result<Permit, Limited> {
        let limits = in_lock_order(scopes.iter());
        let cells = self.cells_of(&limits);
        {
            let mut locked = lock_all(&cells);
            self.follow(&limits, &mut locked);
            let refusals = limits.iter().zip(&cells).zip(&mut locked);
            let worst = refusals
                .filter_map(|(((scope, params), cell), rates)| {
                    if let Some(purse) = rates.leased.as_mut().and_then(|it| it.requests.as_mut()) {
                        purse.ask(1);
                    }
                    self.refusal(scope, params, cell, rates, now)
                })
                .max_by_key(standing_in_the_way);
            if let Some(limited) = worst {
                return Err(limited);
            }
            let ticks = self.ticks(now);
            for (cell, rates) in cells.iter().zip(&mut locked) {
                if let Some(leased) = &mut rates.leased {
                    if let Some(requests) = &mut leased.requests {
                        requests.take(1);
                    }
                } else if let Some(requests) = &rates.requests {
                    requests.take(ticks);
                }
                cell.in_flight.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(Permit { cells })
    }

    /// Reserves tokens in every scope that limits them, or in none. Settle it with what was really
    /// used; dropped unsettled, it gives everything back.
    ///
    /// A request above the burst but within a whole minute's rate passes when the bucket is full.
    ///
    /// # Errors
    /// The limit that takes longest to let it pass. Nothing was taken.
    pub fn reserve_tokens(
        self: &Arc<Self>,
        scopes: &[(Scope, LimitParams)],
        tokens: u64,
        now: Instant,
    ) -> Result<TokenReservation, Limited> {
        let limited_scopes = scopes
            .iter()
            .filter(|(_, params)| params.tokens_per_minute.is_some());
        let limits = in_lock_order(limited_scopes);
        let cells = self.cells_of(&limits);
        {
            let mut locked = lock_all(&cells);
            self.follow(&limits, &mut locked);
            let worst = limits
                .iter()
                .zip(&mut locked)
                .filter_map(|((scope, params), rates)| {
                    if let Some(purse) = rates.leased.as_mut().and_then(|it| it.tokens.as_mut()) {
                        purse.ask(tokens);
                    }
                    self.token_refusal(scope, params, rates, tokens, now)
                })
                .max_by_key(standing_in_the_way);
            if let Some(limited) = worst {
                return Err(limited);
            }
            for rates in &mut locked {
                match &mut rates.leased {
                    None => rates.tokens.take(tokens),
                    Some(leased) => {
                        if let Some(purse) = &mut leased.tokens {
                            purse.take(tokens);
                        }
                    }
                }
            }
        }
        Ok(TokenReservation { cells, tokens })
    }

    /// Whether the scope would admit a request now; for choosing among models. Takes nothing.
    pub fn would_admit(&self, scope: &Scope, params: &LimitParams, now: Instant) -> bool {
        let cells = self.cells.read();
        let Some(cell) = cells.get(scope) else {
            return params.requests_per_minute != Some(0)
                && params.tokens_per_minute != Some(0)
                && params.concurrent != Some(0);
        };
        let mut rates = cell.rates.lock();
        let passes = |refused: Option<Limited>| refused.is_none_or(|limited| limited.lease_short);
        passes(self.token_refusal(scope, params, &mut rates, 1, now))
            && passes(self.refusal(scope, params, cell, &mut rates, now))
    }

    /// Why the scope would not admit a request now; for saying when to come again. Takes nothing.
    pub fn would_refuse(
        &self,
        scope: &Scope,
        params: &LimitParams,
        now: Instant,
    ) -> Option<Limited> {
        let known = self.cells.read().get(scope).cloned();
        let cell = known.unwrap_or_default();
        let mut rates = cell.rates.lock();
        self.refusal(scope, params, &cell, &mut rates, now)
            .or_else(|| self.token_refusal(scope, params, &mut rates, 1, now))
            .filter(|limited| !limited.lease_short)
    }

    /// Why this scope does not admit one more request, if it does not.
    fn refusal(
        &self,
        scope: &Scope,
        params: &LimitParams,
        cell: &Cell,
        rates: &mut Rates,
        now: Instant,
    ) -> Option<Limited> {
        if rates.leased.is_none() {
            return refusal(scope, params, cell, rates, now, self.ticks(now));
        }
        // What the upstream refuses and what is 0 are no matter of leases.
        let own = LimitParams {
            requests_per_minute: params.requests_per_minute.filter(|rate| *rate == 0),
            concurrent: params.concurrent,
            ..LimitParams::default()
        };
        if let Some(limited) = refusal(scope, &own, cell, rates, now, self.ticks(now)) {
            return Some(limited);
        }
        let (now_ms, when_away) = (self.ms(now), self.when_away());
        let leased = rates.leased.as_mut()?;
        let limited = |kind, limit: u32, short: Short| Limited {
            scope: scope.clone(),
            kind,
            limit: limit.into(),
            asked: 1,
            retry_after: Some(short.wait),
            lease_short: short.may_come,
        };
        let in_flight = cell.in_flight.load(Ordering::Relaxed);
        let no_place = leased
            .places
            .as_mut()
            .and_then(|places| places.short(in_flight, when_away, now_ms))
            .map(|may_come| Short {
                wait: PERMIT_WAIT,
                may_come,
            })
            .map(|short| {
                limited(
                    LimitKind::Concurrency,
                    params.concurrent.unwrap_or(0),
                    short,
                )
            });
        let purse = leased.requests.as_mut();
        let no_permit = purse
            .and_then(|purse| purse.short(1, when_away, now_ms))
            .map(|short| {
                let rate = params.requests_per_minute.unwrap_or(0);
                limited(LimitKind::Requests, rate, short)
            });
        no_place
            .into_iter()
            .chain(no_permit)
            .max_by_key(standing_in_the_way)
    }

    /// Why this scope does not give so many tokens, if it does not.
    fn token_refusal(
        &self,
        scope: &Scope,
        params: &LimitParams,
        rates: &mut Rates,
        tokens: u64,
        now: Instant,
    ) -> Option<Limited> {
        let rate = params.token_rate()?;
        let too_many = rate.per_minute == 0 || tokens > rate.per_minute.max(rate.burst);
        let (retry_after, lease_short) = match &mut rates.leased {
            Some(_) if too_many => (None, false),
            Some(leased) => {
                let purse = leased.tokens.as_mut()?;
                let short = purse.short(tokens, self.when_away(), self.ms(now))?;
                (Some(short.wait), short.may_come)
            }
            None => (rates.tokens.wait_for(tokens, rate, now)?.time(), false),
        };
        Some(Limited {
            scope: scope.clone(),
            kind: LimitKind::Tokens,
            limit: rate.per_minute,
            asked: tokens,
            retry_after,
            lease_short,
        })
    }

    /// Notes that an upstream does not want to be asked before `until` (its 429 or `retry-after`).
    /// The later of two such notes holds.
    pub fn penalize(&self, scope: &Scope, until: Instant) {
        let known = self.cells.read().get(scope).cloned();
        let cell = known.unwrap_or_else(|| self.insert(scope));
        let mut rates = cell.rates.lock();
        rates.penalty_until = rates.penalty_until.max(Some(until));
    }

    /// How the tightest of these scopes stands, for the `x-ratelimit-*` headers.
    pub fn standing(&self, scopes: &[(Scope, LimitParams)], now: Instant) -> RateStanding {
        let mut tightest = RateStanding::default();
        for (scope, params) in scopes {
            let known = self.cells.read().get(scope).cloned();
            let cell = known.unwrap_or_default();
            let mut rates = cell.rates.lock();
            if let Some(leased) = &rates.leased {
                leased.stand(params, &mut tightest);
                continue;
            }
            if let Some(requests) = rates.requests_under(params, self.ticks(now)) {
                RateStanding::tighten(&mut tightest.requests, requests.standing(self.ticks(now)));
            }
            if let Some(rate) = params.token_rate() {
                RateStanding::tighten(&mut tightest.tokens, rates.tokens.standing(rate, now));
            }
        }
        tightest
    }

    /// Requests in flight in a scope.
    pub fn in_flight(&self, scope: &Scope) -> u32 {
        let cells = self.cells.read();
        cells
            .get(scope)
            .map_or(0, |cell| cell.in_flight.load(Ordering::Relaxed))
    }

    /// Forgets the scopes that the configuration no longer has. What is in flight there still ends
    /// harmlessly.
    pub fn retain(&self, keep: impl Fn(&Scope) -> bool) {
        self.cells.write().retain(|scope, _| keep(scope));
    }

    fn cells_of(&self, limits: &Limits<'_>) -> Cells {
        let cells = self.cells.read();
        let known: Cells = limits
            .iter()
            .map_while(|(scope, _)| cells.get(scope).cloned())
            .collect();
        drop(cells);
        if known.len() == limits.len() {
            return known;
        }
        limits.iter().map(|(scope, _)| self.insert(scope)).collect()
    }

    fn insert(&self, scope: &Scope) -> Arc<Cell> {
        let mut cells = self.cells.write();
        Arc::clone(cells.entry(scope.clone()).or_default())
    }

    fn ticks(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.origin).as_nanos();
        u64::try_from(since).unwrap_or(u64::MAX)
    }
}

/// Sorted by scope and without doubles: two admissions that share scopes lock them in the same
/// order, and none locks a cell twice.
fn in_lock_order<'a>(limits: impl Iterator<Item = &'a (Scope, LimitParams)>) -> Limits<'a> {
    let mut limits: Limits<'a> = limits.collect();
    limits.sort_by(|(a, _), (b, _)| a.cmp(b));
    limits.dedup_by(|(a, _), (b, _)| a == b);
    limits
}

fn lock_all(cells: &Cells) -> Locked<'_> {
    cells.iter().map(|cell| cell.rates.lock()).collect()
}

/// For `max_by_key`: what cannot come within moments stands in the way of what can.
fn standing_in_the_way(limited: &Limited) -> (bool, Duration) {
    (!limited.lease_short, wait_of(limited))
}

/// For `max_by_key`: a wait without end is the longest.
fn wait_of(limited: &Limited) -> Duration {
    limited.retry_after.unwrap_or(Duration::MAX)
}

/// Why this scope does not admit one more request, if it does not.
fn refusal(
    scope: &Scope,
    params: &LimitParams,
    cell: &Cell,
    rates: &mut Rates,
    now: Instant,
    ticks: u64,
) -> Option<Limited> {
    let limited = |kind, limit: u32, retry_after| {
        Some(Limited {
            scope: scope.clone(),
            kind,
            limit: limit.into(),
            asked: 1,
            retry_after,
            lease_short: false,
        })
    };
    if let Some(until) = rates.penalty_until {
        let wait = until.saturating_duration_since(now);
        if !wait.is_zero() {
            return limited(LimitKind::Upstream, 0, Some(wait));
        }
        rates.penalty_until = None;
    }
    if let Some(most) = params.concurrent
        && cell.in_flight.load(Ordering::Relaxed) >= most
    {
        let wait = (most > 0).then_some(PERMIT_WAIT);
        return limited(LimitKind::Concurrency, most, wait);
    }
    if params.requests_per_minute == Some(0) {
        return limited(LimitKind::Requests, 0, None);
    }
    let requests = rates.requests_under(params, ticks)?;
    let wait = requests.wait(ticks)?;
    limited(LimitKind::Requests, requests.per_minute(), Some(wait))
}

impl Rates {
    fn settle_tokens(&mut self, reserved: u64, actual: u64, now: Instant) {
        match &mut self.leased {
            None => self.tokens.settle(reserved, actual, now),
            Some(leased) => {
                if let Some(purse) = &mut leased.tokens {
                    purse.give_back(reserved);
                    purse.take(actual);
                }
            }
        }
    }

    fn give_tokens_back(&mut self, tokens: u64) {
        match &mut self.leased {
            None => self.tokens.give_back(tokens),
            Some(leased) => {
                if let Some(purse) = &mut leased.tokens {
                    purse.give_back(tokens);
                }
            }
        }
    }

    /// The scope's request cell under these parameters: made when there is none yet, carried over
    /// when they have changed, dropped when requests are no longer limited.
    fn requests_under(&mut self, params: &LimitParams, ticks: u64) -> Option<&RequestCell> {
        let quota = RequestQuota::of(params);
        if self.requests.as_ref().map(RequestCell::quota) != quota {
            let present = self.requests.take();
            self.requests = quota.map(|quota| RequestCell::carry_over(present, quota, ticks));
        }
        self.requests.as_ref()
    }
}
