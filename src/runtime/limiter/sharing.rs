//! Limits that replicas share: what is drawn from common rates and leased of common places, and where the
//! answers of the store belong. Who asks the store, and when, is `replicas`' business.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::{Cell, LimitKind, Limiters, Limits, LimitsWhenAway, Locked};
use crate::runtime::leases::Bell;
use crate::types::{DrawCall, DrawReply, LeaseCall, LeaseReply};

/// How limits are shared with other replicas.
#[derive(Debug, Clone)]
pub(super) struct Sharing {
    bell: Bell,
    when_away: LimitsWhenAway,
}

/// Draws from shared rates, and where the answers belong.
#[derive(Debug, Default)]
pub struct Draws {
    /// What to ask the store.
    pub calls: Vec<DrawCall>,
    of: Vec<(Arc<Cell>, LimitKind)>,
}

/// Leases on places, and where the answers belong.
#[derive(Debug, Default)]
pub struct PlaceLeases {
    /// What to ask the store.
    pub calls: Vec<LeaseCall>,
    of: Vec<Arc<Cell>>,
}

impl Limiters {
    /// Shares all limits with other replicas, from now on.
    #[must_use]
    pub fn shared(mut self, bell: Bell, when_away: LimitsWhenAway) -> Self {
        self.sharing = Some(Sharing { bell, when_away });
        self
    }

    /// Brings scopes' parts of shared limits in line with the parameters of a request.
    pub(super) fn follow(&self, limits: &Limits<'_>, locked: &mut Locked<'_>) {
        if self.sharing.is_none() {
            return;
        }
        for ((scope, params), rates) in limits.iter().zip(locked) {
            let leased = rates.leased.get_or_insert_with(Box::default);
            leased.follow(scope, params);
        }
    }

    pub(super) fn when_away(&self) -> LimitsWhenAway {
        self.sharing
            .as_ref()
            .map_or_else(LimitsWhenAway::default, |sharing| sharing.when_away)
    }

    fn all_cells(&self) -> Vec<Arc<Cell>> {
        self.cells.read().values().cloned().collect()
    }

    /// What to draw from shared rates now.
    pub fn draws(&self, now: Instant) -> Draws {
        let mut draws = Draws::default();
        if self.sharing.is_none() {
            return draws;
        }
        let now_ms = self.ms(now);
        for cell in self.all_cells() {
            if let Some(leased) = &mut cell.rates.lock().leased {
                leased.draws(now_ms, |kind, call| {
                    draws.calls.push(call);
                    draws.of.push((Arc::clone(&cell), kind));
                });
            }
        }
        draws
    }

    /// Takes the answers to [`Self::draws`]; `None`: there were none, the store is away.
    pub fn drawn(&self, draws: &Draws, replies: Option<&[DrawReply]>, now: Instant) {
        let now_ms = self.ms(now);
        match replies {
            None => self.store_away(now),
            Some(replies) => {
                for ((call, (cell, kind)), reply) in draws.calls.iter().zip(&draws.of).zip(replies)
                {
                    if let Some(leased) = &mut cell.rates.lock().leased {
                        leased.drawn(*kind, call, reply, now_ms);
                    }
                }
            }
        }
        self.announce();
    }

    /// What to say about places for requests in flight.
    pub fn place_leases(&self, now: Instant) -> PlaceLeases {
        let mut leases = PlaceLeases::default();
        if self.sharing.is_none() {
            return leases;
        }
        let now_ms = self.ms(now);
        for cell in self.all_cells() {
            let in_flight = cell.in_flight.load(Ordering::Relaxed);
            let mut rates = cell.rates.lock();
            let call = rates
                .leased
                .as_mut()
                .and_then(|leased| leased.lease_call(in_flight, now_ms));
            drop(rates);
            if let Some(call) = call {
                leases.calls.push(call);
                leases.of.push(cell);
            }
        }
        leases
    }

    /// Takes the answers to [`Self::place_leases`].
    pub fn places_answered(&self, leases: &PlaceLeases, replies: &[LeaseReply], now: Instant) {
        let now_ms = self.ms(now);
        for ((call, cell), reply) in leases.calls.iter().zip(&leases.of).zip(replies) {
            if let Some(leased) = &mut cell.rates.lock().leased {
                leased.answered(call, reply, now_ms);
            }
        }
        self.announce();
    }

    /// The shared store cannot be reached.
    pub fn store_away(&self, now: Instant) {
        let now_ms = self.ms(now);
        for cell in self.all_cells() {
            if let Some(leased) = &mut cell.rates.lock().leased {
                leased.away(now_ms);
            }
        }
        self.announce();
    }

    /// What to tell the store last: everything goes back.
    pub fn leave(&self, now: Instant) -> (Vec<DrawCall>, Vec<LeaseCall>) {
        let now_ms = self.ms(now);
        let (mut draws, mut leases) = (Vec::new(), Vec::new());
        for cell in self.all_cells() {
            if let Some(leased) = &mut cell.rates.lock().leased {
                let (back, places) = leased.leave(now_ms);
                draws.extend(back);
                leases.extend(places);
            }
        }
        (draws, leases)
    }

    fn announce(&self) {
        if let Some(sharing) = &self.sharing {
            sharing.bell.announce();
        }
    }

    pub(super) fn ms(&self, now: Instant) -> i64 {
        i64::try_from(self.ticks(now) / 1_000_000).unwrap_or(i64::MAX)
    }
}
